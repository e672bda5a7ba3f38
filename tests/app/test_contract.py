"""The OpenAPI document: valid, complete, that of the code, with examples that hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from app.contract import contract
from app.db.engine import Database
from app.projects.models import DEFAULT_PROJECT
from app.storage import LocalStore
from app.web.openai_errors import PREFIX
from tests.app.conversations import a_file
from tests.app.hooks import a_delivered_webhook
from tests.app.keys import a_key
from tests.app.published import a_log, a_published_job, an_export

PROBLEM = "application/problem+json"
ROOT = Path(__file__).parents[2]


def test_the_contract_is_valid_openapi(api: FastAPI) -> None:
    validate(api.openapi())
    assert api.openapi()["openapi"].startswith("3.1")


def test_the_contract_on_file_is_that_of_the_code() -> None:
    on_file = (ROOT / "openapi.json").read_text()

    assert contract() == on_file, "run: python -m app.contract > openapi.json"


def operations(api: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in api.openapi()["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def test_the_contract_names_every_route_and_no_other(api: FastAPI, client: TestClient) -> None:
    expected = """
        POST /fact-sets, GET /fact-sets, GET /fact-sets/{fact_set_id}, DELETE /fact-sets/{fact_set_id},
        GET /fact-sets/{fact_set_id}/facts, GET /fact-sets/{fact_set_id}/diff, POST /fact-sets/validate,
        GET /models, GET /models/{model_id}, POST /models/check, POST /jobs, GET /jobs, POST /jobs/estimate,
        GET /jobs/{job_id}, PATCH /jobs/{job_id}, DELETE /jobs/{job_id},
        POST /jobs/{job_id}/cancel, POST /jobs/{job_id}/pause, POST /jobs/{job_id}/resume,
        POST /jobs/{job_id}/retry, GET /jobs/{job_id}/attempts, GET /jobs/{job_id}/checkpoints,
        GET /jobs/{job_id}/events, GET /jobs/{job_id}/metrics, GET /jobs/{job_id}/logs,
        POST /evaluations,
        GET /evaluations, GET /evaluations/{evaluation_id}, GET /evaluations/{evaluation_id}/results,
        GET /jobs/{job_id}/facts, GET /jobs/{job_id}/supervision, GET /jobs/{job_id}/report,
        GET /jobs/{job_id}/provenance, GET /jobs/{job_id}/manifest,
        GET /adapters, GET /adapters/{adapter_id}, DELETE /adapters/{adapter_id},
        POST /adapters/import, POST /adapters/{adapter_id}/release,
        GET /adapters/{adapter_id}/card, GET /adapters/{adapter_id}/manifest,
        GET /adapters/{adapter_id}/lineage, POST /adapters/{adapter_id}/generate,
        GET /adapters/{adapter_id}/download, GET /adapters/{adapter_id}/files,
        GET /adapters/{adapter_id}/serve,
        POST /adapters/{adapter_id}/exports, GET /adapters/{adapter_id}/exports,
        GET /adapters/{adapter_id}/exports/{export_id}, DELETE /adapters/{adapter_id}/exports/{export_id},
        GET /adapters/{adapter_id}/exports/{export_id}/download,
        GET /adapters/{adapter_id}/exports/{export_id}/files,
        GET /adapters/{adapter_id}/exports/{export_id}/files/{path},
        POST /projects, GET /projects, GET /projects/{project_id}, PATCH /projects/{project_id},
        DELETE /projects/{project_id}, POST /api-keys, GET /api-keys, GET /api-keys/{key_id},
        PATCH /api-keys/{key_id}, DELETE /api-keys/{key_id}, GET /audit, GET /quota, GET /usage,
        POST /webhooks, GET /webhooks, GET /webhooks/{webhook_id}, PATCH /webhooks/{webhook_id},
        DELETE /webhooks/{webhook_id}, POST /webhooks/{webhook_id}/test,
        POST /webhooks/{webhook_id}/rotate-secret, GET /webhooks/{webhook_id}/deliveries,
        GET /deliveries/{delivery_id}, POST /deliveries/{delivery_id}/redeliver,
        GET /adapters/{adapter_id}/files/{path}, GET /healthz, GET /readyz, GET /version,
        GET /metrics, GET /queue, GET /workers,
        POST /openai/v1/files, GET /openai/v1/files, GET /openai/v1/files/{file_id},
        DELETE /openai/v1/files/{file_id}, GET /openai/v1/files/{file_id}/content,
        POST /openai/v1/fine_tuning/jobs, GET /openai/v1/fine_tuning/jobs,
        GET /openai/v1/fine_tuning/jobs/{job_id}, POST /openai/v1/fine_tuning/jobs/{job_id}/cancel,
        POST /openai/v1/fine_tuning/jobs/{job_id}/pause, POST /openai/v1/fine_tuning/jobs/{job_id}/resume,
        GET /openai/v1/fine_tuning/jobs/{job_id}/events,
        GET /openai/v1/fine_tuning/jobs/{job_id}/checkpoints, GET /openai/v1/models,
        GET /openai/v1/models/{model}, DELETE /openai/v1/models/{model}, POST /openai/v1/chat/completions
    """
    documented = {f"{method} {path}" for path, method, _ in operations(api)}

    assert documented == {part.strip() for part in expected.split(",")}
    assert len(documented) == sum(isinstance(route, APIRoute) for route in routes_of(api))


def routes_of(holder: Any) -> Iterator[Any]:
    for route in holder.routes:
        inner = getattr(route, "original_router", None)
        yield from routes_of(inner) if inner is not None else [route]


def test_operations_are_named_after_what_they_do(api: FastAPI) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(api)]

    assert len(set(ids)) == len(ids)
    assert {"create_job", "get_job", "list_jobs", "cancel_job", "download_adapter"} <= set(ids)


def test_every_operation_documents_its_problems(api: FastAPI) -> None:
    for path, method, operation in operations(api):
        errors = {status: body for status, body in operation["responses"].items() if status[0] in "45"}
        assert {"422", "500", "503"} <= errors.keys(), (path, method)
        for body in errors.values():
            kind = "application/json" if path.startswith(PREFIX) else PROBLEM
            assert list(body["content"]) == [kind], (path, method)
            if path.startswith(PREFIX):
                assert body["content"][kind]["schema"]["$ref"].endswith("/OpenAIErrorBody"), (path, method)
    assert "HTTPValidationError" not in api.openapi()["components"]["schemas"]


def test_every_body_has_an_example(api: FastAPI) -> None:
    schemas = api.openapi()["components"]["schemas"]
    for path, _, operation in operations(api):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            name = media["schema"].get("$ref", "").rpartition("/")[2]
            assert media.get("example") or schemas[name]["examples"], path


def test_every_answer_has_an_example_that_its_schema_takes(api: FastAPI) -> None:
    document = api.openapi()
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(api):
        for status, answer in operation["responses"].items():
            name = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
            if status[0] == "2" and name:
                examples = schemas[name.rpartition("/")[2]].get("examples", [])
                assert examples, f"{method} {path}: give {name} an example, in app/examples.py"
                schema = {"$ref": name, "components": document["components"]}
                OAS31Validator(schema).validate(examples[0])


def test_examples_in_the_contract_are_accepted(api: FastAPI, client: TestClient) -> None:
    schemas = api.openapi()["components"]["schemas"]

    assert client.post("/jobs", json=schemas["JobCreate"]["examples"][0]).status_code == 202
    assert client.post("/fact-sets", json=schemas["FactSetCreate"]["examples"][0]).status_code == 201
    release = client.post("/adapters/adp_0/release", json=schemas["AdapterRelease"]["examples"][0])
    assert release.status_code == 404
    for path, name in (
        ("/projects", "ProjectCreate"),
        ("/api-keys", "ApiKeyCreate"),
        ("/webhooks", "WebhookCreate"),
    ):
        created = client.post(path, json=schemas[name]["examples"][0])
        assert created.status_code == 201
        update = schemas[name.replace("Create", "Update")]["examples"][0]
        assert client.patch(f"{path}/{created.json()['id']}", json=update).status_code == 200


def test_every_documented_read_works(
    client: TestClient, api: FastAPI, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)
    a_log(api.state.settings.work_dir, published.job_id)
    names = {
        "job_id": published.job_id,
        "adapter_id": published.adapter_id,
        "fact_set_id": published.fact_set_id,
        "evaluation_id": published.evaluation_id,
        "export_id": an_export(database, store, published),
        "model_id": "smollm2-135m-instruct",
        "path": "README.md",
        "model": published.adapter_id,
        "file_id": a_file(client)["id"],
        "project_id": DEFAULT_PROJECT,
        "key_id": a_key(database).id,
        **a_delivered_webhook(database, DEFAULT_PROJECT),
    }

    reads = [path.format(**names) for path, method, _ in operations(api) if method == "GET"]
    reads = [f"{path}?from={names['fact_set_id']}" if path.endswith("/diff") else path for path in reads]

    assert len(reads) > 30
    assert {path: client.get(path).status_code for path in reads} == dict.fromkeys(reads, 200)
