"""What belongs to one variant of a job, and that all of them are published at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter, AdapterStatus
from app.evaluations.models import Evaluation, FactResult
from app.events.models import Event
from app.jobs import leases
from app.jobs.leases import Claim
from app.jobs.models import Checkpoint
from app.jobs.states import Action, JobStatus, Phase
from app.settings import Settings
from app.storage import LocalStore
from tests.factories import a_fact_set, a_job
from tests.worker.rig import Rig
from tests.worker.test_control import SHA, LosesAnswers, a_publication, a_row, claimed, control_of
from worker.control import Control, StopRequested
from worker.failures import WORKER_LOST
from worker.publication import Publication

only_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
Attempt = Callable[[tuple[Phase, int] | None], list[tuple[Phase, int]]]
FRONTIER = {"recommended": 1, "why": "it is the best"}


pytestmark = pytest.mark.made_up_rows


def publications(*gates: str) -> list[Publication]:
    return [
        replace(a_publication(gate), variant=number, label=f"way {number}", method_type="sft")
        for number, gate in enumerate(gates)
    ]


def test_all_adapters_are_published_at_once_each_held_back_by_its_own_gate(rig: Rig) -> None:
    claim = claimed(rig)

    control_of(rig, claim).publish(
        *publications("failed", "passed", "failed"), recommended=1, frontier=FRONTIER
    )

    job = rig.job(claim.job_id)
    assert (job.status, job.gate_status, job.frontier) == (JobStatus.SUCCEEDED, "passed", FRONTIER)
    adapters = sorted(rig.rows(Adapter, claim.job_id), key=lambda adapter: adapter.variant)
    assert [(a.variant, a.label, a.recommended, a.status, a.method_type) for a in adapters] == [
        (0, "way 0", False, AdapterStatus.QUARANTINED, "sft"),
        (1, "way 1", True, AdapterStatus.READY, "sft"),
        (2, "way 2", False, AdapterStatus.QUARANTINED, "sft"),
    ]
    evaluations = rig.rows(Evaluation, claim.job_id)
    assert {e.adapter_id for e in evaluations} == {adapter.id for adapter in adapters}
    with rig.database.read() as session:
        assert len(session.scalars(select(FactResult)).all()) == 3
        events = session.scalars(select(Event).where(Event.job_id == claim.job_id).order_by(Event.seq)).all()
    assert [event.type for event in events][-9:] == [
        *["evaluation.completed", "adapter.created"] * 3,
        *["adapter.quarantined"] * 2,
        "job.succeeded",
    ]
    assert [event.data["variant"] for event in events if event.type == "adapter.quarantined"] == [0, 2]
    assert events[-2].message.startswith("way 2: ")


def test_the_gate_of_a_job_is_that_of_the_adapter_which_it_recommends(rig: Rig) -> None:
    claim = claimed(rig)

    control_of(rig, claim).publish(*publications("passed", "failed"), recommended=1, frontier=FRONTIER)

    assert rig.job(claim.job_id).gate_status == "failed"
    assert rig.events(claim.job_id)[-3:] == ["job.gate_failed", "adapter.quarantined", "job.succeeded"]


def test_a_commit_of_several_whose_answer_was_lost_is_not_done_twice(rig: Rig) -> None:
    claim = claimed(rig)

    control_of(rig, claim, LosesAnswers(rig.database.engine)).publish(*publications("", ""))

    assert len(rig.rows(Adapter, claim.job_id)) == len(rig.rows(Evaluation, claim.job_id)) == 2


def test_of_a_job_that_is_being_cancelled_no_adapter_is_published(rig: Rig) -> None:
    claim = claimed(rig)
    rig.act(claim.job_id, Action.CANCEL)

    with pytest.raises(StopRequested):
        control_of(rig, claim).publish(*publications("", ""))

    assert rig.rows(Adapter, claim.job_id) == rig.rows(Evaluation, claim.job_id) == []


def test_what_a_phase_made_is_kept_by_variant_and_known_by_its_input(rig: Rig) -> None:
    control = control_of(rig, claimed(rig))
    control.take_up(1)
    control.keep(Phase.TRAINING, "in", {"weights": "a", "config": "b"})

    control.keep(Phase.TRAINING, "in", {"weights": "c"})

    assert control.kept(Phase.TRAINING, "in") == {"weights": "c"}
    assert control.kept(Phase.TRAINING, "other") == control.kept(Phase.EVALUATING, "in") == {}
    control.take_up(0)
    assert control.kept(Phase.TRAINING, "in") == {}


def test_texts_of_variants_stand_side_by_side(rig: Rig) -> None:
    control = control_of(rig, claimed(rig))
    rows = [
        replace(a_row(number, f"text {variant}"), variant=variant) for variant in (1, 0) for number in (1, 0)
    ]

    control.add_supervision(rows)

    assert control.supervision() == rows[::-1]


def test_the_newest_two_checkpoints_stay_whichever_variant_they_are_of(rig: Rig) -> None:
    claim = claimed(rig)
    control = control_of(rig, claim)

    dropped = []
    for variant, step in ((0, 4), (0, 8), (1, 4), (1, 8)):
        control.take_up(variant)
        dropped += control.register_checkpoint(
            Phase.TRAINING, step, f"input {variant}", f"{variant}-{step}", SHA, 5
        )

    assert dropped == ["0-4", "0-8"]
    assert [(row.variant, row.step) for row in rig.rows(Checkpoint, claim.job_id)] == [(1, 4), (1, 8)]
    assert [row.step for row in control.checkpoints(Phase.TRAINING, "input 1")] == [8, 4]


# -- the pipeline itself, with a model of two layers

WORDLESS = {"type": "mixsd", "rewordings": 0, "max_attempts": 1, "max_new_tokens": 4}
METHODS = [
    {**WORDLESS, "fallback_to_answer": False},  # makes no text that will do
    {"type": "sft", "rewordings": 0, "target": "canonical"},
    {"type": "sft", "rewordings": 0, "target": "natural"},
]
TRAINING = {"rank": 2, "epochs": 1, "min_steps": 2, "stop_when_learned": False, "retention": {"type": "none"}}
EVALUATION = {"general": False, "max_new_tokens": 4, "bootstrap": 100}


class Watched(Control):
    """Notes what is worked on, and stops when it is told to."""

    stop_in: tuple[Phase, int] | None = None

    def watch(self) -> "Watched":
        self.worked: list[tuple[Phase, int]] = []
        return self

    def progress(self, phase: Phase, done: int, total: int, unit: str) -> None:
        if phase in {Phase.TRAINING, Phase.EVALUATING} and done < total:
            self.worked.append((phase, self.variant))
            if self.worked[-1] == self.stop_in:
                raise StopRequested(JobStatus.RUNNING)
        super().progress(phase, done, total, unit)


@pytest.fixture
def work(rig: Rig, tiny_cache: Path) -> Attempt:
    from worker.pipeline import run_pipeline  # noqa: PLC0415  it loads torch

    settings: Settings = rig.settings.model_copy(
        update={"model_cache": tiny_cache, "allowed_models": ("tiny/random",), "device": "cpu", "threads": 1}
    )

    def attempt(stop_in: tuple[Phase, int] | None) -> list[tuple[Phase, int]]:
        control = Watched(
            rig.database, claimed_again(rig), work_dir=settings.work_dir, patience=settings.lease
        ).watch()
        control.stop_in = stop_in
        store = LocalStore(settings.artifact_dir)
        if stop_in is None:
            run_pipeline(control, settings, store)
        else:
            with pytest.raises(StopRequested):
                run_pipeline(control, settings, store)
        return list(dict.fromkeys(control.worked))

    return attempt


def claimed_again(rig: Rig) -> Claim:
    """Claim the job that is due, after its last owner was lost."""
    with rig.database.begin() as session:
        now = rig.database.now(session)
        leases.reap_from(session, ["me"], now=now, failure=WORKER_LOST, backoff=timedelta(0))
        claim = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=timedelta(minutes=5))
    assert claim is not None
    return claim


@only_sqlite
def test_a_variant_without_texts_makes_no_adapter_and_finished_ones_are_not_done_again(
    rig: Rig, work: Attempt
) -> None:
    fact_set = a_fact_set(rig.database, 3)
    job_id = a_job(
        rig.database,
        fact_set.id,
        base_model="tiny/random",
        base_revision="r1",
        method=METHODS,
        training=TRAINING,
        evaluation=EVALUATION,
    )

    first = work((Phase.TRAINING, 2))
    second = work((Phase.EVALUATING, 2))
    third = work(None)

    assert first == [(Phase.TRAINING, 1), (Phase.TRAINING, 2)]
    assert second == [(Phase.TRAINING, 2), (Phase.EVALUATING, 1), (Phase.EVALUATING, 2)]
    assert third == [(Phase.EVALUATING, 2)]
    job = rig.job(job_id)
    assert job.status is JobStatus.SUCCEEDED
    adapters = sorted(rig.rows(Adapter, job_id), key=lambda adapter: adapter.variant)
    assert [adapter.variant for adapter in adapters] == [1, 2]
    assert [adapter.label for adapter in adapters] == ['sft target "canonical"', 'sft target "natural"']
    (best,) = [adapter for adapter in adapters if adapter.recommended]
    assert job.frontier is not None
    assert job.frontier["recommended"] == best.variant
    assert [point["variant"] for point in job.frontier["points"]] == [1, 2]
    with rig.database.read() as session:
        warnings = session.scalars(select(Event).where(Event.type == "job.warning")).all()
    assert "mixsd makes no adapter" in " ".join(warning.message for warning in warnings)
