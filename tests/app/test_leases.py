"""The statements that keep a job from being lost or run twice, on both databases."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.db.engine import Database
from app.events.models import Event
from app.events.repository import NewEvent
from app.ids import JobId
from app.jobs import leases, repository
from app.jobs.errors import JobStateConflictError, LeaseLostError
from app.jobs.leases import Claim, Failure
from app.jobs.models import Job, JobAttempt
from app.jobs.states import ACTIONS, TERMINAL, Action, JobStatus, allowed_actions
from app.projects.models import DEFAULT_PROJECT
from tests.factories import NOW, a_fact_set, a_job, the_job

LEASE = timedelta(seconds=60)
LOST = Failure("system", "worker_lost", "the worker went silent", retryable=True)
BAD = Failure("user", "bad_data", "the facts are of no use", retryable=False)


def claim(database: Database, **changes: Any) -> Claim | None:
    values: dict[str, Any] = {"queue": "gpu", "owner": "me", "version": 0, "now": NOW, "lease": LEASE}
    with database.begin() as session:
        return leases.claim(session, **values | changes)


def claimed(database: Database) -> Claim:
    found = claim(database)
    assert found is not None
    return found


def act(database: Database, job_id: JobId, action: Action) -> Job:
    with database.begin() as session:
        return repository.act(session, job_id, action, project_id=DEFAULT_PROJECT, now=NOW)


def beat(database: Database, held: Claim) -> leases.Beat | None:
    with database.begin() as session:
        return leases.beat(session, held.job_id, held.fence, now=NOW, lease=LEASE)


def guard(database: Database, held: Claim, **changes: Any) -> JobStatus:
    with database.begin() as session:
        return leases.guard(session, held.job_id, held.fence, now=NOW, attempt=held.attempt, **changes)


def publish(database: Database, held: Claim) -> bool:
    with database.begin() as session:
        return leases.publish(session, held.job_id, held.fence, now=NOW)


def reap(database: Database, after: timedelta = timedelta(hours=2)) -> list[leases.Ended]:
    """Take back jobs whose lease is over `after` NOW; they are due again at NOW."""
    with database.begin() as session:
        return leases.reap(session, now=NOW + after, failure=LOST, backoff=-after)


def release(database: Database, held: Claim, **changes: Any) -> leases.Ended | None:
    with database.begin() as session:
        return leases.release(session, held.job_id, held.fence, now=NOW, **changes)


def events(database: Database, job_id: JobId) -> list[tuple[int, str]]:
    with database.read() as session:
        rows = session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.seq)).all()
        return [(row.seq, row.type) for row in rows]


def test_a_claim_takes_the_job_and_counts(database: Database) -> None:
    job_id = a_job(database)

    held = claim(database)

    assert held == Claim(job_id, fence=1, attempt=1)
    job = the_job(database, job_id)
    assert (job.status, job.lease_owner, job.lease_expires_at) == (JobStatus.RUNNING, "me", NOW + LEASE)
    assert job.started_at == NOW
    assert claim(database) is None


def test_claims_go_by_priority_then_by_age(database: Database) -> None:
    late = a_job(database, next_run_at=NOW)
    early = a_job(database, next_run_at=NOW - timedelta(seconds=1))
    urgent = a_job(database, priority=5)
    a_job(database, next_run_at=NOW + timedelta(seconds=1))
    a_job(database, queue="other")
    a_job(database, min_worker_version=1)

    order = [held.job_id for _ in range(6) if (held := claim(database)) is not None]

    assert order == [urgent, early, late]


def test_many_workers_never_claim_one_job_twice(database: Database) -> None:
    fact_set = a_fact_set(database)
    jobs = {a_job(database, fact_set.id) for _ in range(20)}
    taken: list[JobId] = []

    def work() -> None:
        while (held := claim(database)) is not None:
            taken.append(held.job_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == len(jobs)
    assert set(taken) == jobs


def test_a_lost_lease_starts_a_new_attempt_and_blocks_the_old_owner(database: Database) -> None:
    job_id = a_job(database)
    old = claimed(database)

    assert reap(database, timedelta(seconds=59)) == []
    assert [ended.status for ended in reap(database)] == [JobStatus.QUEUED]
    assert beat(database, old) is None
    with pytest.raises(LeaseLostError):
        guard(database, old)
    new = claimed(database)

    assert (new.fence, new.attempt) == (3, 2)
    assert beat(database, old) is None
    assert not publish(database, old)
    assert release(database, old) is None
    with database.begin() as session:
        assert leases.fail(session, job_id, old.fence, BAD, now=NOW) is None
    assert publish(database, new)
    assert the_job(database, job_id).status is JobStatus.SUCCEEDED


def test_a_hand_back_goes_on_in_the_same_attempt(database: Database) -> None:
    a_job(database)
    held = claimed(database)

    ended = release(database, held, why="waiting_disk", micro_batch_override=2)

    assert ended is not None
    assert ended.status is JobStatus.QUEUED
    job = the_job(database, held.job_id)
    assert (job.wait_reason, job.micro_batch_override) == ("waiting_disk", 2)
    assert claimed(database).attempt == held.attempt


@pytest.mark.parametrize("action", [Action.CANCEL, Action.PAUSE])
@pytest.mark.parametrize("end", ["release", "reap"])
def test_what_the_user_asked_for_survives_the_worker(database: Database, action: Action, end: str) -> None:
    a_job(database)
    held = claimed(database)
    act(database, held.job_id, action)

    if end == "release":
        release(database, held)
    else:
        reap(database)

    expected = JobStatus.CANCELLED if action is Action.CANCEL else JobStatus.PAUSED
    assert the_job(database, held.job_id).status is expected


def test_a_cancelled_job_is_never_published(database: Database) -> None:
    a_job(database)
    held = claimed(database)
    act(database, held.job_id, Action.CANCEL)

    assert not publish(database, held)
    assert guard(database, held) is JobStatus.CANCELLING
    with database.begin() as session:
        ended = leases.fail(session, held.job_id, held.fence, BAD, now=NOW)

    assert ended is not None
    assert ended.status is JobStatus.CANCELLED
    assert the_job(database, held.job_id).error_code is None


def test_a_job_that_kills_its_worker_stops_after_three_crashes(database: Database) -> None:
    job_id = a_job(database)
    for _ in range(3):
        held = claimed(database)
        with database.begin() as session:
            leases.crash(session, job_id, held.fence, LOST, now=NOW, backoff=timedelta(0))

    job = the_job(database, job_id)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.FAILED, "worker_lost", 3)


def test_progress_forgives_crashes(database: Database) -> None:
    job_id = a_job(database)
    for _ in range(5):
        held = claimed(database)
        guard(database, held, progress=True)
        reap(database)

    assert the_job(database, job_id).status is JobStatus.QUEUED


def test_the_limit_beats_a_pause(database: Database) -> None:
    job_id = a_job(database, attempt_limit=1)
    claimed(database)
    act(database, job_id, Action.PAUSE)

    reap(database)

    assert the_job(database, job_id).status is JobStatus.FAILED


def test_only_a_retry_leaves_a_terminal_status(database: Database) -> None:
    job_id = a_job(database, status=JobStatus.FAILED, error_code="x", finished_at=NOW, fence=4, attempt=2)

    job = act(database, job_id, Action.RETRY)

    assert (job.status, job.fence, job.attempt_limit, job.error_code) == (JobStatus.QUEUED, 5, 22, None)
    held = claimed(database)
    assert held.attempt == 3
    assert publish(database, held)
    with pytest.raises(DBAPIError, match="jobs_only_forward"), database.begin() as session:
        session.execute(update(Job).values(status=JobStatus.QUEUED, finished_at=None, fence=99))


@pytest.mark.parametrize("change", [{"fence": 0}, {"attempt": 0}])
def test_counters_never_fall(database: Database, change: dict[str, int]) -> None:
    a_job(database, fence=1, attempt=1)

    with pytest.raises(DBAPIError, match="jobs_only_forward"), database.begin() as session:
        session.execute(update(Job).values(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"status": JobStatus.RUNNING},
        {"lease_owner": "me"},
        {"status": JobStatus.SUCCEEDED},
        {"error_code": "x"},
    ],
)
def test_the_database_refuses_rows_that_contradict_themselves(
    database: Database, change: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError):
        a_job(database, **change)


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("action", ACTIONS)
def test_actions_lead_where_the_table_says(database: Database, status: JobStatus, action: Action) -> None:
    owned = status in {JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING}
    job_id = a_job(
        database,
        status=status,
        lease_owner="me" if owned else None,
        lease_expires_at=NOW if owned else None,
        heartbeat_at=NOW if owned else None,
        finished_at=NOW if status in TERMINAL else None,
        error_code="x" if status is JobStatus.FAILED else None,
    )
    asked_before = (action, status) in {
        (Action.CANCEL, JobStatus.CANCELLING),
        (Action.PAUSE, JobStatus.PAUSING),
        (Action.PAUSE, JobStatus.PAUSED),
    }

    if status in ACTIONS[action]:
        assert act(database, job_id, action).status is ACTIONS[action][status]
    elif asked_before:
        assert act(database, job_id, action).status is status
    else:
        with pytest.raises(JobStateConflictError) as refusal:
            act(database, job_id, action)
        assert refusal.value.members() == {"allowed_actions": allowed_actions(status)}
        assert the_job(database, job_id).status is status


def test_events_are_numbered_without_gaps(database: Database) -> None:
    job_id = a_job(database)
    held = claimed(database)
    guard(database, held, new_events=[NewEvent("job.warning", "a"), NewEvent("job.warning", "b")])
    act(database, job_id, Action.CANCEL)
    reap(database)

    assert events(database, job_id) == [
        (1, "job.started"),
        (2, "job.warning"),
        (3, "job.warning"),
        (4, "job.cancelling"),
        (5, "job.attempt_lost"),
        (6, "job.cancelled"),
    ]
    with database.read() as session:
        attempt = session.scalars(select(JobAttempt)).one()
    assert attempt.outcome == "lost"


def test_a_mark_that_does_not_rise_is_no_progress(database: Database) -> None:
    a_job(database)
    held = claimed(database)
    later = NOW + timedelta(hours=2)

    def progress_at(mark: int) -> Any:
        with database.begin() as session:
            leases.guard(session, held.job_id, held.fence, now=later, attempt=1, mark=mark)
        return the_job(database, held.job_id).progress_at

    assert progress_at(0) == NOW
    assert progress_at(1) == later
