"""The words of webhooks: what can be asked for, and what becomes of it."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookStatus(StrEnum):
    """`failing`: nothing has come through since a delivery failed; it goes on being tried."""

    ACTIVE = "active"
    FAILING = "failing"
    DISABLED = "disabled"


class DisabledReason(StrEnum):
    """`request`: somebody switched it off. `gone`: it answered 410. `failing`: for too long."""

    REQUEST = "request"
    GONE = "gone"
    FAILING = "failing"


TEST: Final = "webhook.test"
"""Type of what `POST /webhooks/{id}/test` sends. Nobody can ask for it, and it is tried once."""
DISABLED: Final = "webhook.disabled"

TYPES: Final = frozenset(
    f"{kind}.{what}"
    for kind, whats in {
        "job": "created queued started phase_started phase_completed metrics checkpoint_saved "
        "supervision_rejected warning attempt_lost requeued pausing paused resumed cancelling cancelled "
        "gate_failed succeeded failed",
        "adapter": "created quarantined released deleted exported",
        "evaluation": "completed",
        "webhook": "disabled",
    }.items()
    for what in whats.split()
)
"""Types of events that can be asked for: all that are stored."""

PATTERNS: Final = TYPES | {f"{kind.partition('.')[0]}.*" for kind in TYPES} | {"*"}
"""What a filter may consist of."""


def is_wanted(kind: str, patterns: Iterable[str]) -> bool:
    """Say whether an event of this type is asked for.

    >>> is_wanted("job.failed", ["adapter.*", "job.failed"]), is_wanted("job.failed", ["adapter.*"])
    (True, False)
    """
    return not {kind, f"{kind.partition('.')[0]}.*", "*"}.isdisjoint(patterns)
