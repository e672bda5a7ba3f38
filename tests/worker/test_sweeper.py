"""What the sweeper takes back, announces and clears away."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from app.adapters.models import Blob
from app.db.engine import Database, make_engine
from app.idempotency.models import StoredAnswer
from app.ids import JobId
from app.jobs import leases
from app.jobs.models import Checkpoint, Job, JobPhase, JobResult
from app.jobs.states import Action, JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT
from app.storage import LocalStore
from tests.factories import NOW
from tests.worker.rig import Rig
from worker.housekeeping import clear_blobs, clear_work
from worker.leadership import Leadership
from worker.sweeper import MOST_HINTS, Sweeper


class FakeDispatcher:
    def __init__(self) -> None:
        self.hints: list[str] = []

    def hint(self, queue: str) -> None:
        self.hints.append(queue)

    def ping(self) -> bool:
        return True

    def close(self) -> None: ...


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_job_whose_lease_is_over_is_due_again_at_once(rig: Rig) -> None:
    job_id = rig.submit()
    with rig.database.begin() as session:
        now = rig.database.now(session)
        leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=timedelta(seconds=-1))

    answers = iter([False, True])
    Sweeper(rig.database, rig.settings, FakeDispatcher()).run(lambda _: next(answers))

    job = rig.job(job_id)
    assert (job.status, job.fence, job.crash_streak) == (JobStatus.QUEUED, 2, 1)
    assert job.next_run_at <= datetime.now(UTC)


def test_a_queue_is_announced_when_a_job_comes_and_again_after_a_while(rig: Rig) -> None:
    dispatcher, clock = FakeDispatcher(), FakeClock()
    sweeper = Sweeper(rig.database, rig.settings, dispatcher, clock=clock)
    sweeper.hint()
    assert dispatcher.hints == []

    rig.submit()
    sweeper.hint()
    sweeper.hint()
    assert dispatcher.hints == ["gpu"]

    rig.submit()
    sweeper.hint()
    assert dispatcher.hints == ["gpu"] * 3  # two wait now, for two workers

    clock.seconds += rig.settings.hint.total_seconds()
    sweeper.hint()
    assert dispatcher.hints == ["gpu"] * 5


def test_there_are_never_more_than_a_few_hints_at_once(rig: Rig) -> None:
    dispatcher = FakeDispatcher()
    for _ in range(MOST_HINTS + 3):
        rig.submit(facts=1)

    Sweeper(rig.database, rig.settings, dispatcher).hint()

    assert len(dispatcher.hints) == MOST_HINTS


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_one_sweeper_leads_and_the_next_takes_over(rig: Rig) -> None:
    url = rig.database.engine.url.render_as_string(hide_password=False)
    other_engine = make_engine(url)
    first, second = Leadership(rig.database), Leadership(Database(other_engine))

    assert first.held()
    assert first.held()
    assert not second.held()
    first.release()
    assert second.held()

    second.release()
    other_engine.dispose()


@pytest.mark.made_up_rows
def test_the_work_of_ended_jobs_is_cleared_away_and_logs_stay_for_a_while(rig: Rig) -> None:
    waiting, ended, cancelled = rig.submit(), rig.submit(), rig.submit()
    with rig.database.begin() as session:
        for job_id in (waiting, ended, cancelled):
            values = {"phase": Phase.TRAINING, "fence": 1, "step": 1, "input_sha256": "", "uri": "x"}
            values |= {"id": f"ckpt_{job_id[4:]}", "job_id": job_id, "manifest_sha256": "", "bytes": 1}
            session.execute(insert(Checkpoint).values(created_at=NOW, **values))
    for job_id in (ended, cancelled):
        rig.act(job_id, Action.CANCEL)
    with rig.database.begin() as session:
        session.execute(update(Job).where(Job.id == ended).values(finished_at=NOW - timedelta(days=4)))
    for job_id in (waiting, ended, cancelled, JobId("job_gone")):
        (rig.settings.work_dir / job_id / "1").mkdir(parents=True)
        (rig.settings.work_dir / job_id / "1" / "weights").write_text("w")
        (rig.settings.work_dir / job_id / "log.txt").write_text("a line")
    aged(rig.settings.work_dir / "job_gone" / "log.txt", days=8)

    clear_work(rig.database, rig.settings.work_dir, keep=timedelta(days=3))

    for job_id in (waiting, cancelled):  # of which one may go on, and the other be retried
        assert (rig.folder(job_id) / "1" / "weights").exists()
        assert len(rig.rows(Checkpoint, job_id)) == 1
    assert [path.name for path in rig.folder(ended).iterdir()] == ["log.txt"]
    assert not (rig.settings.work_dir / "job_gone").exists()
    assert rig.rows(Checkpoint, ended) == []


def test_old_blobs_that_nobody_needs_are_deleted(rig: Rig) -> None:
    store = LocalStore(rig.settings.artifact_dir)
    published = rig.submit()
    rig.supervisor().run_one("gpu")
    with rig.database.read() as session:
        used = session.scalars(select(Blob.sha256)).one()
    orphan = store.put_bytes(b"nobody's").sha256
    young = store.put_bytes(b"young").sha256
    with rig.database.begin() as session:
        session.execute(insert(Blob).values(sha256=orphan, bytes=8, created_at=NOW))
    for sha256 in (used, orphan):
        aged(rig.settings.artifact_dir / sha256[:2] / sha256, days=2)

    keep = timedelta(days=3)

    cleared = clear_blobs(rig.database, store, keep=keep)

    assert cleared == 1
    assert (store.exists(used), store.exists(orphan), store.exists(young)) == (True, False, True)
    with rig.database.read() as session:
        assert session.scalars(select(Blob.sha256)).all() == [used]
    rig.check_result(published)


def test_the_beginning_of_a_file_goes_once_nobody_can_be_writing_it_any_more(rig: Rig) -> None:
    store, folder = LocalStore(rig.settings.artifact_dir), rig.settings.artifact_dir
    store.put_bytes(b"whole")
    left, under_way = folder / ".0123.tmp", folder / ".4567.tmp"
    for begun in (left, under_way):
        begun.write_bytes(b"beg")
    aged(left, days=2)

    assert clear_blobs(rig.database, store, keep=timedelta(days=3)) == 1

    assert (left.exists(), under_way.exists()) == (False, True)


def test_what_a_cancelled_job_has_made_stays_while_it_may_be_retried(rig: Rig) -> None:
    store = LocalStore(rig.settings.artifact_dir)
    job_id = rig.submit(stays_in=Phase.EVALUATING)
    with rig.working():
        rig.until_phase(job_id, Phase.EVALUATING)
        rig.act(job_id, Action.CANCEL)
        rig.until_status(job_id, JobStatus.CANCELLED)
    made = {row.output_sha256 for row in rig.rows(JobPhase, job_id) if row.phase == Phase.BASELINE}
    weights = store.put_bytes(b"weights of a variant").sha256
    result = {"phase": Phase.TRAINING, "variant": 1, "name": "weights", "input_sha256": "i"}
    with rig.database.begin() as session:
        session.add(JobResult(job_id=job_id, sha256=weights, created_at=NOW, **result))
    made.add(weights)
    for sha256 in made:
        aged(rig.settings.artifact_dir / sha256[:2] / sha256, days=2)

    def cleared(keep: timedelta) -> int:
        return clear_blobs(rig.database, store, keep=keep)

    assert (len(made), cleared(timedelta(days=3))) == (2, 0)
    assert cleared(timedelta(0)) == 2


def test_answers_are_forgotten_when_their_time_is_over(rig: Rig) -> None:
    now = datetime.now(UTC)
    answer = {"project_id": DEFAULT_PROJECT, "request_sha256": "", "status_code": 202, "created_at": NOW}
    answer |= {"media_type": "application/json", "body": "{}"}
    with rig.database.begin() as session:
        for key, age in (("over", -60), ("kept", 3600)):
            expires_at = now + timedelta(seconds=age)
            session.execute(insert(StoredAnswer).values(key=key, expires_at=expires_at, **answer))

    ticks = iter([False, True])
    Sweeper(rig.database, rig.settings, FakeDispatcher()).run(lambda _: next(ticks))

    with rig.database.read() as session:
        assert session.scalars(select(StoredAnswer.key)).all() == ["kept"]


def aged(path: Path, *, days: int) -> None:
    then = time.time() - timedelta(days=days).total_seconds()
    os.utime(path, (then, then))
