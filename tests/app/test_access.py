"""Who is let in, and to do what."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Connection, event, select, text

from app import log
from app.access import Scope
from app.db.engine import Database
from app.main import build_app
from app.projects.keys import new_key, prefix_of, sha256_of
from app.projects.models import ApiKey
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from app.tables import Base
from app.web.access import OPEN, scope_of
from tests.app.conftest import ListeningDispatcher
from tests.app.keys import a_client, a_key

PROBLEM = "application/problem+json"


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Watch:
    return Watch()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.AUTO})


def an_api(
    database: Database, store: LocalStore, settings: Settings, clock: Watch, **changes: object
) -> FastAPI:
    log.configure(json=True)
    return build_app(database, store, ListeningDispatcher(), settings.model_copy(update=changes), clock)


@pytest.fixture
def api(database: Database, store: LocalStore, settings: Settings, clock: Watch) -> FastAPI:
    return an_api(database, store, settings, clock)


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """What is asked of the database, as it is asked."""
    seen: list[str] = []

    def note(_: Connection, __: object, statement: str, *___: object) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def refused(client: TestClient, path: str = "/jobs", method: str = "GET") -> tuple[int, str, str]:
    answer = client.request(method, path)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    return answer.status_code, answer.json()["code"], answer.headers.get("WWW-Authenticate", "")


def test_without_keys_this_machine_alone_is_answered(api: FastAPI) -> None:
    assert a_client(api, address="127.0.0.1").get("/jobs").status_code == 200
    assert a_client(api, address="::1").get("/projects").json()["data"][0]["id"] == "prj_default"
    assert refused(a_client(api)) == (401, "unauthenticated", 'Bearer realm="mixsd"')
    assert "mixsd keys create" in a_client(api).get("/jobs").json()["detail"]


def test_once_there_is_a_key_it_is_asked_for_and_stays_so(
    api: FastAPI, database: Database, clock: Watch
) -> None:
    local = a_client(api, address="127.0.0.1")
    assert local.get("/jobs").status_code == 200

    secret = a_key(database).secret
    clock.now += timedelta(seconds=5)

    assert refused(local)[:2] == (401, "unauthenticated")
    owner = a_client(api, secret)
    assert owner.get("/jobs").status_code == 200
    (key,) = owner.get("/api-keys").json()["data"]
    assert owner.delete(f"/api-keys/{key['id']}").status_code == 204
    assert refused(local)[:2] == (401, "unauthenticated")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1"])
def test_a_setting_overrules_where_the_caller_is(
    database: Database, store: LocalStore, settings: Settings, clock: Watch, address: str
) -> None:
    shut = an_api(database, store, settings, clock, auth=AuthMode.REQUIRED)
    open_ = an_api(database, store, settings, clock, auth=AuthMode.OFF)

    assert refused(a_client(shut, address=address))[:2] == (401, "unauthenticated")
    assert a_client(open_, address=address).get("/jobs").status_code == 200
    assert a_client(open_, "what a proxy uses", address=address).get("/jobs").status_code == 200


@pytest.mark.parametrize("path", sorted(OPEN))
def test_some_paths_need_no_key(api: FastAPI, database: Database, path: str) -> None:
    a_key(database)

    assert a_client(api).get(path).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic bWl4c2Q6eA==",
        "Bearer",
        "Bearer ",
        "bearer x y",
        "Bearer Bearer",
        "mixsd_x",
        "Bearer \xff\x00",
    ],
)
def test_what_is_no_key_is_refused(api: FastAPI, database: Database, header: str) -> None:
    a_key(database)

    answer = a_client(api).get("/jobs", headers={b"Authorization": header.encode("latin-1")})

    assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
    assert answer.json()["code"] in {"unauthenticated", "invalid_api_key"}
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_key_that_is_none_of_ours_is_refused(api: FastAPI, database: Database) -> None:
    made = a_key(database)
    strange = new_key()
    forged = f"{made.prefix}_{strange.secret.rpartition('_')[2]}"

    challenge = 'Bearer realm="mixsd", error="invalid_token"'
    mistyped = made.secret[:-1] + ("y" if made.secret.endswith("x") else "x")
    for secret in (strange.secret, forged, mistyped, made.secret + "x", made.prefix):
        assert refused(a_client(api, secret)) == (401, "invalid_api_key", challenge)


def test_the_right_beginning_with_another_secret_is_refused(api: FastAPI, database: Database) -> None:
    """Also where the checksum is right, and so the database is asked."""
    made, other = a_key(database), a_key(database)
    with database.begin() as session:
        rows = {row.id: row for row in session.query(ApiKey)}
        rows[made.id].sha256, rows[other.id].sha256 = rows[other.id].sha256, rows[made.id].sha256

    assert refused(a_client(api, made.secret))[:2] == (401, "invalid_api_key")


def test_an_expired_key_says_so(api: FastAPI, database: Database, clock: Watch) -> None:
    made = a_key(database, expires_at=clock.now + timedelta(seconds=3))
    client = a_client(api, made.secret)
    assert client.get("/jobs").status_code == 200

    clock.now += timedelta(seconds=3)

    assert refused(client)[:2] == (401, "expired_api_key")
    clock.now += timedelta(hours=1)
    assert refused(client)[:2] == (401, "expired_api_key")
    assert made.prefix in client.get("/jobs").json()["detail"]


def test_a_revoked_key_says_so_at_once_here_and_soon_elsewhere(
    api: FastAPI, database: Database, store: LocalStore, settings: Settings, clock: Watch
) -> None:
    made = a_key(database)
    elsewhere = a_client(an_api(database, store, settings, clock), made.secret)
    client = a_client(api, made.secret)
    assert {client.get("/jobs").status_code, elsewhere.get("/jobs").status_code} == {200}

    assert client.delete(f"/api-keys/{made.id}").status_code == 204

    assert refused(client)[:2] == (401, "revoked_api_key")
    assert elsewhere.get("/jobs").status_code == 200
    clock.now += settings.key_cache
    assert refused(elsewhere)[:2] == (401, "revoked_api_key")


@pytest.mark.parametrize("scope", Scope)
def test_a_key_does_what_its_scope_says_and_nothing_else(
    api: FastAPI, database: Database, scope: Scope
) -> None:
    client = a_client(api, a_key(database, scopes=[scope]).secret)
    answers = {
        Scope.READ: client.get("/jobs"),
        Scope.WRITE: client.delete("/fact-sets/fset_0"),
        Scope.ADMIN: client.get("/api-keys"),
    }

    for needed, answer in answers.items():
        if needed is scope:
            assert answer.status_code in {200, 404}
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
            challenge = f'Bearer realm="mixsd", error="insufficient_scope", scope="{needed}"'
            assert answer.headers["WWW-Authenticate"] == challenge


def test_a_body_is_not_looked_at_before_the_key(api: FastAPI, database: Database) -> None:
    reader = a_key(database, scopes=[Scope.READ]).secret

    assert a_client(api).post("/jobs", content=b"{").status_code == 401
    assert a_client(api, reader).post("/jobs", content=b"{").status_code == 403


def test_a_path_that_is_mounted_elsewhere_needs_what_it_needs_here(api: FastAPI, database: Database) -> None:
    made = a_key(database, scopes=[Scope.WRITE, Scope.READ])
    client = TestClient(
        api, root_path="/mixsd", headers={"Authorization": f"Bearer {made.secret}"}, client=("10.0.0.1", 1)
    )

    assert client.get("/mixsd/jobs").status_code == 200
    assert client.get("/mixsd/healthz").status_code == 200
    for path in ("/mixsd/api-keys", "/mixsd/projects", "/api-keys"):
        assert client.get(path).json()["code"] == "missing_scope", path


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/jobs", Scope.READ),
        ("HEAD", "/jobs", Scope.READ),
        ("POST", "/jobs", Scope.WRITE),
        ("POST", "/jobs/estimate", Scope.READ),
        ("BREW", "/jobs", Scope.WRITE),
        ("GET", "/projects/prj_1", Scope.ADMIN),
        ("GET", "//api-keys", Scope.ADMIN),
        ("GET", "/nothing", Scope.READ),
        ("POST", "/healthz/", Scope.WRITE),
        ("GET", "/healthz", None),
    ],
)
def test_what_is_not_opened_is_shut(method: str, path: str, needed: Scope | None) -> None:
    assert scope_of(method, path) == needed


def test_a_known_key_costs_no_query_and_a_new_one_a_single_one(
    api: FastAPI, database: Database, clock: Watch, statements: list[str]
) -> None:
    client = a_client(api, a_key(database).secret)
    client.get("/models")
    statements.clear()

    client.get("/models")
    assert statements == []

    clock.now += timedelta(seconds=6)
    client.get("/models")
    asked = [statement for statement in statements if "api_keys" in statement]
    assert len(asked) == 1
    assert "WHERE api_keys.prefix = " in asked[0]


def test_a_key_is_found_by_an_index(database: Database) -> None:
    by_prefix = (
        select(ApiKey)
        .where(ApiKey.prefix == "mixsd_12345678")
        .compile(database.engine, compile_kwargs={"literal_binds": True})
    )
    with database.begin() as session:
        if database.is_sqlite:
            plan = session.execute(text(f"EXPLAIN QUERY PLAN {by_prefix}")).all()
        else:
            session.execute(text("SET LOCAL enable_seqscan = off"))  # the table is small
            plan = session.execute(text(f"EXPLAIN {by_prefix}")).all()

    assert "uq_api_keys_prefix" in str(plan) or "USING INDEX sqlite_autoindex_api_keys" in str(plan)


def test_the_last_use_is_noted_once_a_minute(
    api: FastAPI, database: Database, clock: Watch, statements: list[str]
) -> None:
    made = a_key(database)
    client = a_client(api, made.secret)

    def last_used_at() -> datetime:
        client.get("/models")
        return datetime.fromisoformat(client.get(f"/api-keys/{made.id}").json()["last_used_at"])

    first = last_used_at()
    assert first == clock.now
    clock.now += timedelta(seconds=59)
    assert last_used_at() == first
    clock.now += timedelta(seconds=6)
    assert last_used_at() == clock.now
    assert len([statement for statement in statements if statement.startswith("UPDATE api_keys")]) == 2


def test_a_database_that_is_away_lets_nobody_in(store: LocalStore, settings: Settings, clock: Watch) -> None:
    from app.db.engine import make_engine  # noqa: PLC0415  for this test alone

    away = Database(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    client = a_client(an_api(away, store, settings, clock), address="127.0.0.1")

    answer = client.get("/models")

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_no_secret_is_kept_or_logged(
    api: FastAPI, database: Database, capsys: pytest.CaptureFixture[str], clock: Watch
) -> None:
    @api.get("/bug")
    def bug() -> None:
        raise RuntimeError(f"{secret} and Authorization: Bearer {strange.secret}")

    strange = new_key()
    owner = a_client(api, a_key(database).secret)
    created = owner.post("/api-keys", json={"name": "n", "scopes": ["read", "admin"]}).json()
    secret = created["secret"]
    client = a_client(api, secret)
    client.get("/jobs")
    client.get("/bug")
    client.get(f"/jobs/{secret}")
    client.post("/jobs", json={"name": secret})
    a_client(api, strange.secret).get("/jobs")
    client.delete(f"/api-keys/{created['id']}")
    client.get("/jobs")

    logged = capsys.readouterr().err
    with database.read() as session:
        rows = [session.execute(table.select()).all() for table in Base.metadata.sorted_tables]

    assert "key.created" in logged
    assert "RuntimeError: " in logged
    assert f"{created['prefix']}_***" in logged
    for kept in (logged, str(rows), client.get("/api-keys").text):
        for forbidden in (secret, strange.secret, owner.headers["Authorization"]):
            assert forbidden.rpartition("_")[2] not in kept
    assert sha256_of(secret) in str(rows)


def test_logs_name_project_and_key(
    api: FastAPI, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    made = a_key(database)

    a_client(api, made.secret).post("/fact-sets", json={"facts": [{"question": "Q?", "answer": "A"}]})

    (line,) = [line for line in capsys.readouterr().err.splitlines() if "fact_set.created" in line]
    assert f'"key_id": "{made.id}"' in line
    assert '"project_id": "prj_default"' in line


def test_keys_have_256_random_bits_and_a_checksum() -> None:
    keys = [new_key() for _ in range(200)]

    assert len({key.secret for key in keys}) == 200
    for key in keys:
        assert prefix_of(key.secret) == key.prefix
        assert key.secret.startswith(f"{key.prefix}_")
        assert len(key.secret) == len("mixsd_") + 8 + 1 + 43 + 6
        assert key.secret not in repr(key)
    first = keys[0].secret
    changed = [first[:i] + ("a" if first[i] != "a" else "b") + first[i + 1 :] for i in range(15, len(first))]
    assert {prefix_of(text) for text in changed} == {None}


def test_where_the_api_listens_by_uvicorn_alone_the_rule_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create_app` does not know the address that it will be served on, so the caller's decides."""
    import migrations  # noqa: PLC0415
    from app.db.engine import make_engine  # noqa: PLC0415
    from app.main import create_app  # noqa: PLC0415

    monkeypatch.setenv("MIXSD_DATA_DIR", str(tmp_path))
    engine = make_engine(Settings().database)
    migrations.upgrade(engine)
    engine.dispose()

    api = create_app()

    assert a_client(api, address="127.0.0.1").get("/jobs").status_code == 200
    assert a_client(api, address="192.168.1.7").get("/jobs").status_code == 401
