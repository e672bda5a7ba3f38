"""What was forecast for real jobs, and what they learn from it; facts that the model knows before."""

import pytest

from tests.e2e.service import FACTS, STEPS, TARGETS, Json, Service, a_request


def by_phase(forecast: Json) -> dict[str, Json]:
    return {phase["phase"]: phase for phase in forecast["phases"]}


def test_a_forecast_counts_what_the_phases_of_the_job_then_did(service: Service, undisturbed: str) -> None:
    job = service.read(f"/jobs/{undisturbed}")
    report = service.read(f"/jobs/{undisturbed}/report")
    forecast = by_phase(job["forecast"])

    assert (job["forecast"]["targets"], job["forecast"]["steps"]) == (TARGETS, STEPS)
    assert (job["forecast"]["counted_by"], job["forecast"]["device"]) == ("tokenizer", "cpu")
    for phase in job["progress"]:
        assert (forecast[phase["phase"]]["units"], forecast[phase["phase"]]["unit"]) == (
            phase["done"],
            phase["unit"],
        )
    for phase in report["phases"]:
        assert phase["forecast"] == forecast[phase["phase"]]["seconds"]


def test_a_job_that_has_ended_is_what_the_next_estimate_rests_on(service: Service, undisturbed: str) -> None:
    found = service.call("POST", "/jobs/estimate", json=a_request()).json()

    for phase in found["phases"]:
        assert phase["seconds"]["basis"] == "history", phase
        assert phase["seconds"]["n"] >= 1
        assert 0 < phase["seconds"]["p50"] < phase["seconds"]["p90"]
    assert found["seconds"]["basis"] == "history"
    assert service.call("POST", "/models/check", json={"model": "tiny/random"}).json()["fits"] is True


@pytest.fixture(scope="module")
def known(service: Service, undisturbed: str) -> Json:
    """A fact that the random model answers: what it said to a question is taken for the answer."""
    verdicts = service.every(f"/jobs/{undisturbed}/facts", order="asc")
    said = {verdict["question"]: verdict["asked"][0]["base_answer"] for verdict in verdicts}
    question, answer = next(
        (question, answer.strip())
        for question, answer in said.items()
        if sum(character.isalnum() for character in answer) > 2 and "\ufffd" not in answer
    )
    return {"key": "known", "question": question, "answer": answer}


def test_facts_that_the_model_knows_are_left_out_and_judged(service: Service, known: Json) -> None:
    others = [fact for fact in FACTS if fact["question"] != known["question"]][:2]
    training = a_request()["training"] | {"known_facts": "skip"}
    job_id = service.submit(facts=[known, *others], training=training)

    service.succeeded(job_id)

    verdicts = {verdict["key"]: verdict for verdict in service.every(f"/jobs/{job_id}/facts")}
    assert verdicts["known"]["outcome"] in {"already_known", "regressed"}
    assert verdicts["known"]["reason"] == "left_out_as_known"
    lines = service.call("GET", f"/jobs/{job_id}/supervision").content.splitlines()
    assert not any(b'"fact_key": "known"' in line for line in lines)
    report = service.read(f"/jobs/{job_id}/report")
    assert (report["known"]["left_out"], report["known"]["targets_saved"]) == (1, 1)
    assert report["known"]["tokens_saved"] > 0
    assert report["counts"]["no_supervision"] == 0
    assert report["counts"]["facts"] == 3
    assert report["supervision"]["facts"] == 2


def test_a_job_of_which_all_is_known_fails_and_says_what_to_do(service: Service, known: Json) -> None:
    job_id = service.submit(facts=[known], training=a_request()["training"] | {"known_facts": "skip"})

    job = service.ended(job_id)

    assert (job["status"], job["error"]["code"], job["error"]["category"]) == (
        "failed",
        "nothing_to_learn",
        "user",
    )
    assert "known_facts" in job["error"]["message"]
    assert [phase["phase"] for phase in job["progress"]] == ["preparing", "baseline"]
