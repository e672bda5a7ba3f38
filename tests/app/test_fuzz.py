"""Every operation of the contract under inputs that nobody would think of, made from the document."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.types import Receive, Scope, Send

import migrations
from app import log
from app.contract import contract
from app.db.engine import Database, make_engine
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.app.keys import a_key

EXAMPLES: Final = 10
"""Requests to an operation that are drawn, beside those at the edges of what the document allows."""


PARQUET: Final = "application/vnd.apache.parquet"
BEYOND_THE_DOCUMENT: Final = {
    "bad_cursor": "what a list gave before, and nothing else",
    "bad_date": "no calendar is a pattern, and the end must not lie before the beginning",
    "bad_pattern": "which pattern compiles; the document says the rest",
    "blank_text": "Unicode says which characters say something; white space is in the document",
    "duplicate_fact_key": "uniqueness by one member of an item",
    "equal_variants": "two that differ in what is written, not in what it comes to",
    "expiry_in_the_past": "now",
    "given_twice": "two fields that mean the same, where null is as good as left out",
    "idempotency_key_reused": "what came before",
    "malformed_archive": "what is in an archive",
    "model_not_allowed": "the operator's list",
    "model_not_on_disk": "what a machine has",
    "no_parent": "what one more rule would make too large for the generator of requests",
    "no_stream": "options of a stream where there is none",
    "parent_not_supported": "as no_parent",
    "rate_too_high": "the product of two numbers",
    "too_long at /method": "the lengths of several lists together",
    "user_last": "the last item of a list",
    "webhook_url_refused": "what a name resolves to",
}
"""Codes of refusals, and what their rules rest on that no schema can say. What it can say is no excuse."""


FILES: Final = {"application/jsonl", "text/csv", "text/tab-separated-values", "multipart/form-data"}
"""Bodies of which the document says that they are text, or a file: what is in them is of its own form."""


EXEMPT: Final = {"POST /fact-sets/validate": [negative_data_rejection]}
"""Checks that an operation need not pass: this one says in its answer what is wrong."""


class Served:
    """What the requests go to: cases are made from the document before there is a service."""

    app: FastAPI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def _without_parquet(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what takes a process to read and has tests of its own, and another name of JSONL."""
    for path in ("/fact-sets", "/fact-sets/validate"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        del content[PARQUET], content["application/x-ndjson"]
        kinds = content["multipart/form-data"]["encoding"]["file"]
        kinds["contentType"] = kinds["contentType"].replace(f", {PARQUET}", "")
    return document


SERVED: Final = Served()
DOCUMENT: Final = schemathesis.openapi.from_dict(_without_parquet(json.loads(contract())))
DOCUMENT.app = SERVED


schemathesis.serializer.alias(["application/gzip", "application/zip"], "application/octet-stream")
schemathesis.serializer.alias(["application/jsonl", "text/csv", "text/tab-separated-values"], "text/plain")
DOCUMENT.config.checks.negative_data_rejection.expected_statuses = [
    *(str(status) for status in (400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429)),
    "503",
]
DOCUMENT.config.generation.allow_extra_parameters = False  # there may be more of them one day


def _is_read_otherwise(value: object) -> bool:
    """Say whether a number is valid for those alone who compute with floats: 1.0 as an integer, 2**63."""
    if isinstance(value, dict):
        return any(map(_is_read_otherwise, value.values()))
    if isinstance(value, list):
        return any(map(_is_read_otherwise, value))
    whole = isinstance(value, float) and value.is_integer()
    return whole or (isinstance(value, int) and value >= 2**63)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the API on SQLite, and give a key that opens everything."""
    folder = tmp_path_factory.mktemp("fuzz")
    log.configure(json=False)
    engine = make_engine(f"sqlite:///{folder / 'fuzz.db'}")
    migrations.upgrade(engine)
    database = Database(engine)
    settings = Settings(data_dir=folder, model_cache=folder / "models", auth=AuthMode.REQUIRED, rate_limit=0)
    SERVED.app = build_app(database, LocalStore(folder / "artifacts"), NullDispatcher(), settings)
    yield a_key(database).secret
    engine.dispose()


def valid_input_is_refused_for_a_reason(
    context: CheckContext, response: Response, case: Case[Any]
) -> bool | None:
    """Check as schemathesis does, but for refusals by rules that no schema can express."""
    if _is_read_otherwise(case.body):
        return None
    said = response.json() if response.status_code >= 400 else {}
    code = said.get("error", {}).get("code")  # as OpenAI's clients read it
    if code in BEYOND_THE_DOCUMENT or (case.media_type in FILES and code == "invalid_facts"):
        return None
    if response.headers.get("content-type") == ["application/problem+json"]:
        problem = said
        found = [(problem["code"], None), *((e["code"], e.get("pointer")) for e in problem.get("errors", []))]
        beyond = [
            code in BEYOND_THE_DOCUMENT or f"{code} at {pointer}" in BEYOND_THE_DOCUMENT
            for code, pointer in found
        ]
        if beyond[0] or (found[1:] and all(beyond[1:])):
            return None
        if case.media_type in FILES and problem["code"] in {"invalid_facts", "malformed_json"}:
            return None
    verdict: bool | None = positive_data_acceptance(context, response, case)
    return verdict


@DOCUMENT.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_input_breaks_the_contract(case: Case[Any], secret: str) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    response = case.call(headers=headers)
    if response.status_code == HTTPStatus.REQUEST_URI_TOO_LONG:
        assert response.json()["code"] == "uri_too_long"  # before anything is looked at, whatever is asked
        return
    case.validate_response(
        response,
        headers=headers,
        additional_checks=[valid_input_is_refused_for_a_reason],
        excluded_checks=[positive_data_acceptance, *EXEMPT.get(case.operation.label, [])],
    )
