"""What decided a job is written down, and doing it again gives the same bytes."""

import hashlib
from collections.abc import Mapping

from tests.e2e.service import FACTS, Outcome, Service


def test_the_request_of_a_manifest_repeats_the_job_to_the_byte(
    service: Service, undisturbed: str, expected: Outcome
) -> None:
    first = service.read(f"/jobs/{undisturbed}/manifest")

    again = service.call("POST", "/jobs", status=202, json=first["request"]).json()["id"]
    service.succeeded(again)

    assert first["repeatable"]
    assert first["request"]["revision"] == "r1"
    assert again != undisturbed
    assert service.outcome(again) == expected
    second = service.read(f"/jobs/{again}/manifest")
    own = {"job_id", "request_sha256", "phases", "created_at", "started_at", "finished_at"}
    own |= {"adapter", "variants"}  # their packages say when their jobs were made
    assert {name: second[name] for name in second.keys() - own} == {
        name: first[name] for name in first.keys() - own
    }
    for manifest in (first, second):
        (variant,) = manifest["variants"]
        assert variant["adapter"] == manifest["adapter"]
        assert variant["supervision_sha256"] == manifest["supervision_sha256"]
    assert first["adapter"]["weights_sha256"] == second["adapter"]["weights_sha256"] == expected.weights


def test_a_manifest_names_all_that_decided_its_job(
    service: Service, undisturbed: str, expected: Outcome
) -> None:
    manifest = service.read(f"/jobs/{undisturbed}/manifest")

    supervision = hashlib.sha256(expected.supervision).hexdigest()
    digests = {phase["phase"]: phase for phase in manifest["phases"]}
    assert manifest["supervision_sha256"] == digests["generating"]["output_sha256"] == supervision
    for name in ("baseline", "generating", "training"):
        assert len(digests[name]["input_sha256"]) == 64
    assert manifest["facts"]["n"] == len(FACTS)
    assert manifest["base_model"]["id"] == "tiny/random"
    assert len(manifest["base_model"]["template_sha256"]) == 64
    assert manifest["law"] == 2
    assert {"mixsd", "torch", "transformers", "peft"} <= manifest["versions"].keys()
    machine = manifest["machine"]
    assert (machine["device"], machine["threads"], machine["gpu"]) == ("cpu", 1, None)
    assert machine["architecture"]
    files = service.read(f"/adapters/{manifest['adapter']['id']}/files")["data"]
    others = {file["path"]: file["sha256"] for file in files if file["path"] != "manifest.json"}
    assert manifest["adapter"]["files"] == others


def test_the_tokens_of_a_text_are_told_apart_and_make_it_up(
    service: Service, queued: Mapping[str, str]
) -> None:
    service.succeeded(queued["babble"])

    facts = service.every(f"/jobs/{queued['babble']}/provenance")

    texts = [text for fact in facts for text in fact["texts"]]
    picks = {token["pick"] for text in texts for token in text["tokens"]}
    assert {"naive", "expert"} <= picks
    for text in texts:
        pieces = [token["text"] for token in text["tokens"]]
        whole = "".join(piece for piece in pieces if not piece.startswith(("<|im_end", "<|endof")))
        assert whole.strip() == text["text"]
    assert texts[0]["tokens"] == [], "one that was too long was never written"


def test_a_report_is_a_page_that_needs_nothing_else(service: Service, undisturbed: str) -> None:
    answer = service.call("GET", f"/jobs/{undisturbed}/report", headers={"Accept": "text/html"})

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for fact in FACTS:
        assert fact["question"] in answer.text
    assert "<script" not in answer.text
    assert "src=" not in answer.text
