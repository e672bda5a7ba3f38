"""The record of a target: what the base model wrote for a fact, and how it came about.

Nothing here loads torch.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Method = Literal["mixsd", "sft", "opsd", "memit", "fallback", "retired"]
Finish = Literal["stop", "cap", "prompt_too_long"]

EXPERT: Final = "e"
NAIVE: Final = "n"
GUARDED: Final = "g"
ENDED: Final = "s"
OPENED: Final = "o"

RETIRED: Final = "retired"
"""The method of a text that takes an answer away: what the base model says without the fact."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """One target of training, or the reason why there is none.

    Attributes:
        question: The user turn it answers: the fact's question or a training paraphrase of it.
        token_ids: What is trained on, with the token that ends it.
        picks: One letter a token: `e` from the expert, `n` from the naive conditional, `g` from
            the expert since the answer guard overruled the naive one, `s` for the end that was set
            behind the sentence with the answer, `o` for words that were given to begin with; empty
            for a text that the model did not write.
        attempt: The one that is kept, counted from 0.
        attempts: Different attempts made, the kept one included.
        lam: Chance of a naive token in the kept attempt.
        nats_per_token: Mean loss of the text under the base model, asked the naive prompt, to
            three decimals.
        expert_nats_per_token: The same, asked the expert prompt; None unless asked for.
        agreement: Share of tokens at which both conditionals would choose alike at temperature 0;
            None unless asked for.
        prompt_sha256: Of both prompts' token ids.
        reason: Why it is not verified.
    """

    fact_key: str
    generation: int
    question: str
    text: str
    token_ids: tuple[int, ...]
    picks: str
    attempt: int
    attempts: int
    lam: float
    seed: int
    finish_reason: Finish
    verified: bool
    nats_per_token: float | None
    prompt_sha256: str
    method: Method
    reason: str | None = None
    expert_nats_per_token: float | None = None
    agreement: float | None = None

    @property
    def trainable(self) -> bool:
        """Whether training takes this text."""
        return self.verified or self.method == "fallback"

    @property
    def naive_share(self) -> float:
        """Share of tokens that came from the naive conditional."""
        return self.picks.count(NAIVE) / len(self.picks) if self.picks else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"token_ids": list(self.token_ids)}

    def to_line(self) -> str:
        """Return the record as one line of JSON, the same for equal records."""
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Supervision":
        values: dict[str, Any] = dict(body)
        return cls(**values | {"token_ids": tuple(body["token_ids"])})


def sha256_of(records: Iterable[Supervision]) -> str:
    """Return the digest of supervision, in the order given."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(record.to_line().encode() + b"\n")
    return digest.hexdigest()


def taught_by(records: Iterable[Supervision]) -> list[Supervision]:
    """Return the texts that teach a fact, without those that take one away."""
    return [record for record in records if record.method != RETIRED]


def summary(records: Iterable[Supervision]) -> dict[str, float | int | None]:
    """Return what the supervision of a job amounts to, over facts and over the texts trained on."""
    every = taught_by(records)
    kept = [record for record in every if record.trainable]
    tokens = sum(len(record.token_ids) for record in kept)
    return {
        "facts": len({record.fact_key for record in every}),
        "verified": len({record.fact_key for record in kept}),
        "attempts": sum(record.attempts for record in every),
        "tokens": tokens,
        "mean_lam": sum(record.lam for record in kept) / len(kept) if kept else None,
        "naive_share": sum(r.picks.count(NAIVE) for r in kept) / tokens if tokens else None,
        "nats_per_token": _mean(kept, "nats_per_token"),
        "expert_nats_per_token": _mean(kept, "expert_nats_per_token"),
        "agreement": _mean(kept, "agreement"),
    }


def _mean(records: Sequence[Supervision], name: str) -> float | None:
    """Return the mean over tokens of what was measured, if anything was."""
    measured = [(getattr(record, name), len(record.token_ids)) for record in records]
    pairs = [(value, length) for value, length in measured if value is not None]
    weights = sum(length for _, length in pairs)
    return sum(value * length for value, length in pairs) / weights if weights else None
