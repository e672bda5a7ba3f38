"""Which jobs a machine with GPUs begins: those that fit, and none waits for ever."""

from datetime import datetime, timedelta

from app.db.engine import Database
from app.ids import JobId, WorkerId
from app.jobs import gpus, leases, workers
from app.jobs.workers import Introduction, Report
from tests.factories import NOW, a_fact_set, a_job

LEASE = timedelta(seconds=60)
PATIENCE = timedelta(minutes=10)


def large_worker_lives(database: Database, now: datetime) -> None:
    """There is a machine with four GPUs."""
    who = Introduction(WorkerId("wrk_large"), "large", 1, 1, "0.1.0", "cuda", 4)
    with database.begin() as session:
        workers.check_in(session, who, Report(), now=now)


def claim(database: Database, *, free: int, capacity: int = 4, now: datetime = NOW) -> JobId | None:
    with database.begin() as session:
        room = gpus.room(queue="gpu", free=free, capacity=capacity, now=now, patience=PATIENCE, lease=LEASE)
        found = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=LEASE, room=room)
    return found.job_id if found else None


def test_a_job_that_does_not_fit_lets_a_smaller_one_go_first(database: Database) -> None:
    fact_set = a_fact_set(database)
    large, small = (a_job(database, fact_set.id, gpus=wanted) for wanted in (3, 1))

    assert claim(database, free=2) == small
    assert claim(database, free=2) is None
    assert claim(database, free=3) == large


def test_a_job_that_has_waited_too_long_is_overtaken_by_nothing_but_what_is_more_urgent(
    database: Database,
) -> None:
    fact_set = a_fact_set(database)
    late = NOW + PATIENCE
    large_worker_lives(database, late)
    a_job(database, fact_set.id, gpus=3)
    small = a_job(database, fact_set.id, gpus=1, next_run_at=late)
    urgent = a_job(database, fact_set.id, gpus=1, priority=1, next_run_at=late)

    assert claim(database, free=2, now=late) == urgent
    assert claim(database, free=2, now=late) is None
    assert claim(database, free=2, capacity=2, now=late) == small, "it would never fit there"


def test_a_job_that_is_too_large_for_a_machine_waits_while_there_may_be_another(database: Database) -> None:
    late = NOW + PATIENCE
    huge = a_job(database, gpus=4)

    assert claim(database, free=1, capacity=1) is None, "one may come"
    large_worker_lives(database, late)
    assert claim(database, free=1, capacity=1, now=late) is None, "one is there"
    gone = late + 2 * LEASE
    assert claim(database, free=1, capacity=1, now=gone) == huge, "its user is told why it cannot run"


def test_a_request_says_how_many_gpus_it_wants(database: Database) -> None:
    a_job(database, gpus=2)

    with database.begin() as session:
        found = leases.claim(session, queue="gpu", owner="me", version=9, now=NOW, lease=LEASE)

    assert found is not None
    assert found.gpus == 2
