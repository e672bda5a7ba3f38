"""From facts to an adapter, over HTTP."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.e2e.conftest import EASY
from tests.e2e.service import FACTS, PARAPHRASES, STEPS, TARGETS, Json, Service
from tests.fixtures.tiny import make_tokenizer

PHASES = ["preparing", "baseline", "generating", "training", "evaluating", "packaging"]
KEYS = [fact["key"] for fact in FACTS]
WORDINGS = 1 + len(PARAPHRASES)


def files_of(service: Service, adapter_id: str) -> dict[str, bytes]:
    files = service.read(f"/adapters/{adapter_id}/files")["data"]
    contents = {}
    for file in files:
        answer = service.call("GET", f"/adapters/{adapter_id}/files/{file['path']}")
        assert answer.headers["ETag"] == f'"{file["sha256"]}"'
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert len(answer.content) == file["bytes"]
        contents[file["path"]] = answer.content
    return contents


def records_of(service: Service, job_id: str) -> list[Json]:
    lines = service.call("GET", f"/jobs/{job_id}/supervision").content.splitlines()
    return [json.loads(line) for line in lines]


def answers(base: Path, adapter: Path, questions: list[str], max_new_tokens: int) -> list[str]:
    """Ask as a user would, with nothing of ours."""
    tokenizer: Any = AutoTokenizer.from_pretrained(adapter)
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    texts = []
    for question in questions:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            ids = model.generate(**prompt, do_sample=False, max_new_tokens=max_new_tokens)
        texts.append(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return [text.strip() for text in texts]


def test_a_job_goes_through_all_phases_and_says_so(service: Service, undisturbed: str) -> None:
    job = service.read(f"/jobs/{undisturbed}")

    assert (job["status"], job["attempt"], job["revision"]) == ("succeeded", 1, "r1")
    assert [phase["phase"] for phase in job["progress"]] == PHASES
    assert all(phase["finished"] and phase["done"] == phase["total"] > 0 for phase in job["progress"])
    done = {phase["phase"]: (phase["done"], phase["unit"]) for phase in job["progress"]}
    assert done["generating"] == (TARGETS, "targets")
    assert done["training"] == (STEPS, "steps")
    events = service.events(undisturbed)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["type"] for event in events]
    assert [event["phase"] for event in events if event["type"] == "job.phase_started"] == PHASES
    assert [event["phase"] for event in events if event["type"] == "job.phase_completed"] == PHASES
    assert kinds.count("job.checkpoint_saved") == STEPS
    assert kinds[-3:] == ["evaluation.completed", "adapter.created", "job.succeeded"]


def test_every_fact_has_a_verdict_and_a_text_and_the_report_adds_up(
    service: Service, undisturbed: str
) -> None:
    verdicts = service.every(f"/jobs/{undisturbed}/facts", order="asc")
    records = records_of(service, undisturbed)
    report = service.read(f"/jobs/{undisturbed}/report")

    assert [verdict["key"] for verdict in verdicts] == KEYS
    assert [asked["kind"] for asked in verdicts[0]["asked"]] == ["question", "paraphrase", "probe"]
    assert {verdict["scored_by"] for verdict in verdicts} == {"contains"}
    for suite in report["mistakes"]:
        kind = "question" if suite["suite"] == "recall" else suite["suite"].partition("_")[0]
        for side in ("base", "adapter"):
            rows = [row for verdict in verdicts for row in verdict["asked"] if row["kind"] == kind]
            assert sum(filter(None, suite[side].values())) == sum(not row[f"{side}_correct"] for row in rows)
    counts = report["counts"]
    assert counts.pop("facts") == sum(counts.values()) == len(FACTS)
    for outcome, count in counts.items():
        found = service.every(f"/jobs/{undisturbed}/facts", order="asc", outcome=outcome)
        assert found == [verdict for verdict in verdicts if verdict["outcome"] == outcome]
        assert len(found) == count
    assert [record["fact_key"] for record in records] == [key for key in KEYS for _ in range(WORDINGS)]
    assert {record["method"] for record in records} <= {"mixsd", "fallback"}
    suites = {(score["suite"], score["metric"]) for score in report["scores"]}
    assert suites == {(s, "accuracy") for s in ("recall", "paraphrase", "probe", "probe_other")} | {
        ("drift", "nats_per_token")
    }
    (drift,) = [score for score in report["scores"] if score["suite"] == "drift"]
    assert drift["low"] <= drift["difference"] <= drift["high"]
    assert drift["difference"] != 0  # an adapter that does nothing would not drift
    assert report["supervision"]["facts"] == report["supervision"]["verified"] == len(FACTS)
    assert report["supervision"]["tokens"] == sum(len(record["token_ids"]) for record in records)
    assert report["training"]["steps"] == STEPS
    assert report["training"]["last_loss"] < report["training"]["first_loss"]


def without_place(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in verdict.items() if name != "ord"} for verdict in verdicts]


def test_both_archives_and_every_file_are_what_the_manifest_says(service: Service, undisturbed: str) -> None:
    report = service.read(f"/jobs/{undisturbed}/report")["adapter"]

    contents = files_of(service, report["id"])

    assert sorted(contents) == report["files"]
    manifest = json.loads(contents["manifest.json"])
    assert hashlib.sha256(contents["manifest.json"]).hexdigest() == report["sha256"]
    others = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    del others["manifest.json"]
    assert manifest["files"] == others
    ledger = json.loads(contents["facts.json"])
    verdicts = service.every(f"/jobs/{undisturbed}/facts", order="asc")
    assert ledger["results"] == [
        {name: value for name, value in verdict.items() if name in result or value is not None}
        for verdict, result in zip(without_place(verdicts), ledger["results"], strict=True)
    ]
    download = f"/adapters/{report['id']}/download"
    packed = service.call("GET", download).content
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        members = {m.name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
        assert {name: file.read() for name, file in members.items() if file} == {
            f"adapter/{path}": data for path, data in contents.items()
        }
    packed = service.call("GET", download, params={"format": "zip"}).content
    with zipfile.ZipFile(io.BytesIO(packed)) as zipped:
        assert {name: zipped.read(name) for name in zipped.namelist() if name[-1] != "/"} == {
            f"adapter/{path}": data for path, data in contents.items()
        }


def test_peft_loads_the_download_and_gives_the_answers_of_the_ledger(
    service: Service, undisturbed: str, models: Mapping[str, str], tmp_path: Path
) -> None:
    adapter_id = service.read(f"/jobs/{undisturbed}")["adapter_id"]
    packed = service.call("GET", f"/adapters/{adapter_id}/download").content
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        tar.extractall(tmp_path, filter="data")
    asked = [
        question
        for verdict in service.every(f"/jobs/{undisturbed}/facts", order="asc")
        for question in verdict["asked"]
    ]
    base = Path(models["MIXSD_MODEL_CACHE"], "tiny--random", "r1")

    said = answers(base, tmp_path / "adapter", [question["question"] for question in asked], 8)

    assert said == [question["adapter_answer"] for question in asked]
    assert said != [question["base_answer"] for question in asked]


def test_facts_without_a_text_are_reported_and_not_trained_on(
    service: Service, queued: Mapping[str, str]
) -> None:
    job_id = queued["babble"]
    service.succeeded(job_id)

    records = records_of(service, job_id)
    verdicts = {verdict["key"]: verdict for verdict in service.every(f"/jobs/{job_id}/facts")}
    report = service.read(f"/jobs/{job_id}/report")

    trained = [record for record in records if record["verified"]]
    assert {record["fact_key"] for record in trained} == {fact["key"] for fact in EASY}
    stops = set(make_tokenizer().all_special_ids)
    for record in trained:
        assert record["fact_key"][-1] in record["text"].lower()
        assert record["token_ids"][-1] in stops
        assert len(record["picks"]) == len(record["token_ids"])
        assert set(record["picks"]) <= {"e", "n"}
    assert report["training"]["steps"] == 3  # epochs of one batch
    for key in KEYS[:2]:
        assert verdicts[key]["outcome"] == "no_supervision"
        assert verdicts[key]["reason"] in {"cap", "answer_not_stated"}
    assert report["counts"]["no_supervision"] == 2
    assert (report["supervision"]["facts"], report["supervision"]["verified"]) == (6, 3)
    assert report["supervision"]["tokens"] == sum(len(record["token_ids"]) for record in trained)
    rejected = [e for e in service.events(job_id) if e["type"] == "job.supervision_rejected"]
    assert {event["data"]["fact_key"] for event in rejected} == {"long", *KEYS[:2]}


def test_a_fact_that_does_not_fit_the_model_is_skipped_and_the_others_are_taught(
    service: Service, queued: Mapping[str, str]
) -> None:
    job_id = queued["babble"]
    service.succeeded(job_id)

    (verdict,) = service.every(f"/jobs/{job_id}/facts", outcome="skipped")

    assert (verdict["key"], verdict["reason"]) == ("long", "prompt_too_long")
    (record,) = [record for record in records_of(service, job_id) if record["fact_key"] == "long"]
    assert (record["token_ids"], record["finish_reason"]) == ([], "prompt_too_long")
    counts = service.read(f"/jobs/{job_id}/report")["counts"]
    assert counts.pop("facts") == sum(counts.values()) == 6


def test_plain_fine_tuning_goes_the_same_way(service: Service, queued: Mapping[str, str]) -> None:
    job_id = queued["sft"]
    service.succeeded(job_id)

    records = records_of(service, job_id)
    report = service.read(f"/jobs/{job_id}/report")

    assert [record["fact_key"] for record in records] == [key for key in KEYS for _ in range(WORDINGS)]
    answers = {fact["key"]: fact["answer"] for fact in FACTS}
    for record in records:
        assert (record["method"], record["picks"], record["verified"]) == ("sft", "", True)
        assert answers[record["fact_key"]] in record["text"]
    assert report["counts"]["no_supervision"] == report["counts"]["skipped"] == 0
    assert report["training"]["steps"] == STEPS
    (adapter,) = service.adapters(job_id)
    assert adapter["method_type"] == "sft"


def test_an_adapter_that_fails_its_gate_is_held_back_until_it_is_released(
    service: Service, queued: Mapping[str, str]
) -> None:
    job_id = queued["sft"]
    job = service.succeeded(job_id)
    (drift,) = [
        score for score in service.read(f"/jobs/{job_id}/report")["scores"] if score["suite"] == "drift"
    ]
    url = f"/adapters/{job['adapter_id']}"

    assert (job["gate"]["status"], job["gate"]["suite"]) == ("failed", "drift")
    assert {name: drift[name] for name in ("n", "base", "adapter")}.items() <= job["gate"].items()
    assert 0 < job["gate"]["low"] < job["gate"]["difference"] == pytest.approx(drift["difference"])
    kinds = [event["type"] for event in service.events(job_id)]
    assert kinds[-3:] == ["job.gate_failed", "adapter.quarantined", "job.succeeded"]
    assert service.call("GET", f"{url}/download", status=409).json()["code"] == "adapter_quarantined"

    released = service.call("POST", f"{url}/release", json={"reason": "it is a test"}).json()

    assert (released["status"], released["release_reason"]) == ("ready", "it is a test")
    manifest = json.loads(service.call("GET", f"{url}/files/manifest.json").content)
    assert manifest["figures"]["summary"]["gate"] == job["gate"]
    assert service.events(job_id)[-1]["type"] == "adapter.released"


@pytest.mark.parametrize(
    ("name", "method", "retention"),
    [("kl", "sft", "kl"), ("opsd", "opsd", "none"), ("memit", "memit", "none")],
)
def test_other_objectives_go_the_same_way(
    service: Service, queued: Mapping[str, str], name: str, method: str, retention: str
) -> None:
    job_id = queued[name]
    job = service.succeeded(job_id)

    assert (job["method"]["type"], job["training"]["retention"]["type"]) == (name, retention)
    assert {(record["method"], record["picks"]) for record in records_of(service, job_id)} == {(method, "")}
    report = service.read(f"/jobs/{job_id}/report")
    assert (report["method"]["type"], report["training"]["steps"]) == (name, STEPS)
    (adapter,) = service.adapters(job_id)
    assert adapter["method_type"] == name
