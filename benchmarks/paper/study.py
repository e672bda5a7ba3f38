"""What is studied, read from one file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mixsd.benchmarks.catalogue import NAMES as SUITES
from mixsd.compare.comparison import Cell, cells_of
from mixsd.compare.methods import Common, Match, Method, methods_of, own_settings
from mixsd.errors import MixsdError
from mixsd.models.registry import check_id

DEFAULT: Final = Path(__file__).with_name("smollm2.toml")
MAKERS: Final = ("kgfact", "simpleqa")

_PARTS: Final = {"model", "seeds", "steps", "training", "evaluation", "corpora", "methods", "plans"} | {
    "suites",
    "fisher",
    "batch_size",
    "chat_template",
    "max_new_tokens",
}
_IN_EVERY_RUN: Final = ("general", "drift")
"""Benchmarks that the evaluation of a run has anyway."""
_OF_CORPUS: Final = {"facts", "size", "paraphrases"}


class StudyError(MixsdError):
    """A study that cannot be run; the message says where and why."""

    code = "bad_study"


@dataclass(frozen=True, slots=True)
class CorpusPlan:
    """What is taught.

    Attributes:
        facts: How many, spread evenly over the corpus.
        size: Of KGFact.
        paraphrases: File with other wordings of the questions, by the key of their fact.
    """

    name: str
    facts: int
    size: str = "small"
    paraphrases: Path | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that decides the table.

    Attributes:
        suites: Items of each benchmark, by its name.
        fisher: Settings of that analysis: `samples` and `tokens`.
        batch_size: Items of a benchmark side by side.
        chat_template: Whether prompts of lm-evaluation-harness are put into the chat template.
        max_new_tokens: Cap of long answers in benchmarks.
    """

    model: str
    seeds: tuple[int, ...]
    steps: int
    corpora: tuple[CorpusPlan, ...]
    methods: tuple[Method, ...]
    common: Common
    suites: Mapping[str, int]
    fisher: Mapping[str, int]
    batch_size: int = 16
    chat_template: bool = False
    max_new_tokens: int | None = None

    @property
    def match(self) -> Match:
        return Match("steps", self.steps)

    def cells(self, *seeds: int) -> list[Cell]:
        """Return the rows of these seeds.

        Raises:
            ConfigError: A seed is given twice, two methods are the same, or a plan is none.
        """
        return cells_of(self.methods, seeds, self.match, self.common)

    def suites_of(self, corpus: str) -> dict[str, int]:
        """Return items of each benchmark of a corpus. KGFact's own speak of its world alone."""
        return {
            name: count
            for name, count in self.suites.items()
            if corpus == "kgfact" or not name.startswith("kgfact")
        }

    def corpus(self, name: str) -> CorpusPlan:
        return next(plan for plan in self.corpora if plan.name == name)


def read_study(path: Path) -> Study:
    """Read a study, and check all that can be checked without a model.

    Raises:
        MixsdError: It is none; says which part is wrong.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as TOML: {error}") from error
    if unknown := sorted(body.keys() - _PARTS):
        raise StudyError(f"{path}: there is no {unknown[0]}; parts are {', '.join(sorted(_PARTS))}")
    try:
        study = _study(body, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise StudyError(f"{path}: {what}") from error
    study.cells(*study.seeds)  # every plan is made once, which refuses bad ones
    return study


def _study(body: Mapping[str, Any], path: Path) -> Study:
    plans = {name: own_settings(name, value) for name, value in body.get("plans", {}).items()}
    suites = {name: int(count) for name, count in body.get("suites", {}).items()}
    known = [name for name in SUITES if name not in _IN_EVERY_RUN]
    if wrong := next((name for name, count in suites.items() if name not in known or count < 1), None):
        raise StudyError(f"{path}: suites.{wrong}: expected items, 1 or more, of {', '.join(known)}")
    fisher = {"samples": 1, "tokens": 48} | body.get("fisher", {})
    check_id(body["model"])
    return Study(
        model=body["model"],
        seeds=tuple(int(seed) for seed in body["seeds"]),
        steps=int(body["steps"]),
        corpora=tuple(_corpus(name, given, path) for name, given in body["corpora"].items()),
        methods=tuple(methods_of(body["methods"], plans)),
        common=Common(training=body.get("training", {}), evaluation=body.get("evaluation", {})),
        suites=suites,
        fisher={name: int(fisher[name]) for name in ("samples", "tokens")},
        batch_size=int(body.get("batch_size", 16)),
        chat_template=bool(body.get("chat_template", False)),
        max_new_tokens=body.get("max_new_tokens"),
    )


def _corpus(name: str, given: Mapping[str, Any], path: Path) -> CorpusPlan:
    if name not in MAKERS:
        raise StudyError(f"{path}: corpora.{name}: expected one of {', '.join(MAKERS)}")
    if unknown := sorted(given.keys() - _OF_CORPUS):
        raise StudyError(f"{path}: corpora.{name}: there is no {unknown[0]}")
    facts = int(given["facts"])
    if facts < 1:
        raise StudyError(f"{path}: corpora.{name}.facts: expected 1 or more, got {facts}")
    wordings = given.get("paraphrases")
    beside = None if wordings is None else path.parent / wordings
    return CorpusPlan(name, facts, str(given.get("size", "small")), beside)
