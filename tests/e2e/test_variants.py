"""One job that teaches in several ways makes, of each, what a job of its own makes."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.conftest import BABBLE
from tests.e2e.service import EVALUATION, STEPS, TARGETS, Json, Outcome, Service, serving

CRASHES = ["generating.after_supervision@1", "training.after_checkpoint@1", "evaluating.kept@1"]
HOT = {**BABBLE, "pattern": "|{answer}"}
"""Any text that ends will do, so that texts differ by `lam`."""
METHODS = [{**HOT, "lam": [0.2, 0.8]}, {"type": "sft"}]
LABELS = ["mixsd lam 0.2", "mixsd lam 0.8", "sft"]


def outcome_of(service: Service, job: Json, variant: int) -> Outcome:
    """Return what a job made of a variant, as `Service.outcome` does for jobs with one."""
    adapter_id = job["variants"][variant]["adapter_id"]
    files = service.read(f"/adapters/{adapter_id}/files")["data"]
    (weights,) = [file["sha256"] for file in files if file["path"] == "adapter_model.safetensors"]
    query = {"variant": variant}
    return Outcome(service.call("GET", f"/jobs/{job['id']}/supervision", params=query).content, weights)


def test_a_job_with_several_variants_that_is_killed_in_the_middle_of_the_second_makes_each_as_it_is_alone(
    service: Service,
    queued: Mapping[str, str],
    models: Mapping[str, str],
    tmp_path: Path,
) -> None:
    alone = {1: service.submit(method={**HOT, "lam": 0.8}), 2: queued["sft"]}
    own = {"MIXSD_DATA_DIR": str(tmp_path), "MIXSD_CRASH_AT": ",".join(CRASHES)}
    with serving("up", {**models, **own}, tmp_path) as (other, _):
        gate = {"suite": "drift", "max_drop": 100}
        job_id = other.submit(method=METHODS, evaluation=EVALUATION | {"gate": gate})
        job = other.succeeded(job_id)

        assert job["attempt"] == len(CRASHES) + 1
        assert [variant["label"] for variant in job["variants"]] == LABELS
        outcomes = [outcome_of(other, job, number) for number in range(3)]
        assert len({outcome.weights for outcome in outcomes}) == 3
        for number, single in alone.items():
            service.succeeded(single)
            assert outcomes[number] == service.outcome(single)

        assert other.steps_saved(job_id) == 3 * list(range(1, STEPS + 1))  # no step was taken twice
        done = {phase["phase"]: (phase["done"], phase["total"]) for phase in job["progress"]}
        assert (done["generating"], done["training"]) == ((3 * TARGETS,) * 2, (3 * STEPS,) * 2)
        assert done["packaging"] == (3, 3)

        report = other.read(f"/jobs/{job_id}/report")
        (best,) = [variant for variant in report["variants"] if variant["recommended"]]
        assert report["frontier"]["recommended"] == best["variant"]
        assert (job["adapter_id"], report["scores"]) == (best["adapter_id"], best["scores"])
        assert [point["label"] for point in report["frontier"]["points"]] == LABELS
        assert [variant["gate"]["status"] for variant in report["variants"]] == ["passed"] * 3
        kinds = {adapter["variant"]: adapter["method_type"] for adapter in other.adapters(job_id)}
        assert kinds == {0: "mixsd", 1: "mixsd", 2: "sft"}
        manifests = [
            json.loads(other.call("GET", f"/adapters/{variant['adapter_id']}/files/manifest.json").content)
            for variant in job["variants"]
        ]
        assert [manifest["method"].get("lam") for manifest in manifests] == [0.2, 0.8, None]
        for number, variant in enumerate(report["variants"]):
            verdicts = other.every(f"/jobs/{job_id}/facts", order="asc", variant=number)
            learned = sum(verdict["outcome"] == "learned" for verdict in verdicts)
            assert (len(verdicts), learned) == (report["counts"]["facts"], variant["counts"]["learned"])
