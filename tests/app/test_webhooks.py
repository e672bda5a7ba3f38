"""Webhooks over HTTP: endpoints, secrets, filters and what was sent."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.access import Scope
from app.db.engine import Database
from app.idempotency.models import StoredAnswer
from app.projects.models import DEFAULT_PROJECT
from app.settings import AuthMode, Settings
from app.webhooks import addresses, errors
from app.webhooks.addresses import Resolver
from app.webhooks.models import Webhook
from app.webhooks.service import MOST_WEBHOOKS
from app.webhooks.states import PATTERNS, TYPES, is_wanted
from tests.app.hooks import a_delivered_webhook
from tests.app.keys import a_client, a_key

ROOT = Path(__file__).parents[2]
BODY = {"url": "https://hooks.example.com/mixsd", "events": ["job.failed", "job.*", "job.failed"]}


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_endpoint_is_made_read_changed_and_deleted(client: TestClient) -> None:
    created = client.post("/webhooks", json=BODY | {"description": "ours"})

    assert created.status_code == 201
    made = created.json()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made.pop("secret"))
    assert made == {
        "id": made["id"],
        "url": "https://hooks.example.com/mixsd",
        "events": ["job.*", "job.failed"],
        "description": "ours",
        "enabled": True,
        "status": "active",
        "disabled_reason": None,
        "disabled_at": None,
        "failing_since": None,
        "old_secret_until": None,
        "created_at": made["created_at"],
    }
    path = created.headers["Location"]
    assert path == f"/webhooks/{made['id']}"
    assert client.get(path).json() == made
    assert client.get("/webhooks").json()["data"] == [made]
    changed = client.patch(path, json={"events": ["*"], "description": None}).json()
    assert changed == made | {"events": ["*"], "description": None}
    assert client.patch(path, json={}).json() == changed
    assert client.delete(path).status_code == 204
    assert code_of(client.get(path)) == (404, "webhook_not_found")


def test_a_secret_is_shown_once(client: TestClient, database: Database) -> None:
    made = client.post("/webhooks", json=BODY).json()
    path = f"/webhooks/{made['id']}"
    client.post(f"{path}/test")

    for read in (path, "/webhooks", f"{path}/deliveries"):
        assert "whsec_" not in client.get(read).text

    rotated = client.post(f"{path}/rotate-secret", json={"overlap_seconds": 60}).json()
    assert rotated["secret"] not in {made["secret"], None}
    assert rotated["old_secret_until"] is not None
    at_once = client.post(f"{path}/rotate-secret", json={"overlap_seconds": 0}).json()
    assert at_once["old_secret_until"] is None
    with database.read() as session:
        stored = session.scalars(select(Webhook)).one()
        assert (stored.secret, stored.old_secret) == (at_once["secret"], None)
    assert "secret" not in client.get(path).json()


def test_secrets_are_not_logged(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    made = client.post("/webhooks", json=BODY).json()
    client.post(f"/webhooks/{made['id']}/rotate-secret")

    said = capsys.readouterr()
    assert "webhook.created" in said.out + said.err
    assert "whsec_" not in said.out + said.err


def test_an_endpoint_that_is_asked_for_again_is_made_once(client: TestClient, database: Database) -> None:
    first, second = (
        client.post("/webhooks", json=BODY, headers={"Idempotency-Key": "one"}) for _ in range(2)
    )

    assert second.json() == first.json()
    assert len(client.get("/webhooks").json()["data"]) == 1
    with database.read() as session:
        assert session.scalars(select(StoredAnswer.key)).all() == ["one"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://hooks.example.com/", "https_needed"),
        ("https://127.0.0.1/", "address_refused"),
        ("https://[::1]/", "address_refused"),
        ("https://[::ffff:127.0.0.1]/", "address_refused"),
        ("https://169.254.169.254/latest/meta-data/", "address_refused"),
        ("https://internal.example.com/", "address_refused"),
        ("https://2130706433/", "bad_host"),
        ("https://me:secret@hooks.example.com/", "url_with_credentials"),
        ("gopher://hooks.example.com/", "https_needed"),
    ],
)
def test_where_webhooks_may_not_go_is_refused_with_a_reason(
    client: TestClient, url: str, reason: str
) -> None:
    made = client.post("/webhooks", json=BODY).json()

    for answer in (
        client.post("/webhooks", json=BODY | {"url": url}),
        client.patch(f"/webhooks/{made['id']}", json={"url": url}),
    ):
        assert code_of(answer) == (422, "webhook_url_refused")
        (error,) = answer.json()["errors"]
        assert (error["code"], error["pointer"]) == (reason, "/url")
    assert client.get("/webhooks").json()["data"] == [
        {name: value for name, value in made.items() if name != "secret"}
    ]


class TestWhereNobodyKnowsTheName:
    @pytest.fixture
    def resolve(self) -> Resolver:
        def away(host: str, port: int) -> list[str]:
            raise TimeoutError("no answer")

        return away

    def test_the_endpoint_is_taken_since_each_connection_asks_again(self, client: TestClient) -> None:
        assert client.post("/webhooks", json=BODY).status_code == 201
        answer = client.post("/webhooks", json=BODY | {"url": "https://10.0.0.1/"})
        assert code_of(answer) == (422, "webhook_url_refused")


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"events": []}, "too_short", "/events"),
        ({"events": ["job.succeded"]}, "unknown_value", "/events/0"),
        ({"events": ["job.failed", "jobs.*"]}, "unknown_value", "/events/1"),
        ({"events": ["webhook.test"]}, "unknown_value", "/events/0"),
        ({"events": "*"}, "wrong_type", "/events"),
        ({"events": ["*"] * 51}, "too_long", "/events"),
        ({"url": ""}, "too_short", "/url"),
        ({"url": "https://example.com/" + "x" * 2000}, "too_long", "/url"),
        ({"url": None}, "wrong_type", "/url"),
        ({"enabled": "yes"}, "wrong_type", "/enabled"),
        ({"description": "x" * 1001}, "too_long", "/description"),
        ({"secret": "whsec_mine"}, "unknown_field", "/secret"),
    ],
)
def test_a_bad_endpoint_is_refused_with_its_place(
    client: TestClient, change: dict[str, Any], code: str, pointer: str
) -> None:
    answer = client.post("/webhooks", json=BODY | change)

    assert answer.status_code == 422
    assert [(error["code"], error["pointer"]) for error in answer.json()["errors"]] == [(code, pointer)]


def test_a_project_has_so_many_endpoints_and_no_more(client: TestClient) -> None:
    made = [client.post("/webhooks", json=BODY).json()["id"] for _ in range(MOST_WEBHOOKS)]

    assert code_of(client.post("/webhooks", json=BODY)) == (409, "webhook_limit")
    assert client.delete(f"/webhooks/{made[0]}").status_code == 204
    assert client.post("/webhooks", json=BODY).status_code == 201


def test_nothing_is_sent_to_an_endpoint_that_is_switched_off(client: TestClient, database: Database) -> None:
    ids = a_delivered_webhook(database, DEFAULT_PROJECT)
    path = f"/webhooks/{ids['webhook_id']}"
    waiting = client.post(f"{path}/test").json()

    off = client.patch(path, json={"enabled": False}).json()

    assert (off["enabled"], off["status"], off["disabled_reason"]) == (False, "disabled", "request")
    assert off["disabled_at"] is not None
    left = client.get(f"/deliveries/{waiting['id']}").json()
    assert (left["status"], left["error"]) == ("failed", "the webhook was disabled")
    assert code_of(client.post(f"{path}/test")) == (409, "webhook_disabled")
    assert code_of(client.post(f"/deliveries/{ids['delivery_id']}/redeliver")) == (409, "webhook_disabled")
    on = client.patch(path, json={"enabled": True}).json()
    assert (on["enabled"], on["status"], on["disabled_reason"], on["disabled_at"]) == (
        True,
        "active",
        None,
        None,
    )
    assert client.post(f"{path}/test").status_code == 202


def test_deliveries_are_listed_by_status_and_read_with_their_log(
    client: TestClient, database: Database
) -> None:
    ids = a_delivered_webhook(database, DEFAULT_PROJECT)
    path = f"/webhooks/{ids['webhook_id']}/deliveries"
    asked = client.post(f"/webhooks/{ids['webhook_id']}/test")
    assert (asked.status_code, asked.json()["status"], asked.json()["tries"]) == (202, "pending", 0)

    assert [row["id"] for row in client.get(path).json()["data"]] == sorted(
        [asked.json()["id"], ids["delivery_id"]], reverse=True
    )
    (taken,) = client.get(path, params={"status": "delivered"}).json()["data"]
    detail = client.get(f"/deliveries/{ids['delivery_id']}").json()
    assert {name: detail[name] for name in taken} == taken
    assert (taken["type"], taken["next_try_at"], taken["response_status"]) == ("webhook.test", None, 200)
    assert detail["message"]["data"]["id"] == ids["webhook_id"]
    (line,) = detail["log"]
    assert (line["number"], line["response_status"], line["response"], line["error"]) == (
        1,
        200,
        "thanks",
        None,
    )
    assert line["seconds"] == pytest.approx(0.1, abs=0.002)
    again = client.post(f"/deliveries/{ids['delivery_id']}/redeliver")
    assert (again.status_code, again.json()["status"], again.json()["finished_at"]) == (202, "pending", None)
    assert code_of(client.get("/deliveries/dlv_0")) == (404, "delivery_not_found")


class TestScopes:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"auth": AuthMode.REQUIRED})

    def test_reading_takes_read_and_all_else_takes_write(self, api: FastAPI, database: Database) -> None:
        reader = a_client(api, a_key(database, scopes=[Scope.READ]).secret)
        writer = a_client(api, a_key(database, scopes=[Scope.WRITE]).secret)
        path = f"/webhooks/{writer.post('/webhooks', json=BODY).json()['id']}"

        assert reader.get(path).status_code == 200
        assert code_of(reader.post(f"{path}/test")) == (403, "missing_scope")
        assert code_of(reader.delete(path)) == (403, "missing_scope")
        assert code_of(writer.get(path)) == (403, "missing_scope")
        delivery = writer.post(f"{path}/test").json()["id"]
        assert reader.get(f"/deliveries/{delivery}").status_code == 200
        assert code_of(reader.post(f"/deliveries/{delivery}/redeliver")) == (403, "missing_scope")


def test_filters_take_a_type_a_kind_or_everything() -> None:
    assert is_wanted("job.failed", ["job.failed"])
    assert is_wanted("job.failed", ["adapter.*", "job.*"])
    assert is_wanted("job.failed", ["*"])
    assert not is_wanted("job.failed", ["job.succeeded", "adapter.*"])
    assert {"*", "job.*", "adapter.*", "evaluation.*", "webhook.*"} == PATTERNS - TYPES


def test_every_event_that_is_written_can_be_asked_for() -> None:
    """A type that is missing from the list would be refused in filters."""
    sources = [path.read_text() for folder in ("app", "worker") for path in (ROOT / folder).rglob("*.py")]
    written = {kind for text in sources for kind in re.findall(r'NewEvent\(\s*"([a-z_.]+)"', text)}

    assert len(written) >= 10
    assert written <= TYPES


@pytest.mark.parametrize("module", [addresses, errors], ids=["addresses", "webhooks"])
def test_every_code_is_documented(module: ModuleType) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    found = {getattr(kind, "code", None) for kind in vars(module).values() if isinstance(kind, type)}
    codes = {code for code in found if isinstance(code, str)}
    reasons = set(re.findall(r'WebhookUrlError\(\s*"([a-z_]+)"', Path(addresses.__file__).read_text()))

    assert codes
    assert len(reasons) >= 6
    assert {code for code in codes | reasons if f"`{code}`" not in page} == set()
    assert {kind for kind in TYPES if f"`{kind}`" not in page} == set()
