"""What the API is measured against: FastAPI, one query a request, and nothing else."""

import os
from datetime import UTC, datetime
from typing import Any, Final, cast

from fastapi import FastAPI
from sqlalchemy import Table, create_engine, select

from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.ids import new_id
from app.jobs.models import Job

app = FastAPI(openapi_url=None)
engine = create_engine(os.environ["MIXSD_DATABASE_URL"], pool_size=8, max_overflow=0)
JOBS: Final = cast(Table, Job.__table__)
PROJECT: Final = os.environ["BENCHMARK_PROJECT"]


@app.get("/jobs/{job_id}")
def get_job(job_id: str) -> Any:
    statement = select(JOBS).where(JOBS.c.id == job_id, JOBS.c.project_id == PROJECT)
    with engine.connect() as connection:
        return dict(connection.execute(statement).mappings().one())


@app.get("/jobs")
def list_jobs(limit: int) -> Any:
    statement = select(JOBS).where(JOBS.c.project_id == PROJECT).order_by(JOBS.c.id.desc()).limit(limit)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


@app.post("/jobs", status_code=202)
def create_job(body: dict[str, Any]) -> Any:
    now = datetime.now(UTC)
    row = {
        "id": new_id("job", now=now),
        "project_id": PROJECT,
        "fact_set_id": body["fact_set_id"],
        "metadata": {},
        "base_model": body["base_model"],
        "method_type": body["method"]["type"],
        "method": body["method"],
        "training": {},
        "evaluation": {},
        "request_sha256": "0" * 64,
        "status": "queued",
        "next_run_at": now,
        "created_at": now,
    }
    with engine.begin() as connection:
        connection.execute(JOBS.insert().values(row))
    return row
