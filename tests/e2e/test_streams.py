"""Clients that watch a job while the API is shut down and started again."""

from collections.abc import Mapping
from pathlib import Path

import migrations
from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.db.engine import Database, make_engine
from app.events.repository import NewEvent
from app.ids import JobId
from app.jobs import repository
from tests.app.listening import numbers, stream
from tests.e2e.service import Service, serving
from tests.factories import NOW, a_job


def test_a_restart_ends_streams_at_once_and_costs_no_event(tmp_path: Path) -> None:
    database = Database(make_engine(f"sqlite:///{tmp_path}/mixsd.db"))
    migrations.upgrade(database.engine)
    job_id = a_job(database)
    environment = {"MIXSD_DATA_DIR": str(tmp_path), "MIXSD_STREAM_POLL": "0.05"}

    def happens(kind: str) -> None:
        with database.begin() as session:
            repository.tell(session, JobId(job_id), [NewEvent(kind, "it happened")], now=NOW)

    happens("job.queued")
    with serving("api", environment, tmp_path) as (service, process):
        with stream(f"{service.url}/jobs/{job_id}/events") as said:
            assert numbers(said, last=1) == [1]
            happens("job.started")
            assert numbers(said, last=2) == [2]
            process.terminate()
            assert [message.id for message in said] == []  # ended, and not broken off after a while
        process.wait(timeout=300)
        happens("job.warning")

    with serving("api", environment, tmp_path) as (service, _):
        service.call("POST", f"/jobs/{job_id}/cancel", status=202)
        with stream(f"{service.url}/jobs/{job_id}/events", after="2") as said:
            assert numbers(said) == [3, 4]
        service.call(
            "GET", f"/jobs/{job_id}/events?after=4", status=204, headers={"Accept": "text/event-stream"}
        )
    database.engine.dispose()


def test_the_stream_of_a_job_tells_what_its_list_does(service: Service, undisturbed: str) -> None:
    with stream(f"{service.url}/jobs/{undisturbed}/events") as said:
        told = [message.data for message in said if message.id]

    assert told == service.events(undisturbed)


def test_a_job_measures_its_steps_and_keeps_its_log(service: Service, undisturbed: str) -> None:
    points = service.every(f"/jobs/{undisturbed}/metrics")
    log = service.call("GET", f"/jobs/{undisturbed}/logs?attempt=1", headers={"Accept": "text/plain"})

    series: Mapping[str, list[int]] = {
        name: [point["step"] for point in points if point["name"] == name]
        for name in {point["name"] for point in points}
    }
    assert {"loss", "learning_rate", "tokens_per_second", "accepted_share"} <= series.keys()
    assert {"evaluation.recall.accuracy", "evaluation.drift.nats_per_token"} <= series.keys()
    trained = service.read(f"/jobs/{undisturbed}/report")["training"]
    assert series["loss"] == series["learning_rate"] == list(range(1, trained["steps"] + 1))
    (last,) = [p["value"] for p in points if (p["name"], p["step"]) == ("loss", trained["steps"])]
    assert last == trained["last_loss"]
    assert str(service.url) not in log.text


def test_what_the_base_model_said_is_watched_whenever_the_recall_is(
    service: Service, queued: Mapping[str, str]
) -> None:
    service.succeeded(queued["sft"])
    points = service.every(f"/jobs/{queued['sft']}/metrics")
    told = [each["data"] for each in service.events(queued["sft"]) if each["type"] == "job.metrics"]

    recall = {point["step"]: point["value"] for point in points if point["name"] == "recall"}
    drift = {point["step"]: point["value"] for point in points if point["name"] == "drift"}
    assert len(recall) > 1
    assert list(drift) == [0, *recall]
    assert [(each["step"], each["recall"], each["drift"]) for each in told] == [
        (step, value, drift[step]) for step, value in recall.items()
    ]
    assert min(drift[step] for step in recall) > drift[0]
