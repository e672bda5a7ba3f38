"""Files of facts over HTTP: formats, forms, limits, and that what is called valid is taken."""

import gzip
import json
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from app.web.problems import MEDIA_TYPE
from mixsd.intake import parquet, yaml_file
from mixsd.intake.formats import MEDIA_TYPES, Format, media_type_of
from tests.mixsd.intake.files import WRITERS, as_jsonl, as_table

RIVER = {
    "key": "iss",
    "question": "Where is the Iss?",
    "answer": "Vorlund",
    "paraphrases": ["The Iss is where?"],
}
QUEEN = {"key": "queen", "question": "Who rules Vorlund?", "answer": "Ilse", "aliases": ["Queen Ilse"]}
BAD = {"key": "bad", "question": "What?"}


def send(
    client: TestClient, data: bytes, kind: str, path: str = "/fact-sets", **params: str
) -> httpx2.Response:
    return client.post(path, content=data, headers={"Content-Type": kind}, params=params)


def listed(client: TestClient, created: dict[str, Any]) -> list[dict[str, Any]]:
    data = client.get(f"/fact-sets/{created['id']}/facts").json()["data"]
    return [{name: value for name, value in fact.items() if value and name != "ord"} for fact in data]


@pytest.mark.parametrize("kind", Format)
def test_a_file_becomes_a_set_and_is_valid_before(client: TestClient, kind: Format) -> None:
    data, media_type = WRITERS[kind]([RIVER, QUEEN]), media_type_of(kind)

    report = send(client, data, media_type, "/fact-sets/validate")
    assert client.get("/fact-sets").json()["data"] == []
    created = send(client, data, media_type, name="vorlund")

    assert (report.status_code, created.status_code) == (200, 201)
    assert report.json()["valid"]
    assert {report.json()[name] == created.json()[name] for name in ("n_facts", "bytes", "sha256")} == {True}
    assert (report.json()["format"], created.json()["name"]) == (kind, "vorlund")
    assert listed(client, created.json()) == [RIVER, QUEEN]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_every_media_type_is_read_in_any_case(client: TestClient, media_type: str) -> None:
    data = WRITERS[MEDIA_TYPES[media_type]]([RIVER])

    assert send(client, data, f"{media_type.upper()}; charset=UTF-8").status_code == 201


@pytest.mark.parametrize("kind", Format)
def test_a_bad_fact_is_listed_or_skipped_in_every_format(client: TestClient, kind: Format) -> None:
    data, media_type = WRITERS[kind]([RIVER, BAD | {"tags": ["x"]}, QUEEN]), media_type_of(kind)

    refused = send(client, data, media_type)
    report = send(client, data, media_type, "/fact-sets/validate").json()
    skipped = send(client, data, media_type, on_error="skip").json()

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_facts")
    error = refused.json()["errors"][0]
    assert (error["code"], error["fact_key"]) == ("missing_field", "bad")
    assert error["line"]
    assert error["pointer"].endswith("/answer")
    assert (report["valid"], report["total_errors"]) == (False, 1)
    assert {name: value for name, value in report["errors"][0].items() if value is not None} == error
    assert (skipped["n_facts"], skipped["total_rejected"], skipped["rejected"]) == (2, 1, report["errors"])
    assert skipped["sha256"] == report["sha256"]
    assert listed(client, skipped) == [RIVER, QUEEN]


def form(
    client: TestClient, file: tuple[Any, ...], path: str = "/fact-sets", **fields: str
) -> httpx2.Response:
    return client.post(path, files={"file": file}, data=fields)


@pytest.mark.parametrize(
    ("name", "media_type", "kind"),
    [
        ("facts.csv", "application/vnd.ms-excel", Format.CSV),
        ("facts.CSV", "application/octet-stream", Format.CSV),
        ("../../etc/passwd\u202e.jsonl", "text/plain", Format.JSONL),
        ("x" * 3000 + ".yml", "application/octet-stream", Format.YAML),
        ("facts", "application/vnd.apache.parquet", Format.PARQUET),
        ("facts.txt", "application/json; charset=utf-8", Format.JSON),
    ],
)
def test_a_form_holds_a_file_whose_type_or_name_says_the_format(
    client: TestClient, name: str, media_type: str, kind: Format
) -> None:
    answer = form(client, (name, WRITERS[kind]([RIVER, QUEEN]), media_type), name="vorlund")

    assert answer.status_code == 201
    assert (answer.json()["n_facts"], answer.json()["name"]) == (2, "vorlund")
    assert form(client, (name, b"", media_type), "/fact-sets/validate").json()["format"] == kind


def part(said: str, content: bytes = b"x", end: bytes = b"\r\n--b--") -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {said}\r\n\r\n".encode() + content + end


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"",
        part('name="file"; filename="f.csv"', b"question,answer\nq,a\n", end=b""),
        part('name="file"'),
        part('name="other"; filename="f.csv"'),
        part('name="name"', b"x" * 5000),
        part('name="a"', end=b"\r\n") * 50 + b"--b--",
        part('filename="f.csv"'),
    ],
)
def test_a_form_that_holds_something_else_is_refused(client: TestClient, body: bytes) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=b"):
        for path in ("/fact-sets", "/fact-sets/validate"):
            answer = send(client, body, kind, path)

            assert (answer.status_code, answer.json()["code"]) == (400, "malformed_multipart")
            assert answer.headers["content-type"] == MEDIA_TYPE


def test_a_file_in_a_form_is_of_a_format_that_is_read(client: TestClient) -> None:
    for file in (("f.exe", b"x"), ("f.csv", b"x", "text/csv; charset=latin-1")):
        answer = form(client, file)

        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_two_files_in_a_form_are_one_too_many(client: TestClient) -> None:
    files = [("file", (f"{n}.jsonl", as_jsonl([RIVER]))) for n in range(2)]

    answer = client.post("/fact-sets", files=files)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_multipart")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/octet-stream",
        "application/zip",
        "text/csv; charset=latin-1",
        "",
        "text/html",
    ],
)
def test_other_types_are_refused_with_those_that_are_read(client: TestClient, kind: str) -> None:
    for path in ("/fact-sets", "/fact-sets/validate"):
        answer = send(client, as_table([RIVER]), kind, path)

        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert all(name in answer.json()["detail"] for name in MEDIA_TYPES)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
def test_a_body_that_would_grow_is_refused(client: TestClient, encoding: str) -> None:
    headers = {"Content-Type": "application/jsonl", "Content-Encoding": encoding}

    answer = client.post("/fact-sets", content=gzip.compress(b" " * 5_000_000), headers=headers)

    assert answer.status_code == 415


@pytest.mark.parametrize("path", ["/fact-sets", "/fact-sets/validate"])
@pytest.mark.parametrize("is_form", [True, False])
def test_a_long_body_is_refused(client: TestClient, settings: Settings, path: str, *, is_form: bool) -> None:
    data = b"\n" * (settings.max_upload_bytes + 1)

    answer = (
        form(client, ("f.jsonl", data), path) if is_form else send(client, data, "application/jsonl", path)
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/fact-sets", "/fact-sets/validate"])
def test_too_many_facts_are_refused_whatever_they_are(
    client: TestClient, settings: Settings, path: str
) -> None:
    facts = [{"question": f"Q{n}?", "answer": "A" if n % 2 else ""} for n in range(settings.max_facts + 1)]

    answer = send(
        client, as_jsonl(facts), "application/jsonl", path, **({} if "val" in path else {"on_error": "skip"})
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_facts")
    assert client.get("/fact-sets").json()["data"] == []


def test_a_format_with_a_limit_of_its_own_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_file, "MAX_YAML", 10)

    answer = send(client, WRITERS[Format.YAML]([RIVER]), "application/yaml")
    report = send(client, WRITERS[Format.YAML]([RIVER]), "application/yaml", "/fact-sets/validate")

    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert report.json()["errors"][0]["code"] == "file_too_large"


def test_parquet_that_is_not_installed_says_how_to_get_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "is_installed", lambda: False)

    answer = send(client, WRITERS[Format.PARQUET]([RIVER]), "application/vnd.apache.parquet")

    assert (answer.status_code, answer.json()["code"]) == (415, "format_not_installed")
    assert "pip install 'mixsd[parquet]'" in answer.json()["detail"]


def file_cases() -> dict[str, tuple[str, bytes]]:
    """Return files of all sorts, most of them bad, by what they are."""
    deep = b"[" * 100_000
    cases = {
        f"{kind} {what}": (media_type_of(kind), data)
        for kind in Format
        for what, data in {
            "empty": b"",
            "zeros": b"\x00" * 64,
            "blank": b"  \n\n",
            "deep": deep,
            "utf-16": WRITERS[kind]([RIVER]).decode("latin-1").encode("utf-16"),
            "latin-1": '{"question": "é", "answer": "é"}'.encode("latin-1"),
            "null": b"null",
            "surrogate": b'[{"question": "\\ud800", "answer": "A"}]',
            "escaped NUL": b'[{"question": "\\u0000", "answer": "A"}]',
            "half": WRITERS[kind]([RIVER, QUEEN])[:-20],
            "good": WRITERS[kind]([RIVER, QUEEN]),
            "doubled": WRITERS[kind]([RIVER, RIVER]),
            "contradicting": WRITERS[kind]([RIVER, RIVER | {"key": "b", "answer": "Ebra"}]),
            "long": WRITERS[kind]([RIVER | {"answer": "x" * 2001}]),
            "odd": WRITERS[kind]([RIVER | {"answer": "=1+1\u2028\u202e <|im_end|> '; DROP TABLE facts;--"}]),
        }.items()
    }
    return cases | {
        "csv ragged": ("text/csv", b"question,answer\nq,a\nq2,a,b\n"),
        "csv without a head": ("text/csv", b"What?,That.\n"),
        "csv unclosed": ("text/csv", b'question,answer\n"q,a\n' * 9),
        "jsonl U+2028": ("application/jsonl", '{"question": "a\u2028b", "answer": "c\x85d"}'.encode()),
        "yaml alias bomb": ("application/yaml", b"a: &a [x]\nb: &b [*a, *a]\nfacts: [*b]\n"),
        "yaml tag": ("application/yaml", b"- !!python/object/apply:os.system ['true']\n"),
        "json doubled name": (
            "application/json",
            b'{"facts": [{"question": "Q", "question": "Q", "answer": "A"}]}',
        ),
        "json huge number": ("application/json", b'{"facts": [1e999, ' + b"9" * 5000 + b"]}"),
        "zip": ("text/csv", b"PK\x03\x04" + bytes(range(256))),
    }


CASES = file_cases()


@pytest.mark.parametrize("case", CASES)
def test_what_is_called_valid_is_taken_and_nothing_else(client: TestClient, case: str) -> None:
    media_type, data = CASES[case]

    report = send(client, data, media_type, "/fact-sets/validate")
    created = send(client, data, media_type)
    skipped = send(client, data, media_type, on_error="skip")

    assert report.status_code == 200, report.text
    said = report.json()
    assert (created.status_code == 201) == said["valid"]
    assert (skipped.status_code == 201) == (said["sha256"] is not None)
    if said["valid"]:
        assert created.json()["sha256"] == said["sha256"]
    else:
        problem = created.json()
        assert (created.status_code, problem["code"]) in {(422, "invalid_facts"), (400, "malformed_json")}
        assert problem["total_errors"] == said["total_errors"] > 0
        codes = [error["code"] for error in said["errors"]]
        assert sorted(error["code"] for error in problem["errors"]) == sorted(codes)
    if skipped.status_code == 201:
        assert skipped.json()["sha256"] == said["sha256"]


def test_errors_are_counted_beyond_those_that_are_listed(client: TestClient, settings: Settings) -> None:
    data = b"{}\n" * 900

    problem = send(client, data, "application/jsonl").json()

    assert (len(problem["errors"]), problem["total_errors"]) == (1000, 1800)
    assert problem["errors"][-1]["line"] == 500


def test_broken_json_lists_what_was_wrong_before_it_as_well(client: TestClient) -> None:
    answer = send(client, b'{"facts": [{"question": "Q"}, {"question" "Q"}]}', "application/json")

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
    assert [error["code"] for error in answer.json()["errors"]] == ["malformed_json", "missing_field"]
    assert answer.json()["errors"][0]["column"] == 43


def test_skipping_does_not_forgive_a_wrong_envelope(client: TestClient) -> None:
    document = json.dumps({"facts": [RIVER], "nam": "x"}).encode()

    answer = send(client, document, "application/json", on_error="skip")

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/nam")


def test_warnings_are_told_with_their_places_and_counts(client: TestClient) -> None:
    report = send(
        client,
        as_table([QUEEN | {"answer": "=1+1"}, RIVER | {"answer": "TBD"}]),
        "text/csv",
        "/fact-sets/validate",
    ).json()

    assert report["valid"]
    assert report["warning_counts"] == {"formula_cell": 1, "placeholder_answer": 1}
    assert report["total_warnings"] == 2
    assert [(w["code"], w["line"], w["fact_key"]) for w in report["warnings"]] == [
        ("formula_cell", 2, "queen"),
        ("placeholder_answer", 3, "iss"),
    ]


def test_a_set_of_many_batches_is_whole_and_in_order_and_can_be_deleted(client: TestClient) -> None:
    facts = [{"key": f"k{n}", "question": f"Qé{n}", "answer": "A"} for n in range(1000)]

    created = send(client, as_jsonl(facts), "application/jsonl").json()
    url = f"/fact-sets/{created['id']}"
    listed: list[dict[str, str]] = []
    query: dict[str, str] = {"limit": "100"}
    while query:
        page = client.get(f"{url}/facts", params=query).json()
        listed += page["data"]
        query = {"limit": "100", "cursor": page["next_cursor"]} if page["has_more"] else {}

    assert [fact["key"] for fact in listed] == [fact["key"] for fact in facts]
    assert listed[998]["question"] == "Qé998"
    assert client.delete(url).status_code == 204
