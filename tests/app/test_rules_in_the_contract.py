"""Which settings go together: the document says it too, and refuses what the API refuses."""

import json
from typing import Any, Final

import jsonschema_rs
import pytest
from pydantic import BaseModel, ValidationError

from app.contract import contract
from app.inference.schemas import GenerateRequest
from app.jobs.requests import JobCreate

DOCUMENT: Final[dict[str, Any]] = json.loads(contract())
JOB: Final[dict[str, Any]] = {
    "base_model": "smollm2-135m-instruct",
    "fact_set_id": "fset_019ab3c4d5e67f8091a2b3c4d5e6f709",
    "method": {"type": "sft"},
}
ASKED: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Who is it?"}]}


def takes(name: str, body: Any) -> bool:
    """Say whether the document takes a body of this name."""
    schema = {**DOCUMENT, "$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.is_valid(schema, body)


def is_taken(model: type[BaseModel], body: Any) -> bool:
    try:
        model.model_validate_json(json.dumps(body))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"fact_set_id": None}, False),
        ({"facts": [{"question": "Who?", "answer": "Oda"}]}, False),
        ({"facts": [{"question": "Who?", "answer": "Oda"}], "fact_set_id": None}, True),
        ({"method": {"type": "memit"}, "training": {"retention": {"type": "kl"}}}, False),
        ({"method": {"type": "memit"}, "training": {"retention": {"type": "none"}}}, True),
        ({"method": [{"type": "sft"}, {"type": "kl"}], "training": {"retention": {"type": "replay"}}}, False),
        ({"method": [{"type": "sft"}, {"type": "kl"}], "training": {"retention": {"type": "kl"}}}, True),
        ({"training": {"shard": "full"}}, False),
        ({"training": {"shard": "full", "processes": 2}}, True),
        ({"training": {"shard": "full", "processes": 2, "quantize": "nf4"}}, False),
        ({"training": {"shard": "full", "processes": 2, "compile_layers": True}}, False),
        ({"method": {"type": "opsd"}, "training": {"shard": "full", "processes": 2}}, False),
        ({"method": {"type": "opsd", "rollouts": 2}}, True),
        ({"method": {"type": "opsd", "rollouts": 2, "temperature": 0}}, False),
        ({"method": {"type": "mixsd", "verifier": "regex"}}, False),
        ({"method": {"type": "mixsd", "verifier": "regex", "pattern": "^{answer}$"}}, True),
        ({"method": {"type": "mixsd", "lam": [0.5, 0.5]}}, False),
        ({"method": [{"type": "sft"}, {"type": "sft"}]}, False),
        ({"evaluation": {"general": False, "gate": {"suite": "general", "max_drop": 0.1}}}, False),
        ({"evaluation": {"drift": False, "gate": {"suite": "drift", "max_drop": 0.1}}}, False),
        ({"evaluation": {"drift": False, "gate": {"suite": "general", "max_drop": 0.1}}}, True),
        ({"evaluation": {"gate": {"suite": "recall", "max_drop": 1}}}, False),
        ({"evaluation": {"gate": {"suite": "drift", "max_drop": 1}}}, True),
    ],
)
def test_settings_of_a_job_go_together_or_do_not(change: dict[str, Any], *, right: bool) -> None:
    body = JOB | change

    assert takes("JobCreate", body) is right
    assert is_taken(JobCreate, body) is right


@pytest.mark.parametrize(
    ("body", "right"),
    [
        (ASKED, True),
        ({"prompts": ["Who is it?"]}, True),
        ({"prompts": ["Who is it?"], "messages": None}, True),
        ({**ASKED, "prompts": ["Who is it?"]}, False),
        ({}, False),
    ],
)
def test_an_adapter_is_asked_in_one_way(body: dict[str, Any], *, right: bool) -> None:
    assert takes("GenerateRequest", body) is right
    assert is_taken(GenerateRequest, body) is right


def test_no_text_that_clients_send_holds_nul() -> None:
    assert takes("WebhookCreate", {"url": "https://a.example/x", "events": ["*"], "description": "a"})
    assert not takes("WebhookCreate", {"url": "https://a.example/x", "events": ["*"], "description": "\0"})
    assert not takes("JobCreate", JOB | {"metadata": {"a\0": "b"}})
