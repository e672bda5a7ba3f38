"""The statements of `app.jobs` do on a real database what the protocol says, in any order.

After every step the row is compared with the model's job. MIXSD_MODEL_EXAMPLES and
MIXSD_MODEL_STEPS ask for longer searches than those of the suite; see `make model`.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from app.db.engine import Database
from app.ids import FactSetId
from app.jobs import leases, service
from app.jobs.errors import JobStateConflictError, LeaseLostError
from app.jobs.leases import Claim, Ended, Failure
from app.jobs.models import Checkpoint, Job, Supervision
from app.jobs.requests import RetryFrom
from app.jobs.states import OWNED, TERMINAL, Action, JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT
from tests.factories import NOW, a_fact_set, a_job
from tests.model import protocol
from tests.model.seen import SEEN
from worker.checkpoints import KEPT
from worker.control import Control, StopRequested
from worker.publication import Publication
from worker.reading import SupervisionRow

LEASE: Final = timedelta(seconds=60)
FAILURE: Final = Failure("system", "worker_lost", "the worker went silent", retryable=True)
FEW_ATTEMPTS: Final = 4

PUBLICATION: Final = Publication(
    base_model="tiny", base_revision="r1", sha256="0" * 64, summary={}, files=[], facts=[], scores=[]
)

claims: Bundle[Claim] = Bundle("claims")
WRITES: Final = ["beat", "warn", "add supervision", "register a checkpoint"]
ENDS: Final = ["publish", "fail", "hand back", "crash"]
delays = st.sampled_from([timedelta(0), timedelta(seconds=30)])


class JobMachine(RuleBasedStateMachine):
    """One job at a time, and everybody who may do something to it."""

    def __init__(self, database: Database, fact_set_id: FactSetId) -> None:
        super().__init__()
        self.database = Database(database.engine, clock=lambda: self.now)
        self.fact_set_id = fact_set_id
        self.now = NOW
        self.ended: dict[str, protocol.Job] = {}
        """The jobs that came before."""
        self.begin()

    def begin(self) -> None:
        """Go on with a new job. Claims on those before are still about, as those of zombies."""
        self.job = protocol.Job(limit=FEW_ATTEMPTS)
        self.job_id = a_job(
            self.database, self.fact_set_id, attempt_limit=FEW_ATTEMPTS, next_run_at=self.now, queue="sm"
        )
        self.due_at = self.lease_until = self.now
        self.newest: Claim | None = None
        self.published = self.step = 0
        self.wishes = 5
        self.checkpoints: list[tuple[int, int]] = []
        self.supervision: set[tuple[str, int]] = set()

    def teardown(self) -> None:
        with self.database.begin() as session:
            session.execute(delete(Job))

    # -- steps

    @precondition(lambda self: self.job.status == protocol.QUEUED)
    @rule(target=claims, patient=st.booleans())
    def claim(self, patient: bool) -> Any:  # noqa: FBT001
        if patient:
            self.now = max(self.now, self.due_at)
        return self._claim()

    @rule(target=claims)
    def claim_whatever_there_is(self) -> Any:
        return self._claim()

    @precondition(lambda self: self.job.status in protocol.OWNED)
    @rule(what=st.sampled_from(WRITES), data=st.data())
    def owner_works(self, what: str, data: st.DataObject) -> None:
        assert self.newest is not None
        self._do(what, self.newest, data)

    @precondition(lambda self: self.job.status in protocol.OWNED)
    @rule(what=st.sampled_from(ENDS), data=st.data())
    def owner_ends(self, what: str, data: st.DataObject) -> None:
        assert self.newest is not None
        self._do(what, self.newest, data)

    @rule(held=claims, what=st.sampled_from([*WRITES, *ENDS]), data=st.data())
    def anyone_who_ever_held_it(self, held: Claim, what: str, data: st.DataObject) -> None:
        self._do(what, held, data)

    @precondition(lambda self: self.job.status in protocol.OWNED or self.due_at > self.now)
    @rule(seconds=st.sampled_from([1, 20, 61, 61]), delay=delays)
    def sweep(self, seconds: int, delay: timedelta) -> None:
        self.now += timedelta(seconds=seconds)
        if self.now > self.lease_until:
            self._becomes(protocol.expire(self.job) or self.job)

        with self.database.begin() as session:
            reaped = leases.reap(session, now=self.now, failure=FAILURE, backoff=delay)

        self._ends(reaped[0] if reaped else None, protocol.reap(self.job), delay)

    @precondition(lambda self: self.wishes and self.job.status in protocol.OWNED)
    @rule(action=st.sampled_from([Action.PAUSE, Action.CANCEL]))
    def user_wants_the_owner_to_stop(self, action: Action) -> None:
        self.wishes -= 1
        self._ask(action)

    @precondition(lambda self: self.wishes)
    @rule(action=st.sampled_from([Action.PAUSE, Action.CANCEL, Action.RESUME]))
    def user(self, action: Action) -> None:
        self.wishes -= 1
        self._ask(action)

    def _ask(self, action: Action) -> None:
        statement = {
            Action.CANCEL: protocol.cancel,
            Action.PAUSE: protocol.pause,
            Action.RESUME: protocol.resume,
        }[action]
        asked_before = {
            Action.CANCEL: {protocol.CANCELLING},
            Action.PAUSE: {protocol.PAUSING, protocol.PAUSED},
            Action.RESUME: set[str](),
        }[action]
        self._act(action, statement(self.job), asked_before)

    @precondition(lambda self: self.job.status == protocol.PAUSED)
    @rule()
    def resume(self) -> None:
        self._ask(Action.RESUME)

    @precondition(lambda self: self.job.status in protocol.TERMINAL)
    @rule(start=st.sampled_from(RetryFrom))
    def retry(self, start: RetryFrom) -> None:
        expected = protocol.retry(self.job)
        try:
            service.retry_job(self.database, project_id=DEFAULT_PROJECT, job_id=self.job_id, start=start)
        except JobStateConflictError:
            assert expected is None
            return
        self._becomes(expected)
        self.due_at = self.now
        if start is RetryFrom.START:
            self.checkpoints, self.supervision = [], set()

    @precondition(lambda self: self.job.status in protocol.TERMINAL)
    @rule()
    def another_job(self) -> None:
        self.ended[self.job_id] = self.job
        self.begin()

    # -- what must hold

    @invariant()
    def the_rows_are_as_the_model_says_and_nobody_else_has_written(self) -> None:
        texts = select(Supervision.fact_key, Supervision.fence).where(Supervision.job_id == self.job_id)
        saved = select(Checkpoint.fence, Checkpoint.step).where(Checkpoint.job_id == self.job_id)
        with self.database.read() as session:
            job = session.execute(SEEN, {"job_id": self.job_id}).one()
            assert sorted(map(tuple, session.execute(saved)), reverse=True) == self.checkpoints
            assert set(map(tuple, session.execute(texts))) == self.supervision
        assert (str(job.status), job.fence, job.attempt, job.attempt_open, job.attempt_limit) == (
            self.job.status,
            self.job.fence,
            self.job.attempt,
            self.job.is_open,
            self.job.limit,
        )
        assert job.crash_streak == self.job.streak
        lease = (job.lease_owner, job.lease_expires_at, job.heartbeat_at)
        assert [column is not None for column in lease] == [job.status in OWNED] * 3
        assert (job.finished_at is not None) == (job.status in TERMINAL)
        assert (job.error_code is not None) == (job.status is JobStatus.FAILED)
        if job.status in OWNED:
            assert job.lease_expires_at == self.lease_until
            assert (job.lease_expires_at >= self.now) == self.job.live
        assert job.adapters == self.published <= 1
        assert job.events == (job.last_event or 0)
        assert job.last_event in {None, job.event_seq}
        assert job.open_spans == (self.job.status in protocol.OWNED)

    # -- inside

    def _claim(self) -> Any:
        expected = protocol.claim(self.job) if self.now >= self.due_at else None

        with self.database.begin() as session:
            found = leases.claim(session, queue="sm", owner="me", version=3, now=self.now, lease=LEASE)

        assert (found and (found.job_id, found.fence, found.attempt)) == (
            expected and (self.job_id, expected.fence, expected.attempt)
        )
        if found is None:
            return multiple()
        self._becomes(expected)
        self.lease_until, self.newest = self.now + LEASE, found
        return found

    def _do(self, what: str, held: Claim, data: st.DataObject) -> None:
        match what:
            case "beat":
                self._beat(held)
            case "warn":
                self._write(held, lambda control: control.warning("something"), progress=False)
            case "add supervision":
                self._add_supervision(held, data.draw(st.integers(0, 3)))
            case "register a checkpoint":
                self._register_checkpoint(held)
            case "publish":
                self._publish(held)
            case "fail":
                self._fail(held)
            case _:
                self._give_up(held, what, data.draw(delays))

    def _beat(self, held: Claim) -> None:
        expected = protocol.beat(self._as_seen_by(held), held.fence)

        with self.database.begin() as session:
            found = leases.beat(session, held.job_id, held.fence, now=self.now, lease=LEASE)

        assert (found and str(found.status)) == (expected and expected.status)
        if expected is not None:
            self._becomes(expected)
            self.lease_until = self.now + LEASE

    def _add_supervision(self, held: Claim, key: int) -> None:
        row = SupervisionRow(key, f"key-{key}", 0, True, {})
        if self._write(held, lambda control: control.add_supervision([row]), progress=True):
            self.supervision = {each for each in self.supervision if each[0] != row.fact_key}
            self.supervision.add((row.fact_key, held.fence))

    def _register_checkpoint(self, held: Claim) -> None:
        self.step += 1

        def register(control: Control) -> None:
            control.register_checkpoint(Phase.TRAINING, self.step, "in", "here", "0" * 64, 1)

        if self._write(held, register, progress=True):
            self.checkpoints.append((held.fence, self.step))
            self.checkpoints = sorted(self.checkpoints, reverse=True)[:KEPT]

    def _publish(self, held: Claim) -> None:
        before = self._as_seen_by(held)
        expected = protocol.publish(before, held.fence)
        was_done = before.status == protocol.SUCCEEDED and before.fence == held.fence

        said = self._told(held, lambda control: control.publish(PUBLICATION))

        assert said == ("done" if expected or was_done else self._refusal(held))
        if expected is not None:
            self._becomes(expected)
            self.published += 1

    def _fail(self, held: Claim) -> None:
        expected = protocol.fail(self._as_seen_by(held), held.fence)
        with self.database.begin() as session:
            ended = leases.fail(session, held.job_id, held.fence, FAILURE, now=self.now)
        self._ends(ended, expected)

    def _give_up(self, held: Claim, what: str, delay: timedelta) -> None:
        key, before = (held.job_id, held.fence), self._as_seen_by(held)
        with self.database.begin() as session:
            if what == "crash":
                expected = protocol.crash(before, held.fence)
                ended = leases.crash(session, *key, FAILURE, now=self.now, backoff=delay)
            else:
                expected = protocol.release(before, held.fence)
                ended = leases.release(session, *key, now=self.now, delay=delay)
        self._ends(ended, expected, delay)

    def _as_seen_by(self, held: Claim) -> protocol.Job:
        """The job that a claim is on, which may be one that came before."""
        return self.job if held.job_id == self.job_id else self.ended[held.job_id]

    def _becomes(self, job: protocol.Job | None) -> None:
        assert job is not None
        self.job = job

    def _ends(
        self, ended: Ended | None, expected: protocol.Job | None, delay: timedelta | None = None
    ) -> None:
        assert (ended and (str(ended.status), ended.attempt)) == (
            expected and (expected.status, expected.attempt)
        )
        if expected is not None:
            self._becomes(expected)
            if delay is not None:
                self.due_at = self.now + delay

    def _write(
        self,
        held: Claim,
        body: Callable[[Control], object],
        *,
        progress: bool,
    ) -> bool:
        expected = protocol.guard(self._as_seen_by(held), held.fence, progress=progress)

        assert self._told(held, body) == ("done" if expected else self._refusal(held))

        if expected is not None:
            self._becomes(expected)
        return expected is not None

    def _told(self, held: Claim, body: Callable[[Control], object]) -> str:
        control = Control(self.database, held, work_dir=Path(gettempdir()), patience=timedelta(seconds=5))
        try:
            body(control)
        except LeaseLostError:
            return "lost"
        except StopRequested as stop:
            return str(stop.status)
        return "done"

    def _refusal(self, held: Claim) -> str:
        return protocol.CANCELLING if protocol.is_held(self._as_seen_by(held), held.fence) else "lost"

    def _act(self, action: Action, expected: protocol.Job | None, asked_before: set[str]) -> None:
        try:
            shown = service.act_on_job(
                self.database, project_id=DEFAULT_PROJECT, job_id=self.job_id, action=action
            )
        except JobStateConflictError:
            assert expected is None
            assert self.job.status not in asked_before
            return
        if expected is None:
            assert self.job.status in asked_before
            return
        assert shown.status == expected.status
        self._becomes(expected)
        if action is Action.RESUME:
            self.due_at = self.now


EXAMPLES: Final = int(os.environ.get("MIXSD_MODEL_EXAMPLES", "20"))
STEPS: Final = int(os.environ.get("MIXSD_MODEL_STEPS", "40"))


def test_statements_do_what_the_protocol_says(database: Database) -> None:
    fact_set_id = a_fact_set(database).id
    several = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize="MIXSD_MODEL_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    machine: Any = lambda: JobMachine(database, fact_set_id)  # noqa: E731  what is asked for is a class
    run_state_machine_as_test(machine, settings=several)


@pytest.mark.parametrize("status", JobStatus)
def test_the_model_knows_every_status(status: JobStatus) -> None:
    assert (status in protocol.OWNED) == (status in OWNED)
    assert (status in protocol.TERMINAL) == (status in TERMINAL)
