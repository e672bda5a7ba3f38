"""The library's own sets as benchmarks, and probes in context: asked by the batched decoder, greedily."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from mixsd.benchmarks.suite import Marked, Metric, Options, Subject
from mixsd.cache_key import digest_of
from mixsd.config import EvalConfig
from mixsd.corpora.kgfact import kgfact, size_of
from mixsd.corpora.kgfunc import kgfunc
from mixsd.corpora.writing import Row
from mixsd.evaluation.asking import ask, nats_of
from mixsd.evaluation.suites import OPEN_TOKENS, general, open_prompts
from mixsd.progress import OnProgress, Progress
from mixsd.scoring import scorer

SHORT_TOKENS: Final = EvalConfig().max_new_tokens
"""Cap of a short answer: that of a job's evaluation unless told otherwise."""
BOXED_TOKENS: Final = 512
"""Cap of an answer that is reasoned out."""

BOXED: Final = "\n\nPlease reason step by step, and put your final answer in \\boxed{}."
SHORT: Final = "\n\nAnswer with the name alone."
NUMBER: Final = "\n\nAnswer with the number alone."


@dataclass(frozen=True, slots=True)
class Item:
    """A question as it is put, and the answers that count."""

    id: str
    prompt: str
    answers: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True, slots=True)
class AskedSuite:
    """Questions with short answers, which a mode of `mixsd.scoring` finds in what the model says."""

    name: str
    items: tuple[Item, ...]
    verifier: str
    cap: int
    batch_size: int
    metrics: tuple[Metric, ...] = (Metric("accuracy"),)

    @property
    def groups(self) -> dict[str, str]:
        return {item.id: item.group for item in self.items if item.group}

    def settings(self) -> dict[str, Any]:
        rows = [[item.id, item.prompt, list(item.answers)] for item in self.items]
        return {
            "decoding": "greedy",
            "max_new_tokens": self.cap,
            "verifier": self.verifier,
            "data": {"from": "mixsd", "sha256": digest_of(rows), "n": len(rows)},
        }

    def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
        right = scorer(self.verifier)
        said = ask(
            subject.model,
            subject.base.chat,
            [item.prompt for item in self.items],
            max_new_tokens=self.cap,
            batch_size=self.batch_size,
            max_tokens=subject.base.max_tokens,
            on_step=lambda done: on_progress(Progress(done, len(self.items), "questions")),
        )
        asked = [(item, answer.text) for item, answer in zip(self.items, said, strict=True) if answer]
        left_out = [item.id for item, answer in zip(self.items, said, strict=True) if answer is None]
        return Marked(
            ids=tuple(item.id for item, _ in asked),
            marks={"accuracy": tuple(float(right(text, item.answers)) for item, text in asked)},
            said=tuple(text for _, text in asked),
            left_out=tuple(left_out),
        )


@dataclass(frozen=True, slots=True)
class DriftSuite:
    """Losses on the base model's own greedy answers to open prompts, whoever is measured."""

    prompts: tuple[tuple[str, str], ...]
    batch_size: int
    name: str = "drift"
    metrics: tuple[Metric, ...] = (Metric("nats_per_token", lower_is_better=True),)

    @property
    def groups(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, Any]:
        return {
            "decoding": "greedy",
            "max_new_tokens": OPEN_TOKENS,
            "data": {"from": "mixsd", "sha256": digest_of(self.prompts), "n": len(self.prompts)},
        }

    def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
        prompts = dict(self.prompts)
        texts = self._own_words(subject, on_progress) if baseline is None else _words_of(baseline)
        losses = []
        for done, (name, ids) in enumerate(texts.items()):
            on_progress(Progress(done, len(texts), "texts"))
            losses += nats_of(subject.model, subject.base.chat, [prompts[name]], [ids])
        on_progress(Progress(len(texts), len(texts), "texts"))
        return Marked(
            ids=tuple(texts),
            marks={"nats_per_token": tuple(losses)},
            said=tuple(texts.values()),
            left_out=tuple(name for name in prompts if name not in texts),
        )

    def _own_words(self, subject: Subject, on_progress: OnProgress) -> dict[str, list[int]]:
        said = ask(
            subject.base.model,
            subject.base.chat,
            [prompt for _, prompt in self.prompts],
            max_new_tokens=OPEN_TOKENS,
            batch_size=self.batch_size,
            max_tokens=subject.base.max_tokens,
            on_step=lambda done: on_progress(Progress(done, len(self.prompts), "prompts")),
        )
        names = [name for name, _ in self.prompts]
        return {name: list(answer.token_ids) for name, answer in zip(names, said, strict=True) if answer}


def _words_of(baseline: Marked) -> dict[str, list[int]]:
    return {name: list(ids) for name, ids in zip(baseline.ids, baseline.said, strict=True)}


def general_suite(options: Options) -> AskedSuite:
    """Return the general-knowledge set of `mixsd.evaluation`."""
    items = [Item(row.id, row.question, (row.answer, *row.aliases), row.topic) for row in general().items]
    return _asked("general", items, "contains", SHORT_TOKENS, options)


def drift_suite(options: Options) -> DriftSuite:
    """Return the open prompts of `mixsd.evaluation`."""
    prompts = [(row.id, row.prompt) for row in open_prompts().items]
    return DriftSuite(tuple(prompts[: options.limit]), options.batch_size)


def retrieval_suite(name: str, size: str, options: Options, *, boxed: bool) -> AskedSuite:
    """Return KGFact-Retrieval: a question about one of fifty statements that stand before it.

    The statements are about names that a corpus of this size and seed does not teach.

    Args:
        size: Of the corpus, as `mixsd corpus kgfact` takes it.
        boxed: Whether the paper's layout is asked, with the answer in a box.
    """
    rows = _retrieval(size)
    asking = BOXED if boxed else SHORT
    items = [
        Item(str(row["key"]), f"{row['context']}\n\n{row['question']}{asking}", (str(row["answer"]),))
        for row in rows
    ]
    return _probe(name, items, options, "boxed_loose" if boxed else "contains", boxed=boxed)


def unseen_suite(name: str, options: Options, *, boxed: bool) -> AskedSuite:
    """Return KGFunc-Unseen: easy functions that no corpus teaches, to be found out from ten examples."""
    rows = _unseen()
    asking = BOXED if boxed else NUMBER
    items = [
        Item(str(row["key"]), f"{row['question']}{asking}", (str(row["answer"]),), str(row["function"]))
        for row in rows
    ]
    return _probe(name, items, options, "boxed_chain" if boxed else "last_number", boxed=boxed)


@cache
def _retrieval(size: str) -> Sequence[Row]:
    return kgfact(*size_of(size)).splits["retrieval"]


@cache
def _unseen() -> Sequence[Row]:
    return kgfunc().splits["unseen"]


def _probe(name: str, items: Sequence[Item], options: Options, how: str, *, boxed: bool) -> AskedSuite:
    cap = min(BOXED_TOKENS, options.max_new_tokens or BOXED_TOKENS) if boxed else SHORT_TOKENS
    return _asked(name, items, how, cap, options)


def _asked(name: str, items: Sequence[Item], how: str, cap: int, options: Options) -> AskedSuite:
    return AskedSuite(name, tuple(_first(items, options.limit)), how, cap, options.batch_size)


def _first(items: Sequence[Item], limit: int | None) -> list[Item]:
    """Return the first items; where they have groups, groups take turns."""
    seen: dict[str, int] = {}
    turns = []
    for place, item in enumerate(items):
        seen[item.group] = seen.get(item.group, 0) + 1
        turns.append((seen[item.group] if item.group else 0, place))
    chosen = sorted(place for _, place in sorted(turns)[:limit])
    return [items[place] for place in chosen]


OWN: Final[Mapping[str, Callable[[Options], AskedSuite | DriftSuite]]] = MappingProxyType(
    {
        "general": general_suite,
        "drift": drift_suite,
        "kgfact_retrieval": lambda options: retrieval_suite(
            "kgfact_retrieval", "small", options, boxed=False
        ),
        "kgfact_retrieval_large": lambda options: retrieval_suite(
            "kgfact_retrieval_large", "large", options, boxed=False
        ),
        "kgfact_retrieval_boxed": lambda options: retrieval_suite(
            "kgfact_retrieval_boxed", "small", options, boxed=True
        ),
        "kgfact_retrieval_large_boxed": lambda options: retrieval_suite(
            "kgfact_retrieval_large_boxed", "large", options, boxed=True
        ),
        "kgfunc_unseen": lambda options: unseen_suite("kgfunc_unseen", options, boxed=False),
        "kgfunc_unseen_boxed": lambda options: unseen_suite("kgfunc_unseen_boxed", options, boxed=True),
    }
)
"""The benchmarks that need no data from elsewhere, by name."""
