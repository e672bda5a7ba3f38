"""Every table. Alembic, the composition roots and the tests import this: foreign keys resolve
only once all of them are known.
"""

from app.adapters import models as adapters
from app.audit import models as audit
from app.db import secrets
from app.db.base import Base
from app.evaluations import models as evaluations
from app.events import models as events
from app.exports import models as exports
from app.fact_sets import models as fact_sets
from app.files import models as files
from app.idempotency import models as idempotency
from app.jobs import models as jobs
from app.metrics import models as metrics
from app.projects import models as projects
from app.webhooks import models as webhooks

__all__ = [
    "Base",
    "adapters",
    "audit",
    "evaluations",
    "events",
    "exports",
    "fact_sets",
    "files",
    "idempotency",
    "jobs",
    "metrics",
    "projects",
    "secrets",
    "webhooks",
]
