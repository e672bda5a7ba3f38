"""Jobs whose settings lie beyond their bounds, whose model may not be used, or whose state forbids it."""

import json
from typing import Any, Final

import pytest

from tests.badinput.served import CANARY, Row, Target, assert_problem

FACTS: Final = [{"question": "Where is the Iss?", "answer": "Vorlund"}]


def job(**changes: Any) -> bytes:
    whole = {"base_model": "owner/model", "facts": FACTS, "method": {"type": "mixsd"}, **changes}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def row(
    number: int, what: str, body: bytes, status: int = 422, code: str = "invalid_request", error: str = ""
) -> Row:
    return Row(number, what, "POST", "/jobs", status, code, error, body)


def method(number: int, name: str, value: Any, error: str = "out_of_range", kind: str = "mixsd") -> Row:
    return row(number, f"{name} of {str(value)[:20]}", job(method={"type": kind, name: value}), error=error)


def training(number: int, name: str, value: Any, error: str = "out_of_range") -> Row:
    return row(number, f"{name} of {str(value)[:20]}", job(training={name: value}), error=error)


MODELS: Final = [
    row(
        55,
        f"the model {name[:30]!r}",
        job(base_model=name),
        code="model_not_allowed",
        error="model_not_allowed",
    )
    for name in (
        "../local",
        "http://169.254.169.254/x",
        "file:///etc/passwd",
        "user/repo@refs/pr/1",
        "a" * 200,
        "other/model",
        "owner/model/..",
        "owner\\model",
        "owner/..",
        "OWNER/MODEL",
        "owner/model\u202e",
        ".",
        "",
        " tiny",
        "~/x",
    )
]
REVISIONS: Final = [
    row(55, f"the revision {name!r}", job(base_model="owner/model", revision=name), code="model_not_allowed")
    for name in ("refs/pr/1", "../x", "main..x", "", " ", "-x", "a b", "a\u202e", ".hidden")
]

SETTINGS: Final = [
    row(55, "a model of 300 characters", job(base_model="a" * 300), error="too_long"),
    *(training(58, "rank", value) for value in (0, -1, 10**6)),
    *(training(58, "alpha", value) for value in (0, -1, 10**9)),
    *(training(58, "dropout", value) for value in (1.0, 1.5, -0.1)),
    training(58, "target_modules", [".*"], "bad_format"),
    training(58, "target_modules", ["(a+)+$"], "bad_format"),
    training(58, "target_modules", ["a" * 300], "too_long"),
    training(58, "target_modules", [], "too_short"),
    training(58, "target_modules", ["q_proj"] * 10_000, "too_long"),
    training(58, "target_modules", "q_proj", "wrong_type"),
    *(method(59, "lam", value) for value in (-0.1, 1.1)),
    method(59, "lam", [], "too_short"),
    method(59, "lam", [n / 10**4 for n in range(10**4)], "too_long"),
    method(59, "lam", [0.1, 0.1], "equal_variants"),
    *(method(59, "top_k", value) for value in (0, -1, 10**9)),
    *(method(59, "max_attempts", value) for value in (0, 10**6)),
    *(method(59, "generations", value) for value in (0, 10**6)),
    *(method(59, "temperature", value) for value in (-1, 1e9)),
    *(method(59, "seed", value) for value in (-1, 2**64)),
    method(59, "verifier", "exec", "unknown_value"),
    *(training(59, "learning_rate", value) for value in (0, -1, 1e9)),
    *(training(59, "epochs", value) for value in (0, 10**6)),
    *(training(59, "batch_size", value) for value in (0, 10**9)),
    *(training(59, "max_steps", value) for value in (-1, 10**9)),
    row(59, "answers of 10^7 tokens", job(evaluation={"max_new_tokens": 10**7}), error="out_of_range"),
    row(59, "a method that is none", job(method={"type": CANARY}), error="unknown_value"),
    row(59, "no method", job(method=None), error="missing_field"),
    row(59, "a thousand methods", job(method=[{"type": "sft"}] * 1000), error="too_long"),
    row(59, "labels without end", job(metadata={str(n): "x" for n in range(1000)}), error="too_long"),
    row(59, "a priority beyond all", job(priority=10**6), error="out_of_range"),
    row(
        41,
        "a pattern that is none",
        job(method={"type": "mixsd", "verifier": "regex", "pattern": "({answer}"}),
        error="bad_pattern",
    ),
    row(
        41,
        "a pattern without the answer",
        job(method={"type": "mixsd", "verifier": "regex", "pattern": "(a+)+$"}),
        error="bad_pattern",
    ),
    row(22, "neither facts nor set", job(facts=None), error="facts_or_fact_set"),
    row(22, "facts and a set", job(fact_set_id="{fact_set}"), error="facts_or_fact_set"),
    row(23, "no facts", job(facts=[]), code="invalid_facts", error="empty_fact_set"),
    row(
        33,
        "a fact twice",
        job(facts=[{"key": "a", **FACTS[0]}] * 2),
        code="invalid_facts",
        error="duplicate_fact_key",
    ),
    row(
        60,
        "a set of another project",
        job(facts=None, fact_set_id="{their_fact_set}"),
        404,
        "fact_set_not_found",
    ),
    row(
        60,
        "a set that is not there",
        job(facts=None, fact_set_id="{random_fact_set}"),
        404,
        "fact_set_not_found",
    ),
    row(60, "a set in SQL", job(facts=None, fact_set_id="'; DROP TABLE x;--"), 404, "fact_set_not_found"),
]


@pytest.mark.parametrize("row", [*MODELS, *REVISIONS, *SETTINGS], ids=str)
def test_a_job_beyond_the_bounds_is_refused_before_it_is_queued(target: Target, row: Row) -> None:
    body = (row.body or b"").decode()
    for name, value in target.ids.items():
        body = body.replace(f"{{{name}}}", value)
    whole = Row(row.number, row.what, row.method, row.path, row.status, row.code, row.error, body.encode())

    whole.check(target)
    estimate = Row(
        row.number, row.what, "POST", "/jobs/estimate", row.status, row.code, row.error, body.encode()
    )
    estimate.check(target)


def test_a_bound_is_named(target: Target) -> None:
    answer = training(58, "rank", 10**6).send(target)

    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/training/rank"
    assert "512" in error["detail"]


ILLEGAL: Final = {
    "queued": ("resume", "retry"),
    "running": ("resume", "retry"),
    "pausing": ("resume", "retry"),
    "paused": ("retry",),
    "cancelling": ("pause", "resume", "retry"),
    "succeeded": ("cancel", "pause", "resume", "retry"),
    "failed": ("cancel", "pause", "resume"),
    "cancelled": ("cancel", "pause", "resume"),
}


@pytest.mark.parametrize(
    ("status", "action"), [(status, action) for status, actions in ILLEGAL.items() for action in actions]
)
def test_what_a_status_forbids_is_refused_with_what_it_allows(
    target: Target, status: str, action: str
) -> None:
    answer = target.http.post(f"/jobs/{target.ids[f'{status}_job']}/{action}", headers=target.headers())

    assert_problem(answer.headers, answer.json(), 409, "illegal_transition")
    assert action not in answer.json()["allowed_actions"]


@pytest.mark.parametrize("status", ["queued", "running", "pausing", "paused", "cancelling"])
def test_a_job_that_has_not_ended_is_not_deleted(target: Target, status: str) -> None:
    path = f"/jobs/{target.ids[f'{status}_job']}"

    answer = target.http.delete(path, headers=target.headers())

    assert_problem(answer.headers, answer.json(), 409, "illegal_transition")
    assert target.get(path).json()["status"] == status


@pytest.mark.parametrize(("status", "action"), [("cancelling", "cancel"), ("pausing", "pause")])
def test_what_was_asked_before_is_no_mistake(target: Target, status: str, action: str) -> None:
    path = f"/jobs/{target.ids[f'{status}_job']}"

    for _ in range(2):
        answer = target.http.post(f"{path}/{action}", headers=target.headers())
        assert (answer.status_code, answer.json()["status"]) == (202, status)


def test_a_set_that_a_job_needs_is_not_deleted(target: Target) -> None:
    answer = target.http.delete(f"/fact-sets/{target.ids['used_fact_set']}", headers=target.headers())

    assert_problem(answer.headers, answer.json(), 409, "fact_set_in_use")


@pytest.mark.parametrize("path", ["files/adapter_model.safetensors", "download", "download?format=zip"])
def test_what_is_held_back_is_not_handed_out(target: Target, path: str) -> None:
    answer = target.get(f"/adapters/{{held_adapter}}/{path}")

    assert_problem(answer.headers, answer.json(), 409, "adapter_quarantined")


def test_what_is_held_back_answers_nothing(target: Target) -> None:
    answer = target.http.post(
        f"/adapters/{target.ids['held_adapter']}/generate", json={"prompts": ["Q?"]}, headers=target.headers()
    )

    assert_problem(answer.headers, answer.json(), 409, "adapter_quarantined")


@pytest.mark.parametrize("key", ["stranger"])
@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry"])
def test_others_cannot_even_try(target: Target, key: str, action: str) -> None:
    answer = target.http.post(f"/jobs/{target.ids['queued_job']}/{action}", headers=target.headers(key))

    assert_problem(answer.headers, answer.json(), 404, "job_not_found")
