"""JSON that nobody should send: numbers, texts, depth, keys, types, encodings, sizes."""

import json
from typing import Any, Final

import pytest

from tests.badinput.served import CANARY, MEBIBYTE, Row, Target

JOB: Final[dict[str, Any]] = {
    "base_model": "tiny",
    "fact_set_id": "{fact_set}",
    "method": {"type": "mixsd"},
}
DEEP: Final = b"[" * 100_000 + b"]" * 100_000


def job(raw: str) -> bytes:
    """Return a job of which something is said in raw JSON beside."""
    return f'{{"base_model": "tiny", "facts": [], "method": {{"type": "mixsd"}}, {raw}}}'.encode()


def on_jobs(number: int, what: str, body: bytes, status: int, code: str, error: str = "", **more: Any) -> Row:
    return Row(number, what, "POST", "/jobs", status, code, error, body, **more)


def lam(raw: str) -> bytes:
    return job('"name": "n"').replace(b'{"type": "mixsd"}', f'{{"type": "mixsd", "lam": {raw}}}'.encode())


ROWS: Final = [
    *(
        on_jobs(number, f"lam of {raw}", lam(raw), 400, "malformed_json", "non_finite_number")
        for number, raw in ((1, "NaN"), (2, "1e999"), (2, "Infinity"), (2, "-Infinity"))
    ),
    on_jobs(3, "lone surrogate", job('"name": "\\ud800"'), 400, "malformed_json", "invalid_unicode"),
    on_jobs(
        3,
        "lone surrogate in a name of a field",
        job('"\\udfff": 1'),
        400,
        "malformed_json",
        "invalid_unicode",
    ),
    on_jobs(4, "NaN beside another mistake", job('"priority": NaN, "wrong": 1'), 400, "malformed_json"),
    on_jobs(5, "NUL", job('"name": "a\\u0000b"'), 400, "malformed_json", "nul_character"),
    on_jobs(6, "100000 levels", DEEP, 400, "malformed_json", "json_too_deep"),
    on_jobs(6, "33 levels", b"[" * 34 + b"]" * 34, 400, "malformed_json", "json_too_deep"),
    on_jobs(7, "5000 digits", job(f'"priority": {"9" * 5000}'), 400, "malformed_json", "number_too_long"),
    on_jobs(8, "4000 digits", job(f'"priority": {"9" * 4000}'), 422, "invalid_request", "out_of_range"),
    on_jobs(
        8, "4000 digits as a seed", lam(f'0.1, "seed": {"9" * 4000}'), 422, "invalid_request", "out_of_range"
    ),
    on_jobs(9, "a key twice", job('"name": "a", "name": "b"'), 400, "malformed_json", "duplicate_key"),
    on_jobs(10, "no UTF-8", b'{"name": "\xff\xfe"}', 400, "malformed_json", "invalid_utf8"),
    on_jobs(10, "an overlong slash", b'{"name": "\xc0\xaf"}', 400, "malformed_json", "invalid_utf8"),
    *(
        on_jobs(11, encoding, json.dumps(JOB).encode(encoding), 400, "malformed_json")
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig")
    ),
    *(
        on_jobs(12, f"priority of {raw}", job(f'"priority": {raw}'), 422, "invalid_request", "wrong_type")
        for raw in ("true", '"7"', "7.5", "[7]", "{}", "null")
    ),
    *(
        on_jobs(
            13,
            f"{name} set from outside",
            job(f'"{name}": "{CANARY}"'),
            422,
            "invalid_request",
            "unknown_field",
        )
        for name in ("status", "project_id", "fence", "attempt", "id", "owner", "lease_until", "created_at")
    ),
    *(
        on_jobs(22, f"a body of {body!r}", body, status, code)
        for body, status, code in (
            (b"", 400, "malformed_json"),
            (b"null", 422, "invalid_request"),
            (b"[]", 422, "invalid_request"),
            (b'"x"', 422, "invalid_request"),
            (b"7", 422, "invalid_request"),
            (b"{}", 422, "invalid_request"),
            (b"{", 400, "malformed_json"),
            (b"{} {}", 400, "malformed_json"),
        )
    ),
    *(
        on_jobs(20, f"the type {kind!r}", json.dumps(JOB).encode(), 415, "unsupported_media_type", kind=kind)
        for kind in ("text/plain", "text/html", "application/xml", "application/jsonp", "x", "")
    ),
    on_jobs(
        19,
        "a form of a million fields",
        b"&".join([b"a=1"] * 240_000),
        415,
        "unsupported_media_type",
        kind="application/x-www-form-urlencoded",
    ),
    *(
        on_jobs(
            16,
            f"encoded by {encoding}",
            b"\x1f\x8b\x08\x00",
            415,
            "unsupported_media_type",
            headers={"Content-Encoding": encoding},
        )
        for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x")
    ),
    on_jobs(14, "more than a megabyte", b" " * 1_000_001, 413, "body_too_large"),
    Row(14, "on another route", "POST", "/api-keys", 413, "body_too_large", body=b" " * 1_000_001),
    Row(14, "on a PATCH", "PATCH", "/jobs/{job}", 413, "body_too_large", body=b" " * 1_000_001),
    Row(
        13,
        "a key for another project's owner",
        "POST",
        "/api-keys",
        422,
        "invalid_request",
        "unknown_field",
        body=b'{"name": "n", "scopes": ["read"], "sha256": "0", "is_operator": true}',
    ),
    Row(
        13,
        "a fact set with its digest",
        "POST",
        "/fact-sets",
        422,
        "invalid_facts",
        "unknown_field",
        body=b'{"facts": [{"question": "Q?", "answer": "A"}], "sha256": "0", "project_id": "prj_default"}',
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_bad_json_is_refused_by_name(target: Target, row: Row) -> None:
    row.check(target)


def test_a_body_of_400_megabytes_is_refused_without_being_kept(target: Target) -> None:
    def flood() -> Any:
        for _ in range(400):
            yield b" " * MEBIBYTE

    target.forget_peak()
    before = target.memory()
    headers = {**target.headers(), "Content-Type": "application/json"}

    answer = target.http.post("/jobs", content=flood(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert target.memory("VmHWM") - before <= 16 * MEBIBYTE


def test_what_was_wrong_is_listed_and_nothing_of_it_echoed(target: Target) -> None:
    names = {f"{CANARY}{n}": n for n in range(1500)}
    body = json.dumps({"base_model": 7, "method": {"type": CANARY}, **names}).encode()

    answer = on_jobs(4, "", body, 422, "invalid_request").send(target)

    problem = answer.json()
    assert (answer.status_code, len(problem["errors"]), problem["total_errors"] > 1500) == (422, 1000, True)
    assert CANARY not in "".join(error["detail"] for error in problem["errors"])
    assert len(answer.content) < 400_000
