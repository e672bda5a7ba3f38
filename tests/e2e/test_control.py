"""Jobs that are paused, cancelled and retried make what they would have made."""

from tests.e2e.service import STEPS, Json, Outcome, Service

FIRST: Json = {"priority": 100}
"""The jobs of other tests wait."""


def act(service: Service, job_id: str, action: str, **options: object) -> Json:
    job: Json = service.call("POST", f"/jobs/{job_id}/{action}", status=202, **options).json()
    return job


def paused(service: Service, job_id: str) -> Json:
    act(service, job_id, "pause")
    return service.until(job_id, lambda job: job["status"] == "paused")


def test_a_job_that_is_paused_while_it_generates_and_trains_makes_the_same_adapter(
    service: Service, expected: Outcome
) -> None:
    job_id = service.submit(holds_at="generating:1@1,training:3@1", **FIRST)

    service.until_held(job_id, "generating", 1)
    assert paused(service, job_id)["allowed_actions"] == ["cancel", "resume"]
    act(service, job_id, "resume")
    service.until_held(job_id, "training", 3)
    job = paused(service, job_id)
    saved = service.steps_saved(job_id)
    assert (job["attempt"], job["phase"], job["queue_position"]) == (1, None, None)
    checkpoints = service.every(f"/jobs/{job_id}/checkpoints")
    assert [checkpoint["step"] for checkpoint in checkpoints] == saved[:-3:-1]
    act(service, job_id, "resume")
    job = service.succeeded(job_id)

    assert len(saved) < STEPS  # or it was paused too late to show anything
    assert service.steps_saved(job_id) == list(range(1, STEPS + 1))  # no step was taken twice
    assert service.outcome(job_id) == expected
    (attempt,) = service.every(f"/jobs/{job_id}/attempts")
    assert (attempt["attempt"], attempt["outcome"], job["attempt"]) == (1, "succeeded", 1)
    control = {"job.pausing", "job.paused", "job.resumed", "job.requeued"}
    story = [event["type"] for event in service.events(job_id) if event["type"] in control]
    assert story == ["job.pausing", "job.paused", "job.resumed"] * 2


def test_a_cancelled_job_goes_on_when_it_is_retried_and_does_all_anew_if_it_shall(
    service: Service, expected: Outcome
) -> None:
    job_id = service.submit(holds_at="training:3@1,training:6@2", **FIRST)
    for step, body in ((3, {"from": "checkpoint"}), (6, {"from": "start"})):
        service.until_held(job_id, "training", step)
        act(service, job_id, "cancel")
        service.until(job_id, lambda job: job["status"] == "cancelled")
        act(service, job_id, "retry", json=body)

    job = service.succeeded(job_id)

    assert job["attempt"] == 3
    saved = service.steps_saved(job_id)
    again = saved.index(1, 1)
    assert saved[:again] == list(range(1, again + 1))  # with the checkpoint: no step was taken twice
    assert saved[again:] == list(range(1, STEPS + 1))  # from the start
    assert service.outcome(job_id) == expected
    outcomes = [attempt["outcome"] for attempt in service.every(f"/jobs/{job_id}/attempts")]
    assert outcomes == ["cancelled", "cancelled", "succeeded"]
