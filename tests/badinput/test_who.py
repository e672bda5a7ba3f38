"""Keys, scopes, ids, cursors, queries and idempotency keys that are not what they should be."""

import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from app.projects.keys import new_key
from tests.badinput.served import CANARY, Row, Target, assert_problem, exchange, head

SQL: Final = "'; DROP TABLE jobs;--"


def read(number: int, what: str, path: str, status: int, code: str = "", error: str = "", **more: Any) -> Row:
    return Row(number, what, "GET", path, status, code, error, **more)


def refused(what: str, header: str | None, code: str, path: str = "/jobs") -> Row:
    headers = {} if header is None else {"Authorization": header}
    return Row(47, what, "GET", path, 401, code, key="", headers=headers)


KEYS: Final = [
    refused("no key", None, "unauthenticated"),
    *(
        refused(f"the header {header[:20]!r}", header, "unauthenticated")
        for header in ("", "Bearer", "Basic YTpi", "mixsd_", "Digest x", CANARY)
    ),
    refused("a key that nobody has made", f"Bearer {new_key().secret}", "invalid_api_key"),
    *(
        refused(f"the key {key[:20]!r}", f"Bearer {key}", "invalid_api_key")
        for key in (
            "x",
            "mixsd_",
            "mixsd_AAAAAAAA_x",
            "x" * 10_000,
            "a b",
            CANARY,
        )
    ),
    refused("a key in the query", None, "unauthenticated", f"/jobs?api_key={CANARY}&key=x&token=x"),
    refused("a path that is none", None, "unauthenticated", "/nothing/of/this"),
    refused("a long path that is none", None, "unauthenticated", "/" + "a/" * 2000),
]

LIMITS: Final = [
    *(
        read(43, f"a limit of {value}", f"/jobs?limit={value}", 422, "invalid_request")
        for value in ("-1", "0", "101", "1000000000", "1e3", "abc", "", "٣", "9" * 5000, "NaN", "0x10", "1.5")
    ),
    read(43, "two limits", "/jobs?limit=1&limit=2", 422, "repeated_parameter"),
    read(43, "a parameter twice that is none", "/jobs?x=1&x=2", 422, "repeated_parameter"),
    read(
        42, "an order in SQL", "/jobs?order=(select%20pg_sleep(5))", 422, "invalid_request", "unknown_value"
    ),
    read(42, "a status in SQL", f"/jobs?status={SQL}", 422, "invalid_request", "unknown_value"),
    read(42, "a job in SQL", f"/adapters?job_id={SQL}", 200),
    read(42, "a fact set in SQL", f"/jobs?fact_set_id={SQL}%25_%5C", 200),
    read(42, "a name of a series in SQL", f"/jobs/{{job}}/metrics?name={SQL}", 200),
    read(5, "NUL in a query", "/jobs?fact_set_id=%00", 400, "nul_character"),
    read(3, "no UTF-8 in a query", "/jobs?fact_set_id=%ff%fe", 200),
]

LISTS: Final = (
    "/jobs",
    "/fact-sets",
    "/adapters",
    "/evaluations",
    "/webhooks",
    "/jobs/{job}/events",
    "/jobs/{job}/attempts",
    "/jobs/{job}/metrics",
    "/fact-sets/{fact_set}/facts",
    "/fact-sets/{fact_set}/diff?from={used_fact_set}",
)


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


CURSORS: Final = [
    *(
        read(
            44,
            f"the cursor {bad[:24]!r} of {path}",
            f"{path}{'&' if '?' in path else '?'}cursor={bad}",
            400,
            "bad_cursor",
        )
        for path in LISTS
        for bad in ("%ff", "x", "====", cursor("a\nb"))
    ),
    *(
        read(44, f"a cursor of {text[:20]!r}", f"/jobs?cursor={cursor(text)}", 400, "bad_cursor")
        for text in (
            SQL,
            "7",
            "job_",
            "JOB_019ab3c4d5e67f8091a2b3c4d5e6f708",
            "job_019ab3c4d5e67f8091a2b3c4d5e6f708'",
            "-1",
        )
    ),
    *(
        read(
            44, f"a number of {text[:20]!r}", f"/jobs/{{job}}/events?cursor={cursor(text)}", 400, "bad_cursor"
        )
        for text in ("-1", "1.5", "9" * 19, "٣", "1e3", "NaN", "job_019ab3c4d5e67f8091a2b3c4d5e6f708")
    ),
    read(44, "a long cursor", f"/jobs?cursor={'a' * 5000}", 422, "invalid_request", "too_long"),
]

IDS: Final = [
    *(
        read(45, f"the id {bad[:24]!r} at {place}", f"{place}{bad}", 404)
        for place in ("/jobs/", "/fact-sets/", "/adapters/", "/evaluations/")
        for bad in (
            "x",
            "{job}x",
            "JOB_019AB3C4D5E67F8091A2B3C4D5E6F708",
            "adp_0",
            "..%2f..%2fetc%2fpasswd",
            "%252e%252e",
            "a" * 5000,
            "job_٣",
            "%20",
            "%2e%2e",
            "%c3%28",
            SQL.replace("/", ""),
            "*",
            "~root",
            "{job}%0a",
            ".env",
        )
    ),
    *(
        read(45, f"NUL at {place}", f"{place}%00", 400, "nul_character")
        for place in ("/jobs/", "/fact-sets/", "/adapters/", "/jobs/{job}%00")
    ),
]


@pytest.mark.parametrize("row", [*KEYS, *LIMITS, *CURSORS, *IDS], ids=str)
def test_who_and_what_is_asked_for_must_be_what_there_is(target: Target, row: Row) -> None:
    row.check(target)
    if row.status == 401:
        answer = row.send(target)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="mixsd"')


def test_two_keys_are_none(target: Target) -> None:
    shown = f"Authorization: Bearer {target.keys['reader']}"

    status, said = exchange(target, head(target, "GET", "/jobs", shown, "Connection: close") + b"\r\n")

    assert (status, b"invalid_api_key" in said) == (401, True)


def test_a_key_of_other_characters_is_none(target: Target) -> None:
    for key in ("mixsd_é".encode(), b"mixsd_\xff\xfe", "mixsd_٣".encode()):
        lines = head(target, "GET", "/jobs", "Connection: close", key="") + b"Authorization: Bearer " + key

        status, said = exchange(target, lines + b"\r\n\r\n")

        assert (status, b"invalid_api_key" in said) == (401, True)


def test_a_key_in_the_query_is_no_key(target: Target) -> None:
    for name in ("api_key", "key", "token", "access_token", "authorization"):
        answer = target.http.get("/jobs", params={name: target.keys["owner"]})

        assert_problem(answer.headers, answer.json(), 401, "unauthenticated")
    assert target.keys["owner"].rpartition("_")[2] not in target.log.read_text()


@pytest.mark.parametrize(("key", "code"), [("expired", "expired_api_key"), ("revoked", "revoked_api_key")])
def test_a_key_that_was_good_says_why_it_is_not(target: Target, key: str, code: str) -> None:
    admin = target.headers()
    made = target.http.post("/api-keys", json={"name": "n", "scopes": ["read"]}, headers=admin).json()
    shown = {"Authorization": f"Bearer {made['secret']}"}
    assert target.http.get("/jobs", headers=shown).status_code == 200
    if key == "revoked":
        target.http.delete(f"/api-keys/{made['id']}", headers=admin)
    else:
        soon = {"expires_at": "2020-01-01T00:00:00Z"}
        past = target.http.patch(f"/api-keys/{made['id']}", json=soon, headers=admin)
        assert (past.status_code, past.json()["code"]) == (422, "expiry_in_the_past")
        return

    answer = target.http.get("/jobs", headers=shown)

    assert_problem(answer.headers, answer.json(), 401, code)


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("POST", "/jobs", "reader"),
        ("POST", "/fact-sets", "reader"),
        ("DELETE", "/jobs/{job}", "reader"),
        ("DELETE", "/adapters/{adapter}", "reader"),
        ("POST", "/jobs/{job}/cancel", "reader"),
        ("POST", "/adapters/{adapter}/release", "reader"),
        ("GET", "/api-keys", "writer"),
        ("POST", "/projects", "writer"),
        ("GET", "/metrics", "writer"),
    ],
)
def test_a_scope_that_is_missing_is_named_and_nothing_is_done(
    target: Target, method: str, path: str, key: str
) -> None:
    answer = target.http.request(method, path.format(**target.ids), headers=target.headers(key))

    assert_problem(answer.headers, answer.json(), 403, "missing_scope")
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_an_admin_of_a_project_is_no_operator(target: Target) -> None:
    for method, path, body in (("POST", "/projects", {"name": "n"}), ("GET", "/metrics", None)):
        answer = target.http.request(method, path, json=body, headers=target.headers())

        assert_problem(answer.headers, answer.json(), 403, "operator_only")


def _told(answer: Any) -> tuple[int, Mapping[str, str], Mapping[str, str]]:
    """Return all that an answer tells, but for what is of each request alone and the id that it names."""
    problem = {name: value for name, value in answer.json().items() if name not in {"request_id", "detail"}}
    own = {"x-request-id", "date", "content-length"}
    return answer.status_code, {n: v for n, v in answer.headers.items() if n not in own}, problem


@pytest.mark.parametrize("kind", ["job", "adapter", "fact_set"])
def test_what_others_have_looks_like_what_nobody_has(target: Target, kind: str) -> None:
    place = {"job": "jobs", "adapter": "adapters", "fact_set": "fact-sets"}[kind]
    theirs, nobodys = (
        target.get(f"/{place}/{target.ids[f'{whose}_{kind}']}") for whose in ("their", "random")
    )
    gone = target.get(f"/{place}/{target.ids[f'random_{kind}'][:-1]}9")

    assert _told(theirs) == _told(nobodys) == _told(gone)
    assert len(theirs.json()["detail"]) == len(nobodys.json()["detail"])


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [("k" * 300, 422, "invalid_request"), ("é", 422, "invalid_request"), ("a\tb", 422, "invalid_request")],
)
def test_an_idempotency_key_that_is_none_is_refused(target: Target, key: str, status: int, code: str) -> None:
    headers = {**target.headers(), "Idempotency-Key": key.encode()}

    answer = target.http.post(f"/jobs/{target.ids['queued_job']}/cancel", headers=headers)  # type: ignore[arg-type]  # bytes as well

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_idempotency_key_is_of_one_request(target: Target) -> None:
    headers = {**target.headers(), "Idempotency-Key": "one"}
    body = {"name": "n", "facts": [{"question": "Q?", "answer": "A"}]}

    first = target.http.post("/fact-sets", json=body, headers=headers)
    again = target.http.post("/fact-sets", json=body, headers=headers)
    other = target.http.post("/fact-sets", json=body | {"name": "m"}, headers=headers)
    theirs = target.http.post("/fact-sets", json=body, headers={**headers, **target.headers("stranger")})

    assert (first.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert theirs.status_code == 201
    assert theirs.json()["id"] != first.json()["id"]


def test_one_idempotency_key_50_times_at_once_does_one_thing(target: Target) -> None:
    headers = {**target.headers(), "Idempotency-Key": "fifty"}
    body = {"name": "fifty", "facts": [{"question": "Fifty?", "answer": "A"}]}

    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: target.http.post("/fact-sets", json=body, headers=headers), range(50))
        )

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"idempotency_in_progress"}
    assert len({a.json()["id"] for a in answers if a.status_code == 201}) == 1
    named = [s for s in target.get("/fact-sets?limit=100").json()["data"] if s["name"] == "fifty"]
    assert len(named) == 1
