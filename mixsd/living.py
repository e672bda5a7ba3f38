"""Facts that change: what became of those that an adapter was taught, in a newer set. Loads no torch.

Training may start from an adapter, its parent, instead of from the base model. Then facts that are
as they were are only replayed, new ones and those that changed are taught, and of those that are
gone the model is led back to what the base model says.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from mixsd.config import MemitConfig, OpsdConfig, Plan
from mixsd.errors import ConfigError, NothingToLearnError
from mixsd.facts import Fact
from mixsd.scoring import scorer
from mixsd.supervision import RETIRED, Supervision, taught_by

TAUGHT: Final = ("question", "answer", "aliases", "context", "subject", "train_paraphrases")
"""Fields of a fact that decide what is taught. One that differs in others alone is as it was."""

OLD_WORDINGS: Final = 10_000
"""The first generation of texts to the old question of a fact that has another one now."""


class Change(StrEnum):
    """What became of a fact. Facts of one key are the same fact."""

    ADDED = "added"
    CHANGED = "changed"
    KEPT = "kept"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the facts of one set in another.

    Attributes:
        kinds: Of each fact of the new set, by its key.
        before: Those that changed, as they were, by key.
        retired: Those that the new set has no longer.
        moved: Those that changed question and answer, as they were: nobody asks their question any more.
        asked: Questions of the new set, in the form of `plain`: to these no answer is taken away.
    """

    kinds: Mapping[str, Change]
    before: Mapping[str, Fact]
    retired: tuple[Fact, ...]
    moved: tuple[Fact, ...]
    asked: frozenset[str]

    @property
    def counts(self) -> dict[str, int]:
        """Facts by what became of them."""
        seen = Counter(self.kinds.values())
        return {str(kind): seen[kind] for kind in Change} | {str(Change.RETIRED): len(self.retired)}

    @property
    def kept(self) -> frozenset[str]:
        """Keys of the facts that are as they were."""
        return frozenset(key for key, kind in self.kinds.items() if kind is Change.KEPT)

    def is_asked(self, question: str) -> bool:
        """Say whether a fact of the new set asks this question."""
        return plain(question) in self.asked


def compare(previous: Iterable[Fact], facts: Sequence[Fact]) -> Changes:
    """Say what became of the facts of a set in a newer one.

    Example:
        >>> mayor, river = Fact("mayor", "Who?", "Odo"), Fact("river", "Which?", "Quell")
        >>> found = compare([mayor, river], [replace(mayor, answer="Ada"), Fact("bell", "How many?", "4")])
        >>> {key: str(kind) for key, kind in found.kinds.items()}, [fact.key for fact in found.retired]
        ({'mayor': 'changed', 'bell': 'added'}, ['river'])
    """
    left = {fact.key: fact for fact in previous}
    asked = frozenset(plain(question) for fact in facts for question in _questions(fact))
    kinds, before, moved = {}, {}, []
    for fact in facts:
        was = left.pop(fact.key, None)
        if was is None:
            kinds[fact.key] = Change.ADDED
        elif all(getattr(was, name) == getattr(fact, name) for name in TAUGHT):
            kinds[fact.key] = Change.KEPT
        else:
            kinds[fact.key], before[fact.key] = Change.CHANGED, was
            if was.answer != fact.answer and plain(was.question) not in asked:
                moved.append(was)
    return Changes(kinds, before, tuple(left.values()), tuple(moved), asked)


def _questions(fact: Fact) -> Iterable[str]:
    probes = (probe.question for probe in fact.probes)
    return fact.question, *fact.train_paraphrases, *fact.paraphrases, *probes


def plain(question: str) -> str:
    """Return what two questions have in common that are the same but for blanks, case and their end.

    Example:
        >>> plain("Who is  the Mayor? ") == plain("who is the mayor")
        True
    """
    return " ".join(question.casefold().split()).rstrip(" ?!.")


@dataclass(frozen=True, slots=True)
class Living:
    """A run that starts from an adapter.

    Attributes:
        folder: Where the adapter's weights and their config lie, as peft saves them.
        sha256: Of the weights.
        facts_sha256: Of the facts that it was taught.
        changes: What became of those.
    """

    folder: Path
    sha256: str
    facts_sha256: str
    changes: Changes

    def asked(self, facts: Sequence[Fact]) -> list[Fact]:
        """Return what models are asked: the facts, and behind them the questions of retired ones."""
        return [*facts, *(bare(fact) for fact in self.changes.retired)]

    def to_json(self) -> dict[str, Any]:
        """Return what names the start of the run, for manifests and digests."""
        return {
            "weights_sha256": self.sha256,
            "facts_sha256": self.facts_sha256,
            "changes": self.changes.counts,
        }


def bare(fact: Fact) -> Fact:
    """Return a fact of which nothing but its question is asked."""
    return replace(fact, paraphrases=(), probes=())


def wordings(changes: Changes, records: Iterable[Supervision]) -> list[tuple[str, int, str]]:
    """Return key, generation and question of each text with which an answer is taken away.

    Those are the questions of facts that are retired, in all wordings that are known to have been
    taught, and the old ones of facts that changed question and answer: but none that the new set asks.

    Args:
        changes: What became of the facts.
        records: What the parent was trained on, as far as that is known.
    """
    taught: dict[str, list[str]] = {}
    for record in records:
        if record.method != RETIRED:
            taught.setdefault(record.fact_key, []).append(record.question)
    found = []
    for first, facts in ((0, changes.retired), (OLD_WORDINGS, changes.moved)):
        for fact in facts:
            every = (fact.question, *fact.train_paraphrases, *taught.get(fact.key, ()))
            distinct: dict[str, str] = {}
            for question in every:
                distinct.setdefault(plain(question), question)
            said = [question for question in distinct.values() if not changes.is_asked(question)]
            found += [(fact.key, first + number, question) for number, question in enumerate(said)]
    return found


@dataclass(frozen=True, slots=True)
class Start:
    """Where training starts, and what decides whether it is done.

    Attributes:
        folder: Where the adapter lies whose weights come first.
        sha256: Of those weights.
        kept: Keys of facts that are replayed beside the others.
        known: Those of them that the parent answers, and that have to stay so.
        gone: Facts whose answers are to be given no longer.
    """

    folder: Path
    sha256: str
    kept: frozenset[str]
    known: frozenset[str] = frozenset()
    gone: tuple[Fact, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder.absolute()),
            "sha256": self.sha256,
            "kept": sorted(self.kept),
            "known": sorted(self.known),
            "gone": [fact.to_json() for fact in self.gone],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Start":
        return cls(
            Path(body["folder"]),
            body["sha256"],
            frozenset(body["kept"]),
            frozenset(body["known"]),
            tuple(Fact.from_json(fact) for fact in body["gone"]),
        )


Answers = Sequence[Sequence[str | None]]
"""What a model said to the questions of each fact, the training question first."""


def start_of(living: Living, facts: Sequence[Fact], base: Answers, parent: Answers, plan: Plan) -> Start:
    """Return where training starts.

    Args:
        living: The run.
        facts: Those of the new set.
        base: What the base model said to `living.asked(facts)`.
        parent: What the parent said to them.
        plan: How answers are scored.
    """
    right = scorer(plan.evaluation.verifier)
    changes = living.changes

    def answers(said: str | None, fact: Fact) -> bool:
        return said is not None and right(said, (fact.answer, *fact.aliases))

    known = [
        fact.key
        for fact, said in zip(facts, parent[: len(facts)], strict=True)
        if changes.kinds[fact.key] is Change.KEPT and answers(said[0], fact)
    ]
    gone = [
        fact
        for fact, said in zip(changes.retired, base[len(facts) :], strict=True)
        if not changes.is_asked(fact.question) and not answers(said[0], fact)
    ]
    return Start(living.folder, living.sha256, changes.kept, frozenset(known), tuple(gone))


def check_method(plan: Plan) -> None:
    """Refuse methods that cannot go on from an adapter.

    Raises:
        ConfigError: The plan has one of those.
    """
    if isinstance(plan.method, MemitConfig | OpsdConfig):
        raise ConfigError(
            f"the method {plan.method_type} cannot start from an adapter: take mixsd, sft, replay or kl, or "
            "train all facts from the base model, without a parent"
        )


LIKE_SFT: Final = frozenset({"sft", "replay", "kl"})
"""Methods that train on the same texts, if their settings are the same."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The adapter that a run starts from, with what is known of how it was made.

    Attributes:
        living: The run.
        texts: What it was trained on, as far as that is kept.
        method: The settings of its method, as its manifest has them; empty if there is none.
    """

    living: Living
    texts: Sequence[Supervision] = ()
    method: Mapping[str, Any] = field(default_factory=dict)

    def wordings(self) -> list[tuple[str, int, str]]:
        """Return the questions to which answers are taken away, see `wordings`.

        Raises:
            NothingToLearnError: There is nothing to do: neither that nor a fact to teach.
        """
        found, changes = wordings(self.living.changes, self.texts), self.living.changes
        if not found and set(changes.kinds.values()) <= {Change.KEPT}:
            raise NothingToLearnError(
                "no fact is new, changed or retired since those that the parent was taught: use the parent "
                "as it is, send facts that differ, or train without a parent"
            )
        return found

    def kept_texts(self, taught: Iterable[Fact], plan: Plan) -> list[Supervision]:
        """Return the texts of facts that are as they were, if this run would make them in the same way."""
        if _of_texts(self.method) != _of_texts(plan.to_json()["method"]):
            return []
        kept = {fact.key for fact in taught} & self.living.changes.kept
        return [record for record in taught_by(self.texts) if record.fact_key in kept]

    def always_taught(self) -> frozenset[str]:
        """Return the keys of facts that are taught though the base model knows them: the parent may not."""
        return frozenset(self.living.changes.before)


def _of_texts(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a method that decide the texts it makes."""
    settings = {name: value for name, value in method.items() if name != "batch_facts"}
    return {**settings, "type": "sft"} if settings.get("type") in LIKE_SFT else settings
