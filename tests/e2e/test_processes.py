"""Jobs that several processes of a worker train together."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.service import STEPS, TRAINING, Service, serving
from tests.processes import commands


def others(folder: Path) -> list[str]:
    """Return the command lines of the processes that train beside a runner of this folder."""
    return [line for line in commands() if "mixsd.training.follower" in line and str(folder) in line]


def test_two_processes_train_a_job_and_none_is_left_when_it_is_cancelled(
    service: Service, undisturbed: str, models: Mapping[str, str], tmp_path: Path
) -> None:
    alone = service.read(f"/jobs/{undisturbed}/report")["training"]
    environment = {**models, "MIXSD_DATA_DIR": str(tmp_path), "MIXSD_MAX_PROCESSES": "2"}
    with serving("up", environment, tmp_path) as (own, _):
        too_many = own.submit(training={**TRAINING, "processes": 3})
        whole = own.submit(training={**TRAINING, "processes": 2})
        parts = own.submit(training={**TRAINING, "processes": 2, "shard": "full"})
        long = own.submit(training={**TRAINING, "processes": 2, "epochs": 1000}, slow_in="training")

        job = own.ended(too_many)
        assert (job["status"], job["error"]["code"]) == ("failed", "bad_setting")
        assert "training.processes is 3, and this worker allows 2" in job["error"]["message"]

        for job_id in (whole, parts):
            own.succeeded(job_id)
            together = own.read(f"/jobs/{job_id}/report")["training"]
            assert together["steps"] == alone["steps"] == STEPS
            for name in ("first_loss", "last_loss"):
                assert together[name] == pytest.approx(alone[name], rel=1e-3)

        own.until(long, lambda _: own.steps_saved(long))
        assert len(others(tmp_path)) == 1
        own.call("POST", f"/jobs/{long}/cancel", status=202)
        assert own.ended(long)["status"] == "cancelled"
        deadline = time.monotonic() + 120
        while others(tmp_path):  # the job has ended in the database a moment before
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_without_gpus_a_worker_allows_one_process_unless_it_is_told_otherwise(service: Service) -> None:
    job = service.ended(service.submit(training={**TRAINING, "processes": 2}, method={"type": "sft"}))

    assert (job["status"], job["error"]["code"]) == ("failed", "bad_setting")
    assert "this worker allows 1: " in job["error"]["message"]


@pytest.mark.parametrize("processes", [0, 65, 1.5, "2"])
def test_a_number_that_makes_no_sense_is_refused_at_once(service: Service, processes: object) -> None:
    request = {
        "base_model": "tiny/random",
        "facts": [{"question": "Who?", "answer": "Odo"}],
        "method": {"type": "sft"},
        "training": {"processes": processes},
    }

    answer = service.call("POST", "/jobs", status=422, json=request)

    assert "processes" in answer.text
