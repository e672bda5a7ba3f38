"""Randomness as a function of a key, not of a stream.

A stream shared by all facts would make a fact's target depend on batch size, on order and on
where a run was resumed. Here every value has a name: who asks, and for which token.
"""

import hashlib
import math
import struct
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Draw:
    """Names one attempt at one target."""

    seed: int
    fact_key: str
    generation: int
    attempt: int


def uniform(draw: Draw, purpose: str, *place: int) -> float:
    """Return the number in (0, 1) that belongs to this key.

    53 bits of a BLAKE2b digest, put in the middle of their interval, so that neither 0 nor 1
    is ever returned. `purpose` is at most 16 ASCII characters.
    """
    key = struct.pack(f"<{3 + len(place)}q", draw.seed, draw.generation, draw.attempt, *place)
    digest = hashlib.blake2b(key + draw.fact_key.encode(), digest_size=8, person=purpose.encode()).digest()
    return ((int.from_bytes(digest, "little") >> 11) + 0.5) / (1 << 53)


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


def gumbel(draw: Draw, position: int, token_id: int) -> float:
    """Return the standard Gumbel noise of a candidate: the argmax of logits plus it is a sample."""
    return -math.log(-math.log(uniform(draw, "noise", position, token_id)))
