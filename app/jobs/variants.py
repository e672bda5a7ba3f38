"""A job that teaches the same facts in several ways: what its ways are, from what was asked for. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_VARIANTS: Final = 8
"""Most adapters that one job makes."""

LIKE_SFT: Final = frozenset({"sft", "replay", "kl"})
"""Methods that train on the same texts, if their settings are the same."""

_LONGEST: Final = 40
"""Characters of a setting's value in a label."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of a job.

    Attributes:
        number: Its place in the list, from 0.
        label: Short, and no other's: the method, and what sets it apart from others of that method.
        method: Its settings, with one value of `lam`.
        supervised_by: The first variant that is trained on the same texts.
    """

    number: int
    label: str
    method: Mapping[str, Any]
    supervised_by: int

    @property
    def method_type(self) -> str:
        return str(self.method["type"])


def expanded(method: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the settings of each variant: of every method in the list, one for each value of `lam`.

    A job without a method, which is an evaluation, has none.

    Example:
        >>> expanded([{"type": "sft"}, {"type": "mixsd", "lam": [0.1, 0.5]}])
        [{'type': 'sft'}, {'type': 'mixsd', 'lam': 0.1}, {'type': 'mixsd', 'lam': 0.5}]
    """
    every: list[Mapping[str, Any]] = []
    if not method:
        return every
    for settings in [method] if isinstance(method, Mapping) else method:
        lam = settings.get("lam")
        every += [{**settings, "lam": value} for value in lam] if isinstance(lam, list) else [settings]
    return every


def variants_of(method: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Variant]:
    """Return the variants of a job whose method, or list of methods, this is.

    Example:
        >>> [variant.label for variant in variants_of({"type": "mixsd", "lam": [0.1, 0.5]})]
        ['mixsd lam 0.1', 'mixsd lam 0.5']
        >>> [variant.supervised_by for variant in variants_of([{"type": "sft"}, {"type": "kl"}])]
        [0, 0]
    """
    every = expanded(method)
    texts = [_supervision_of(settings) for settings in every]
    labels = [_label(settings, every) for settings in every]
    return [
        Variant(
            number=number,
            label=label if labels.count(label) == 1 else f"{label} ({number})",
            method=settings,
            supervised_by=texts.index(texts[number]),
        )
        for number, (settings, label) in enumerate(zip(every, labels, strict=True))
    ]


def equal_pair(every: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Return the numbers of the first two variants that are the same, if there are any."""
    for number, settings in enumerate(every):
        first = every.index(settings)
        if first < number:
            return first, number
    return None


def type_of(method: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Return the types of a job's methods, each once: `mixsd`, `mixsd+sft`."""
    return "+".join(dict.fromkeys(str(settings["type"]) for settings in expanded(method)))


def _supervision_of(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what decides the texts that are trained on."""
    return {**settings, "type": "sft"} if settings["type"] in LIKE_SFT else settings


def _label(settings: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    alike = [other for other in every if other["type"] == settings["type"]]
    apart = [name for name in settings if any(other.get(name) != settings[name] for other in alike)]
    return " ".join([str(settings["type"]), *(f"{name} {_shown(settings[name])}" for name in apart)])


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
