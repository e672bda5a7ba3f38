"""What series say of a job besides what training measures."""

from collections.abc import Sequence

from mixsd.evaluation.score import Score
from mixsd.supervision import Supervision


class Tally:
    """Counts texts while they are made, for figures over all of them so far."""

    def __init__(self, records: Sequence[Supervision]) -> None:
        self.count = 0
        self._accepted = 0
        self._tokens = 0
        self._nats = 0.0
        self.add(records)

    def add(self, records: Sequence[Supervision]) -> None:
        for record in records:
            self.count += 1
            self._accepted += record.trainable
            if record.trainable and record.nats_per_token is not None:
                self._tokens += len(record.token_ids)
                self._nats += record.nats_per_token * len(record.token_ids)

    def values(self) -> dict[str, float]:
        """Return the share of texts that are trained on, and their mean loss under the base model."""
        share = {"accepted_share": self._accepted / self.count} if self.count else {}
        return {**share, "nats_per_token": self._nats / self._tokens} if self._tokens else share


def of_scores(scores: Sequence[Score]) -> dict[str, float]:
    """Return the figures of the adapter, each under a name of its own."""
    return {
        f"evaluation.{score.suite}.{score.metric}"[:64]: score.adapter
        for score in scores
        if score.adapter is not None
    }
