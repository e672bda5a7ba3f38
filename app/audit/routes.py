"""HTTP face of the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.audit import service
from app.audit.schemas import AuditEntryRead
from app.ids import ProjectId
from app.web.body import StrictRoute
from app.web.deps import CallerDep, DatabaseDep
from app.web.paging import IdCutDep, Page
from app.web.problems import problems

router = APIRouter(route_class=StrictRoute)

OfProject = Annotated[
    ProjectId | None, Query(max_length=40, description="Another one than your own: operators only.")
]
Action = Annotated[str | None, Query(max_length=64, description="An operation, such as `delete_job`.")]


@router.get("/audit", responses=problems(400), tags=["audit"])
def list_audit_entries(
    caller: CallerDep,
    database: DatabaseDep,
    cut: IdCutDep,
    project_id: OfProject = None,
    action: Action = None,
) -> Page[AuditEntryRead]:
    """List who did what with keys, deleted, cancelled, released or downloaded something; newest first."""
    rows = service.list_entries(database, cut, caller=caller, project_id=project_id, action=action)
    return Page[AuditEntryRead].of(rows, cut)
