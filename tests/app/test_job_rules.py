"""What the database refuses by itself, whatever code writes: rows that cannot be, and ways back."""

from itertools import product
from typing import Any, Final

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.adapters.models import Adapter, AdapterStatus
from app.db.engine import Database
from app.ids import AdapterId, JobId, new_id
from app.jobs.models import Job
from app.jobs.states import OWNED, TERMINAL, JobStatus
from app.projects.models import DEFAULT_PROJECT
from tests.factories import NOW, a_fact_set, a_job

LEASE: Final[dict[str, Any]] = {"lease_owner": "me", "lease_expires_at": NOW, "heartbeat_at": NOW}


def row_in(status: JobStatus) -> dict[str, Any]:
    """The columns that a job in `status` has, and no others."""
    return {
        "status": status,
        **(LEASE if status in OWNED else dict.fromkeys(LEASE)),
        "finished_at": NOW if status in TERMINAL else None,
        "error_code": "x" if status is JobStatus.FAILED else None,
    }


def is_refused(database: Database, row: dict[str, Any]) -> bool:
    try:
        a_job(database, **row)
    except IntegrityError:
        return True
    return False


@pytest.mark.parametrize("column", [*LEASE, "finished_at", "error_code"])
def test_a_column_is_there_in_those_statuses_alone_that_have_it(database: Database, column: str) -> None:
    values = {**LEASE, "finished_at": NOW, "error_code": "x"}
    fact_set_id = a_fact_set(database).id

    for status in JobStatus:
        right = row_in(status) | {"fact_set_id": fact_set_id}
        wrong = right | {column: values[column] if right[column] is None else None}

        assert not is_refused(database, right), f"{status} as it is"
        assert is_refused(database, wrong), f"{status} with {column} = {wrong[column]}"


@pytest.mark.parametrize("higher", [True, False], ids=["higher-fence", "same-fence"])
def test_a_terminal_status_is_left_by_a_retry_alone(database: Database, higher: bool) -> None:  # noqa: FBT001
    fact_set_id = a_fact_set(database).id
    left = set()

    for before, after in product(TERMINAL, JobStatus):
        a_job(database, fact_set_id, fence=3, **row_in(before))
        try:
            with database.begin() as session:
                session.execute(update(Job).values(fence=4 if higher else 3, **row_in(after)))
        except DBAPIError as error:
            if "jobs_only_forward" not in str(error.orig):
                raise
        else:
            left |= {(before, after)} if before is not after else set()
        with database.begin() as session:
            session.execute(delete(Job))

    retries = {(before, JobStatus.QUEUED) for before in (JobStatus.FAILED, JobStatus.CANCELLED)}
    assert left == (retries if higher else set())


def test_a_job_has_one_adapter_for_each_variant(database: Database) -> None:
    job_id = a_job(database)

    add_adapter(database, job_id, 0)
    add_adapter(database, job_id, 1)

    with pytest.raises(IntegrityError):
        add_adapter(database, job_id, 1)


def add_adapter(database: Database, job_id: JobId, variant: int) -> None:
    with database.begin() as session:
        session.add(
            Adapter(
                id=AdapterId(new_id("adp", now=NOW)),
                project_id=DEFAULT_PROJECT,
                job_id=job_id,
                fact_set_id=session.get_one(Job, job_id).fact_set_id,
                variant=variant,
                status=AdapterStatus.READY,
                base_model="tiny",
                base_revision="r1",
                method_type="mixsd",
                sha256="0" * 64,
                bytes=1,
                summary={},
                created_at=NOW,
            )
        )
