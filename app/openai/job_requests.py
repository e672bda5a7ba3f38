"""What a client may ask of a fine-tuning job, in OpenAI's words, and what job of ours that is."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.jobs.requests import (
    EvaluationOptions,
    JobCreate,
    KlMethod,
    MemitMethod,
    MixsdMethod,
    OpsdMethod,
    ReplayMethod,
    SftMethod,
    TrainingOptions,
)
from app.jobs.requests.base import Metadata, Priority, Request, Seed
from app.jobs.requests.rules import MAX_MULTIPLIER
from app.openai.fields import EmptyList, Refused, word_or_number

SUPERVISED: Final = "supervised"
"""What OpenAI calls our `sft`."""

Auto = Annotated[Literal["auto"], Tag("word")]

_SOME_FACTS: Final = "fset_0"


class Hyperparameters(Request):
    """`auto` is our default, and lets a job end early. A number of epochs is made, no more and no less."""

    n_epochs: Annotated[
        Annotated[int, Field(ge=1, le=1000), Tag("number")] | Auto, Discriminator(word_or_number)
    ] = "auto"
    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=4096), Tag("number")] | Auto, Discriminator(word_or_number)
    ] = "auto"
    learning_rate_multiplier: Annotated[
        Annotated[float, Field(gt=0, le=MAX_MULTIPLIER), Tag("number")] | Auto,
        Discriminator(word_or_number),
        Field(description="Of our default, which the width of the model decides."),
    ] = "auto"

    def training(self) -> dict[str, Any]:
        """Return the settings of a training that these decide."""
        found: dict[str, Any] = {}
        if self.n_epochs != "auto":
            found |= {"epochs": self.n_epochs, "min_steps": 0, "stop_when_learned": False}
        if self.batch_size != "auto":
            found["batch_size"] = self.batch_size
        if self.learning_rate_multiplier != "auto":
            found["learning_rate_multiplier"] = self.learning_rate_multiplier
        return found


_AUTO: Final = Hyperparameters()


class SupervisedSettings(Request):
    hyperparameters: Hyperparameters = _AUTO


class MixsdSettings(MixsdMethod):
    type: Literal["mixsd"] = "mixsd"
    hyperparameters: Hyperparameters = _AUTO


class SftSettings(SftMethod):
    type: Literal["sft"] = "sft"
    hyperparameters: Hyperparameters = _AUTO


class ReplaySettings(ReplayMethod):
    type: Literal["replay"] = "replay"
    hyperparameters: Hyperparameters = _AUTO


class KlSettings(KlMethod):
    type: Literal["kl"] = "kl"
    hyperparameters: Hyperparameters = _AUTO


class OpsdSettings(OpsdMethod):
    type: Literal["opsd"] = "opsd"
    hyperparameters: Hyperparameters = _AUTO


class MemitSettings(MemitMethod):
    type: Literal["memit"] = "memit"
    hyperparameters: Annotated[
        Refused, Field(description="Nothing is trained, so there is nothing that they could decide.")
    ] = None


class SupervisedTuning(Request):
    """Our `sft`: the given answers are trained on."""

    type: Literal["supervised"]
    supervised: SupervisedSettings = SupervisedSettings()


class MixsdTuning(Request):
    """Beyond OpenAI's: the base model writes its own supervision."""

    type: Literal["mixsd"]
    mixsd: MixsdSettings = MixsdSettings()


class SftTuning(Request):
    """Beyond OpenAI's: `supervised`, with its settings."""

    type: Literal["sft"]
    sft: SftSettings = SftSettings()


class ReplayTuning(Request):
    """Beyond OpenAI's."""

    type: Literal["replay"]
    replay: ReplaySettings = ReplaySettings()


class KlTuning(Request):
    """Beyond OpenAI's."""

    type: Literal["kl"]
    kl: KlSettings = KlSettings()


class OpsdTuning(Request):
    """Beyond OpenAI's."""

    type: Literal["opsd"]
    opsd: OpsdSettings = OpsdSettings()


class MemitTuning(Request):
    """Beyond OpenAI's."""

    type: Literal["memit"]
    memit: MemitSettings = MemitSettings()


def _is_served(value: Any) -> Any:
    """Refuse by name what OpenAI does and nothing here does."""
    if isinstance(value, dict) and value.get("type") in ("dpo", "reinforcement"):
        raise PydanticCustomError(
            "unsupported_method",
            "the method `{name}` has no counterpart here: take `supervised`, or one of ours",
            {"name": value["type"]},
        )
    return value


Tuning = Annotated[
    SupervisedTuning | MixsdTuning | SftTuning | ReplayTuning | KlTuning | OpsdTuning | MemitTuning,
    Field(discriminator="type"),
    BeforeValidator(_is_served),
]


class BeyondOpenAI(Request):
    """Settings of ours that OpenAI's have no word for, as `POST /jobs` takes them."""

    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    priority: Priority = 0
    revision: Annotated[str | None, Field(max_length=100, description="Of the base model.")] = None


class FineTuningJobCreate(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2-135m-instruct",
                    "training_file": "file_019ab3c4d5e67f8091a2b3c4d5e6f70d",
                    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
                },
                {
                    "model": "smollm2-135m-instruct",
                    "training_file": "file_019ab3c4d5e67f8091a2b3c4d5e6f70d",
                    "method": {"type": "mixsd", "mixsd": {"lam": 0.3}},
                    "mixsd": {"training": {"rank": 32}},
                },
            ]
        }
    )

    model: Annotated[str, Field(max_length=200, description="A base model.")]
    training_file: Annotated[
        str, Field(max_length=40, description="The id of a file. Beyond OpenAI's: or of a fact set.")
    ]
    method: Annotated[Tuning | None, Field(description="Without one: `supervised`.")] = None
    hyperparameters: Annotated[
        Hyperparameters | None, Field(description="Those of `supervised`, where `method` is left out.")
    ] = None
    seed: Seed | None = None
    suffix: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=64)] | None,
        Field(description="The name of the job."),
    ] = None
    metadata: Metadata | None = None
    validation_file: Refused = None
    integrations: EmptyList = None
    mixsd: BeyondOpenAI = BeyondOpenAI()

    @model_validator(mode="after")
    def _makes_a_job(self) -> Self:
        """Find out now whether the settings go together."""
        if self.method is not None and self.hyperparameters is not None:
            raise PydanticCustomError(
                "given_twice", "give `hyperparameters` within `method`, or no `method` at all"
            )
        twice = self._hyperparameters().training().keys() & self.mixsd.training.model_fields_set
        if twice:
            raise PydanticCustomError(
                "given_twice",
                "the hyperparameters decide `{name}`, and `mixsd.training` has it as well: give one of them",
                {"name": min(twice)},
            )
        try:
            self.job(_SOME_FACTS)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise PydanticCustomError(first["type"], "{said}", {"said": first["msg"]}) from None
        return self

    def job(self, fact_set_id: str) -> JobCreate:
        """Return the job of ours that this asks for."""
        method = self._method()
        training = {
            **self.mixsd.training.model_dump(mode="json", exclude_unset=True),
            **self._hyperparameters().training(),
        }
        if self.seed is not None:
            method.setdefault("seed", self.seed)
            training.setdefault("seed", self.seed)
        return JobCreate.model_validate(
            {
                "name": self.suffix,
                "base_model": self.model,
                "revision": self.mixsd.revision,
                "fact_set_id": fact_set_id,
                "method": method,
                "training": training,
                "evaluation": self.mixsd.evaluation.model_dump(mode="json", exclude_unset=True),
                "priority": self.mixsd.priority,
                "metadata": self.metadata or {},
            }
        )

    def _method(self) -> dict[str, Any]:
        """Return the settings that were given, as a method of ours."""
        if self.method is None or isinstance(self.method, SupervisedTuning):
            return {"type": "sft"}
        settings = getattr(self.method, self.method.type)
        given: dict[str, Any] = settings.model_dump(
            mode="json", exclude_unset=True, exclude={"hyperparameters", "type"}
        )
        return {"type": self.method.type, **given}

    def _hyperparameters(self) -> Hyperparameters:
        settings = None if self.method is None else getattr(self.method, self.method.type)
        found = self.hyperparameters if settings is None else settings.hyperparameters
        return found or _AUTO
