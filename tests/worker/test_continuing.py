"""Jobs that start from an adapter, by the real pipeline on a tiny model."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter
from app.evaluations.models import Evaluation, FactResult
from app.fact_sets.errors import FactSetInUseError
from app.fact_sets.service import delete_fact_set
from app.ids import JobId
from app.jobs.models import Supervision
from app.jobs.service import delete_job
from app.jobs.states import Action
from app.ledger.schemas import Outcome
from app.lineage.service import lineage
from app.projects.models import DEFAULT_PROJECT
from app.releases.service import delete_adapter
from app.reports import html, markdown
from app.reports import service as reports
from app.settings import Settings
from mixsd.errors import NothingToLearnError
from tests.worker.rig import Rig
from tests.worker.tiny_jobs import made, store_of, submitted, with_the_model, work, work_killed_at
from worker.continuing import ParentFactsDeletedError
from worker.failures import failure_of
from worker.fetching import AdapterDeletedError

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

TRAINING = {"rank": 4, "learning_rate": 0.02, "epochs": 30, "min_steps": 0, "batch_size": 4}
EVALUATION = {"max_new_tokens": 12, "general": False, "drift": False, "bootstrap": 100}


def fact(key: str, question: str, answer: str, **rest: Any) -> dict[str, Any]:
    return {"key": key, "question": question, "answer": answer, **rest}


MAYOR, RIVER = fact("mayor", "Who is the mayor?", "Odo"), fact("river", "Which river is it?", "Quell")
QUEEN, BELLS = fact("queen", "Who is the queen?", "Adesta"), fact("bells", "How many bells hang there?", "41")
V1 = [MAYOR, RIVER, QUEEN]
V2 = [{**MAYOR, "answer": "Ada"}, QUEEN, BELLS]
V3 = [{**MAYOR, "answer": "Ada"}, BELLS, fact("under", "What grows under it?", "Kale")]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return with_the_model(settings, tmp_path / "models")


def continued(rig: Rig, facts: list[dict[str, Any]], parent: Adapter | None = None, **changes: Any) -> JobId:
    """Submit a job that starts from `parent`, if there is one."""
    if parent is not None:
        changes["parent_adapter_id"] = parent.id
    return submitted(rig, facts=facts, **{"training": TRAINING, "evaluation": EVALUATION, **changes})


@pytest.fixture
def taught(rig: Rig) -> Adapter:
    job_id = continued(rig, V1)
    work(rig, job_id)
    return made(rig, job_id)


def texts(rig: Rig, job_id: JobId) -> list[tuple[str, str, str]]:
    rows = sorted(rig.rows(Supervision, job_id), key=lambda row: (row.ord, row.generation))
    return [(row.fact_key, row.body["method"], row.body["text"]) for row in rows]


def weights(rig: Rig, adapter: Adapter) -> str:
    with store_of(rig).open(adapter.sha256) as blob:
        return str(json.loads(blob.read())["files"]["adapter_model.safetensors"])


def test_three_versions_one_after_another(rig: Rig, taught: Adapter) -> None:
    second = continued(rig, V2, taught)
    work(rig, second)
    third = continued(rig, V3, made(rig, second))
    work(rig, third)

    first, last = made(rig, second), made(rig, third)
    living = first.summary["living"]
    assert living["added"] == {"facts": 1, "learned": 1}
    assert living["changed"]["previous_gone"] == 1
    assert (living["kept"]["known_before"], living["kept"]["regressed"]) == (1, 0)
    assert (living["retired"]["known_before"], living["retired"]["still_known"]) == (1, 0)
    assert last.summary["living"]["kept"] == {"facts": 2, "known_before": 2, "known": 2, "regressed": 0}
    assert last.summary["living"]["retired_facts"][0]["key"] == "queen"
    changes = {key: body["change"] for key, body in verdicts(rig, third).items()}
    assert changes == {"mayor": "kept", "bells": "kept", "under": "added"}
    assert verdicts(rig, second)["mayor"]["previous_answer"] == "Odo"
    assert [(key, method) for key, method, _ in texts(rig, second)] == [
        ("mayor", "sft"),
        ("queen", "sft"),
        ("bells", "sft"),
        ("river", "retired"),
    ]
    with rig.database.read() as session:
        rows = session.scalars(select(FactResult)).all()
    assert {row.outcome for row in rows} <= set(Outcome)
    seen = lineage(rig.database, project_id=DEFAULT_PROJECT, adapter_id=first.id)
    assert (seen.parent, seen.children) == (taught.id, [last.id])


def verdicts(rig: Rig, job_id: JobId) -> dict[str, Any]:
    (evaluation,) = rig.rows(Evaluation, job_id)
    with rig.database.read() as session:
        rows = session.scalars(select(FactResult).where(FactResult.evaluation_id == evaluation.id)).all()
    return {row.fact_key: row.body for row in rows}


@pytest.mark.made_up_rows
def test_texts_of_kept_facts_are_taken_from_the_parents_job(rig: Rig, taught: Adapter) -> None:
    with rig.database.begin() as session:
        for row in session.scalars(select(Supervision).where(Supervision.job_id == taught.job_id)):
            row.body = {**row.body, "text": "as it was"}
    job_id = continued(rig, V2, taught)

    work(rig, job_id)

    said = {key: text for key, _, text in texts(rig, job_id)}
    assert said["queen"] == "as it was"
    assert "as it was" not in {said["mayor"], said["bells"], said["river"]}


def test_without_the_parents_job_they_are_made_again(rig: Rig, taught: Adapter) -> None:
    assert taught.job_id is not None
    delete_job(rig.database, project_id=DEFAULT_PROJECT, job_id=taught.job_id)
    job_id = continued(rig, V2, taught)

    work(rig, job_id)

    assert [key for key, _, _ in texts(rig, job_id)] == ["mayor", "queen", "bells", "river"]
    assert made(rig, job_id).summary["living"]["retired"]["still_known"] == 0


@pytest.mark.parametrize(
    "point", ["generating.after_supervision", "training.after_checkpoint", "evaluating.kept"]
)
def test_one_that_is_killed_makes_what_one_that_is_not_makes(rig: Rig, taught: Adapter, point: str) -> None:
    straight = continued(rig, V2, taught)
    work(rig, straight)
    job_id = continued(rig, V2, taught)
    rig.settings = rig.settings.model_copy(update={"checkpoint": timedelta(0)})

    work_killed_at(rig, job_id, point)

    assert texts(rig, job_id) == texts(rig, straight)
    assert weights(rig, made(rig, job_id)) == weights(rig, made(rig, straight))
    assert verdicts(rig, job_id) == verdicts(rig, straight)


def test_the_manifest_names_the_parent_and_its_request_repeats_the_run(rig: Rig, taught: Adapter) -> None:
    first = continued(rig, V2, taught)
    work(rig, first)
    store = store_of(rig)
    told = reports.manifest(rig.database, store, project_id=DEFAULT_PROJECT, job_id=first)
    assert told.parent is not None
    assert (told.parent.id, told.parent.sha256, told.repeatable) == (taught.id, taught.sha256, True)
    assert told.parent.weights_sha256 == weights(rig, taught)

    again = submitted(rig, facts=None, **told.request.model_dump(mode="json"))
    work(rig, again)

    assert weights(rig, made(rig, again)) == weights(rig, made(rig, first))
    delete_adapter(rig.database, project_id=DEFAULT_PROJECT, adapter_id=taught.id)
    told = reports.manifest(rig.database, store, project_id=DEFAULT_PROJECT, job_id=first)
    assert told.parent is not None
    assert (told.parent.available, told.repeatable) == (False, False)


def test_several_variants_start_from_one_parent(rig: Rig, taught: Adapter) -> None:
    job_id = continued(rig, V2, taught, method=[{"type": "sft"}, {"type": "sft", "target": "natural"}])

    work(rig, job_id)

    adapters = sorted(rig.rows(Adapter, job_id), key=lambda adapter: adapter.variant)
    assert [adapter.parent_adapter_id for adapter in adapters] == [taught.id] * 2
    assert len({weights(rig, adapter) for adapter in adapters}) == 2
    rows = rig.rows(Supervision, job_id)
    assert sorted((row.variant, row.fact_key) for row in rows if row.body["method"] == "retired") == [
        (0, "river"),
        (1, "river"),
    ]


def test_a_report_tells_what_became_of_the_facts(rig: Rig, taught: Adapter) -> None:
    job_id = continued(rig, V2, taught)
    work(rig, job_id)

    told = reports.report(rig.database, project_id=DEFAULT_PROJECT, job_id=job_id, facts=9, texts=9)

    assert told.parent_adapter_id == taught.id
    assert told.living is not None
    assert told.living.retired.facts == 1
    assert [(fact.key, fact.change) for fact in told.ledger.data] == [
        ("mayor", "changed"),
        ("queen", "kept"),
        ("bells", "added"),
    ]
    for page in (markdown.render(told), html.render(told)):
        assert "Since the parent" in page
        assert "Of 1 changed facts the old answer is gone for 1 and still given for 0." in page
        assert "Of 1 retired facts 1 were trained back, and 0 of these are still known" in page
        assert RIVER["question"] in page


def test_a_parent_that_was_deleted_meanwhile_fails_it_as_the_users_doing(rig: Rig, taught: Adapter) -> None:
    job_id = continued(rig, V2, taught)
    delete_adapter(rig.database, project_id=DEFAULT_PROJECT, adapter_id=taught.id)

    with pytest.raises(AdapterDeletedError, match="from which the job was to start") as caught:
        work(rig, job_id)

    failure = failure_of(caught.value)
    assert (failure.category, failure.code, failure.retryable) == ("user", "adapter_deleted", False)


def test_facts_of_a_parent_cannot_be_deleted_while_they_are_needed(rig: Rig, taught: Adapter) -> None:
    job_id = continued(rig, V2, taught)
    before = taught.fact_set_id
    assert before is not None

    with pytest.raises(FactSetInUseError):
        delete_fact_set(rig.database, project_id=DEFAULT_PROJECT, fact_set_id=before)
    rig.act(job_id, Action.CANCEL)
    delete_fact_set(rig.database, project_id=DEFAULT_PROJECT, fact_set_id=before)
    rig.act(job_id, Action.RETRY)

    with pytest.raises(ParentFactsDeletedError, match="start from another adapter") as caught:
        work(rig, job_id)
    assert failure_of(caught.value).code == "parent_facts_deleted"


def test_facts_that_differ_in_nothing_that_is_taught_leave_nothing_to_do(rig: Rig, taught: Adapter) -> None:
    job_id = continued(rig, [{**each, "tags": ["town"]} for each in V1], taught)

    with pytest.raises(NothingToLearnError) as caught:
        work(rig, job_id)
    assert failure_of(caught.value).code == "nothing_to_learn"


def test_a_job_that_only_retires_facts_is_one(rig: Rig, taught: Adapter) -> None:
    job_id = continued(rig, [MAYOR, QUEEN], taught)

    work(rig, job_id)

    living = made(rig, job_id).summary["living"]
    assert living["retired"]["still_known"] == 0
    assert living["kept"] == {"facts": 2, "known_before": 2, "known": 2, "regressed": 0}
