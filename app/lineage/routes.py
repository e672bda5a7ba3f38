"""HTTP face of lineage: parse, call one use case, answer."""

from fastapi import APIRouter

from app.ids import AdapterId
from app.lineage import service
from app.lineage.schemas import AdapterLineage
from app.web.deps import DatabaseDep, ProjectDep
from app.web.problems import problems

router = APIRouter(prefix="/adapters", tags=["adapters"])


@router.get("/{adapter_id}/lineage", responses=problems(404))
def get_adapter_lineage(
    adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep
) -> AdapterLineage:
    """Read what an adapter was made from, and what has become of that."""
    return service.lineage(database, project_id=project_id, adapter_id=adapter_id)
