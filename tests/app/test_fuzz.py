"""Every operation of the contract under inputs that nobody would think of, made from the document."""

import json
from collections.abc import Iterator
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
    "bad_cursor",  # a cursor is what a list gave, and nothing else
    "bad_pattern",  # settings of a job that do not go together
    "bad_sharding",
    "equal_rollouts",
    "equal_variants",
    "other_retention",
    "suite_not_measured",
    "expiry_in_the_past",
    "facts_or_fact_set",  # one of two fields, not both
    "idempotency_key_reused",  # a key that came before
    "invalid_facts",  # two with one key, an answer that is blank
    "malformed_json",  # a file that is none of the kind that it says
    "model_not_allowed",  # the operator says which
    "nul_character",
    "one_of",  # as well
    "user_last",  # of a conversation
    "webhook_url_refused",  # by what a name resolves to
}
"""Codes of refusals whose rules cannot be written as a schema. What a schema can say is no excuse."""


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


schemathesis.serializer.alias(["application/jsonl", "text/csv", "text/tab-separated-values"], "text/plain")
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
    if response.headers.get("content-type") == ["application/problem+json"]:
        problem = response.json()
        codes = {error["code"] for error in problem.get("errors", [])}
        if problem["code"] in BEYOND_THE_DOCUMENT or (codes and codes <= BEYOND_THE_DOCUMENT):
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
    case.call_and_validate(
        headers={"Authorization": f"Bearer {secret}"},
        additional_checks=[valid_input_is_refused_for_a_reason],
        excluded_checks=[positive_data_acceptance, *EXEMPT.get(case.operation.label, [])],
    )
