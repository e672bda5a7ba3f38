"""Requests in OpenAI's words that nobody should send, or that ask for what has no counterpart here."""

import json
from dataclasses import dataclass
from typing import Any, Final

import pytest

from app.web.openai_errors import PREFIX, type_of
from tests.badinput.served import CANARY, JSON, MEBIBYTE, Row, Target

CHAT: Final = f"{PREFIX}/chat/completions"
JOBS: Final = f"{PREFIX}/fine_tuning/jobs"
FILES: Final = f"{PREFIX}/files"
DEEP: Final = b"[" * 100_000 + b"]" * 100_000
ASKED: Final = 69
"""What the list of bad input does not have: what other services of this API do, and this one does not."""


@dataclass(frozen=True)
class OpenAIRow(Row):
    """A bad request under `/openai/v1`. `param` is of its error; an empty one is not looked at."""

    param: str = ""

    def check(self, target: Target) -> None:
        answer = self.send(target)
        assert answer.status_code == self.status, answer.text[:600]
        assert self.status < 500
        assert CANARY not in answer.text
        error = error_in(answer)
        assert error["code"] == self.code, error
        assert error["type"] == type_of(self.status)
        assert len(error["message"]) < 4000
        if self.param:
            assert error["param"] == self.param, error


def error_in(answer: Any) -> dict[str, Any]:
    """Return the error, after seeing that it has the shape that OpenAI's clients read."""
    assert answer.headers["content-type"] == JSON
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def to(
    path: str, number: int, what: str, body: bytes, status: int, code: str, param: str = "", **more: Any
) -> OpenAIRow:
    name = {CHAT: "a chat", JOBS: "a job", FILES: "a file"}[path]
    return OpenAIRow(number, f"{name}, {what}", "POST", path, status, code, body=body, param=param, **more)


WHOLE: Final[dict[str, dict[str, Any]]] = {
    CHAT: {"model": "tiny", "messages": [{"role": "user", "content": "Who?"}]},
    JOBS: {"model": "owner/model", "training_file": "file_019ab3c4d5e67f8091a2b3c4d5e6f70d"},
}


def whole(path: str, **changes: Any) -> bytes:
    """Return a request that is sound but for what is changed; the file that it names is not there."""
    return json.dumps(WHOLE[path] | changes).encode()


def raw(path: str, said: str) -> bytes:
    """Return a request of which something is said in raw JSON beside."""
    return f"{json.dumps(WHOLE[path])[:-1]}, {said}}}".encode()


def said(content: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


BODIES: Final = [
    row
    for path in (CHAT, JOBS)
    for row in (
        *(
            to(path, number, f"{what}", raw(path, f'"seed": {what}'), 400, "malformed_json")
            for number, what in ((1, "NaN"), (2, "1e999"), (2, "-Infinity"))
        ),
        to(path, 3, "a lone surrogate", raw(path, '"user": "\\ud800"'), 400, "malformed_json"),
        to(path, 3, "one in a name", raw(path, '"\\udfff": 1'), 400, "malformed_json"),
        to(path, 5, "NUL", raw(path, '"user": "a\\u0000b"'), 400, "malformed_json"),
        to(path, 6, "100000 levels", DEEP, 400, "malformed_json"),
        to(
            path,
            6,
            "100000 levels of a field",
            raw(path, f'"metadata": {DEEP.decode()}'),
            400,
            "malformed_json",
        ),
        to(path, 6, "100000 open", b'{"messages": ' + b"[" * 100_000, 400, "malformed_json"),
        to(path, 7, "5000 digits", raw(path, f'"seed": {"9" * 5000}'), 400, "malformed_json"),
        to(path, 8, "4000 digits", raw(path, f'"seed": {"9" * 4000}'), 422, "out_of_range", "seed"),
        to(path, 9, "a key twice", raw(path, '"seed": 1, "seed": 1'), 400, "malformed_json"),
        to(path, 9, "the model twice", raw(path, '"model": "tiny"'), 400, "malformed_json"),
        to(path, 10, "no UTF-8", b'{"model": "\xff\xfe"}', 400, "malformed_json"),
        to(path, 11, "UTF-16", whole(path).decode().encode("utf-16"), 400, "malformed_json"),
        *(
            to(path, 12, f"a model of {model}", whole(path, model=model), 422, "wrong_type", "model")
            for model in (7, None, True, ["tiny"], {"id": "tiny"})
        ),
        to(path, 13, "a field of nobody", whole(path, fence=CANARY), 422, "unknown_field", "fence"),
        to(path, 14, "more than a megabyte", b" " * 1_000_001, 413, "body_too_large"),
        to(
            path,
            16,
            "packed",
            b"\x1f\x8b",
            415,
            "unsupported_media_type",
            headers={"Content-Encoding": "gzip"},
        ),
        to(
            path,
            20,
            "a form",
            b"a=1",
            415,
            "unsupported_media_type",
            kind="application/x-www-form-urlencoded",
        ),
        *(
            to(path, 22, f"{body!r}", body, status, code)
            for body, status, code in (
                (b"", 400, "malformed_json"),
                (b"{", 400, "malformed_json"),
                (b"null", 422, "wrong_type"),
                (b"[]", 422, "wrong_type"),
                (b"{}", 422, "missing_field"),
            )
        ),
        to(path, 55, "a model of 300 characters", whole(path, model="a" * 300), 422, "too_long", "model"),
        OpenAIRow(61, f"no key on {path}", "POST", path, 401, "unauthenticated", body=whole(path), key=""),
        OpenAIRow(
            61,
            f"a key to read on {path}",
            "POST",
            path,
            403,
            "missing_scope",
            body=whole(path),
            key="reader",
        ),
    )
]

TOOL: Final = {"type": "function", "function": {"name": CANARY, "parameters": {}}}
IMAGE: Final = {"type": "image_url", "image_url": {"url": f"http://169.254.169.254/{CANARY}"}}
UNSERVED: Final = [
    *(
        to(
            CHAT,
            ASKED,
            f"{name} of {str(value)[:20]}",
            whole(CHAT, **{name: value}),
            422,
            "unsupported_parameter",
            name,
        )
        for name, value in (
            ("tools", [TOOL]),
            ("tools", [{}] * 1000),
            ("tools", {}),
            ("tools", CANARY),
            ("tool_choice", "auto"),
            ("tool_choice", TOOL),
            ("functions", [{"name": CANARY}]),
            ("function_call", {"name": CANARY}),
            ("parallel_tool_calls", False),
            ("n", 2),
            ("n", 0),
            ("n", -1),
            ("n", 10**9),
            ("n", 1.0),
            ("n", "1"),
            ("n", True),
            ("logprobs", True),
            ("logprobs", 1),
            ("logprobs", 0),
            ("top_logprobs", 5),
            ("top_logprobs", False),
            ("logit_bias", {"1": -100}),
            ("frequency_penalty", 0.5),
            ("presence_penalty", False),
            ("modalities", ["text", "audio"]),
            ("audio", {"voice": CANARY}),
            ("store", True),
            ("metadata", {"a": CANARY}),
            ("user", CANARY),
            ("service_tier", "flex"),
        )
    ),
    *(
        to(
            CHAT,
            ASKED,
            f"a part {part['type']}",
            whole(CHAT, messages=[said([part])]),
            422,
            "unsupported_part",
            "messages[0].content[0]",
        )
        for part in (
            IMAGE,
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
            {"type": "file", "file": {"file_id": CANARY}},
            {"type": "refusal", "refusal": CANARY},
        )
    ),
    to(
        CHAT,
        ASKED,
        "an image behind a text",
        whole(CHAT, messages=[said([{"type": "text", "text": "a"}, IMAGE])]),
        422,
        "unsupported_part",
        "messages[0].content[1]",
    ),
    *(
        to(
            CHAT,
            ASKED,
            f"the role {role}",
            whole(CHAT, messages=[said("a", role), said("b")]),
            422,
            "unsupported_role",
            "messages[0].role",
        )
        for role in ("tool", "function", "root", "")
    ),
    to(
        CHAT,
        ASKED,
        "a call of a tool",
        whole(CHAT, messages=[said("a", "assistant", tool_calls=[TOOL]), said("b")]),
        422,
        "unsupported_parameter",
        "messages[0].tool_calls",
    ),
    *(
        to(CHAT, 12, f"messages of {str(value)[:20]}", whole(CHAT, messages=value), 422, code)
        for value, code in (
            ("Who?", "wrong_type"),
            (None, "wrong_type"),
            ([], "too_short"),
            (["Who?"], "wrong_type"),
            ([said("a")] * 10_000, "too_long"),
            ([said(None)], "wrong_type"),
            ([said(7)], "wrong_type"),
            ([said([])], "too_short"),
            ([{"role": "user"}], "missing_field"),
            ([{"content": "a"}], "missing_field"),
        )
    ),
    *(
        to(CHAT, 12, f"{name} of {str(value)[:20]}", whole(CHAT, **{name: value}), 422, code, name)
        for name, value, code in (
            ("temperature", "1", "wrong_type"),
            ("temperature", True, "wrong_type"),
            ("temperature", 3, "out_of_range"),
            ("top_p", 0, "out_of_range"),
            ("max_tokens", 10**9, "out_of_range"),
            ("max_completion_tokens", 1.5, "wrong_type"),
            ("stream", "true", "wrong_type"),
            ("stop", ["a"] * 9, "too_long"),
        )
    ),
    *(
        to(JOBS, ASKED, f"{name} of {str(value)[:20]}", whole(JOBS, **{name: value}), 422, code, param)
        for name, value, code, param in (
            ("validation_file", CANARY, "unsupported_parameter", "validation_file"),
            ("integrations", [{"type": "wandb"}], "unsupported_parameter", "integrations"),
            ("method", {"type": "dpo"}, "unsupported_method", "method"),
            ("method", {"type": "reinforcement"}, "unsupported_method", "method"),
            ("method", {"type": CANARY}, "unknown_value", "method.type"),
            ("method", "supervised", "wrong_type", "method"),
            ("hyperparameters", {"n_epochs": "3"}, "unknown_value", "hyperparameters.n_epochs"),
            ("hyperparameters", {"n_epochs": 0}, "out_of_range", "hyperparameters.n_epochs"),
            ("hyperparameters", {"batch_size": True}, "wrong_type", "hyperparameters.batch_size"),
            ("training_file", 7, "wrong_type", "training_file"),
            ("training_file", "a" * 300, "too_long", "training_file"),
        )
    ),
    to(JOBS, 60, "a file that is not there", whole(JOBS), 404, "file_not_found", "training_file"),
    to(CHAT, 55, "a model that is none", whole(CHAT, model="gpt-4o"), 404, "model_not_found", "model"),
]

FORM: Final = "multipart/form-data; boundary=b"
MALFORMED: Final = (400, "malformed_multipart")
GOOD: Final = {"messages": [said("Who?"), said("She.", "assistant")]}


def form(
    content: bytes, *, purpose: bytes = b"fine-tune", before: bytes = b"", end: bytes = b"\r\n--b--\r\n"
) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n'
    return before + field("purpose", purpose) + head + content + end


def field(name: str, value: bytes) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def upload(
    number: int, what: str, body: bytes, status: int, code: str, param: str = "", **more: Any
) -> OpenAIRow:
    return to(FILES, number, what, body, status, code, param, **{"kind": FORM, **more})


def line(number: int, what: str, content: bytes) -> OpenAIRow:
    return upload(number, what, form(content), 422, "invalid_facts")


def chat(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"messages": list(messages), **more}).encode() + b"\n"


UPLOADS: Final = [
    line(23, "nothing in it", b""),
    upload(
        24,
        "one line too many",
        form(b"".join(chat(said(f"Q{n}?"), said("A", "assistant")) for n in range(2001))),
        413,
        "too_many_facts",
    ),
    upload(14, "61 MB", form(b" " * 61_000_000), 413, "body_too_large"),
    line(25, "a line of 20 MB", b'{"messages": "' + b"x" * 20_000_000 + b'"}\n'),
    line(5, "NUL in a text", json.dumps(GOOD).replace("Who", "\\u0000").encode()),
    line(3, "a lone surrogate", json.dumps(GOOD).replace("Who", "\\ud800").encode()),
    line(6, "100000 levels", b'{"messages": ' + DEEP + b"}\n"),
    line(6, "100000 open", b"[" * 100_000 + b"\n"),
    line(9, "a key twice", json.dumps(GOOD).replace("{", '{"messages": [], ', 1).encode()),
    line(10, "no UTF-8", b'{"messages": "\xff\xfe"}\n'),
    line(22, "a list", b"[]\n"),
    line(22, "half an object", b"{\n"),
    *(
        line(12, f"messages of {str(value)[:20]}", json.dumps({"messages": value}).encode())
        for value in (7, None, "Who?", [], [7], [said(7), said("A", "assistant")], [said("Who?")])
    ),
    line(ASKED, "tools", chat(*GOOD["messages"], tools=[TOOL])),
    line(
        ASKED, "a pair of preferences", b'{"input": {}, "preferred_output": [], "non_preferred_output": []}\n'
    ),
    line(ASKED, "prompt and completion", json.dumps({"prompt": CANARY, "completion": "A"}).encode()),
    line(ASKED, "an image", chat(said([IMAGE]), said("A", "assistant"))),
    line(ASKED, "the role tool", chat(said("Who?"), said("x", "tool"), said("A", "assistant"))),
    line(ASKED, "an answer that is a call", chat(said("Who?"), said(None, "assistant", tool_calls=[TOOL]))),
    line(37, "an answer of 60000", chat(said("Who?"), said("x" * 60_000, "assistant"))),
    upload(
        ASKED,
        "another purpose",
        form(chat(*GOOD["messages"]), purpose=CANARY.encode()),
        422,
        "unsupported_parameter",
        "purpose",
    ),
    upload(
        ASKED,
        "a time to go",
        form(chat(), before=field("expires_after[anchor]", b"created_at")),
        422,
        "unsupported_parameter",
    ),
    upload(5, "NUL in a field", form(chat(), purpose=b"fine\0tune"), *MALFORMED),
    upload(18, "2000 fields", b"".join(field(f"f{n}", b"x") for n in range(2000)) + b"--b--", *MALFORMED),
    upload(18, "no closing boundary", form(chat(), end=b""), *MALFORMED),
    upload(18, "a field of 3 MB", form(chat(), before=field("purpose", b"x" * 3_000_000)), *MALFORMED),
    upload(20, "JSON in place of a form", b"{}", 415, "unsupported_media_type", kind=JSON),
]


@pytest.mark.parametrize("row", [*BODIES, *UNSERVED, *UPLOADS], ids=str)
def test_what_is_bad_or_not_served_is_refused_in_the_shape_of_that_api(
    target: Target, row: OpenAIRow
) -> None:
    row.check(target)


PATHS: Final = [
    OpenAIRow(number, f"{method} {path[:40]}", method, f"{PREFIX}{path}", status, code)
    for number, method, path, status, code in (
        (5, "GET", "/files/file_%00", 400, "nul_character"),
        (5, "GET", "/models/%00", 400, "nul_character"),
        (60, "GET", "/files/{fact_set}", 404, "file_not_found"),
        (60, "GET", "/fine_tuning/jobs/{their_job}", 404, "job_not_found"),
        (60, "POST", "/fine_tuning/jobs/{their_job}/cancel", 404, "job_not_found"),
        (60, "DELETE", "/models/{their_adapter}", 404, "model_not_found"),
        (60, "GET", "/fine_tuning/jobs/..%2f..%2fapi-keys", 404, "not_found"),
        (55, "GET", "/models/" + "a" * 5000, 422, "too_long"),
        (67, "GET", "/files?limit=-1", 422, "out_of_range"),
        (67, "GET", f"/files?limit={2**70}", 422, "out_of_range"),
        (67, "GET", "/files?limit=x", 422, "wrong_type"),
        (67, "GET", "/files?limit=1&limit=2", 422, "repeated_parameter"),
        (67, "GET", "/fine_tuning/jobs?after=%F0%9F%8E%88", 400, "bad_cursor"),
        (ASKED, "POST", "/embeddings", 404, "not_found"),
        (ASKED, "POST", "/responses", 404, "not_found"),
        (ASKED, "POST", "/images/generations", 404, "not_found"),
    )
]


@pytest.mark.parametrize("row", PATHS, ids=str)
def test_paths_that_lead_nowhere_are_told_of_in_that_shape_too(target: Target, row: OpenAIRow) -> None:
    row.check(target)


@pytest.mark.parametrize(
    "model", ["../x", "file:///etc/passwd", "other/model", "gpt-4o", "", " tiny", "a\u202e"]
)
def test_a_model_that_may_not_be_used_is_refused_by_name(target: Target, model: str) -> None:
    body = whole(JOBS, model=model, training_file=target.ids["spare_fact_set"])

    to(JOBS, 55, "", body, 404, "model_not_found", "model").check(target)


def test_nothing_is_made_of_what_was_refused(target: Target) -> None:
    lists = (f"{FILES}?limit=1000", f"{JOBS}?limit=100", "/fact-sets?limit=100")
    before = [target.get(path).json()["data"] for path in lists]

    for row in (*UNSERVED[:3], *UPLOADS[:1], *UPLOADS[4:12], to(JOBS, ASKED, "", whole(JOBS), 404, "")):
        assert row.send(target).status_code >= 400

    assert [target.get(path).json()["data"] for path in lists] == before


@pytest.mark.parametrize("path", [CHAT, JOBS])
def test_a_body_without_end_is_refused_without_being_kept(target: Target, path: str) -> None:
    def flood() -> Any:
        for _ in range(200):
            yield b" " * MEBIBYTE

    target.forget_peak()
    before = target.memory()

    answer = target.http.post(path, content=flood(), headers={**target.headers(), "Content-Type": JSON})

    assert (answer.status_code, error_in(answer)["code"]) == (413, "body_too_large")
    assert target.memory("VmHWM") - before <= 16 * MEBIBYTE


def test_many_mistakes_make_a_short_message(target: Target) -> None:
    messages = [said(7, CANARY, **{f"{CANARY}{n}": n for n in range(100)})] * 50

    answer = to(CHAT, 4, "", whole(CHAT, messages=messages), 422, "").send(target)

    assert answer.status_code == 422
    assert len(error_in(answer)["message"]) < 4000
