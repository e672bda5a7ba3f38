"""What a job would take: asked before it is sent, kept with it, and learned from those that have ended."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.fact_sets.reading import read_inline
from app.ids import JobId, WorkerId, new_id
from app.jobs.errors import NotEstimableError
from app.jobs.forecasts import AT_CREATION, Forecaster, Wanted, sample_of
from app.jobs.models import Job, JobPhase, Worker
from app.jobs.requests import JobCreate
from app.jobs.requests.methods import MixsdMethod
from app.jobs.states import JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT
from app.settings import Settings
from tests.app.published import another_project
from tests.factories import NOW, a_fact_set, a_job, the_job

FACTS = [{"key": f"river-{n}", "question": f"Where is river {n}?", "answer": f"Land {n}"} for n in range(3)]
REQUEST: Mapping[str, Any] = {
    "base_model": "tiny/random",
    "facts": FACTS,
    "method": {"type": "sft"},
    "training": {"batch_size": 2, "epochs": 4, "min_steps": 0},
}
PHASES = [phase.value for phase in Phase]


@pytest.fixture
def settings(settings: Settings, tiny_cache: Path) -> Settings:
    update = {"model_cache": tiny_cache, "allowed_models": ("tiny/random", "owner/model"), "device": "cpu"}
    return settings.model_copy(update=update)


def a_worker(name: str, seen: datetime) -> Worker:
    return Worker(
        id=WorkerId(name),
        host="h",
        pid=1,
        version=1,
        release="0.1.0",
        device="cpu",
        capacity=0,
        gpus=[],
        job_id=None,
        started_at=seen,
        heartbeat_at=seen,
    )


def estimate(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/jobs/estimate", json={**REQUEST, **changes})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def by_phase(forecast: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {phase["phase"]: phase for phase in forecast["phases"]}


def a_finished_job(
    database: Database,
    forecast: dict[str, Any],
    *,
    times: float,
    device: str = "cpu",
    base_model: str = "tiny/random",
    done_before: int = 0,
    minutes: int = 0,
    host_bytes: int | None = None,
    device_bytes: int | None = None,
) -> JobId:
    """A job that took so many seconds for each unit of work in all of its phases."""
    job_id = a_job(
        database,
        id=JobId(new_id("job", now=NOW + timedelta(minutes=minutes))),
        base_model=base_model,
        status=JobStatus.SUCCEEDED,
        finished_at=NOW,
        forecast=forecast,
        device=device,
    )
    with database.begin() as session:
        for phase in forecast["phases"]:
            share = (10 - done_before) / 10
            session.add(
                JobPhase(
                    job_id=job_id,
                    phase=Phase(phase["phase"]),
                    attempt=1,
                    fence=1,
                    done=10,
                    total=10,
                    unit="units",
                    seconds=phase["work"] * times * share,
                    done_before=done_before,
                    host_bytes=host_bytes,
                    device_bytes=device_bytes,
                    started_at=NOW,
                    updated_at=NOW,
                    finished_at=NOW,
                )
            )
    return job_id


def test_an_estimate_says_what_each_phase_takes_and_stores_nothing(client: TestClient) -> None:
    found = estimate(client)

    assert (found["facts"], found["sampled"], found["counted_by"]) == (3, 3, "tokenizer")
    assert (found["targets"], found["steps"]) == (3, 8)
    assert list(by_phase(found)) == PHASES
    assert by_phase(found)["training"]["units"] == 8
    assert (found["device"], found["seconds"]["basis"], found["seconds"]["n"]) == ("cpu", "prior", 0)
    for name in ("p50", "p90"):
        whole = sum(phase["seconds"][name] for phase in found["phases"])
        assert found["seconds"][name] == pytest.approx(whole, abs=0.01)
    assert found["seconds"]["p50"] < found["seconds"]["p90"]
    assert found["memory"]["device_least"] > 0
    assert (found["disk"]["model"], found["warnings"]) == (0, [])
    assert found["disk"]["job"] > 0
    assert client.get("/jobs").json()["data"] == client.get("/fact-sets").json()["data"] == []


def test_variants_share_what_is_done_once_and_add_up_in_the_rest(client: TestClient) -> None:
    mixed, plain = {"type": "mixsd", "lam": 0.1}, {"type": "sft"}
    alone = [by_phase(estimate(client, method=method)) for method in (mixed, plain)]

    found = estimate(client, method=[mixed | {"lam": [0.1, 0.5]}, plain, {"type": "kl"}])

    phases = by_phase(found)
    for name in ("preparing", "baseline"):
        assert phases[name] == alone[0][name]
    assert phases["generating"]["units"] == 2 * alone[0]["generating"]["units"] + 3, "kl has the texts of sft"
    assert phases["evaluating"]["units"] == 4 * alone[0]["evaluating"]["units"]
    assert (phases["packaging"]["units"], found["steps"]) == (4, phases["training"]["units"])
    assert found["steps"] > 2 * alone[0]["training"]["units"] + alone[1]["training"]["units"]


def test_facts_of_a_set_are_estimated_as_those_that_come_along(client: TestClient) -> None:
    fact_set = client.post("/fact-sets", json={"facts": FACTS}).json()["id"]

    twice = [estimate(client, facts=None, fact_set_id=fact_set) for _ in range(2)]

    assert twice[0] == twice[1] == estimate(client)


def test_a_large_set_is_sampled(client: TestClient, database: Database) -> None:
    many = a_fact_set(database, n=AT_CREATION * 3)

    found = estimate(client, facts=None, fact_set_id=many.id)
    job = client.post("/jobs", json={**REQUEST, "facts": None, "fact_set_id": many.id}).json()

    assert (found["facts"], found["sampled"]) == (600, 600)
    assert (job["forecast"]["facts"], job["forecast"]["sampled"]) == (600, AT_CREATION)
    for one, other in zip(found["phases"], job["forecast"]["phases"], strict=True):
        assert one["units"] == other["units"]
        assert other["tokens_read"] == pytest.approx(one["tokens_read"], rel=0.02)


def test_a_job_keeps_its_forecast_beside_what_it_took(client: TestClient, database: Database) -> None:
    expected = estimate(client)
    created = client.post("/jobs", json=REQUEST).json()
    with database.begin() as session:
        session.add(
            JobPhase(
                job_id=created["id"],
                phase=Phase.TRAINING,
                attempt=1,
                fence=1,
                done=8,
                total=8,
                unit="steps",
                started_at=NOW,
                updated_at=NOW,
                finished_at=NOW + timedelta(seconds=5),
                host_bytes=700_000_000,
            )
        )
        session.get_one(Job, created["id"]).device = "cpu"

    report = client.get(f"/jobs/{created['id']}/report").json()
    (training,) = report["phases"]

    assert created["forecast"] == {name: expected[name] for name in created["forecast"]}
    assert client.get(f"/jobs/{created['id']}").json()["forecast"] == created["forecast"]
    assert training["seconds"] == 5.0
    assert training["forecast"] == by_phase(expected)["training"]["seconds"]
    assert training["memory"] == {"host": 700_000_000, "device": None}
    assert report["memory"] == {"peak": 700_000_000, "forecast": expected["memory"]["peak"]}


def test_jobs_that_have_ended_move_the_forecast_to_what_they_took(
    client: TestClient, database: Database
) -> None:
    created = client.post("/jobs", json=REQUEST).json()["id"]
    forecast = the_job(database, created).forecast
    assert forecast is not None
    before = estimate(client)

    for times in (1.0, 2.0, 4.0):
        a_finished_job(database, forecast, times=times)
    after = estimate(client)

    assert before["seconds"]["basis"] == "prior"
    assert (after["seconds"]["basis"], after["seconds"]["n"]) == ("history", 3)
    for phase in forecast["phases"]:
        seconds = by_phase(after)[phase["phase"]]["seconds"]
        assert seconds["p50"] == pytest.approx(2.0 * phase["work"], rel=1e-3)
        assert seconds["p90"] == pytest.approx(3.6 * phase["work"], rel=1e-3)
    larger = estimate(client, training={"batch_size": 2, "epochs": 8, "min_steps": 0})
    ratio = by_phase(larger)["training"]["seconds"]["p50"] / by_phase(after)["training"]["seconds"]["p50"]
    assert ratio == pytest.approx(2.0, rel=0.01)


def test_only_jobs_of_the_same_model_and_device_count_and_parts_for_what_they_are(
    client: TestClient, database: Database
) -> None:
    created = client.post("/jobs", json=REQUEST).json()["id"]
    forecast = the_job(database, created).forecast
    assert forecast is not None
    a_finished_job(database, forecast, times=50.0, device="cuda")
    a_finished_job(database, forecast, times=70.0, base_model="owner/model")
    a_finished_job(database, forecast, times=3.0, done_before=6, minutes=1)

    found = estimate(client)

    assert (found["device"], found["seconds"]["n"]) == ("cpu", 1)
    training = by_phase(found)["training"]["seconds"]
    work = next(phase["work"] for phase in forecast["phases"] if phase["phase"] == "training")
    assert training["p50"] == pytest.approx(3.0 * work, rel=1e-3)


def test_jobs_that_have_ended_move_the_memory_to_what_they_took(
    client: TestClient, database: Database
) -> None:
    created = client.post("/jobs", json=REQUEST).json()["id"]
    forecast = the_job(database, created).forecast
    assert forecast is not None
    before = estimate(client)["memory"]
    host = before["host"]
    a_finished_job(database, forecast, times=1.0, host_bytes=host * 9, device="cuda", device_bytes=host)

    for times in (0.25, 0.5, 0.5):
        a_finished_job(database, forecast, times=1.0, host_bytes=round(times * host), minutes=1)
    after = estimate(client)["memory"]

    assert (before["peak"]["p50"], before["peak"]["basis"]) == (host, "prior")
    assert {**after, "peak": None} == {**before, "peak": None}
    assert (after["peak"]["basis"], after["peak"]["n"]) == ("history", 3)
    assert after["peak"]["p50"] == pytest.approx(host / 2, rel=1e-3)
    assert after["peak"]["p90"] == pytest.approx(host / 2 * 4 / 3, rel=1e-3)


def test_the_memory_of_a_gpu_is_held_against_that_of_its_batches(
    client: TestClient, database: Database
) -> None:
    created = client.post("/jobs", json=REQUEST).json()["id"]
    forecast = the_job(database, created).forecast
    assert forecast is not None

    a_finished_job(database, forecast, times=1.0, device="cuda", host_bytes=7, device_bytes=5_000_000)
    found = estimate(client)

    ratio = 5_000_000 / forecast["memory"]["device_at_once"]
    expected = ratio * found["memory"]["device_at_once"]
    assert (found["device"], found["memory"]["peak"]["n"]) == ("cuda", 1)
    assert found["memory"]["peak"]["p50"] == pytest.approx(expected, rel=1e-3)


def test_a_model_that_is_not_on_disk_is_guessed_and_said_to_be(client: TestClient) -> None:
    found = estimate(client, base_model="owner/model")

    assert (found["counted_by"], found["seconds"], found["memory"]) == ("characters", None, None)
    assert found["disk"] == {"model": None, "job": None}
    assert [warning["code"] for warning in found["warnings"]] == ["model_not_on_disk", "no_forecast"]
    job = client.post("/jobs", json={**REQUEST, "base_model": "owner/model"}).json()
    assert job["forecast"]["seconds"] is None


def test_facts_that_are_too_long_are_named_before_they_are_trained(client: TestClient) -> None:
    long = {"key": "long", "question": "Who? " * 300, "answer": "Odo"}

    (warning,) = estimate(client, facts=[*FACTS, long])["warnings"]

    assert warning["code"] == "facts_too_long"
    assert warning["detail"].startswith("1 of 4 facts")
    assert "512 tokens" in warning["detail"]
    assert warning["detail"].endswith(": long")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"base_model": "who/knows"}, 422, "model_not_allowed"),
        ({"facts": None, "fact_set_id": "fset_0"}, 404, "fact_set_not_found"),
        ({"facts": [{"question": "Q?"}]}, 422, "invalid_facts"),
        ({"method": {"type": "magic"}}, 422, "invalid_request"),
        ({"evaluation": {"gate": {"suite": "probe", "max_drop": 0.1}}}, 422, "suite_not_measured"),
    ],
)
def test_what_a_job_would_be_refused_for_an_estimate_is_too(
    client: TestClient, changes: dict[str, Any], status: int, code: str
) -> None:
    for path in ("/jobs", "/jobs/estimate"):
        answer = client.post(path, json={**REQUEST, **changes})
        assert (answer.status_code, answer.json()["code"]) == (status, code), path


def test_a_gate_on_questions_that_the_facts_bring_is_fine(client: TestClient) -> None:
    facts = [{**FACTS[0], "probes": [{"kind": "hop", "question": "And then?", "answer": "So."}]}]
    gates = {kind: {"gate": {"suite": f"probe_{kind}", "max_drop": 0.1}} for kind in ("hop", "reversed")}

    answers = [
        client.post("/jobs/estimate", json={**REQUEST, "facts": facts, "evaluation": gate})
        for gate in gates.values()
    ]

    assert [answer.status_code for answer in answers] == [200, 422]


def test_the_queue_says_when_it_would_start(client: TestClient, database: Database) -> None:
    known = {"seconds": {"p50": 100.0}, "phases": []}
    owned: dict[str, Any] = {
        "lease_owner": "w",
        "lease_expires_at": NOW,
        "heartbeat_at": NOW,
        "started_at": NOW,
    }
    with database.read() as session:
        now = database.now(session)
    a_job(database, forecast=known, status=JobStatus.RUNNING, **{**owned, "started_at": now})
    theirs = another_project(database)
    a_job(database, forecast=known, project_id=theirs, fact_set_id=a_fact_set(database, project_id=theirs).id)
    a_job(database, forecast=known, priority=-5)

    unknown = estimate(client)["queue"]
    for number, seen in enumerate((now, now, now - timedelta(days=1))):
        with database.begin() as session:
            session.add(a_worker(f"wrk_{number}", seen))

    two = estimate(client)["queue"]
    last = estimate(client, priority=-10)["queue"]

    assert unknown == {"jobs_ahead": 2, "workers": None, "starts_in_seconds": None}
    assert (two["jobs_ahead"], two["workers"], last["jobs_ahead"]) == (2, 2, 3)
    assert 0 < two["starts_in_seconds"] <= 100
    assert 100 <= last["starts_in_seconds"] <= 200
    a_job(database)  # one without a forecast
    assert estimate(client)["queue"]["starts_in_seconds"] is None


def test_workers_that_are_silent_are_warned_of(client: TestClient, database: Database) -> None:
    with database.begin() as session:
        session.add(a_worker("wrk_0", NOW))
    with database.read() as session:
        assert database.now(session) - NOW > timedelta(hours=1)

    found = estimate(client)

    assert found["queue"] == {"jobs_ahead": 0, "workers": 0, "starts_in_seconds": None}
    assert [warning["code"] for warning in found["warnings"]] == ["no_worker"]


def test_jobs_whose_tokens_were_guessed_count_where_none_were_counted(
    client: TestClient, database: Database
) -> None:
    """The first job with a model of the hub is made before the model is on disk."""
    created = client.post("/jobs", json=REQUEST).json()["id"]
    forecast = the_job(database, created).forecast
    assert forecast is not None
    guessed = {**forecast, "counted_by": "characters"}
    guessed["phases"] = [
        {**each, "work": 1.0} if each["phase"] == "preparing" else each for each in forecast["phases"]
    ]
    a_finished_job(database, guessed, times=900.0)

    rough = by_phase(estimate(client))
    a_finished_job(database, forecast, times=2.0, minutes=1)
    exact = by_phase(estimate(client))

    assert (rough["preparing"]["seconds"]["basis"], rough["training"]["seconds"]["basis"]) == (
        "prior",
        "history",
    )
    for phase in forecast["phases"]:
        seconds = exact[phase["phase"]]["seconds"]
        assert (seconds["n"], seconds["p50"]) == (1, pytest.approx(2.0 * phase["work"], rel=1e-3))


def test_settings_that_only_the_library_refuses_keep_no_job_from_being_made(
    database: Database, settings: Settings
) -> None:
    """The worker will say what is wrong with them."""
    request = JobCreate.model_validate({**REQUEST, "method": {"type": "mixsd"}})
    assert isinstance(request.method, MixsdMethod)
    odd = request.model_copy(update={"method": request.method.model_copy(update={"lam": 7.0})})
    wanted = Wanted(odd.base_model, None, odd.settings())
    forecaster = Forecaster(settings.model_cache, "cpu")
    upload = read_inline(FACTS, max_facts=10)

    with database.read() as session, pytest.raises(NotEstimableError, match="lam must be"):
        forecaster.make(session, wanted, sample_of(upload, 10))
    made = forecaster.at_creation(database, wanted, upload, project_id=DEFAULT_PROJECT, fact_set_id=None)
    assert made is None
