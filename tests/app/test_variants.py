"""Jobs that teach their facts in several ways, over HTTP, on both databases."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.jobs.models import MULTIPLIED_RATES, OPEN_RATES, SEVERAL_VARIANTS
from app.jobs.variants import variants_of
from app.storage import LocalStore
from tests.app.published import SWEEP, a_published_sweep
from tests.factories import a_job, the_job
from worker.supervisor import VERSION

FACTS = [{"question": "Who is the mayor of Ebra?", "answer": "Oda Tolm"}]
MIXSD = {"type": "mixsd"}
LAMS = {"type": "mixsd", "lam": [0.1, 0.3, 0.5]}


def a_request(method: Any, **changes: Any) -> dict[str, Any]:
    return {"base_model": "smollm2-135m-instruct", "facts": FACTS, "method": method} | changes


def test_a_list_of_lam_is_one_job_with_a_variant_for_each_value(
    client: TestClient, database: Database
) -> None:
    answer = client.post("/jobs", json=a_request(LAMS))

    job = answer.json()
    assert answer.status_code == 202
    assert job["method"]["lam"] == [0.1, 0.3, 0.5]
    assert job["variants"] == [
        {"variant": number, "label": f"mixsd lam {lam}", "adapter_id": None, "recommended": False}
        for number, lam in enumerate((0.1, 0.3, 0.5))
    ]
    assert job["training"]["retention"]["type"] == "kl"
    stored = the_job(database, job["id"])
    assert (stored.method_type, stored.min_worker_version) == ("mixsd", OPEN_RATES)
    assert VERSION >= MULTIPLIED_RATES > OPEN_RATES
    assert client.get(f"/jobs/{job['id']}").json() == job


def test_methods_of_several_types_share_a_job_and_keep_the_retention_of_each(
    client: TestClient, database: Database
) -> None:
    answer = client.post("/jobs", json=a_request([MIXSD, {"type": "sft"}, {"type": "kl"}]))

    job = answer.json()
    assert [variant["label"] for variant in job["variants"]] == ["mixsd", "sft", "kl"]
    assert [method["type"] for method in job["method"]] == ["mixsd", "sft", "kl"]
    assert job["training"]["retention"]["type"] == "auto"
    assert the_job(database, job["id"]).method_type == "mixsd+sft+kl"


def test_a_list_of_one_makes_one_variant_and_still_takes_a_worker_that_knows_lists(
    client: TestClient, database: Database
) -> None:
    job = client.post("/jobs", json=a_request([{"type": "mixsd", "lam": [0.2]}])).json()

    assert [variant["label"] for variant in job["variants"]] == ["mixsd"]
    assert the_job(database, job["id"]).min_worker_version == OPEN_RATES


@pytest.mark.parametrize(
    ("method", "training", "least"),
    [
        ({"type": "sft"}, {"learning_rate": 1e-3}, 0),
        ({"type": "sft"}, {}, OPEN_RATES),
        ({"type": "sft"}, {"learning_rate_multiplier": 1}, OPEN_RATES),
        ({"type": "sft"}, {"learning_rate_multiplier": 2}, MULTIPLIED_RATES),
        ({"type": "mixsd"}, {"learning_rate": 1e-3}, OPEN_RATES),
        ({"type": "mixsd", "verifier": "contains"}, {"learning_rate": 1e-3}, 0),
        ([{"type": "sft"}, {"type": "kl"}], {"learning_rate": 1e-3}, SEVERAL_VARIANTS),
        ([{"type": "sft"}, {"type": "mixsd"}], {"learning_rate": 1e-3}, OPEN_RATES),
    ],
)
def test_a_job_waits_for_a_worker_that_knows_its_settings(
    client: TestClient, database: Database, method: Any, training: Any, least: int
) -> None:
    job = client.post("/jobs", json=a_request(method) | {"training": training}).json()

    assert the_job(database, job["id"]).min_worker_version == least


@pytest.mark.parametrize(
    ("method", "pointer", "code"),
    [
        ({"type": "mixsd", "lam": []}, "/method/lam", "too_short"),
        ({"type": "mixsd", "lam": [n / 10 for n in range(9)]}, "/method/lam", "too_long"),
        ({"type": "mixsd", "lam": [0.1, 1.5]}, "/method/lam/1", "out_of_range"),
        ({"type": "mixsd", "lam": [0.1, "0.5"]}, "/method/lam/1", "wrong_type"),
        ({"type": "mixsd", "lam": [0.1, [0.5]]}, "/method/lam/1", "wrong_type"),
        ({"type": "mixsd", "lam": [0.3, 0.1, 0.3]}, "/method/lam", "equal_variants"),
        ({"type": "mixsd", "lam": [0, 0.0]}, "/method/lam", "equal_variants"),
        ({"type": "sft", "lam": [0.1, 0.3]}, "/method/lam", "unknown_field"),
        ([], "/method", "too_short"),
        ([{"type": "sft", "seed": n} for n in range(9)], "/method", "too_long"),
        ([{"type": "sft", "seed": n} for n in range(6)] + [LAMS], "/method", "too_long"),
        ([LAMS, {"type": "sft"}, {"type": "mixsd", "lam": 0.3}], "/method", "equal_variants"),
        ([MIXSD, {"type": "mixsd", "rewordings": 4}], "/method", "equal_variants"),
        ([MIXSD, {"type": "magic"}], "/method/1/type", "unknown_value"),
        ([MIXSD, {}], "/method/1", "missing_field"),
        ([MIXSD, "sft"], "/method/1", "wrong_type"),
        ([MIXSD, {"type": "mixsd", "top_k": 0}], "/method/1/top_k", "out_of_range"),
        ([MIXSD, {"type": "mixsd", "lam": [0.1, 2.0]}], "/method/1/lam/1", "out_of_range"),
        ([MIXSD, [MIXSD]], "/method/1", "wrong_type"),
    ],
)
def test_what_is_wrong_with_a_list_is_told_with_its_place(
    client: TestClient, method: Any, pointer: str, code: str
) -> None:
    answer = client.post("/jobs", json=a_request(method))

    assert answer.status_code == 422
    found = [(error["pointer"], error["code"]) for error in answer.json()["errors"]]
    assert found == [(pointer, code)]


@pytest.mark.parametrize(
    ("method", "training", "code"),
    [
        ([MIXSD, {"type": "kl"}], {"retention": {"type": "none"}}, "other_retention"),
        ([MIXSD, {"type": "memit"}], {"retention": {"type": "kl"}}, "other_retention"),
        ([MIXSD, {"type": "opsd"}], {"shard": "full", "processes": 2}, "bad_sharding"),
    ],
)
def test_training_must_go_with_every_method(
    client: TestClient, method: Any, training: dict[str, Any], code: str
) -> None:
    answer = client.post("/jobs", json=a_request(method, training=training))

    assert [error["code"] for error in answer.json()["errors"]] == [code]


def test_labels_tell_variants_apart() -> None:
    def labels(*methods: dict[str, Any]) -> list[str]:
        return [variant.label for variant in variants_of(list(methods))]

    assert labels(MIXSD) == ["mixsd"]
    assert labels({**MIXSD, "lam": 0.3}, {**MIXSD, "lam": 0.5}, {"type": "sft"}) == [
        "mixsd lam 0.3",
        "mixsd lam 0.5",
        "sft",
    ]
    assert labels({"type": "sft", "target": "natural"}, {"type": "sft", "target": "canonical"}) == [
        'sft target "natural"',
        'sft target "canonical"',
    ]
    long = [{**MIXSD, "pattern": "{answer}" + "x" * 100 + end} for end in "ab"]
    assert [label[-4:] for label in labels(*long)] == [" (0)", " (1)"]


def test_only_variants_with_the_same_texts_share_them() -> None:
    methods: list[dict[str, Any]] = [
        MIXSD,
        {"type": "sft"},
        {"type": "kl"},
        {"type": "replay"},
        {"type": "kl", "seed": 1},
    ]

    assert [variant.supervised_by for variant in variants_of(methods)] == [0, 1, 1, 1, 4]


def test_a_job_shows_the_adapter_of_each_variant_and_recommends_one(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_sweep(database, store)

    job = client.get(f"/jobs/{published.job_id}").json()

    assert job["adapter_id"] == published.adapter_id
    shown = [(variant["label"], variant["recommended"]) for variant in job["variants"]]
    assert shown == [("mixsd lam 0.1", False), ("mixsd lam 0.5", True), ("sft", False), ("kl", False)]
    ids = [variant["adapter_id"] for variant in job["variants"]]
    assert (ids[1], ids[3], len(set(ids))) == (published.adapter_id, None, 4)
    assert client.get("/jobs").json()["data"] == [job]
    adapters = client.get("/adapters", params={"job_id": published.job_id}).json()["data"]
    assert {a["id"]: (a["variant"], a["label"], a["recommended"]) for a in adapters} == {
        ids[number]: (number, f"label {number}", number == 1) for number in range(3)
    }


def test_a_report_has_the_verdicts_of_each_variant_and_shows_those_of_the_recommended_one(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_sweep(database, store)

    report = client.get(f"/jobs/{published.job_id}/report").json()

    variants = report["variants"]
    assert [variant["counts"]["learned"] for variant in variants] == [0, 1, 2, 0]
    assert (report["counts"], report["scores"]) == (variants[1]["counts"], variants[1]["scores"])
    assert [variant["method"].get("lam") for variant in variants] == [0.1, 0.5, None, None]
    assert [variant["gate"] and variant["gate"]["status"] for variant in variants] == [
        "passed",
        "passed",
        "failed",
        None,
    ]
    assert [variant["adapter_status"] for variant in variants] == ["ready", "ready", "quarantined", None]
    assert [variant["reason"] for variant in variants] == [None, None, None, "no_supervision"]
    assert (report["gate"]["status"], report["adapter"]["id"]) == ("passed", published.adapter_id)
    assert (report["frontier"]["recommended"], report["frontier"]["why"]) == (1, "it memorised most")


def test_facts_and_texts_are_those_of_the_recommended_variant_or_of_the_one_asked_for(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    url = f"/jobs/{a_published_sweep(database, store).job_id}"

    def learned(**query: int) -> int:
        page = client.get(f"{url}/facts", params={"outcome": "learned", **query}).json()
        return len(page["data"])

    def texts(**query: int) -> list[str]:
        lines = client.get(f"{url}/supervision", params=query).text.splitlines()
        return [json.loads(line)["fact_key"] for line in lines]

    assert (learned(), learned(variant=0), learned(variant=2), learned(variant=3)) == (1, 0, 2, 0)
    assert (texts(), texts(variant=0), texts(variant=2)) == (["river-1"], ["river-0"], ["river-2"])
    assert texts(variant=3) == texts(variant=2)  # both are fine-tuning on the same texts


@pytest.mark.parametrize("path", ["facts", "supervision"])
def test_a_variant_that_there_is_not_is_not_found(
    client: TestClient, database: Database, store: LocalStore, path: str
) -> None:
    url = f"/jobs/{a_published_sweep(database, store).job_id}/{path}"

    answer = client.get(url, params={"variant": len(variants_of(SWEEP))})

    assert (answer.status_code, answer.json()["code"]) == (404, "variant_not_found")
    assert client.get(url, params={"variant": -1}).status_code == 422
    assert client.get(url, params={"variant": 8}).status_code == 422


def test_a_recommended_adapter_that_is_deleted_leaves_the_others(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_sweep(database, store)
    client.delete(f"/adapters/{published.adapter_id}")

    job = client.get(f"/jobs/{published.job_id}").json()
    report = client.get(f"/jobs/{published.job_id}/report").json()

    assert job["adapter_id"] is None
    assert [variant["adapter_id"] is None for variant in job["variants"]] == [False, True, False, True]
    assert report["counts"]["learned"] == 1
    assert [variant["reason"] for variant in report["variants"]][:3] == [None] * 3


def test_before_it_has_succeeded_a_job_shows_what_its_variants_will_be(
    client: TestClient, database: Database
) -> None:
    job_id = a_job(database, method=SWEEP)

    report = client.get(f"/jobs/{job_id}/report").json()

    assert (report["frontier"], len(report["variants"])) == (None, 4)
    assert [variant["counts"]["facts"] for variant in report["variants"]] == [2] * 4
    assert [variant["reason"] for variant in report["variants"]] == [None] * 4
    assert client.get(f"/jobs/{job_id}/facts", params={"variant": 3}).json()["data"] == []
    assert client.get(f"/jobs/{job_id}/supervision").text == ""
