"""Run a task of lm-evaluation-harness, with its own task files and filters, on a model that is loaded.

Its tasks write the prompts, its model class `HFLM` scores them, and its tasks make marks of the
scores. Ours are the data, which come as checked rows, the order of these steps, and progress.
Loading this module takes the package `lm_eval`.
"""

import contextlib
import copy
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import datasets
import jinja2
import lm_eval.tasks
import torch
from lm_eval.models.huggingface import HFLM

from mixsd.benchmarks.continuations import NotSharedError, Shared, likelihoods
from mixsd.benchmarks.data import Items
from mixsd.benchmarks.errors import BenchmarkDataError, BenchmarkError
from mixsd.benchmarks.harness import Reading, Task
from mixsd.benchmarks.rows import Row
from mixsd.benchmarks.suite import Marked, Options, Subject
from mixsd.progress import OnProgress, Progress

SHOT_SEED: Final = 1234
"""With which the harness itself draws worked examples."""

_CLOSE: Final = 1e-4
_ROUGHLY: Final = 2e-2
"""Most that log-likelihoods may differ by, relative, in float32 and in types with fewer digits."""


@dataclass(frozen=True, slots=True)
class Part:
    """A task of the harness that has its data, and the rows that it asks."""

    task: Any
    rows: Sequence[Row]


def run(task: Task, items: Items, options: Options, subject: Subject, on_progress: OnProgress) -> Marked:
    """Ask a model all items of a task."""
    with _quiet():
        model = Model(subject, options, on_progress)
        parts = list(parts_of(task, items))
        for part in parts:
            _write_prompts(part, model, chat_template=options.chat_template)
        requests = [request for part in parts for request in part.task.instances]
        for request, answer in zip(requests, model.answers(requests), strict=True):
            request.resps.append(answer)
        return _marked(task, items, parts, model.cut)


class Model(HFLM):  # type: ignore[misc]
    """The harness's model class on a model that is loaded, which tells how far it has come.

    A chat template that refuses a system prompt gets that text at the head of the user's turn; the
    harness would leave it out.

    Attributes:
        cut: Prompts of which the beginning did not fit into the model.
    """

    def __init__(self, subject: Subject, options: Options, on_progress: OnProgress) -> None:
        super().__init__(
            pretrained=subject.model,
            tokenizer=copy.deepcopy(subject.base.chat.tokenizer),  # it may get a token for padding
            batch_size=options.batch_size,
            max_length=subject.base.max_tokens,
        )
        self.cut = 0
        self._shares = True
        self._report = on_progress
        self._done = self._total = 0

    def answers(self, requests: Sequence[Any]) -> list[Any]:
        """Return what the model says to requests of one kind, in their order."""
        (kind,) = {request.request_type for request in requests}
        self._done, self._total = 0, len(requests)
        if kind != "loglikelihood":
            lengths = [len(self.tok_encode(request.args[0])) for request in requests]
            if kind == "generate_until":
                self.cut = sum(length > self.max_length - self.max_gen_toks for length in lengths)
            else:
                self._total = sum(-(-length // self.max_length) for length in lengths)
        answers: list[Any] = getattr(self, kind)(list(requests), disable_tqdm=True)
        self._report(Progress(self._total, self._total, "prompts"))
        return answers

    def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
        for _, context, asked in requests:
            if len(asked) > self.max_length:
                raise BenchmarkError(
                    f"an answer of {len(asked)} tokens does not fit into the {self.max_length} of the model"
                )
            self.cut += len(context) + len(asked) > self.max_length + 1
        whole = len(requests) == self._total
        shared, alone = self._parted(requests) if self._shares else ({}, list(range(len(requests))))
        if whole:  # what differs in the last token alone is computed once
            rest = {(*requests[place][1], *requests[place][2][:-1]) for place in alone}
            self._total = len(rest) + sum(map(len, shared.values()))
        answers: list[Any] = [None] * len(requests)
        try:
            self._answer_shared(requests, shared, answers)
        except NotSharedError:
            self._shares = False
            alone = list(range(len(requests)))
        asked_alone = [requests[place] for place in alone]
        told = super()._loglikelihood_tokens(asked_alone, **options | {"disable_tqdm": True})
        for place, answer in zip(alone, told, strict=True):
            answers[place] = answer
        return answers

    def _parted(self, requests: Any) -> tuple[dict[tuple[int, ...], list[int]], list[int]]:
        """Return places of requests by a context that several share, and those of the others.

        Where answers are single tokens the harness itself computes their context once.
        """
        by_context: dict[tuple[int, ...], list[int]] = {}
        for place, (_, context, _) in enumerate(requests):
            by_context.setdefault(tuple(context), []).append(place)
        shared = {
            context: places
            for context, places in by_context.items()
            if len(places) > 1
            and any(len(requests[place][2]) > 1 for place in places)
            and len(context) + max(len(requests[place][2]) for place in places) <= self.max_length + 1
        }
        apart = (place for context, places in by_context.items() if context not in shared for place in places)
        return shared, sorted(apart)

    def _answer_shared(
        self, requests: Any, shared: dict[tuple[int, ...], list[int]], answers: list[Any]
    ) -> None:
        """Answer requests that share their contexts.

        Raises:
            NotSharedError: The model cannot, or the first of them come out otherwise than one by one.
        """
        texts = [
            Shared(context, tuple(tuple(requests[place][2]) for place in places))
            for context, places in shared.items()
        ]
        options = {"rows": int(self.batch_size), "on_rows": self._tell, "dtype": self.softmax_dtype}
        for part in (texts[:1], texts[1:]):
            told = likelihoods(self.model, part, **options)
            for text, values in zip(part, told, strict=True):
                for place, value in zip(shared[text.context], values, strict=True):
                    answers[place] = value
            if part and part[0] is texts[0]:
                self._compare([requests[place] for place in shared[texts[0].context]], told[0])

    def _compare(self, requests: list[Any], told: list[tuple[float, bool]]) -> None:
        """Ask the same the harness's own way.

        Raises:
            NotSharedError: It comes out otherwise, but for rounding.
        """
        alone = super()._loglikelihood_tokens(requests, disable_tqdm=True)
        bound = _CLOSE if self.model.dtype in {torch.float32, torch.float64} else _ROUGHLY
        if any(
            not abs(one - other) <= bound * (1 + abs(other))
            for (one, _), (other, _) in zip(told, alone, strict=True)
        ):
            raise NotSharedError

    def _model_call(self, inps: Any, **options: Any) -> Any:
        self._tell(len(inps))
        return super()._model_call(inps, **options)

    def _model_generate(self, context: Any, **options: Any) -> Any:
        self._tell(len(context))
        return super()._model_generate(context, **options)

    def _tell(self, rows: int) -> None:
        self._report(Progress(min(self._done, self._total), self._total, "prompts"))
        self._done += rows

    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool = True,  # noqa: FBT001, FBT002  the harness's own signature
    ) -> str:
        def render(messages: list[dict[str, str]]) -> str:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=not add_generation_prompt,
                    enable_thinking=False,
                )
            )

        try:
            return render(chat_history)
        except jinja2.TemplateError:
            return render(without_system(chat_history))


def without_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Put what a system prompt says before what the user says first."""
    said = [message["content"].strip() for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if rest and said:
        rest[0]["content"] = "\n\n".join([*said, rest[0]["content"]])
    return rest


def parts_of(task: Task, items: Items) -> Iterator[Part]:
    """Yield the tasks of the harness, each with its share of the rows.

    Raises:
        BenchmarkDataError: The harness has no such part.
    """
    folder = Path(str(lm_eval.tasks.__file__)).parent / task.folder
    manager = lm_eval.tasks.TaskManager(include_path=folder, include_defaults=False)
    subjects = sorted({row["subject"] for row in items.rows}) if task.by_subject else [None]
    for subject in subjects:
        name = task.name if subject is None else f"{task.name}_{subject}"
        if name not in manager.all_subtasks:
            raise BenchmarkDataError(f"{task.name}: there is no subject {subject!r}")
        rows, shots = (
            [row for row in chosen if subject in (None, row.get("subject"))]
            for chosen in (items.rows, items.shots)
        )
        # Named in a group, since a name alone takes no settings of ours.
        settings = _settings(name, rows, shots[: task.shots] if task.by_subject else shots)
        made = manager.load({"group": "mixsd", "task": [settings]})["tasks"][name]
        if task.shots:
            made.set_config("num_fewshot", task.shots)
        made.set_fewshot_seed(SHOT_SEED)
        yield Part(made, rows)


def _settings(name: str, rows: Sequence[Row], shots: Sequence[Row]) -> dict[str, Any]:
    splits = {"items": datasets.Dataset.from_list(list(rows))}
    if shots:
        splits["shots"] = datasets.Dataset.from_list(list(shots))
    return {
        "task": name,
        "custom_dataset": lambda **_: splits,
        "training_split": None,
        "validation_split": None,
        "test_split": "items",
        "fewshot_split": "shots" if shots else None,
    }


def _write_prompts(part: Part, model: Model, *, chat_template: bool) -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # it draws a bar of its own
        part.task.build_all_requests(
            apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
            chat_template=model.apply_chat_template if chat_template else None,
        )


def _marked(task: Task, items: Items, parts: Sequence[Part], cut: int) -> Marked:
    given: dict[str, list[Any]] = {}
    said: dict[str, Any] = {}
    for part in parts:
        part.task.apply_filters()
        answers: dict[int, list[Any]] = {}
        for request in sorted(part.task.instances, key=lambda request: request.idx):
            answers.setdefault(request.doc_id, []).append(request)
        for place, doc in part.task.doc_iterator():
            requests = answers[place]
            name = part.rows[place]["id"]
            said[name] = [request.resps[0] for request in requests]
            given[name] = [_given(part.task, doc, requests, reading) for reading in task.readings]
    ids = [row["id"] for row in items.rows]
    marks = {
        reading.metric.name: tuple(reading.read([given[name][place] for name in ids]))
        for place, reading in enumerate(task.readings)
    }
    notes = (f"{cut} prompts did not fit into the model and lost their beginning",) if cut else ()
    return Marked(tuple(ids), marks, tuple(_plain(said[name]) for name in ids), notes=notes)


def _given(task: Any, doc: Any, requests: Sequence[Any], reading: Reading) -> Any:
    return task.process_results(doc, [request.filtered_resps[reading.behind] for request in requests])[
        reading.key
    ]


def _plain(answers: Sequence[Any]) -> Any:
    """Return one text, or the log-likelihood of each answer, in nats."""
    if all(isinstance(answer, str) for answer in answers):
        return answers[0]
    return [float(answer[0] if isinstance(answer, tuple) else answer) for answer in answers]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness from talking beside us: what matters stands in the result."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            datasets.utils.logging.enable_progress_bar()
