"""Randomness as a function of a key, not of a stream.

A stream shared by all facts would make a fact's target depend on batch size, on order and on
where a run was resumed. Here every value has a name: who asks, and for which token. Loads no
torch.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Draw:
    """Names one attempt at one target."""

    seed: int
    fact_key: str
    generation: int
    attempt: int


_UNIT: Final = 1 / (1 << 53)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def _digest(draw: Draw, purpose: str, position: int) -> int:
    key = struct.pack("<4q", draw.seed, draw.generation, draw.attempt, position)
    digest = hashlib.blake2b(key + draw.fact_key.encode(), digest_size=8, person=purpose.encode())
    return int.from_bytes(digest.digest(), "little")


def uniform(draw: Draw, purpose: str, position: int) -> float:
    """Return the number in (0, 1) that belongs to this key.

    53 bits of a BLAKE2b digest, put in the middle of their interval, so that neither 0 nor 1
    is ever returned. `purpose` is at most 16 ASCII characters.
    """
    return ((_digest(draw, purpose, position) >> 11) + 0.5) * _UNIT


def is_naive(draw: Draw, position: int, *, lam: float) -> bool:
    """Say whether the target token at `position` comes from the naive conditional.

    This is the per-token Bernoulli mixture of MixSD (arXiv:2605.16865): naive with probability
    `lam`, in [0, 1]; 0 is pure expert, 1 is pure naive. `lam` is no part of the key, so runs that
    differ only in `lam` share their coins: raising it turns expert tokens into naive ones and
    never the reverse.

    Example:
        >>> is_naive(Draw(seed=0, fact_key="capital", generation=0, attempt=0), 0, lam=1.0)
        True
    """
    return uniform(draw, "pick", position) < lam


def gumbel(
    draw: Draw, position: int, token_ids: Sequence[int], *, purpose: str = "noise"
) -> NDArray[np.float64]:
    """Return standard Gumbel noise for each candidate: the argmax of logits plus it is a sample.

    One digest names the position; the candidates' numbers are outputs of SplitMix64 (Steele, Lea
    and Flood, 2014) at their places in the sequence that begins there.
    """
    ids = (
        np.arange(token_ids.start, token_ids.stop, token_ids.step, dtype=np.uint64)
        if isinstance(token_ids, range)
        else np.asarray(token_ids, dtype=np.uint64)
    )
    with np.errstate(over="ignore"):
        bits = np.uint64(_digest(draw, purpose, position)) + _GOLDEN * (ids + np.uint64(1))
        bits = (bits ^ (bits >> np.uint64(30))) * _MIX[0]
        bits = (bits ^ (bits >> np.uint64(27))) * _MIX[1]
        bits ^= bits >> np.uint64(31)
    uniforms = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * _UNIT
    noise: NDArray[np.float64] = -np.log(-np.log(uniforms))
    return noise
