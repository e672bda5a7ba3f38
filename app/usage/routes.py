"""HTTP face of what a project uses: parse, call one use case, answer."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.projects.quotas import Quotas
from app.usage import service
from app.usage.schemas import QuotasRead, UsageRead
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep

router = APIRouter(tags=["usage"])


@router.get("/quota")
def get_quota(project_id: ProjectDep, database: DatabaseDep, settings: SettingsDep) -> QuotasRead:
    """Say what one's project may use, and how much of it is used."""
    return service.get_quota(
        database,
        project_id=project_id,
        defaults=Quotas.by_default(settings),
        requests_per_minute=settings.rate_limit,
    )


@router.get("/usage")
def get_usage(
    project_id: ProjectDep,
    database: DatabaseDep,
    days: Annotated[int, Query(ge=1, le=90, description="How far to look back.")] = 30,
) -> UsageRead:
    """Say what one's project has used, day by day, and what it has."""
    return service.get_usage(database, project_id=project_id, days=days)
