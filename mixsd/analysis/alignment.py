"""Does an adapter move the model where it is sensitive? Displacement weighted by the diagonal Fisher.

The alignment ratio is R = [sum F D^2 / sum D^2] / [mean F], over the weights that the adapter touches
(its form is our reading of the paper's table 5, arXiv:2605.16865): 1 for a change without regard to
F, below 1 for one that avoids what the model is sensitive to. A scale of F or of D leaves it alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mixsd.analysis.correlation import partial, pearson, spearman
from mixsd.analysis.displacement import Adapter, read_adapter
from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.fisher import KINDS, TOP_K, Kind, Unit, answers, diagonals
from mixsd.analysis.results import Result
from mixsd.analysis.runs import Run
from mixsd.evaluation.suites import OPEN_TOKENS, open_prompts
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent
from mixsd.training.batches import Example

NAME: Final = "fisher"
DROPS: Final[Mapping[str, tuple[str, float]]] = {
    "general": ("drop of general knowledge, base less adapter", -1.0),
    "drift": ("rise of drift, adapter less base, nats per token", 1.0),
}
"""What is lost by suite, and the sign that makes more of it a loss."""
_NUMBER: Final = re.compile(r"\.(\d+)\.")
_OF: Final = {"sequence": "whole answers", "token": "their tokens, one by one"}


@dataclass(frozen=True, slots=True)
class Config:
    """How the Fisher is measured.

    Attributes:
        unit: What a gradient is squared of, see `mixsd.analysis.fisher`.
        samples: Sampled answers to each prompt.
        seed: Names their draws.
        max_new_tokens: Cap of an answer.
    """

    unit: Unit = "sequence"
    samples: int = 2
    seed: int = 0
    max_new_tokens: int = OPEN_TOKENS


@dataclass(slots=True)
class Moved:
    """Sums over weights: of all of them, of D^2, of F and of F D^2."""

    weights: int = 0
    squared: float = 0.0
    fisher: float = 0.0
    weighted: float = 0.0

    def add(self, other: "Moved") -> None:
        self.weights += other.weights
        self.squared += other.squared
        self.fisher += other.fisher
        self.weighted += other.weighted

    @property
    def ratio(self) -> float | None:
        """R; None where nothing moves or the model is not sensitive to anything."""
        if self.squared <= 0 or self.fisher <= 0:
            return None
        return (self.weighted / self.squared) / (self.fisher / self.weights)

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "squared_norm": self.squared,
            "mean_fisher": self.fisher / self.weights,
            "weighted_displacement": self.weighted,
            "ratio": self.ratio,
        }


@dataclass(slots=True)
class _Subject:
    """A run with an adapter, and what was summed up of it."""

    run: Run
    adapter: Adapter
    modules: dict[str, Moved] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        layers: dict[str, Moved] = {}
        total = Moved()
        for path, moved in self.modules.items():
            number = _NUMBER.search(path)
            layers.setdefault(number[1] if number else path, Moved()).add(moved)
            total.add(moved)
        return {
            "total": total.to_json(),
            "layers": {name: moved.to_json() for name, moved in layers.items()},
            "modules": {path: moved.to_json() for path, moved in self.modules.items()},
        }


def analyse_fisher(
    base: Base,
    runs: Sequence[Run],
    config: Config = Config(),
    *,
    on_progress: OnProgress = silent,
) -> Result:
    """Measure how adapters move the model, and how that goes with what was lost.

    F is held for a few layers at a time, and used for all adapters before it is forgotten.

    Args:
        base: The base model, as it was loaded.
        runs: Those without an adapter, or with one that cannot be analysed, are told in the notes.
        config: How the Fisher is measured.
        on_progress: Called before every pass. May raise to stop.

    Raises:
        NotAnalysableError: There is no adapter that can be analysed.
    """
    adapters, notes = _adapters(base, runs)
    found: dict[str, list[_Subject]] = {}
    about: dict[str, Any] = {}
    for kind in KINDS:
        found[kind], about[kind] = _of_kind(base, adapters, kind, config, on_progress)
    told = [
        _described(run) | {kind: found[kind][place].to_json() for kind in KINDS}
        for place, (run, _) in enumerate(adapters)
    ]
    body = {
        "title": "Fisher-weighted displacement of the adapters",
        "definition": _definition(config),
        "notes": notes,
        "unit": config.unit,
        "seed": config.seed,
        "max_new_tokens": config.max_new_tokens,
        "confidence": runs[0].confidence,
        "prompts": {"name": open_prompts().name, "sha256": open_prompts().sha256},
        "answers": about,
        "losses": {suite: title for suite, (title, _) in DROPS.items()},
        "runs": told,
        "correlations": correlations(told, runs[0].confidence),
    }
    header = (
        "run",
        "method",
        "seed",
        "fisher",
        "layer",
        "weights",
        "squared_norm",
        "mean_fisher",
        "weighted_displacement",
        "ratio",
    )
    return Result(NAME, body, header, list(_rows(told)))


def _adapters(base: Base, runs: Sequence[Run]) -> tuple[list[tuple[Run, Adapter]], list[str]]:
    found: list[tuple[Run, Adapter]] = []
    notes: list[str] = []
    for run in runs:
        if run.adapter is None:
            notes.append(f"no adapter is stored for {run.name}: left out")
            continue
        try:
            found.append((run, read_adapter(base, run.adapter)))
        except NotAnalysableError as error:
            notes.append(f"{run.name} is left out: {error}")
    if not found:
        raise NotAnalysableError("; ".join(notes))
    return found, notes


def _of_kind(
    base: Base,
    adapters: Sequence[tuple[Run, Adapter]],
    kind: Kind,
    config: Config,
    on_progress: OnProgress,
) -> tuple[list[_Subject], dict[str, int]]:
    def check(done: int = 0, total: int = 0) -> None:
        on_progress(Progress(done, total, f"{kind} answers"))

    examples = answers(
        base,
        kind,
        samples=config.samples,
        seed=config.seed,
        max_new_tokens=config.max_new_tokens,
        on_check=check,
    )
    subjects = [_Subject(run, adapter) for run, adapter in adapters]
    paths = list(dict.fromkeys(path for _, adapter in adapters for path in adapter.scales))
    for path, fisher_OI in diagonals(base, paths, examples, unit=config.unit, on_check=check):
        summed = float(fisher_OI.sum(-1).cpu().double().sum())
        for subject in subjects:
            if path in subject.adapter.scales:
                factors = subject.adapter.factors(path)
                subject.modules[path] = Moved(
                    fisher_OI.numel(), factors.squared_norm(), summed, factors.weighted(fisher_OI)
                )
    return subjects, _amount(examples)


def _amount(examples: Sequence[Example]) -> dict[str, int]:
    return {"answers": len(examples), "tokens": sum(len(example.target) for example in examples)}


def correlations(told: Sequence[Mapping[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """Return how R and the plain squared norm go with what was lost, over runs that say what was lost.

    Args:
        told: Runs as they stand in the file.
        confidence: Of intervals.
    """
    rows = []
    for kind in KINDS:
        for suite in DROPS:
            chosen = [
                each for each in told if suite in each["lost"] and each[kind]["total"]["ratio"] is not None
            ]
            lost = [each["lost"][suite] for each in chosen]
            ratio = [each[kind]["total"]["ratio"] for each in chosen]
            norm = [each[kind]["total"]["squared_norm"] for each in chosen]
            if len(chosen) < 2:
                continue
            for name, values, other in (("ratio", ratio, norm), ("squared_norm", norm, ratio)):
                rows.append(
                    {
                        "fisher": kind,
                        "lost": suite,
                        "with": name,
                        "pearson": pearson(values, lost, confidence=confidence).to_json(),
                        "spearman": spearman(values, lost, confidence=confidence).to_json(),
                        "partial": partial(values, lost, other, confidence=confidence).to_json(),
                    }
                )
    return rows


def lost_of(run: Run) -> dict[str, float]:
    """Return what a run lost, by suite: more is worse."""
    lost = {}
    for suite, (_, sign) in DROPS.items():
        score = run.scores.get(suite)
        if score and score.get("adapter") is not None and score.get("base") is not None:
            lost[suite] = sign * (float(score["adapter"]) - float(score["base"]))
    return lost


def _described(run: Run) -> dict[str, Any]:
    return {"run": run.name, "method": run.method, "seed": run.seed, "lost": lost_of(run)}


def _definition(config: Config) -> str:
    return (
        f"F is the mean, over {_OF[config.unit]}, of the squared derivative of log p by each weight of the "
        "base model that the adapter touches, where p is what the base model gives to an answer to an open "
        "prompt. empirical: its greedy answers, the reference of drift. "
        f"sampled: {config.samples} answers to each prompt, drawn at temperature 1 from the {TOP_K} "
        "likeliest tokens. D = s B A is the change by the merged adapter. Displacement is the sum of D^2, "
        "weighted the sum of F D^2, R = [sum F D^2 / sum D^2] / [mean F]. All are exact for this F."
    )


def _rows(told: Sequence[Mapping[str, Any]]) -> Any:
    for each in told:
        for kind in KINDS:
            parts = {"total": each[kind]["total"], **each[kind]["layers"], **each[kind]["modules"]}
            for layer, moved in parts.items():
                yield (each["run"], each["method"], each["seed"], kind, layer, *moved.values())
