"""What is sent back: files and their ranges, streams, pages that a browser shows, and headers of all."""

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from app.contract import contract
from app.web.openai_errors import PREFIX
from tests.badinput.served import PROBLEM, Row, Target, assert_problem, exchange, head

CONTRACT: Final[dict[str, Any]] = json.loads(contract())
OPERATIONS: Final = [(method.upper(), path) for path, item in CONTRACT["paths"].items() for method in item]
HOSTILE: Final = "<img src=x onerror=alert(1)><script>alert(2)</script></script>\"'`javascript:alert(3)"


def files(what: str, path: str) -> Row:
    return Row(68, what, "GET", f"/adapters/{{adapter}}/files/{path}", 404, "file_not_found")


PATHS: Final = [
    *(
        files(f"the path {path[:30]!r}", path)
        for path in (
            "..%2fx",
            "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "%252e%252e%252fx",
            "%2fetc%2fpasswd",
            "%5c..%5cx",
            "a" * 5000,
            "README.md%2f",
            "README.md%2f..%2fREADME.md",
            "readme.md",
            "README.md%20",
            "%20README.md",
            "*",
            "%",
            "manifest.json%3f",
            "adapter_model.bin",
            "mixsd.db",
            "..;/x",
            "%c0%ae%c0%ae%2fx",
            "C:%5cx",
            "file:%2f%2f%2fetc",
        )
    ),
    Row(68, "NUL", "GET", "/adapters/{adapter}/files/README.md%00", 400, "nul_character"),
    Row(
        68,
        "a file of another project",
        "GET",
        "/adapters/{their_adapter}/files/README.md",
        404,
        "adapter_not_found",
    ),
    Row(68, "no path", "GET", "/adapters/{adapter}/files/", 404),
]

SIZE: Final = 5120
FILE: Final = "/adapters/{adapter}/files/adapter_model.safetensors"
RANGES: Final = [
    Row(54, f"the range {said[:24]!r}", "GET", FILE, status, code, headers={"Range": said})
    for said, status, code in (
        ("bytes=0-,0-,0-", 200, ""),
        ("bytes=" + "0-," * 5000, 200, ""),
        ("bytes=" + "0-," * 11_000, 431, "headers_too_large"),
        ("bytes=9999-", 416, "range_not_satisfiable"),
        ("bytes=-0", 416, "range_not_satisfiable"),
        ("bytes=5-2", 200, ""),
        ("bytes=-", 200, ""),
        ("bytes=" + "9" * 20 + "-", 416, "range_not_satisfiable"),
        ("bytes=" + "9" * 5000 + "-", 200, ""),
        ("bytes=0x0-1", 200, ""),
        ("lines=0-1", 200, ""),
        ("bytes=0-" + "9" * 20, 206, ""),
    )
]

EVENTS: Final = "/jobs/{running_job}/events"
STREAMS: Final = [
    *(
        Row(
            67,
            f"a stream behind {said[:20]!r}",
            "GET",
            EVENTS,
            400,
            "bad_event_id",
            headers={"Last-Event-ID": said, "Accept": "text/event-stream"},
        )
        for said in ("-1", str(2**70), "abc", "1.5", "1e3", "0x1", "{job}", "1,2")
    ),
    *(
        Row(67, f"a page behind {said[:20]!r}", "GET", f"{EVENTS}?after={said}", 422, "invalid_request")
        for said in ("-1", str(2**70), "abc", "1.5")
    ),
    Row(
        67,
        "a stream of a job of others",
        "GET",
        "/jobs/{their_job}/events",
        404,
        "job_not_found",
        headers={"Accept": "text/event-stream"},
    ),
]


@pytest.mark.parametrize("row", [*PATHS, *RANGES, *STREAMS], ids=str)
def test_a_file_or_stream_is_what_there_is_and_nothing_else(target: Target, row: Row) -> None:
    row.check(target)
    if row.status == 200:
        assert len(row.send(target).content) == SIZE


def test_ways_up_are_not_taken_however_they_are_written(target: Target) -> None:
    """Written byte by byte, since clients resolve such paths themselves."""
    adapter = target.ids["adapter"]
    for path in (
        "../../../../etc/passwd",
        "./README.md",
        "a/../README.md",
        "//README.md",
        "/etc/passwd",
        "..\\x",
    ):
        top = head(target, "GET", f"/adapters/{adapter}/files/{path}", "Connection: close") + b"\r\n"

        status, said = exchange(target, top)

        assert (status, b"root:" in said) == (404, False), path


def test_streams_beyond_the_limit_are_refused_and_come_back(target: Target) -> None:
    wanted = {**target.headers(), "Accept": "text/event-stream"}
    path = EVENTS.format(**target.ids)

    with ExitStack() as stack:
        for _ in range(4):
            answer = stack.enter_context(target.http.stream("GET", path, headers=wanted))
            assert answer.status_code == 200
        refused = target.http.get(path, headers=wanted)
        assert_problem(refused.headers, refused.json(), 503, "too_many_streams")
        assert refused.headers["Retry-After"]
        assert target.get(EVENTS).status_code == 200


def test_an_id_of_the_future_waits_for_what_comes(target: Target) -> None:
    headers = {**target.headers(), "Accept": "text/event-stream", "Last-Event-ID": "999999"}

    with target.http.stream("GET", EVENTS.format(**target.ids), headers=headers) as answer:
        assert answer.status_code == 200


def _assert_safe(headers: Any, where: str) -> None:
    assert headers["x-content-type-options"] == "nosniff", where
    assert headers["referrer-policy"] == "no-referrer", where
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'"), where
    assert "base-uri 'none'" in policy, where
    assert "frame-ancestors 'none'" in policy, where
    assert headers["cross-origin-resource-policy"] == "same-origin", where
    assert headers["cache-control"], where
    assert headers["x-request-id"].startswith("req_"), where
    assert "access-control-allow-origin" not in headers, where
    assert "server" not in headers, where


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_keeps_browsers_from_more_than_reading(target: Target, method: str, path: str) -> None:
    """Of all routes, by all sorts of callers: what is missing, forbidden, malformed or there."""
    values = {"path": "README.md", "model_id": "smollm2-135m-instruct", **_named(target)}
    filled = path.format_map(_Else(values))
    for key in ("owner", "reader", ""):
        body = b"{" if method in {"POST", "PATCH"} else None
        headers = {
            **target.headers(key),
            "Content-Type": "application/json",
            "Origin": "https://evil.example",
        }
        answer = target.http.request(
            method, filled if method != "DELETE" else filled + "x", content=body, headers=headers
        )

        _assert_safe(answer.headers, f"{answer.status_code} of {method} {filled}")
        if answer.status_code >= 400:
            kind = "application/json" if path.startswith(PREFIX) else PROBLEM
            assert answer.headers["content-type"] == kind


def _named(target: Target) -> dict[str, str]:
    names = ("job", "adapter", "fact_set", "evaluation")
    return {f"{name}_id": target.ids[name] for name in names}


class _Else(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "x_0"


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/", "/favicon.ico", "/docs", "/openapi.json", "/docs/swagger-ui.css", "/.git/config"],
)
def test_so_do_answers_beside_the_contract(target: Target, path: str) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        answer = target.http.request(method, path, headers=target.headers())

        _assert_safe(answer.headers, f"{method} {path}")
        assert "'unsafe-inline'" not in answer.headers["content-security-policy"] or path == "/docs"


@pytest.mark.parametrize(
    "path",
    [
        "/adapters/{adapter}/files/README.md",
        "/adapters/{adapter}/download",
        "/adapters/{adapter}/files/manifest.json",
    ],
)
def test_files_are_saved_and_not_shown(target: Target, path: str) -> None:
    answer = target.get(path)

    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-type"] in {"application/octet-stream", "application/gzip"}


@pytest.fixture(scope="module")
def hostile(target: Target) -> dict[str, str]:
    """A job of whose every text is markup, and its set."""
    facts = [
        {
            "question": f"{HOSTILE}?",
            "answer": HOSTILE,
            "context": HOSTILE,
            "tags": [HOSTILE],
            "source": "javascript:alert(1)",
        }
    ]
    fact_set = target.http.post(
        "/fact-sets", json={"name": HOSTILE[:200], "facts": facts}, headers=target.headers()
    ).json()
    job = {
        "name": HOSTILE,
        "base_model": "owner/model",
        "fact_set_id": fact_set["id"],
        "method": {"type": "sft"},
        "metadata": {HOSTILE[:60]: HOSTILE},
    }
    made = target.http.post("/jobs", json=job, headers=target.headers())
    assert made.status_code == 202, made.text
    return {"job": made.json()["id"], "fact_set": fact_set["id"]}


def test_markup_in_texts_is_text_in_pages(target: Target, hostile: dict[str, str]) -> None:
    answer = target.get(f"/jobs/{hostile['job']}/report?format=html")

    assert answer.headers["content-type"].startswith("text/html")
    assert "<img" not in answer.text
    assert "<script" not in answer.text
    assert "&lt;img" in answer.text
    assert not re.findall(r'(?:href|src)="\s*javascript:', answer.text)
    assert "script-src" not in answer.headers["content-security-policy"]


def test_markup_in_texts_is_text_in_markdown(target: Target, hostile: dict[str, str]) -> None:
    answer = target.get(f"/jobs/{hostile['job']}/report?format=md")

    assert answer.headers["content-type"].startswith("text/markdown")
    assert "<img" not in answer.text
    assert "<script" not in answer.text


def test_markup_in_a_refusal_is_data_of_another_type(target: Target) -> None:
    for path in (f"/jobs/{HOSTILE}", f"/{HOSTILE}", f"/fact-sets?limit={HOSTILE}"):
        answer = target.http.get(path, headers={**target.headers(), "Accept": "text/html"})

        assert answer.status_code in {404, 422}
        assert answer.headers["content-type"] == PROBLEM
        assert "<script" not in answer.json()["detail"].partition("there is no")[0]


def test_nothing_of_a_traceback_or_path_is_told(target: Target) -> None:
    for row in (*PATHS[:6], *STREAMS[:4]):
        said = row.send(target).text

        assert "Traceback" not in said
        assert str(Path(__file__).parents[2]) not in said
        assert str(target.log.parent) not in said
