"""What a pipeline may do to its job, and that it may do nothing without the fence."""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.adapters.models import Adapter, AdapterFile, AdapterStatus, Blob
from app.db.engine import Database
from app.events.models import Event, Level
from app.jobs import leases
from app.jobs.errors import LeaseLostError
from app.jobs.leases import Claim
from app.jobs.models import Checkpoint, JobPhase, Supervision
from app.jobs.states import Action, JobStatus, Phase
from mixsd.evaluation.score import Score
from tests.worker.rig import Rig
from worker.control import CHUNK, Control, StopRequested
from worker.failures import WORKER_LOST
from worker.publication import FactVerdict, Publication, PublishedFile
from worker.reading import SupervisionRow

SHA = "a" * 64
GATE = {"suite": "drift", "metric": "nats_per_token", "max_drop": 0.05, "confidence": 0.95, "n": 24}
GATE |= {"base": 0.5, "adapter": 0.625, "difference": 0.125, "low": 0.1, "high": 0.15, "reason": None}


pytestmark = pytest.mark.made_up_rows


def claimed(rig: Rig) -> Claim:
    rig.submit()
    with rig.database.begin() as session:
        now = rig.database.now(session)
        claim = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=rig.settings.lease)
    assert claim is not None
    return claim


def control_of(rig: Rig, claim: Claim, database: Database | None = None) -> Control:
    return Control(
        database or rig.database, claim, work_dir=rig.settings.work_dir, patience=timedelta(minutes=5)
    )


def lose(rig: Rig, claim: Claim) -> None:
    """Let the claim go to somebody else."""
    with rig.database.begin() as session:
        now = rig.database.now(session)
        leases.crash(session, claim.job_id, claim.fence, WORKER_LOST, now=now, backoff=timedelta(0))


def a_row(number: int, text: str = "t") -> SupervisionRow:
    return SupervisionRow(number, f"key-{number}", 0, True, {"text": text})


def a_publication(gate_status: str = "") -> Publication:
    return Publication(
        base_model="tiny",
        base_revision="r1",
        sha256=SHA,
        summary={},
        files=[PublishedFile("a.txt", SHA, 3), PublishedFile("copy-of-a.txt", SHA, 3)],
        facts=[FactVerdict(0, "river-0", "learned", {})],
        scores=[Score("drift", "nats_per_token", 24, 0.5, 0.6, 0.1, None, None)],
        gate=GATE | {"status": gate_status} if gate_status else None,
    )


def test_progress_is_written_at_most_once_a_second(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    began = time.monotonic()
    control.enter(Phase.TRAINING, 100, "steps", SHA)

    with rig.counting_commits() as commits:
        for step in range(50):
            control.progress(Phase.TRAINING, step, 100, "steps")

    (row,) = rig.rows(JobPhase, claim.job_id)
    assert len(commits) <= time.monotonic() - began
    assert (row.total, row.unit, row.input_sha256) == (100, "steps", SHA)
    assert (row.done == 0) is (not commits)
    assert rig.job(claim.job_id).phase is Phase.TRAINING


def test_progress_says_how_long_the_rest_will_take(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.TRAINING, 100, "steps", done=50)
    mark = rig.job(claim.job_id).progress_mark
    control.request_stop()  # then progress is written at once

    with pytest.raises(StopRequested):
        control.progress(Phase.TRAINING, 60, 100, "steps")

    (row,) = rig.rows(JobPhase, claim.job_id)
    assert row.done == 60
    assert row.rate * row.eta_seconds == pytest.approx(40)
    assert rig.job(claim.job_id).progress_mark == mark + 1


def test_a_finished_phase_is_known_by_its_input(rig: Rig) -> None:
    control = control_of(rig, claimed(rig))
    control.enter(Phase.BASELINE, 1, "questions", "in")
    assert control.finished(Phase.BASELINE, "in") is None

    control.leave(Phase.BASELINE, "out")

    assert control.finished(Phase.BASELINE, "in") == "out"
    assert control.finished(Phase.BASELINE, "other") is None
    control.enter(Phase.BASELINE, 1, "questions", "in")
    assert control.finished(Phase.BASELINE, "in") is None


def test_supervision_is_replaced_by_key_and_comes_back_in_order(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.add_supervision([a_row(number) for number in reversed(range(CHUNK + 2))])

    control.add_supervision([a_row(1, "new")])

    rows = control.supervision()
    assert [row.ord for row in rows] == list(range(CHUNK + 2))
    assert rows[1] == a_row(1, "new")


def test_the_two_newest_checkpoints_of_a_phase_stay(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)

    dropped = [
        control.register_checkpoint(Phase.TRAINING, step, SHA, f"step-{step}", SHA, 5) for step in (4, 8, 12)
    ]

    assert dropped == [[], [], ["step-4"]]
    assert [row.step for row in control.checkpoints(Phase.TRAINING, SHA)] == [12, 8]
    assert control.checkpoints(Phase.TRAINING, "other input") == []
    assert rig.events(claim.job_id).count("job.checkpoint_saved") == 3


def test_what_was_warned_of_once_is_not_said_again_by_a_later_attempt(rig: Rig) -> None:
    claim = claimed(rig)
    control_of(rig, claim).warning_once("2 of 3 facts are known", known=2)
    control_of(rig, claim).warning_once("2 of 3 facts are known", known=2)
    lose(rig, claim)
    with rig.database.begin() as session:
        now = rig.database.now(session)
        again = leases.claim(session, queue="gpu", owner="you", version=9, now=now, lease=rig.settings.lease)
    assert again is not None
    control_of(rig, again).warning_once("2 of 3 facts are known", known=2)
    control_of(rig, again).warning_once("1 of 3 facts is known", known=1)

    with rig.database.read() as session:
        warnings = session.scalars(select(Event).where(Event.type == "job.warning").order_by(Event.seq)).all()

    assert [(warning.attempt, warning.data) for warning in warnings] == [(1, {"known": 2}), (2, {"known": 1})]


def test_warnings_carry_the_phase(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.GENERATING, 1, "facts")

    control.warning("one fact got no text", fact_key="river-0")

    with rig.database.read() as session:
        event = session.scalars(select(Event).where(Event.type == "job.warning")).one()
    assert (event.phase, event.level, event.data) == ("generating", Level.WARNING, {"fact_key": "river-0"})


def test_whoever_lost_the_lease_writes_nothing(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    lose(rig, claim)
    before = rig.events(claim.job_id)

    writes: list[Callable[[], object]] = [
        lambda: control.enter(Phase.TRAINING, 1, "steps"),
        lambda: control.leave(Phase.TRAINING),
        lambda: control.add_supervision([a_row(0)]),
        lambda: control.register_checkpoint(Phase.TRAINING, 1, SHA, "here", SHA, 5),
        lambda: control.warning("hello"),
        lambda: control.publish(a_publication()),
        control.safe_point,
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            write()

    for table in (JobPhase, Supervision, Checkpoint, Adapter):
        assert rig.rows(table, claim.job_id) == []
    assert rig.events(claim.job_id) == before


def test_a_pause_is_seen_at_safe_points_and_lets_a_checkpoint_be_saved(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    rig.act(claim.job_id, Action.PAUSE)

    with pytest.raises(StopRequested) as stop:
        control.safe_point()
    control.register_checkpoint(Phase.TRAINING, 1, SHA, "here", SHA, 5)

    assert (stop.value.status, stop.value.may_save) == (JobStatus.PAUSING, True)
    assert len(rig.rows(Checkpoint, claim.job_id)) == 1


def test_a_cancel_is_seen_by_every_write(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    rig.act(claim.job_id, Action.CANCEL)

    with pytest.raises(StopRequested) as stop:
        control.register_checkpoint(Phase.TRAINING, 1, SHA, "here", SHA, 5)
    with pytest.raises(StopRequested):
        control.publish(a_publication())

    assert not stop.value.may_save
    assert rig.rows(Checkpoint, claim.job_id) == rig.rows(Adapter, claim.job_id) == []
    assert rig.job(claim.job_id).status is JobStatus.CANCELLING


def test_a_stop_of_the_process_is_seen_at_the_next_safe_point(rig: Rig) -> None:
    control = control_of(rig, claimed(rig))
    control.safe_point()

    control.request_stop()

    with pytest.raises(StopRequested) as stop:
        control.safe_point()
    assert (stop.value.status, stop.value.may_save) == (JobStatus.RUNNING, True)


def test_files_with_the_same_content_share_a_blob(rig: Rig) -> None:
    control = control_of(rig, claimed(rig))

    control.publish(a_publication())

    with rig.database.read() as session:
        assert [blob.sha256 for blob in session.scalars(select(Blob))] == [SHA]
        assert {file.path for file in session.scalars(select(AdapterFile))} == {"a.txt", "copy-of-a.txt"}
        assert session.scalars(select(Adapter)).one().bytes == 6


@pytest.mark.parametrize(
    ("gate_status", "adapter_status", "between"),
    [
        ("", AdapterStatus.READY, []),
        ("passed", AdapterStatus.READY, []),
        ("inconclusive", AdapterStatus.READY, ["job.warning"]),
        ("failed", AdapterStatus.QUARANTINED, ["job.gate_failed", "adapter.quarantined"]),
    ],
)
def test_a_job_succeeds_whatever_its_gate_says_and_only_a_failed_one_holds_back(
    rig: Rig, gate_status: str, adapter_status: AdapterStatus, between: list[str]
) -> None:
    claim = claimed(rig)

    control_of(rig, claim).publish(a_publication(gate_status))

    job = rig.job(claim.job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert (job.gate_status or "", job.gate and job.gate["difference"]) == (
        gate_status,
        0.125 if gate_status else None,
    )
    assert [adapter.status for adapter in rig.rows(Adapter, claim.job_id)] == [adapter_status]
    assert rig.events(claim.job_id)[-3 - len(between) :] == [
        "evaluation.completed",
        "adapter.created",
        *between,
        "job.succeeded",
    ]


def test_the_story_of_a_failed_gate_says_what_was_lost(rig: Rig) -> None:
    claim = claimed(rig)

    control_of(rig, claim).publish(a_publication("failed"))

    with rig.database.read() as session:
        event = session.scalars(select(Event).where(Event.type == "job.gate_failed")).one()
    assert (event.level, event.data) == (Level.WARNING, GATE | {"status": "failed"})
    assert event.message.startswith("Gate failed: drift 0.500 before, 0.625 after; difference +0.125")


class LosesAnswers(Database):
    """Commits, and then does not say so, as often as `times`."""

    times = 1

    @contextmanager
    def begin(self) -> Generator[Session]:
        with super().begin() as session:
            yield session
        if self.times:
            self.times -= 1
            raise OperationalError("COMMIT", {}, Exception("the connection was lost"))


def test_a_commit_whose_answer_was_lost_is_not_done_twice(rig: Rig) -> None:
    claim = claimed(rig)
    forgetful = LosesAnswers(rig.database.engine)
    control = control_of(rig, claim, forgetful)

    control.publish(a_publication())

    assert control.published
    assert len(rig.rows(Adapter, claim.job_id)) == 1
    assert rig.events(claim.job_id).count("job.succeeded") == 1


def test_a_checkpoint_whose_answer_was_lost_is_registered_once(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim, LosesAnswers(rig.database.engine))

    control.register_checkpoint(Phase.TRAINING, 1, SHA, "here", SHA, 5)

    assert len(rig.rows(Checkpoint, claim.job_id)) == 1


def test_a_stop_that_was_asked_for_before_is_not_lost_on_work_that_is_not_worth_saving(rig: Rig) -> None:
    control = control_of(rig, claimed(rig))
    listening = signal.getsignal(signal.SIGTERM)
    control.request_stop()

    with pytest.raises(StopRequested), control.expendable():
        pytest.fail("it began")

    assert signal.getsignal(signal.SIGTERM) is listening
