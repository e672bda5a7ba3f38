"""Nats per token of the targets under the base model that is asked the bare question.

What fine-tuning changes a model for is what it holds unlikely, so this is read before a run is
trained: the distribution over tokens, and the share of those above a threshold (method of the
paper, arXiv:2605.16865, figure 3 and tables 7 and 8).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.losses import token_nats
from mixsd.analysis.results import Result
from mixsd.analysis.runs import Run, read_records
from mixsd.analysis.tally import WIDTH, Tally
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent
from mixsd.prompts import STYLES
from mixsd.supervision import ENDED, EXPERT, GUARDED, NAIVE, OPENED, Supervision
from mixsd.training.batches import Example

NAME: Final = "nats"
TAU: Final = 5.0
PICKS: Final = {NAIVE: "naive", EXPERT: "expert", GUARDED: "guarded", ENDED: "ended", OPENED: "opened"}
_DEFINITION: Final = (
    "The loss -log p of each token of each text that is trained on, in nats, under the base model that is "
    "asked the bare question and has read the text before that token. All texts of a method count, over "
    "seeds. Intervals are normal, over facts: tokens of one fact are one cluster."
)
_ON_POLICY: Final = (
    "{method} trains on answers that the model gives while it is trained, which are not stored: what is "
    "shown are its reference answers"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Tokens that belong together. What is None is not told apart."""

    method: str
    lam: float | None = None
    pick: str | None = None


def analyse_nats(
    base: Base, runs: Sequence[Run], *, tau: float = TAU, on_progress: OnProgress = silent
) -> Result:
    """Measure the targets of runs.

    Args:
        base: Their base model.
        runs: Those without supervision are told in the notes.
        tau: Nats above which a token counts as unlikely.
        on_progress: Called before every forward pass. May raise to stop.

    Raises:
        NotAnalysableError: No run has a text that is trained on.
    """
    told = [run for run in runs if run.records is not None]
    missing = [run.name for run in runs if run.records is None]
    groups = _measured(base, told, tau, on_progress)
    if not groups:
        why = "; ".join(f"{run.name} has no text that is trained on" for run in told)
        raise NotAnalysableError(why or f"no supervision is stored for {'; '.join(missing)}")
    confidence = runs[0].confidence
    notes = [f"no supervision is stored for {name}: left out" for name in missing]
    with_texts = {group.method for group in groups}
    notes += [f"{run.name} has no text that is trained on" for run in told if run.method not in with_texts]
    notes += sorted({_ON_POLICY.format(method=run.method) for run in told if run.kind == "opsd"})
    body = {
        "title": "Nats per token of the targets under the base model",
        "definition": _DEFINITION,
        "notes": notes,
        "tau": tau,
        "confidence": confidence,
        "bin_width": WIDTH,
        "groups": [
            _described(group) | tally.summary(confidence) | {"ecdf": tally.curve()}
            for group, tally in groups.items()
        ],
    }
    return Result(NAME, body, ("method", "lam", "pick", "nats", "share"), list(_curves(body)))


def _measured(base: Base, runs: Sequence[Run], tau: float, on_progress: OnProgress) -> dict[Group, Tally]:
    """Return the tallies of all groups, whole methods first."""
    total = sum(_lines(run) for run in runs)
    groups: dict[Group, Tally] = {}
    before = 0
    for run in runs:
        for record, losses in _losses(base, run, _telling(on_progress, before, total)):
            for group, part in _parts(run, record, losses):
                tally = groups.setdefault(group, Tally(tau))
                tally.add(part, (run.name, record.fact_key))
        before += _lines(run)
    on_progress(Progress(total, total, "texts"))
    return dict(sorted(groups.items(), key=lambda item: (item[0].lam is not None, item[0].pick is not None)))


def _telling(on_progress: OnProgress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(Progress(before + done, total, "texts"))


def _losses(
    base: Base, run: Run, on_batch: Callable[[int], None]
) -> Iterator[tuple[Supervision, list[float]]]:
    if run.records is None:
        return iter(())
    trained = (record for record in read_records(run.records) if record.trainable and record.token_ids)
    return token_nats(
        base, ((record, example_of(base, run, record)) for record in trained), on_batch=on_batch
    )


def example_of(base: Base, run: Run, record: Supervision) -> Example:
    """Return a target behind the bare question, as it is trained on.

    Raises:
        NotAnalysableError: Its tokens are none of the model's, or they and the question are too long
            for it: the record is of another model.
    """
    if run.prompt_style not in STYLES:
        raise NotAnalysableError(f"{run.name} has a prompt style {run.prompt_style!r} that is not known here")
    prompt = base.chat.prompt_ids(STYLES[run.prompt_style].naive_prompt(record.question))
    example = Example(tuple(prompt), record.token_ids)
    size = int(base.model.config.get_text_config().vocab_size)
    tokens: Sequence[Any] = record.token_ids
    known = all(isinstance(token, int) and 0 <= token < size for token in tokens)
    known = known and len(record.picks) in {0, len(record.token_ids)}
    if not known or len(example.read) > base.max_tokens:
        raise NotAnalysableError(
            f"{run.name}: the text {record.generation} of {record.fact_key} cannot be read by {base.id}: it "
            "is of another model"
        )
    return example


def _parts(run: Run, record: Supervision, losses: Sequence[float]) -> Iterator[tuple[Group, list[float]]]:
    """Yield the groups that tokens of a text belong to."""
    method = run.method if record.method != "fallback" else f"{run.method} (plain answers)"
    every = list(losses)
    yield Group(method), every
    if record.method != "mixsd":
        return
    yield Group(method, lam=record.lam), every
    for letter, pick in PICKS.items():
        part = [loss for loss, picked in zip(losses, record.picks, strict=True) if picked == letter]
        if part:
            yield Group(method, pick=pick), part
            yield Group(method, record.lam, pick), part


def _described(group: Group) -> dict[str, Any]:
    return {"method": group.method, "lam": group.lam, "pick": group.pick}


def _curves(body: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for group in body["groups"]:
        for nats, share in group["ecdf"]:
            yield group["method"], group["lam"], group["pick"], nats, round(share, 8)


def _lines(run: Run) -> int:
    if run.records is None:
        return 0
    with run.records.open("rb") as file:
        return sum(1 for _ in file)
