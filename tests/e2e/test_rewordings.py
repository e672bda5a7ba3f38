"""Jobs whose facts get other wordings."""

import json
from collections.abc import Mapping
from pathlib import Path

from mixsd import run
from mixsd.facts import Fact
from mixsd.models.load import load_base
from mixsd.models.registry import find
from mixsd.options import plan_from
from mixsd.supervise import supervise
from mixsd.supervision import Supervision
from tests.e2e.service import FACTS, METHOD, TRAINING, serving

PLAIN = [{"key": fact["key"], "question": fact["question"], "answer": fact["answer"]} for fact in FACTS[:3]]
REWORDED = {**METHOD, "rewordings": 2, "max_attempts": 1}


def test_a_job_that_is_killed_makes_its_rewordings_anew(models: Mapping[str, str], tmp_path: Path) -> None:
    environment = {
        **models,
        "MIXSD_DATA_DIR": str(tmp_path),
        "MIXSD_CRASH_AT": "generating.after_supervision,training.before_checkpoint",
    }
    with serving("up", environment, tmp_path) as (service, _):
        job_id = service.submit(facts=PLAIN, method=REWORDED, training={**TRAINING, "epochs": 1})
        job = service.succeeded(job_id)

        assert job["attempt"] == 3
        lines = service.outcome(job_id).supervision.splitlines()
    found = [Supervision.from_json(json.loads(line)) for line in lines]
    assert found == made_by_the_library(Path(models["MIXSD_MODEL_CACHE"]))
    assert len({record.question for record in found}) == 9


def made_by_the_library(cache: Path) -> list[Supervision]:
    on_disk = find(cache, "tiny/random")
    assert on_disk is not None
    plan = plan_from(method=REWORDED)
    facts = [Fact.from_json(fact) for fact in PLAIN]
    records: list[Supervision] = []
    supervise(load_base(on_disk, device="cpu"), facts, plan, on_records=records.extend)
    return run.in_order(records, facts, plan)
