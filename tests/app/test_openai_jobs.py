"""Fine-tuning jobs in OpenAI's words, and what of ours they are."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.events.models import Level
from app.events.repository import NewEvent
from app.ids import CheckpointId, JobId, new_id
from app.jobs import repository
from app.jobs.models import Checkpoint
from app.jobs.states import JobKind, JobStatus, Phase
from app.metrics.models import JobMetric
from tests.app.conversations import BASE, JOBS, URL, a_file, error_of, say
from tests.factories import NOW, a_job, the_job


def test_hyperparameters_and_settings_become_those_of_a_job(client: TestClient) -> None:
    file = a_file(client)
    method = {"type": "mixsd", "mixsd": {"lam": 0.2, "hyperparameters": {"n_epochs": 4, "batch_size": 2}}}
    beyond = {"training": {"rank": 8}, "evaluation": {"general": False}, "priority": 3}
    request = {
        "model": BASE,
        "training_file": file["id"],
        "method": method,
        "seed": 9,
        "suffix": "mayors",
        "metadata": {"team": "maps"},
        "mixsd": beyond,
    }

    shown = client.post(JOBS, json=request).json()
    job = client.get(f"/jobs/{shown['id']}").json()

    assert (shown["status"], shown["model"], shown["training_file"]) == ("queued", BASE, file["id"])
    assert (shown["seed"], shown["suffix"], shown["metadata"]) == (9, "mayors", {"team": "maps"})
    assert shown["hyperparameters"] == {"n_epochs": 4, "batch_size": 2, "learning_rate_multiplier": 1}
    assert shown["method"]["mixsd"]["lam"] == 0.2
    assert (job["method"]["type"], job["method"]["lam"], job["method"]["seed"]) == ("mixsd", 0.2, 9)
    training = job["training"]
    assert (training["epochs"], training["min_steps"], training["stop_when_learned"]) == (4, 0, False)
    assert (training["rank"], training["seed"], training["batch_size"]) == (8, 9, 2)
    assert (job["evaluation"]["general"], job["priority"], job["name"]) == (False, 3, "mayors")
    assert job["fact_set_id"] == file["fact_set_id"]


@pytest.mark.parametrize("rate", [None, 2e-4])
def test_a_multiplier_is_of_the_rate_beside_it(client: TestClient, rate: float | None) -> None:
    request = {
        "model": BASE,
        "training_file": a_file(client)["id"],
        "hyperparameters": {"learning_rate_multiplier": 0.5},
        "mixsd": {"training": {"learning_rate": rate}},
    }

    shown = client.post(JOBS, json=request).json()

    assert shown["hyperparameters"]["learning_rate_multiplier"] == 0.5
    training = client.get(f"/jobs/{shown['id']}").json()["training"]
    assert (training["learning_rate"], training["learning_rate_multiplier"]) == (rate, 0.5)


@pytest.mark.parametrize(
    "how",
    [
        {"hyperparameters": {"learning_rate_multiplier": 2}},
        {
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {"learning_rate_multiplier": 2}},
            }
        },
    ],
    ids=["as before", "in the method"],
)
def test_supervised_is_plain_fine_tuning(client: TestClient, how: dict[str, Any]) -> None:
    request = {"model": BASE, "training_file": a_file(client)["id"], **how}

    shown = client.post(JOBS, json=request).json()

    assert shown["method"]["type"] == "supervised"
    assert shown["method"]["supervised"]["hyperparameters"]["learning_rate_multiplier"] == 2
    job = client.get(f"/jobs/{shown['id']}").json()
    assert (job["method"]["type"], job["training"]["learning_rate"]) == ("sft", None)
    assert job["training"]["learning_rate_multiplier"] == 2
    assert (job["training"]["epochs"], job["training"]["stop_when_learned"]) == (20, True)


def test_a_fact_set_is_learned_as_well(client: TestClient) -> None:
    facts = [{"question": "Q?", "answer": "A", "paraphrases": ["Say, Q?"]}]
    made = client.post("/fact-sets", json={"facts": facts}).json()["id"]

    job = client.post(JOBS, json={"model": BASE, "training_file": made}).json()

    assert job["training_file"] == made


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "gpt-4o-mini"}, 404, "model_not_found", "model"),
        ({"model": "adp_" + "0" * 32}, 404, "model_not_found", "model"),
        ({"training_file": "file-abc"}, 404, "file_not_found", "training_file"),
        ({"training_file": "fset_" + "0" * 32}, 404, "file_not_found", "training_file"),
        ({"training_file": None}, 422, "wrong_type", "training_file"),
        ({"validation_file": "file-abc"}, 422, "unsupported_parameter", "validation_file"),
        ({"integrations": [{"type": "wandb"}]}, 422, "unsupported_parameter", "integrations"),
        ({"method": {"type": "dpo", "dpo": {}}}, 422, "unsupported_method", "method"),
        ({"method": {"type": "reinforcement"}}, 422, "unsupported_method", "method"),
        ({"method": {"type": "magic"}}, 422, "unknown_value", "method.type"),
        ({"method": {"type": {}}}, 422, "unknown_value", "method.type"),
        ({"method": {"type": "mixsd", "mixsd": {"lam": 2}}}, 422, "out_of_range", "method.mixsd.lam"),
        ({"method": {"type": "sft"}, "hyperparameters": {}}, 422, "given_twice", None),
        ({"hyperparameters": {"n_epochs": 0}}, 422, "out_of_range", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, 422, "unknown_value", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"warmup": 1}}, 422, "unknown_field", "hyperparameters.warmup"),
        (
            {"hyperparameters": {"n_epochs": 2}, "mixsd": {"training": {"epochs": 3}}},
            422,
            "given_twice",
            None,
        ),
        (
            {"method": {"type": "kl"}, "mixsd": {"training": {"retention": {"type": "replay"}}}},
            422,
            "other_retention",
            None,
        ),
        ({"seed": -1}, 422, "out_of_range", "seed"),
        ({"suffix": "x" * 65}, 422, "too_long", "suffix"),
        ({"best_of": 1}, 422, "unknown_field", "best_of"),
    ],
    ids=range(21),
)
def test_a_job_that_cannot_be_made_as_asked_is_refused(
    client: TestClient, changes: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    request = {"model": BASE, "training_file": a_file(client)["id"], **changes}

    answer = client.post(JOBS, json=request)

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error
    assert client.get("/jobs").json()["data"] == []


def test_jobs_are_stopped_and_listed_with_those_that_were_made_otherwise(
    client: TestClient, database: Database
) -> None:
    other = a_job(database)
    measuring = a_job(database, kind=JobKind.EVALUATION, adapter_id="adp_0", method={}, training={})
    made = client.post(JOBS, json={"model": BASE, "training_file": a_file(client)["id"]}).json()["id"]

    listed = client.get(JOBS, params={"limit": 1}).json()
    rest = client.get(JOBS, params={"after": listed["last_id"]}).json()["data"]

    assert ([job["id"] for job in listed["data"]], listed["has_more"]) == ([made], True)
    assert [job["id"] for job in rest] == [other]
    assert rest[0]["training_file"] == the_job(database, other).fact_set_id
    told = [
        client.post(f"{JOBS}/{made}/{action}").json()["status"] for action in ("pause", "resume", "cancel")
    ]
    assert told == ["paused", "queued", "cancelled"]
    refused = client.post(f"{JOBS}/{made}/resume")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "illegal_transition")
    for path in ("", "/cancel", "/pause", "/resume", "/events", "/checkpoints"):
        method = "POST" if path in {"/cancel", "/pause", "/resume"} else "GET"
        answer = client.request(method, f"{JOBS}/{measuring}{path}")
        assert (answer.status_code, error_of(answer)["code"]) == (404, "job_not_found"), path


@pytest.mark.parametrize(
    ("status", "phase", "shown"),
    [
        (JobStatus.QUEUED, None, "queued"),
        (JobStatus.RUNNING, None, "validating_files"),
        (JobStatus.RUNNING, Phase.PREPARING, "validating_files"),
        (JobStatus.RUNNING, Phase.TRAINING, "running"),
        (JobStatus.PAUSING, Phase.TRAINING, "running"),
        (JobStatus.PAUSED, Phase.TRAINING, "paused"),
        (JobStatus.CANCELLING, Phase.TRAINING, "cancelled"),
        (JobStatus.CANCELLED, None, "cancelled"),
        (JobStatus.FAILED, Phase.PREPARING, "failed"),
    ],
    ids=str,
)
def test_statuses_are_called_as_openai_calls_them(
    client: TestClient, database: Database, status: JobStatus, phase: Phase | None, shown: str
) -> None:
    changes: dict[str, Any] = {"status": status, "phase": phase, "attempt": 1}
    if status in {JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING}:
        changes |= {"lease_owner": "me", "lease_expires_at": NOW, "heartbeat_at": NOW}
    if status in {JobStatus.CANCELLED, JobStatus.FAILED}:
        changes |= {"finished_at": NOW}
    if status is JobStatus.FAILED:
        changes |= {"error_code": "model_not_found", "error_message": "it is gone", "error_category": "user"}
    job_id = a_job(database, **changes)

    job = client.get(f"{JOBS}/{job_id}").json()

    assert job["status"] == shown
    failed = {"code": "model_not_found", "message": "it is gone", "param": None}
    assert job["error"] == (failed if status is JobStatus.FAILED else None)
    assert job["fine_tuned_model"] is None


def test_events_are_told_newest_first_and_page_by_page(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    kinds = [("job.queued", Level.INFO), ("job.metrics", Level.INFO), ("job.warning", Level.WARNING)]
    with database.begin() as session:
        for kind, level in kinds:
            said = NewEvent(kind, f"this is {kind}", level=level, data={"loss": 1.5})
            repository.tell(session, job_id, [said], now=NOW)

    first = client.get(f"{JOBS}/{job_id}/events", params={"limit": 2}).json()
    second = client.get(f"{JOBS}/{job_id}/events", params={"after": first["last_id"]}).json()
    unknown = client.get(f"{JOBS}/{job_id}/events", params={"after": "evt_" + "0" * 32})

    events = first["data"] + second["data"]
    assert [(e["data"]["event"], e["level"], e["type"]) for e in events] == [
        ("job.warning", "warn", "message"),
        ("job.metrics", "info", "metrics"),
        ("job.queued", "info", "message"),
    ]
    assert events[1]["data"] == {"event": "job.metrics", "loss": 1.5}
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert (unknown.status_code, error_of(unknown)["code"]) == (400, "bad_cursor")


def a_checkpoint(job_id: JobId, step: int, phase: Phase) -> Checkpoint:
    return Checkpoint(
        id=CheckpointId(new_id("ckpt", now=NOW)),
        job_id=job_id,
        phase=phase,
        fence=1,
        step=step,
        input_sha256="i",
        uri="here",
        manifest_sha256="m",
        bytes=1,
        created_at=NOW,
    )


def test_checkpoints_are_those_of_the_training_with_the_loss_of_their_step(
    client: TestClient, database: Database
) -> None:
    job_id = a_job(database)
    with database.begin() as session:
        session.add(a_checkpoint(job_id, 4, Phase.TRAINING))
        session.add(a_checkpoint(job_id, 3, Phase.GENERATING))
        session.add(
            JobMetric(
                job_id=job_id, name="loss", variant=0, step=4, phase="training", attempt=1, value=0.5, at=NOW
            )
        )

    (found,) = client.get(f"{JOBS}/{job_id}/checkpoints").json()["data"]

    assert (found["step_number"], found["fine_tuning_job_id"]) == (4, job_id)
    assert found["metrics"] == {"step": 4, "train_loss": 0.5}
    asked = {"model": found["fine_tuned_model_checkpoint"], "messages": [say("user", "Q?")]}
    refused = client.post(f"{URL}/chat/completions", json=asked)
    assert (refused.status_code, "is a checkpoint" in error_of(refused)["message"]) == (404, True)
