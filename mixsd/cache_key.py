"""The key of a record of supervision: a digest of everything that decides it, and of nothing else.

What is added to the settings or to a fact is part of the key until it is named here as
irrelevant: a key that changes for nothing costs time, one that does not change gives wrong texts.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Final

import mixsd
from mixsd.config import MixConfig
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.models.registry import CARD
from mixsd.planning import distinct_attempts
from mixsd.prompts import STYLES
from mixsd.supervision import Supervision
from mixsd.units import Unit

IRRELEVANT_SETTINGS: Final = frozenset(
    {"batch_facts", "generations", "rewordings", "rewordings_source", "rewordings_check", "wording_texts"}
)
"""Settings that change no record. `generations` and `rewordings` only say which ones there are."""

STOOD_FOR: Final = frozenset({"lam", "lam_backoff", "max_attempts", "prompt_style"})
"""Settings in whose place the key has what they come to: the value of `lam` in each attempt, and
the wording of the prompts."""

IRRELEVANT_OF_FACT: Final = frozenset(
    {
        "question",  # the unit's is asked
        "paraphrases",
        "train_paraphrases",
        "subject",
        "relation",
        "object",
        "tags",
        "source",
        "valid_from",
        "valid_until",
        "probes",
    }
)
"""Fields of a fact that no prompt and no verifier will ever see."""


def supervision_key(base: Base, unit: Unit, config: MixConfig) -> str:
    """Return the key of a unit's record."""
    return keys_of(base, config)(unit)


def keys_of(base: Base, config: MixConfig) -> Callable[[Unit], str]:
    """Return what gives the keys of a run's units: what they have in common is digested once."""
    common = digest_of([described(base), _settings(config), mixsd.LAW_VERSION, _shape()])

    def key(unit: Unit) -> str:
        fact = {
            field.name: getattr(unit.fact, field.name)
            for field in fields(Fact)
            if field.name not in IRRELEVANT_OF_FACT
        }
        return digest_of([common, fact, unit.question, unit.generation])

    return key


def described(base: Base) -> dict[str, Any]:
    """Return what makes a model answer as it does: its files, its template, and what it runs in."""
    return {
        "id": base.id,
        "revision": base.revision,
        "template_sha256": base.template_sha256,
        "files": _files(base),
        "dtype": str(base.model.dtype),
        "device": base.model.device.type,
    }


def _files(base: Base) -> Any:
    """Return the digests of the model's files: a folder of the operator's may change under its name."""
    try:
        return json.loads((base.folder / CARD).read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return None


def _settings(config: MixConfig) -> dict[str, Any]:
    left_out = set(IRRELEVANT_SETTINGS | STOOD_FOR)
    if config.temperature == 0.0:
        left_out.add("top_k")  # of draws, and there are none
    style = asdict(STYLES[config.prompt_style])
    return {
        **{name: value for name, value in asdict(config).items() if name not in left_out},
        "lams": [[attempt, config.lam_of(attempt)] for attempt in distinct_attempts(config)],
        "wording": {name: value for name, value in style.items() if name != "name"},
    }


def _shape() -> list[str]:
    """Return what a record holds: one of another shape is another record."""
    return sorted(field.name for field in fields(Supervision))


def digest_of(value: Any) -> str:
    """Return the digest of plain data, which is the same for equal data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
