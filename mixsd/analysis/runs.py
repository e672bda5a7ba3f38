"""What lies in the folder of a run or of a comparison. Loads no torch.

A folder of `mixsd inject` (or `generate`, `train`, `evaluate`) is one run. A folder of
`mixsd compare` is a run for each row; the texts and the adapter of a row are there only if the
comparison was asked to keep them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mixsd.analysis.errors import NotAnalysableError
from mixsd.supervision import Supervision

COMPARISON: Final = "compare.json"
SETTINGS: Final = "settings.json"
SUPERVISION: Final = "supervision.jsonl"
WEIGHTS: Final = "weights"
KEPT: Final = "rows"
"""Folder of a comparison with a folder for each row that was kept."""
_REPORT: Final = "report.json"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Run:
    """A method that was run with a seed.

    Attributes:
        method: Its name: of a comparison the one given there, else the type.
        kind: Type of the method.
        prompt_style: By which the bare question is asked.
        records: File of its supervision, if there is one.
        adapter: Folder of its weights, if there is one.
        scores: By suite, each with `base` and `adapter`; empty if nothing was evaluated.
        row: Of a comparison: the row, with the plan that it was made by.
        confidence: Of intervals.
    """

    folder: str
    method: str
    kind: str
    seed: int | None
    prompt_style: str
    records: Path | None
    adapter: Path | None
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    row: Mapping[str, Any] | None = None
    confidence: float = 0.95

    @property
    def name(self) -> str:
        """What it is called in tables."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.folder}: {self.method}{seed}"


@dataclass(frozen=True, slots=True)
class Found:
    """Runs of one base model.

    Attributes:
        base_model: Id, revision and digest of the chat template.
        runs: In the order in which they are given.
        comparisons: Whole files of comparisons, by the name of the folder.
    """

    base_model: Mapping[str, str]
    runs: tuple[Run, ...]
    comparisons: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def find_runs(folders: Sequence[Path]) -> Found:
    """Look at what lies in folders.

    Raises:
        NotAnalysableError: One is no folder of a run or a comparison, or they are of different base
            models.
    """
    runs: list[Run] = []
    comparisons: dict[str, Mapping[str, Any]] = {}
    models: dict[str, Mapping[str, str]] = {}
    for folder, name in zip(folders, _names(folders), strict=True):
        if (folder / COMPARISON).is_file():
            document = _comparison(folder / COMPARISON)
            models[name] = document["comparison"]["base_model"]
            comparisons[name] = document
            runs += _rows(folder, name, document)
        elif (folder / SETTINGS).is_file():
            settings = _settings(folder / SETTINGS)
            models[name] = settings["base_model"]
            runs.append(_single(folder, name, settings))
        else:
            raise NotAnalysableError(
                f"{folder} is no folder of a run: there is neither {SETTINGS} (of mixsd inject, generate, "
                f"train, evaluate) nor {COMPARISON} (of mixsd compare) in it"
            )
    first, *others = models
    for other in others:
        if models[other] != models[first]:
            raise NotAnalysableError(
                f"{first} is of the base model {_shown(models[first])}, and {other} of "
                f"{_shown(models[other])}: analyse them one by one"
            )
    return Found(dict(models[first]), tuple(runs), comparisons)


def read_records(path: Path) -> Iterator[Supervision]:
    """Yield supervision record by record, without holding the file.

    Raises:
        NotAnalysableError: A line is no record; says which.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Supervision.from_json(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise NotAnalysableError(f"{path}, line {number} is no record of supervision") from error


def _names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, numbered where two have the same.

    Raises:
        NotAnalysableError: A folder is given twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise NotAnalysableError("a folder is given twice: its runs would count for two")
    own = [folder.resolve().name or "run" for folder in folders]
    return [f"{name} ({place})" if own.count(name) > 1 else name for place, name in enumerate(own, 1)]


def _single(folder: Path, name: str, settings: Mapping[str, Any]) -> Run:
    scores: dict[str, Any] = {}
    confidence = float(settings["evaluation"]["confidence"])
    if (folder / _REPORT).is_file():
        report = _object(folder / _REPORT)
        try:
            scores = {score["suite"]: score for score in report["scores"]}
        except (KeyError, TypeError) as error:
            raise NotAnalysableError(f"{folder / _REPORT} holds no scores") from error
    method = settings["method"]
    return Run(
        folder=name,
        method=method["type"],
        kind=method["type"],
        seed=settings["training"]["seed"],
        prompt_style=method["prompt_style"],
        records=_if_there(folder / SUPERVISION),
        adapter=_if_there(folder / WEIGHTS),
        scores=scores,
        confidence=confidence,
    )


def _rows(folder: Path, name: str, document: Mapping[str, Any]) -> Iterator[Run]:
    for row in document["rows"]:
        if "error" in row:
            continue
        method = row["plan"]["method"]
        kept = folder / KEPT / row["key"]
        yield Run(
            folder=name,
            method=row["method"],
            kind=method["type"],
            seed=row["seed"],
            prompt_style=method.get("prompt_style", "natural"),
            records=_if_there(kept / SUPERVISION),
            adapter=_if_there(kept / WEIGHTS),
            scores=row["scores"],
            row=row,
            confidence=float(document["comparison"]["evaluation"]["confidence"]),
        )


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def _settings(path: Path) -> dict[str, Any]:
    settings = _object(path)
    try:
        _check_model(settings["base_model"])
        good = isinstance(settings["method"]["type"], str) and isinstance(
            settings["method"]["prompt_style"], str
        )
        good = good and isinstance(settings["training"]["seed"], int)
        float(settings["evaluation"]["confidence"])
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise NotAnalysableError(f"{path} holds no settings of a run")
    return settings


def _comparison(path: Path) -> dict[str, Any]:
    document = _object(path)
    try:
        if document["version"] != _VERSION:
            raise NotAnalysableError(f"{path} is of another version of mixsd")
        _check_model(document["comparison"]["base_model"])
        float(document["comparison"]["evaluation"]["confidence"])
        good = all(_is_row(row) for row in document["rows"])
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise NotAnalysableError(f"{path} is no comparison")
    return document


def _is_row(row: Mapping[str, Any]) -> bool:
    key = row["key"]
    if not isinstance(key, str) or not key.isalnum():  # it names a folder
        return False
    return "error" in row or (
        isinstance(row["plan"]["method"]["type"], str)
        and isinstance(row["scores"], dict)
        and isinstance(row["method"], str)
        and (row["seed"] is None or isinstance(row["seed"], int))
    )


def _check_model(model: Mapping[str, Any]) -> None:
    if not all(isinstance(model[name], str) for name in ("id", "revision", "template_sha256")):
        raise TypeError


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise NotAnalysableError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise NotAnalysableError(f"{path} is no JSON object")
    return value


def _shown(model: Mapping[str, str]) -> str:
    return f"{model['id']} at {model['revision']} (template {model['template_sha256'][:8]})"
