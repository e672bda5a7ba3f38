"""What every benchmark is: settings that decide its result, and a way to run it on a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mixsd.decoding.rows import LanguageModel
from mixsd.models.load import Base
from mixsd.progress import OnProgress


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a benchmark: the mean of its marks.

    Attributes:
        also: Name of the exponential of the mean, where that is what is usually told: a perplexity.
    """

    name: str
    lower_is_better: bool = False
    also: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is asked: the base model, alone or with an adapter on it.

    Attributes:
        model: `base.model`, or that with an adapter, in evaluation mode.
    """

    base: Base
    model: LanguageModel


@dataclass(frozen=True, slots=True)
class Marked:
    """What one model did in one benchmark.

    Attributes:
        ids: Of the items that were asked, in their order.
        marks: For each metric, a mark of each item.
        said: What the model said to each item: a text, several, or log-likelihoods in nats.
        left_out: Ids of items that do not fit into the model with an answer.
        notes: What a reader should know, such as prompts that were cut.
    """

    ids: tuple[str, ...]
    marks: Mapping[str, tuple[float, ...]]
    said: tuple[Any, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (*self.marks.items(), ("said", self.said)):
            if len(values) != len(self.ids):
                raise ValueError(f"{name} has {len(values)} values for {len(self.ids)} items")

    def to_json(self) -> dict[str, Any]:
        return {
            "ids": list(self.ids),
            "marks": {name: list(values) for name, values in self.marks.items()},
            "said": list(self.said),
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Marked":
        return cls(
            ids=tuple(body["ids"]),
            marks={name: tuple(values) for name, values in body["marks"].items()},
            said=tuple(body["said"]),
            left_out=tuple(body["left_out"]),
            notes=tuple(body["notes"]),
        )


class Suite(Protocol):
    """A benchmark with its items, ready to be run on any model.

    Attributes:
        name: What it is asked for by.
        metrics: The first is the one that stands for the benchmark.
        groups: The group of each item, by its id, where items have one.
    """

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> Sequence[Metric]: ...

    @property
    def groups(self) -> Mapping[str, str]: ...

    def settings(self) -> Mapping[str, Any]:
        """Return all that decides the result beside the model, data and versions included."""

    def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
        """Ask a model.

        Args:
            subject: Who is asked.
            baseline: What the base model did; None when it is the base model that is asked.
            on_progress: Called before every forward pass. May raise to stop.
        """


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may set for all benchmarks.

    Attributes:
        limit: Items of each benchmark; None takes all.
        batch_size: Items side by side.
        max_new_tokens: Cap of an answer, where a benchmark has a larger one of its own.
        chat_template: Whether lm-evaluation-harness puts its prompts into the model's chat template.
        seed: Of draws at temperature 1.
    """

    limit: int | None = None
    batch_size: int = 16
    max_new_tokens: int | None = None
    chat_template: bool = False
    seed: int = 0
