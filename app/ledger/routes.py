"""HTTP face of what came of a job: parse, call one use case, answer."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.ids import JobId
from app.jobs.variants import MAX_VARIANTS
from app.ledger import service
from app.ledger.schemas import FactResultRead, Outcome
from app.web.deps import DatabaseDep, ProjectDep
from app.web.paging import NumberCutDep, Page
from app.web.problems import problems
from mixsd.exporting import ChatFormat

router = APIRouter(prefix="/jobs/{job_id}", tags=["ledger"])

_NDJSON: Final = "application/x-ndjson"

VariantQuery = Annotated[
    int | None, Query(ge=0, lt=MAX_VARIANTS, description="Which of several; the recommended one if left out.")
]

FormatQuery = Annotated[
    Literal["records", "chat", "prompt-completion", "sharegpt"],
    Query(
        alias="format",
        description="`chat`: `messages` with `role` and `content`. `prompt-completion`: the same in two "
        "lists. `sharegpt`: `conversations` with `from` and `value`.",
    ),
]


@router.get("/facts", responses=problems(400, 404))
def list_job_facts(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: NumberCutDep,
    outcome: Outcome | None = None,
    variant: VariantQuery = None,
) -> Page[FactResultRead]:
    """List the verdict on each fact, with the raw answers of base and adapter that it rests on."""
    rows = service.list_results(
        database, cut, project_id=project_id, job_id=job_id, outcome=outcome, variant=variant
    )
    return Page[FactResultRead].of([FactResultRead.of(row) for row in rows], cut, key="ord")


@router.get(
    "/supervision",
    response_class=StreamingResponse,
    responses=problems(404)
    | {200: {"description": "One record a line.", "content": {_NDJSON: {"schema": {"type": "string"}}}}},
)
def get_job_supervision(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    variant: VariantQuery = None,
    form: FormatQuery = "records",
) -> StreamingResponse:
    """Stream what the base model wrote for each fact, token by token: `e` expert, `n` naive.

    Other formats than `records` are for other trainers: of each text that training takes a chat, with the
    question put as training puts it.
    """
    chosen = None if form == "records" else ChatFormat(form)
    lines = service.supervision(database, project_id=project_id, job_id=job_id, variant=variant, form=chosen)
    return StreamingResponse(lines, media_type=_NDJSON)
