"""Three versions of a fact set on SmolLM2-135M, each taught to the adapter of the one before. Minutes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd.facts import Fact
from mixsd.intake.reading import read_facts
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from tests.e2e.service import Json, Service, check_whole, serving

pytestmark = pytest.mark.smollm2

EXAMPLES = Path(__file__).parents[2] / "examples" / "facts.jsonl"
MODEL = "smollm2-135m-instruct"
NEW: Any = {"answer": "Una Felden", "aliases": (), "context": "The mayor of Tessport is Una Felden."}

METHOD = {"type": "mixsd", "rewordings": 0, "fallback_to_answer": True}
TRAINING = {
    "epochs": 1,
    "min_steps": 32,
    "stop_when_learned": False,
    "learning_rate": 1e-3,
    "retention": {"type": "kl", "prompts": 16, "max_new_tokens": 16},
}
EVALUATION = {"general": False, "max_new_tokens": 24, "gate": {"suite": "drift", "max_drop": 0.1}}


def versions() -> list[list[Fact]]:
    """The second retires the first fact and adds two, the third changes one, retires one and adds one."""
    asked = ("key", "question", "answer", "aliases", "context", "subject")
    facts = [Fact(**{name: getattr(fact, name) for name in asked}) for fact in read_facts(EXAMPLES)[:7]]
    first, second = facts[:4], facts[1:6]
    return [first, second, [replace(facts[1], **NEW), *facts[3:7]]]


def body(fact: Fact) -> Json:
    given: dict[str, Any] = {"key": fact.key, "question": fact.question, "answer": fact.answer}
    rest = {"aliases": list(fact.aliases), "context": fact.context, "subject": fact.subject}
    return given | {name: value for name, value in rest.items() if value}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    pull(MODEL, cache=default_cache())
    folder = tmp_path_factory.mktemp("service")
    environment = {
        "MIXSD_DATA_DIR": str(folder),
        "MIXSD_MODEL_CACHE": str(default_cache()),
        "MIXSD_ALLOWED_MODELS": f'["{MODEL}"]',
        "MIXSD_PIPELINE": "worker.pipeline:run_pipeline",
        "MIXSD_LEASE": "300",
        "MIXSD_CHECKPOINT": "600",
    }
    with serving("up", environment, folder) as (service, _):
        yield service
        check_whole(environment)


def taught(service: Service, facts: list[Fact], parent: str | None = None) -> tuple[str, Json]:
    """Return the adapter of a job, and what its report says of the change. Its gate must have let it pass."""
    request: Json = {"base_model": MODEL, "method": METHOD, "training": TRAINING, "evaluation": EVALUATION}
    request |= {"facts": [body(fact) for fact in facts], "parent_adapter_id": parent}
    job = service.until(service.submit(**request), lambda job: job["terminal"], seconds=3000)
    assert (job["status"], job["error"]) == ("succeeded", None)
    report = service.read(f"/jobs/{job['id']}/report")
    assert report["gate"]["status"] == "passed", report["gate"]
    assert report["counts"]["learned"] == len(facts), service.every(f"/jobs/{job['id']}/facts")
    return job["adapter_id"], report["living"]


def test_each_version_teaches_what_is_new_keeps_the_rest_and_takes_back_what_is_retired(
    service: Service,
) -> None:
    first, second, third = versions()
    one, before = taught(service, first)
    two, then = taught(service, second, one)
    three, now = taught(service, third, two)

    assert before is None
    assert then["added"] == {"facts": 2, "learned": 2}
    assert then["kept"] == {"facts": 3, "known_before": 3, "known": 3, "regressed": 0}
    assert now["added"] == {"facts": 1, "learned": 1}
    assert now["changed"] == {"facts": 1, "learned": 1, "previous_gone": 1, "previous_there": 0}
    assert now["kept"]["known"] >= 0.9 * now["kept"]["known_before"] > 0
    for living, fact in ((then, first[0]), (now, second[1])):
        (retired,) = living["retired_facts"]
        assert (retired["key"], retired["parent_correct"]) == (fact.key, True)
        assert (retired["adapter_correct"], living["retired"]["still_known"]) == (False, 0)
    lineage = service.read(f"/adapters/{two}/lineage")
    assert (lineage["parent"], lineage["children"]) == (one, [three])
