"""Series of a job, as clients read them."""

from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from app.db.engine import Database
from app.ids import JobId
from app.jobs.states import JobStatus
from app.metrics.models import JobMetric
from tests.app.published import another_project
from tests.factories import NOW, a_job


def measured(database: Database, job_id: JobId, name: str, steps: range, *, variant: int = 0) -> None:
    with database.begin() as session:
        for step in steps:
            row = JobMetric(job_id=job_id, name=name, variant=variant, step=step, phase="training")
            row.attempt, row.value, row.at = 1, step / 4, NOW
            session.add(row)


def pages(client: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Read a list to its end."""
    rows: list[dict[str, Any]] = []
    while True:
        page = client.get(path, params={"limit": 3, **query}).json()
        rows += page["data"]
        if not page["has_more"]:
            return rows
        query["cursor"] = page["next_cursor"]


def test_points_are_listed_series_after_series_each_by_step(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    measured(database, job_id, "loss", range(12, 8, -1))
    measured(database, job_id, "loss", range(2), variant=1)
    measured(database, job_id, "learning_rate", range(9, 11))
    measured(database, a_job(database), "loss", range(3))

    rows = pages(client, f"/jobs/{job_id}/metrics")

    assert [(row["name"], row["variant"], row["step"]) for row in rows] == [
        *(("learning_rate", 0, step) for step in (9, 10)),
        *(("loss", 0, step) for step in (9, 10, 11, 12)),
        *(("loss", 1, step) for step in (0, 1)),
    ]
    assert rows[0] == {
        "name": "learning_rate",
        "step": 9,
        "value": 2.25,
        "at": "2026-11-24T10:00:00Z",
        "phase": "training",
        "variant": 0,
        "attempt": 1,
    }


def test_one_series_can_be_read_alone(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    measured(database, job_id, "loss", range(4))
    measured(database, job_id, "loss", range(4), variant=1)
    measured(database, job_id, "recall", range(4))
    path = f"/jobs/{job_id}/metrics"

    assert [row["step"] for row in pages(client, path, name="loss", variant=1)] == [0, 1, 2, 3]
    assert len(pages(client, path, name="loss")) == 8
    assert client.get(path, params={"name": "drift"}).json() == {
        "data": [],
        "has_more": False,
        "next_cursor": None,
    }


def test_points_added_while_a_list_is_read_make_none_come_twice(
    client: TestClient, database: Database
) -> None:
    job_id = a_job(database)
    measured(database, job_id, "loss", range(4))
    path = f"/jobs/{job_id}/metrics"
    page = client.get(path, params={"limit": 3}).json()
    measured(database, job_id, "learning_rate", range(4))
    measured(database, job_id, "loss", range(4, 6))

    rest = client.get(path, params={"cursor": page["next_cursor"]}).json()

    assert [row["step"] for row in page["data"] + rest["data"]] == list(range(6))


def test_a_cursor_of_another_list_is_refused(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    for cursor in ("NA", "bG9zczow", "x"):
        answer = client.get(f"/jobs/{job_id}/metrics", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


def test_the_metrics_of_others_do_not_exist(client: TestClient, database: Database) -> None:
    job_id = a_job(database, project_id=another_project(database))

    assert client.get(f"/jobs/{job_id}/metrics").json()["code"] == "job_not_found"


def test_they_go_with_the_job_and_with_a_retry_from_the_start(client: TestClient, database: Database) -> None:
    deleted = a_job(database, status=JobStatus.CANCELLED, finished_at=NOW)
    retried = a_job(database, status=JobStatus.CANCELLED, finished_at=NOW)
    continued = a_job(database, status=JobStatus.CANCELLED, finished_at=NOW)
    for job_id in (deleted, retried, continued):
        measured(database, job_id, "loss", range(2))

    assert client.delete(f"/jobs/{deleted}").status_code == 204
    assert client.post(f"/jobs/{retried}/retry", json={"from": "start"}).status_code == 202
    assert client.post(f"/jobs/{continued}/retry", json={"from": "checkpoint"}).status_code == 202

    with database.read() as session:
        assert set(session.scalars(select(JobMetric.job_id))) == {continued}


def test_a_report_draws_the_series_that_were_stored(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    measured(database, job_id, "loss", range(3))
    measured(database, job_id, "loss", range(2), variant=1)
    measured(database, job_id, "recall", range(2, 3))

    report = client.get(f"/jobs/{job_id}/report").json()

    assert [(each["name"], each["variant"], each["points"]) for each in report["curves"]] == [
        ("loss", 0, [{"step": step, "value": step / 4} for step in range(3)]),
        ("loss", 1, [{"step": step, "value": step / 4} for step in range(2)]),
        ("recall", 0, [{"step": 2, "value": 0.5}]),
    ]
