"""What keeps strangers, and the pages of strangers, from a service that asks for no key; and what is shut."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import log
from app.access import Scope
from app.db.engine import Database
from app.main import build_app
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from app.web.access import OPEN, scope_of
from tests.app.conftest import ListeningDispatcher
from tests.app.keys import a_client, a_key
from tests.app.test_contract import routes_of

FACTS = {"facts": [{"question": "Q?", "answer": "A"}]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.AUTO})


def an_api(database: Database, store: LocalStore, settings: Settings, **changes: object) -> FastAPI:
    return build_app(database, store, ListeningDispatcher(), settings.model_copy(update=changes))


def local(api: FastAPI, **headers: str) -> TestClient:
    client = a_client(api, address="127.0.0.1")
    client.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return client


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"]
)
def test_a_name_that_was_bent_to_this_machine_opens_nothing(api: FastAPI, host: str) -> None:
    """As a page does whose name leads to 127.0.0.1 once it is loaded."""
    answer = local(api, Host=host).get("/jobs")

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_the_machine_s_own_names_do(api: FastAPI, host: str) -> None:
    assert local(api, Host=host).get("/jobs").status_code == 200


def test_a_key_is_worth_more_than_a_name(api: FastAPI, database: Database) -> None:
    secret = a_key(database).secret

    assert a_client(api, secret).get("/jobs", headers={"Host": "mixsd.example"}).status_code == 200


@pytest.mark.parametrize("mode", [AuthMode.AUTO, AuthMode.OFF])
def test_a_page_of_another_site_changes_nothing(
    database: Database, store: LocalStore, settings: Settings, mode: AuthMode
) -> None:
    api = an_api(database, store, settings, auth=mode)
    strange = local(api, Sec_Fetch_Site="cross-site")

    for answer in (
        strange.post("/fact-sets", files={"file": ("f.jsonl", b'{"question": "Q?", "answer": "A"}\n')}),
        strange.post("/fact-sets", json=FACTS),
        strange.delete("/fact-sets/fset_0"),
        strange.patch("/jobs/job_0", json={}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert strange.get("/jobs").status_code == 200
    assert local(api, Sec_Fetch_Site="same-origin").post("/fact-sets", json=FACTS).status_code == 201


def test_allowed_hosts_are_the_only_ones(database: Database, store: LocalStore, settings: Settings) -> None:
    api = an_api(database, store, settings, auth=AuthMode.OFF, allowed_hosts=("mixsd.example", "*.internal"))
    answers = {
        host: local(api, Host=host).get("/healthz").status_code
        for host in ("mixsd.example", "MIXSD.example:443", "a.internal", "internal", "xinternal", "localhost")
    }

    assert answers == {
        "mixsd.example": 200,
        "MIXSD.example:443": 200,
        "a.internal": 200,
        "internal": 400,
        "xinternal": 400,
        "localhost": 400,
    }


def test_whoever_came_by_https_comes_by_nothing_else(api: FastAPI) -> None:
    client = TestClient(api, "https://localhost")

    assert client.get("/healthz").headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in local(api).get("/healthz").headers


def _places(api: FastAPI) -> Iterator[tuple[str, str]]:
    for route in routes_of(api):
        for method in sorted(getattr(route, "methods", None) or {"GET"}):
            yield method, route.path


def test_every_route_of_the_application_needs_a_scope_unless_it_is_opened_by_name(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    """Of the application itself and not of its contract: what is hidden there is tried as well."""
    stranger = a_client(an_api(database, store, settings, auth=AuthMode.REQUIRED))
    places = list(_places(stranger.app))  # type: ignore[arg-type]  # it is ours

    assert len(places) > 70
    for method, path in places:
        filled = path.replace("{path:path}", "x").replace("{", "").replace("}", "")
        answer = stranger.request(method, filled)
        if path in OPEN:
            assert scope_of(method, path) is None
            assert answer.status_code < 400, (method, path)
        else:
            assert scope_of(method, path) in set(Scope), (method, path)
            assert answer.status_code == 401, (method, path)


def test_no_slot_of_a_secret_leads_into_a_log(
    database: Database,
    store: LocalStore,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One canary in each place where a secret may stand, sent, configured or raised."""
    canaries = {
        "database": "postgresql://u:Zq1canary@127.0.0.1:1/none",
        "redis": "redis://:Zq2canary@127.0.0.1:1/0",
        "hub": "hf_Zq3canaryaaaaaaaaaaaaaa",
        "other": "sk-Zq4canaryaaaaaaaaaaaa",
        "webhook": "whsec_Zq5canaryaaaaaaaaaaaa",
        "cloud": "AKIAZQ6CANARYAAAAAAA",
        "forge": "ghp_Zq7canaryaaaaaaaaaaaa",
        "pem": "-----BEGIN PRIVATE KEY-----\nZq8canary\n-----END PRIVATE KEY-----",
        "bearer": "Authorization: Bearer Zq9canary",
        "query": "https://x.example/?token=Zq0canary",
    }
    log.configure(json=True)
    api = an_api(database, store, settings, auth=AuthMode.OFF)

    @api.get("/bug/{which}")
    def bug(which: str) -> None:
        raise RuntimeError(f"it fails with {canaries[which]}")

    client = TestClient(api, "http://localhost", raise_server_exceptions=False)
    for name, canary in canaries.items():
        assert client.get(f"/bug/{name}").status_code == 500
        client.post("/jobs", json={"name": canary}, headers={"X-Secret": canary})
        client.get("/jobs", params={"fact_set_id": canary})
        client.post("/fact-sets", json={"name": canary, "facts": [{"question": canary, "answer": "A"}]})
    told = Settings(
        data_dir=tmp_path,
        database_url=canaries["database"],
        redis_url=canaries["redis"],
        inference_token="Zq11canary",  # noqa: S106
    )

    logged = capsys.readouterr().err + repr(told)

    assert "request.failed" in logged
    assert "canary" not in logged.lower()
