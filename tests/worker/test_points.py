"""Series of a job: with what is written anyway, under the fence, and once a step however often it is made."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.jobs import leases
from app.jobs.errors import LeaseLostError
from app.jobs.leases import Claim
from app.jobs.states import Action, Phase
from app.metrics.models import JobMetric
from tests.worker.rig import Rig
from tests.worker.test_control import LosesAnswers, claimed, control_of, lose
from worker.control import StopRequested

SHA = "a" * 64


pytestmark = pytest.mark.made_up_rows


def points(rig: Rig, claim: Claim) -> dict[tuple[str, int], tuple[float, int]]:
    """Return value and attempt of each point, by series and step."""
    with rig.database.read() as session:
        rows = session.scalars(select(JobMetric).where(JobMetric.job_id == claim.job_id)).all()
    return {(row.name, row.step): (row.value, row.attempt) for row in rows}


def claimed_again(rig: Rig, claim: Claim) -> Claim:
    """Lose the job, and let the next attempt begin."""
    lose(rig, claim)
    with rig.database.begin() as session:
        now = rig.database.now(session) + timedelta(seconds=1)
        again = leases.claim(session, queue="gpu", owner="you", version=9, now=now, lease=rig.settings.lease)
    assert again is not None
    return again


def save(control: object, step: int) -> None:
    control.register_checkpoint(Phase.TRAINING, step, SHA, f"step-{step}", SHA, 5)  # type: ignore[attr-defined]


def test_points_cost_no_transaction_of_their_own(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.TRAINING, 100, "steps", SHA)
    began = time.monotonic()

    with rig.counting_commits() as commits:
        for step in range(1, 31):
            control.metrics(Phase.TRAINING, step, {"loss": 1 / step, "learning_rate": 0.1})
            control.progress(Phase.TRAINING, step, 100, "steps")
        save(control, 30)

    assert len(commits) <= 2 + (time.monotonic() - began)  # one a second, and that of the checkpoint
    assert {step for _, step in points(rig, claim)} == set(range(1, 31))
    assert points(rig, claim)["loss", 4] == (0.25, 1)


def test_a_resumed_attempt_neither_doubles_nor_loses_points(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.TRAINING, 8, "steps", SHA)
    for step in range(1, 7):
        control.metrics(Phase.TRAINING, step, {"loss": float(step)})
        if step == 4:
            save(control, 4)
    control.warning("steps 5 and 6 are told of, and never saved")
    control.metrics(Phase.TRAINING, 7, {"loss": 7.0})  # and the process dies

    again = claimed_again(rig, claim)
    resumed = control_of(rig, again)
    resumed.enter(Phase.TRAINING, 8, "steps", SHA, done=4)
    after_the_start = sorted(step for _, step in points(rig, again))
    for step in range(5, 9):
        resumed.metrics(Phase.TRAINING, step, {"loss": 10.0 + step})
    resumed.leave(Phase.TRAINING)

    assert after_the_start == [1, 2, 3, 4]
    first = {("loss", step): (float(step), 1) for step in range(1, 5)}
    second = {("loss", step): (10.0 + step, 2) for step in range(5, 9)}
    assert points(rig, again) == first | second


def test_a_phase_that_begins_again_leaves_the_series_of_others_and_of_other_variants(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.GENERATING, 3, "targets")
    control.metrics(Phase.GENERATING, 3, {"accepted_share": 1.0})
    control.leave(Phase.GENERATING)
    control.enter(Phase.TRAINING, 8, "steps", SHA)
    control.metrics(Phase.TRAINING, 5, {"loss": 0.5})
    control.leave(Phase.TRAINING)

    control.variant = 1
    control.enter(Phase.TRAINING, 8, "steps", SHA)

    assert set(points(rig, claim)) == {("accepted_share", 3), ("loss", 5)}


def test_whoever_lost_the_lease_writes_no_points(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.TRAINING, 8, "steps", SHA)
    lose(rig, claim)

    control.metrics(Phase.TRAINING, 1, {"loss": 1.0})
    with pytest.raises(LeaseLostError):
        save(control, 1)

    assert points(rig, claim) == {}


def test_a_pause_loses_no_points(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)
    control.enter(Phase.TRAINING, 8, "steps", SHA)
    rig.act(claim.job_id, Action.PAUSE)

    control.metrics(Phase.TRAINING, 1, {"loss": 1.0})
    control.request_stop()
    with pytest.raises(StopRequested):
        control.progress(Phase.TRAINING, 1, 8, "steps")

    assert points(rig, claim) == {("loss", 1): (1.0, 1)}


def test_a_commit_whose_answer_was_lost_writes_points_once(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim, LosesAnswers(rig.database.engine))
    control.metrics(Phase.TRAINING, 1, {"loss": 1.0})

    control.warning("now")

    assert points(rig, claim) == {("loss", 1): (1.0, 1)}


def test_what_is_no_number_is_no_point(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)

    control.metrics(Phase.TRAINING, 1, {"loss": float("nan"), "recall": float("inf"), "drift": 0.5})
    control.warning("now")

    assert points(rig, claim) == {("drift", 1): (0.5, 1)}
