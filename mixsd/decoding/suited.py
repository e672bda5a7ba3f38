"""Find the fastest way of running a model that gives the model's own scores.

What a model needs cannot be read off its configuration with certainty, so every way is tried on a
few tokens and compared with the model's own forward pass.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import torch
from torch import nn

from mixsd.decoding.flat import FlatRows
from mixsd.decoding.plain import PlainRows
from mixsd.decoding.rows import LanguageModel, Rows, Want, base_of, logits_alone
from mixsd.errors import UnsuitedModelError

_log = logging.getLogger(__name__)

_TOLERANCE: Final = {torch.float64: 1e-9, torch.float32: 1e-3}
_HALF_TOLERANCE: Final = 0.25
_LAYERS: Final = {"full_attention", "sliding_attention"}
_FURTHER: Final = ((5, 3), (0, 9))
"""Rows of the trial behind its first: tokens shared with that one, and others."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is run.

    Attributes:
        name: `flat`, `cached` or `plain`, the fastest first.
        reasons: Why no faster one will do, a sentence each.
        make: Makes so many rows.
    """

    name: str
    reasons: tuple[str, ...]
    make: Callable[[LanguageModel, int], Rows]


_known: WeakKeyDictionary[nn.Module, Way] = WeakKeyDictionary()


def way_for(model: LanguageModel) -> Way:
    """Return how to run a model. It is tried once for each model that is loaded."""
    base = base_of(model)
    if base not in _known:
        _known[base] = _find(base)
        for reason in _known[base].reasons:
            _log.warning("%s is decoded the slow way: %s", type(base).__name__, reason)
    return _known[base]


def longest_text(model: LanguageModel) -> int | None:
    """Return how long a text may be before a longer one beside it would change its scores.

    None where that cannot happen. Some rotary embeddings take other frequencies once any
    position of a batch is beyond what the model was first trained on.
    """
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope] if "rope_type" in rope else [part for part in rope.values() if isinstance(part, dict)]
    if not any(part.get("rope_type") in {"longrope", "dynamic"} for part in kinds):
        return None
    first = [part.get("original_max_position_embeddings") for part in kinds]
    first += [getattr(config, "original_max_position_embeddings", None), config.max_position_embeddings]
    return min(int(length) for length in first if length)


def most_tokens(model: LanguageModel, limit: int) -> int:
    """Return how long a text may be where the model takes at most `limit` tokens, see `longest_text`."""
    longest = longest_text(model)
    return limit if longest is None else min(limit, longest)


def tolerance(model: LanguageModel) -> float:
    """Return how far scores may be from the model's own, in standard deviations of those."""
    return _TOLERANCE.get(model.dtype, _HALF_TOLERANCE)


def _find(model: LanguageModel) -> Way:
    ways: list[tuple[str, Callable[[LanguageModel, int], Rows]]] = [
        ("flat", FlatRows),
        ("cached", lambda model, count: PlainRows(model, count, cached=True)),
    ]
    reasons: list[str] = []
    for name, make in ways:
        reason = _objection(model, name, make)
        if reason is None:
            return Way(name, tuple(reasons), make)
        reasons.append(reason)
    return Way("plain", tuple(reasons), lambda model, count: PlainRows(model, count, cached=False))


def _objection(model: LanguageModel, name: str, make: Callable[[LanguageModel, int], Rows]) -> str | None:
    """Return why a model cannot be run in some way."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if name == "flat" and not kinds <= _LAYERS:
        return f"it has layers of kind {', '.join(sorted(kinds - _LAYERS))}"
    try:
        off = _trial(model, make(model, 1 + len(_FURTHER)))
    except torch.OutOfMemoryError:
        raise
    except UnsuitedModelError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever a foreign model may raise: it does not fit
        return f"running it with {name} rows failed: {type(error).__name__}: {error}"
    if off <= tolerance(model):
        return None
    return f"scores of {name} rows differ from its own by {off:.3g} deviations"


def _trial(model: LanguageModel, rows: Rows) -> float:
    """Return the largest difference to the model's own scores, in standard deviations of those.

    The rows share a beginning, are of unequal length, are fed in pieces, and one is cut back.
    """
    dice = random.Random(11)  # noqa: S311  tokens of a trial
    size = min(model.config.get_text_config().vocab_size, 1000)

    def some(count: int) -> list[int]:
        return [dice.randrange(size) for _ in range(count)]

    first = some(17)
    texts = [first, *(first[:shared] + some(more) for shared, more in _FURTHER)]
    for row, text in enumerate(texts):
        rows.seat(row, text[:-2])
    rows.feed([Want(row, text[:-2]) for row, text in enumerate(texts)], budget=1000, chunk=1000)
    rows.trim(0, 6)
    held = [6, *(len(text) - 2 for text in texts[1:])]
    for size_now in (4, 1000):
        wants = [Want(row, text[: held[row] + size_now]) for row, text in enumerate(texts)]
        rows.feed(wants, budget=1000, chunk=1000)
        held = [len(want.tokens) for want in wants]
    scores_RV = rows.scores([(row, len(text) - 1) for row, text in enumerate(texts)])
    alone_RV = torch.stack([logits_alone(model, text)[0] for text in texts])
    return float((scores_RV - alone_RV).abs().max() / alone_RV.std())
