"""What rows of phases keep for forecasts: how long was worked on how much."""

import pytest
from sqlalchemy import select

from app.ids import JobId
from app.jobs.models import JobPhase
from app.jobs.states import Phase
from tests.worker.rig import Rig
from tests.worker.test_control import SHA, claimed, control_of


def row_of(rig: Rig, job_id: JobId, phase: Phase) -> JobPhase:
    with rig.database.read() as session:
        return session.scalars(
            select(JobPhase).where(JobPhase.job_id == job_id, JobPhase.phase == phase)
        ).one()


@pytest.mark.made_up_rows
def test_a_phase_keeps_what_it_took_and_where_this_process_began(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)

    control.enter(Phase.TRAINING, 10, "steps", SHA, done=4)
    under_way = row_of(rig, claim.job_id, Phase.TRAINING)
    control.note_device("cpu")
    control.leave(Phase.TRAINING, SHA)
    ended = row_of(rig, claim.job_id, Phase.TRAINING)

    assert (under_way.seconds, under_way.done_before) == (None, 4)
    assert ended.seconds is not None
    assert ended.seconds >= 0
    assert under_way.host_bytes is None
    assert ended.host_bytes is not None
    assert ended.host_bytes > 0
    assert (ended.done, ended.done_before) == (10, 4)
    assert control.job().device == "cpu"
    control.enter(Phase.TRAINING, 10, "steps", "b" * 64)
    again = row_of(rig, claim.job_id, Phase.TRAINING)
    assert (again.seconds, again.host_bytes, again.done_before) == (None, None, 0)


@pytest.mark.made_up_rows
def test_a_phase_that_took_less_than_usual_is_not_measured(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)

    control.enter(Phase.GENERATING, 10, "targets", SHA)
    control.leave(Phase.GENERATING, SHA, measured=False)

    row = row_of(rig, claim.job_id, Phase.GENERATING)
    assert row.finished_at is not None
    assert (row.seconds, row.host_bytes) == (None, None)
