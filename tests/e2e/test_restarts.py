"""Jobs whose process is killed or stopped on the way make what they would have made."""

import os
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.e2e.service import STEPS, TARGETS, Outcome, Service, serving


def texts_by_claim(folder: Path, job_id: str) -> list[int]:
    """Count the texts that were made under each claim of the job, the first claim first."""
    engine = create_engine(f"sqlite:///{folder}/mixsd.db")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT fence FROM supervision WHERE job_id = :id"), {"id": job_id})
        found = Counter(rows.scalars())
    engine.dispose()
    return [found[fence] for fence in sorted(found)]


def end_leases(folder: Path) -> None:
    """Let time pass until nobody holds a job any more."""
    engine = create_engine(f"sqlite:///{folder}/mixsd.db")
    with engine.begin() as connection:
        owned = "UPDATE jobs SET lease_expires_at = '2020-01-01 00:00:00' WHERE lease_owner IS NOT NULL"
        connection.execute(text(owned))
    engine.dispose()


def attempts_of(service: Service, job_id: str, kind: str, phase: str) -> list[int]:
    events = service.events(job_id)
    return [event["attempt"] for event in events if (event["type"], event["phase"]) == (kind, phase)]


def test_a_runner_that_is_killed_in_any_phase_costs_an_attempt_and_nothing_else(
    models: Mapping[str, str], expected: Outcome, tmp_path: Path
) -> None:
    crashes = {
        "early": ["generating.after_supervision", "training.before_checkpoint", "training.after_checkpoint"],
        "late": ["evaluating.progress", "packaging.before_commit"],
    }
    with ExitStack() as stack:  # both at once, which saves time
        services, jobs = {}, {}
        for name, points in crashes.items():
            (tmp_path / name).mkdir()
            own = {"MIXSD_DATA_DIR": str(tmp_path / name), "MIXSD_CRASH_AT": ",".join(points)}
            services[name], _ = stack.enter_context(serving("up", {**models, **own}, tmp_path / name))
            jobs[name] = services[name].submit()
        for name, points in crashes.items():
            job = services[name].succeeded(jobs[name])

            assert job["attempt"] == len(points) + 1
            assert services[name].outcome(jobs[name]) == expected
            assert services[name].steps_saved(jobs[name]) == list(range(1, STEPS + 1))
            losses = services[name].every(f"/jobs/{jobs[name]}/metrics", name="loss")
            assert [point["step"] for point in losses] == list(range(1, STEPS + 1))

        made = texts_by_claim(tmp_path / "early", jobs["early"])
        assert made == [1, TARGETS - 1]  # each is safe as soon as it is made
        assert attempts_of(services["late"], jobs["late"], "job.phase_started", "training") == [1]
        assert attempts_of(services["late"], jobs["late"], "job.phase_started", "packaging") == [2, 3]


def test_a_machine_that_fails_and_one_that_is_shut_down_lose_nothing(
    models: Mapping[str, str], expected: Outcome, tmp_path: Path
) -> None:
    environment = {**models, "MIXSD_DATA_DIR": str(tmp_path)}
    with serving("up", environment, tmp_path) as (service, process):
        job_id = service.submit(holds_at="generating:1@1,training:3@2")
        service.until_held(job_id, "generating", 1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=300)
    end_leases(tmp_path)

    with serving("up", environment, tmp_path) as (service, process):
        job = service.until_held(job_id, "training", 3)
        assert (job["status"], job["attempt"], job["phase"]) == ("running", 2, "training")
        process.terminate()
        assert process.wait(timeout=300) == 0

    with serving("up", environment, tmp_path) as (service, _):
        job = service.succeeded(job_id)
        assert job["attempt"] == 2  # to be shut down is nobody's fault
        assert service.steps_saved(job_id) == list(range(1, STEPS + 1))  # no step was taken twice
        assert service.outcome(job_id) == expected
