"""Identifiers: a prefix that says what, then a UUIDv7 in hex, so that they sort by time.

They are stored and logged exactly as clients see them. Each kind has a type of its own, so
that mypy refuses the id of a fact set where that of a job is meant.
"""

import secrets
from datetime import datetime
from typing import NewType
from uuid import UUID

ProjectId = NewType("ProjectId", str)
FactSetId = NewType("FactSetId", str)
FileId = NewType("FileId", str)
JobId = NewType("JobId", str)
AdapterId = NewType("AdapterId", str)
EvaluationId = NewType("EvaluationId", str)
ExportId = NewType("ExportId", str)
CheckpointId = NewType("CheckpointId", str)
EventId = NewType("EventId", str)
ApiKeyId = NewType("ApiKeyId", str)
WebhookId = NewType("WebhookId", str)
DeliveryId = NewType("DeliveryId", str)
WorkerId = NewType("WorkerId", str)
AuditId = NewType("AuditId", str)


def new_id(prefix: str, *, now: datetime) -> str:
    """Return `prefix`, an underscore and a UUIDv7 (RFC 9562): milliseconds, then chance."""
    value = int(now.timestamp() * 1000) << 80
    value |= 0x7 << 76 | secrets.randbits(12) << 64  # version
    value |= 0b10 << 62 | secrets.randbits(62)  # variant
    return f"{prefix}_{UUID(int=value).hex}"
