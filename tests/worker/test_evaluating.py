"""Measuring an adapter again, by the real pipeline on a tiny model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter, AdapterFile, AdapterStatus
from app.evaluations.models import Evaluation, FactResult, Score
from app.ids import EvaluationId, JobId
from app.jobs.models import JobPhase
from app.jobs.states import Action, JobStatus, Phase
from app.ledger import service as ledger
from app.ledger.evaluation_requests import EvaluationCreate
from app.ledger.measuring import create_evaluation
from app.projects.models import DEFAULT_PROJECT
from app.releases.service import delete_adapter
from app.settings import Settings
from mixsd.errors import CorruptError, ModelNotAllowedError, TemplateMismatchError
from tests.worker.rig import Rig
from tests.worker.tiny_jobs import (
    EVALUATION,
    MODELS,
    made,
    store_of,
    submitted,
    with_the_model,
    work,
    work_killed_at,
)
from worker.control import Control, StopRequested
from worker.failures import failure_of
from worker.fetching import AdapterDeletedError

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

OTHERS = [{"key": "other", "question": "Which river flows through Tessport?", "answer": "Quell"}]
GATE = {"gate": {"suite": "drift", "max_drop": 0.0}}
"""One that nothing passes which was trained on other words."""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return with_the_model(settings, tmp_path / "models")


@pytest.fixture
def taught(rig: Rig) -> Adapter:
    """An adapter that its gate holds back."""
    job_id = submitted(rig, evaluation=EVALUATION | GATE)
    work(rig, job_id)
    adapter = made(rig, job_id)
    assert adapter.status is AdapterStatus.QUARANTINED
    return adapter


def asked_for(rig: Rig, adapter: Adapter, **request: Any) -> JobId:
    body = EvaluationCreate.model_validate(
        {"adapter_id": adapter.id, "evaluation": EVALUATION | GATE, **request}
    )
    return create_evaluation(rig.database, project_id=DEFAULT_PROJECT, request=body, allowed_models=MODELS).id


def measured(rig: Rig, job_id: JobId) -> Evaluation:
    (evaluation,) = rig.rows(Evaluation, job_id)
    return evaluation  # type: ignore[no-any-return]


def scores_of(rig: Rig, evaluation_id: EvaluationId) -> Iterator[dict[str, Any]]:
    with rig.database.read() as session:
        rows = session.scalars(select(Score).where(Score.evaluation_id == evaluation_id)).all()
    for row in sorted(rows, key=lambda row: row.suite):
        yield {
            name: value
            for name, value in vars(row).items()
            if name not in {"evaluation_id", "_sa_instance_state"}
        }


def verdicts_of(rig: Rig, evaluation_id: EvaluationId) -> list[tuple[str, str, Any]]:
    with rig.database.read() as session:
        rows = session.scalars(select(FactResult).where(FactResult.evaluation_id == evaluation_id)).all()
    return [(row.fact_key, row.outcome, row.body) for row in sorted(rows, key=lambda row: row.ord)]


def test_on_its_own_facts_an_adapter_has_the_scores_that_it_was_published_with(
    rig: Rig, taught: Adapter
) -> None:
    assert taught.job_id is not None
    with rig.database.read() as session:
        before = ledger.report(session, rig.job(taught.job_id))
    first = measured(rig, taught.job_id)
    job_id = asked_for(rig, taught)

    work(rig, job_id)

    again = measured(rig, job_id)
    assert again.adapter_id == taught.id
    assert list(scores_of(rig, again.id)) == list(scores_of(rig, first.id))
    assert verdicts_of(rig, again.id) == verdicts_of(rig, first.id)
    assert again.summary == first.summary
    assert again.summary is not None
    assert again.summary["gate"]["status"] == "failed"
    job = rig.job(job_id)
    assert (job.status, job.gate_status) == (JobStatus.SUCCEEDED, "failed")
    phases = {row.phase for row in rig.rows(JobPhase, job_id)}
    assert phases == {Phase.PREPARING, Phase.BASELINE, Phase.EVALUATING}
    assert rig.events(job_id)[-3:] == ["evaluation.completed", "job.gate_failed", "job.succeeded"]
    with rig.database.read() as session:  # and nothing else has changed
        assert ledger.report(session, rig.job(taught.job_id)) == before
        assert session.get_one(Adapter, taught.id).status is AdapterStatus.QUARANTINED
    assert rig.rows(Adapter, job_id) == []


def test_of_facts_that_it_was_not_taught_the_answers_alone_decide(rig: Rig, taught: Adapter) -> None:
    others = submitted(rig, facts=OTHERS)
    rig.act(others, Action.CANCEL)
    job_id = asked_for(rig, taught, fact_set_id=rig.job(others).fact_set_id, evaluation=EVALUATION)

    work(rig, job_id)

    ((key, outcome, body),) = verdicts_of(rig, measured(rig, job_id).id)
    assert (key, outcome, body["reason"]) == ("other", "not_learned", None)
    assert rig.job(job_id).gate_status is None
    with rig.database.read() as session:
        report = ledger.report(session, rig.job(job_id))
    assert (report.counts.facts, report.counts.not_learned, report.variants) == (1, 1, [])
    assert report.adapter is not None
    assert report.adapter.id == taught.id


def test_one_that_is_killed_once_the_adapter_has_answered_goes_on_from_there(
    rig: Rig, taught: Adapter
) -> None:
    job_id = asked_for(rig, taught)

    work_killed_at(rig, job_id, "evaluating.kept")

    assert taught.job_id is not None
    first, again = measured(rig, taught.job_id), measured(rig, job_id)
    assert list(scores_of(rig, again.id)) == list(scores_of(rig, first.id))
    phases = {row.phase: (row.attempt, row.done_before, row.total) for row in rig.rows(JobPhase, job_id)}
    assert phases[Phase.BASELINE][0] == 1
    attempt, found, questions = phases[Phase.EVALUATING]
    assert (attempt, found) == (2, questions), "nothing was asked twice"


class CancelledLate(Control):
    """The job is cancelled when the adapter is about to be asked."""

    def enter(self, phase: Phase, *arguments: Any, **options: Any) -> None:
        super().enter(phase, *arguments, **options)
        if phase is Phase.EVALUATING:
            Rig(self._database, Settings()).act(self.job_id, Action.CANCEL)


def test_of_one_that_is_cancelled_nothing_is_published(rig: Rig, taught: Adapter) -> None:
    job_id = asked_for(rig, taught)

    with pytest.raises(StopRequested) as caught:
        work(rig, job_id, CancelledLate)

    assert caught.value.status is JobStatus.CANCELLING
    assert rig.rows(Evaluation, job_id) == []


def test_an_adapter_that_was_deleted_meanwhile_fails_it_as_the_users_doing(rig: Rig, taught: Adapter) -> None:
    job_id = asked_for(rig, taught)
    delete_adapter(rig.database, project_id=DEFAULT_PROJECT, adapter_id=taught.id)

    with pytest.raises(AdapterDeletedError) as caught:
        work(rig, job_id)

    failure = failure_of(caught.value)
    assert (failure.category, failure.code, failure.retryable) == ("user", "adapter_deleted", False)


def test_a_base_model_that_is_not_allowed_any_more_fails_it_as_the_users_doing(
    rig: Rig, taught: Adapter
) -> None:
    job_id = asked_for(rig, taught)
    rig.settings = rig.settings.model_copy(update={"allowed_models": ()})

    with pytest.raises(ModelNotAllowedError) as caught:
        work(rig, job_id)

    assert failure_of(caught.value).category == "user"


@pytest.mark.made_up_rows
def test_files_that_are_lost_are_named(rig: Rig, taught: Adapter) -> None:
    with rig.database.read() as session:
        file = session.get_one(AdapterFile, (taught.id, "adapter_model.safetensors"))
    store_of(rig).delete(file.sha256)
    job_id = asked_for(rig, taught)

    with pytest.raises(CorruptError, match=r"adapter_model\.safetensors of the adapter adp_"):
        work(rig, job_id)


def test_an_adapter_of_another_chat_template_is_not_measured(rig: Rig, taught: Adapter) -> None:
    """Another template was put beside the base model's weights since."""
    job_id = asked_for(rig, taught)
    assert rig.settings.model_cache is not None
    (template,) = rig.settings.model_cache.rglob("chat_template.jinja")
    template.write_text(template.read_text().replace("assistant", "helper"))

    with pytest.raises(TemplateMismatchError, match="template_sha256"):
        work(rig, job_id)

    assert rig.rows(Evaluation, job_id) == []
