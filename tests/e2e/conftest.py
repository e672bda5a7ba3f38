"""One service on one machine for most tests, and what its job makes if nothing goes wrong."""

import json
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.service import (
    EVALUATION,
    FACTS,
    METHOD,
    RETENTION,
    STEPS,
    TRAINING,
    Json,
    Outcome,
    Service,
    check_whole,
    serving,
)
from tests.fixtures.tiny import register_tiny

EASY = [{"key": f"letter-{a}", "question": f"Which letter is {a}?", "answer": a} for a in "eat"]
LONG = {"key": "long", "question": "What is the long name?", "answer": "Lorundavelqu " * 80}
BABBLE: Json = {
    **METHOD,
    "temperature": 5.0,
    "top_k": 384,
    "max_attempts": 200,
    "max_new_tokens": 24,
    "verifier": "regex",
    "pattern": "{answer}",
    "fallback_to_answer": False,
    "end_at_answer": False,
}
"""So hot that the model soon writes any letter, ends by chance, and never states a name."""


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment in which `tiny/random` is found, and a model without a chat template."""
    cache = tmp_path_factory.mktemp("models")
    register_tiny(cache)
    silent = register_tiny(cache, "tiny/silent").folder
    (silent / "chat_template.jinja").unlink()
    return {"MIXSD_MODEL_CACHE": str(cache)}


@pytest.fixture(scope="package")
def service(models: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    environment = {**models, "MIXSD_DATA_DIR": str(folder)}
    with serving("up", environment, folder) as (service, _):
        yield service
        check_whole(environment)


GATE = {"suite": "drift", "max_drop": 0}
"""One that a job cannot pass: trained on other words, a model finds its own less probable."""


@pytest.fixture(scope="package", autouse=True)
def queued(service: Service) -> dict[str, str]:
    """Jobs that run while other tests do, by what they are about. The facts of the first are a file."""
    lines = "".join(json.dumps(fact) + "\n" for fact in FACTS).encode()
    kind = {"Content-Type": "application/jsonl"}
    created = service.call("POST", "/fact-sets", status=201, content=lines, headers=kind).json()
    plain = [{"key": f["key"], "question": f["question"], "answer": f["answer"]} for f in FACTS]
    return {
        "undisturbed": service.submit(facts=None, fact_set_id=created["id"]),
        "babble": service.submit(facts=[LONG, *EASY, *plain[:2]], method=BABBLE),
        "sft": service.submit(
            method={"type": "sft"},
            training=TRAINING | {"eval_every": 1},
            evaluation=EVALUATION | {"gate": GATE},
        ),
        "kl": service.submit(method={"type": "kl"}, training=TRAINING | {"retention": RETENTION}),
        "opsd": service.submit(method={"type": "opsd", "max_new_tokens": 6}),
        "memit": service.submit(method={"type": "memit", "covariance_tokens": 64, "v_steps": STEPS}),
    }


@pytest.fixture(scope="package")
def undisturbed(service: Service, queued: Mapping[str, str]) -> str:
    """A job that nothing happened to."""
    service.succeeded(queued["undisturbed"])
    return queued["undisturbed"]


@pytest.fixture(scope="package")
def expected(service: Service, undisturbed: str) -> Outcome:
    return service.outcome(undisturbed)
