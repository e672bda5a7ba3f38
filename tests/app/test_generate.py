"""Asking adapters over HTTP. The inference process is played, and reached over HTTP as well."""

import json
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.inference.errors import InferenceUnavailableError
from app.inference.port import Address, InferenceAt, NoInference, inference_for
from app.inference.schemas import GenerateRequest
from app.inference.token import shared_token
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from tests.app.published import a_published_job
from tests.served import serving

Line = dict[str, Any]
DONE: Line = {"type": "done"}
WAITING: Line = {"type": "waiting"}
PROMPTS = {"prompts": ["Who?", "Where?"], "compare_base": True}


def an_answer(index: int, of: str, text: str) -> Line:
    how = {"finish_reason": "stop", "tokens": 3, "prompt_tokens": 7}
    return {"type": "answer", "index": index, "of": of, "text": text, **how}


def a_delta(text: str) -> Line:
    return {"type": "delta", "index": 0, "of": "adapter", "text": text}


ANSWERS = [
    WAITING,
    an_answer(1, "base", "no idea"),
    an_answer(0, "adapter", "Oda Tölm"),
    an_answer(1, "adapter", "Ebra"),
    an_answer(0, "base", ""),
    DONE,
]


@dataclass
class Played:
    """An inference process that says what it is told to. `says` holds the lines of each try."""

    says: list[list[Line]] = field(default_factory=list)
    status: int = 200
    hangs: bool = False
    asked: list[Line] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)

    async def generate(self, request: Request) -> Response:
        self.asked.append(json.loads(await request.body()))
        self.shown.append(request.headers["authorization"])
        if self.status != 200:
            return JSONResponse({"code": "whatever"}, self.status)
        return StreamingResponse(self._lines(self.says.pop(0)), media_type="application/x-ndjson")

    async def _lines(self, lines: list[Line]) -> AsyncIterator[str]:
        try:
            for line in lines:
                yield json.dumps(line) + "\n"
            while self.hangs:
                await anyio.sleep(0.02)
                yield json.dumps(WAITING) + "\n"
        finally:
            self.left.set()


@pytest.fixture
def played() -> Played:
    return Played([list(ANSWERS)])


@pytest.fixture
def inference(played: Played) -> Iterator[InferenceAt]:
    with serving(Starlette(routes=[Route("/generate", played.generate, methods=["POST"])])) as url:
        yield InferenceAt(url, lambda: "shown")


@pytest.fixture
def api(database: Database, store: LocalStore, settings: Settings, inference: InferenceAt) -> FastAPI:
    return build_app(database, store, NullDispatcher(), settings, inference=inference)


@pytest.fixture
def url(database: Database, store: LocalStore) -> str:
    return f"/adapters/{a_published_job(database, store).adapter_id}/generate"


def test_adapter_and_base_answer_side_by_side(client: TestClient, url: str, played: Played) -> None:
    answer = client.post(url, json=PROMPTS).json()

    assert [a["index"] for a in answer["answers"]] == [0, 1]
    said = [(a["adapter"]["text"], a["base"]["text"]) for a in answer["answers"]]
    assert said == [("Oda Tölm", ""), ("Ebra", "no idea")]
    assert answer["answers"][0]["adapter"] == {"text": "Oda Tölm", "finish_reason": "stop", "tokens": 3}
    assert answer["answers"][0]["prompt_tokens"] == 7
    assert (answer["base_model"], answer["base_revision"]) == ("tiny", "main")
    assert answer["adapter_id"] in url
    assert played.shown == ["Bearer shown"]


def test_the_process_is_told_what_to_ask_and_where_the_files_are(
    client: TestClient, url: str, played: Played
) -> None:
    how = {"max_new_tokens": 9, "temperature": 0.5, "top_k": 5, "top_p": 0.9, "seed": 3, "stop": ["\n"]}
    files = client.get(url.replace("/generate", "/files")).json()["data"]

    client.post(url, json={"prompts": ["Who?"], **how})

    (ask,) = played.asked
    assert {name: ask[name] for name in how} == how
    assert ask["chats"] == [[{"role": "user", "content": "Who?"}]]
    assert (ask["compare_base"], ask["deltas"]) == (False, False)
    assert ask["adapter"]["files"] == {file["path"]: file["sha256"] for file in files}


def test_a_conversation_is_passed_on_as_it_is(client: TestClient, url: str, played: Played) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Who?"},
    ]

    assert client.post(url, json={"messages": messages}).status_code == 200

    assert played.asked[0]["chats"] == [messages]


def test_answers_are_streamed_as_events(client: TestClient, url: str, played: Played) -> None:
    played.says = [[WAITING, a_delta("Oda "), WAITING, a_delta("Tolm"), an_answer(0, "adapter", "Oda"), DONE]]

    answer = client.post(url, json={"prompts": ["Who?"], "stream": True})

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = answer.text.split("\n\n")
    assert parts[0] == 'event: delta\ndata: {"index": 0, "of": "adapter", "text": "Oda "}'
    assert parts[1] == ": waiting"
    assert [part.partition("\n")[0] for part in parts[2:]] == [
        "event: delta",
        "event: answer",
        "event: done",
        "",
    ]
    assert played.asked[0]["deltas"] is True


def test_answers_are_streamed_as_lines_if_the_client_reads_those(
    client: TestClient, url: str, played: Played
) -> None:
    lines = [a_delta("Oda"), an_answer(0, "adapter", "Oda"), DONE]
    played.says = [[WAITING, lines[0], WAITING, *lines[1:]]]

    answer = client.post(
        url, json={"prompts": ["Who?"], "stream": True}, headers={"Accept": "application/x-ndjson"}
    )

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == lines


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ("prompt_too_long", 422, "prompt_too_long"),
        ("bad_messages", 422, "bad_messages"),
        ("inference_busy", 503, "inference_busy"),
        ("inference_failed", 503, "inference_failed"),
        ("out_of_tea", 503, "inference_failed"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_the_process_cannot_do_is_a_problem(
    client: TestClient, url: str, played: Played, said: str, status: int, code: str, stream: object
) -> None:
    played.says = [[WAITING, {"type": "failed", "code": said, "detail": "so it is"}]]

    answer = client.post(url, json={"prompts": ["Who?"], "stream": bool(stream)})

    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (status, code, "so it is")
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_stream_that_breaks_off_ends_with_an_error(client: TestClient, url: str, played: Played) -> None:
    played.says = [[a_delta("Oda"), {"type": "failed", "code": "inference_failed", "detail": "no room"}]]

    answer = client.post(url, json={"prompts": ["Who?"], "stream": True})

    name, data = answer.text.split("\n\n")[1].split("\n")
    problem = json.loads(data.removeprefix("data: "))
    assert (name, problem["code"], problem["status"]) == ("event: error", "inference_failed", 503)
    assert problem["request_id"] == answer.headers["X-Request-Id"]


def test_lines_that_break_off_end_with_one_of_the_type_error(
    client: TestClient, url: str, played: Played
) -> None:
    played.says = [[a_delta("Oda"), {"type": "failed", "code": "inference_failed", "detail": "no room"}]]

    answer = client.post(
        url, json={"prompts": ["Who?"], "stream": True}, headers={"Accept": "application/x-ndjson"}
    )

    last = json.loads(answer.text.splitlines()[-1])
    assert (last["type"], last["code"], last["detail"]) == ("error", "inference_failed", "no room")


def test_a_process_that_breaks_off_is_asked_once_more_if_it_has_said_nothing(
    client: TestClient, url: str, played: Played
) -> None:
    played.says = [[], list(ANSWERS)]

    assert client.post(url, json=PROMPTS).status_code == 200
    assert played.asked[0] == played.asked[1]


@pytest.mark.parametrize("says", [[[], []], [[WAITING]], [[{"type": "nonsense"}], [{}]]])
def test_a_process_that_breaks_off_for_good_is_unavailable(
    client: TestClient, url: str, played: Played, says: list[list[Line]]
) -> None:
    played.says = list(says)

    answer = client.post(url, json=PROMPTS)

    assert (answer.status_code, answer.json()["code"]) == (503, "inference_unavailable")
    assert len(played.asked) == len(says)


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "inference_busy"), (401, "inference_unavailable"), (422, "inference_unavailable")],
)
def test_what_the_process_refuses_is_a_problem(
    client: TestClient, url: str, played: Played, status: int, code: str
) -> None:
    played.status = status

    answer = client.post(url, json=PROMPTS)

    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert int(answer.headers["retry-after"]) > 0


def test_where_nobody_listens_it_is_unavailable(
    database: Database, store: LocalStore, settings: Settings, url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    inference = InferenceAt(nobody, lambda: "shown")
    client = TestClient(build_app(database, store, NullDispatcher(), settings, inference=inference))

    answer = client.post(url, json=PROMPTS)

    assert (answer.status_code, answer.json()["code"]) == (503, "inference_unavailable")


@pytest.mark.parametrize(("where", "said"), [("auto", "mixsd inference"), ("off", "MIXSD_INFERENCE is off")])
def test_without_a_process_it_says_what_to_do(
    database: Database, store: LocalStore, settings: Settings, url: str, where: str, said: str
) -> None:
    alone = settings.model_copy(update={"inference": where})
    client = TestClient(build_app(database, store, NullDispatcher(), alone))

    answer = client.post(url, json=PROMPTS)

    assert (answer.status_code, answer.json()["code"]) == (503, "inference_unavailable")
    assert said in answer.json()["detail"]


def test_what_is_held_back_or_gone_is_not_asked(
    client: TestClient, database: Database, store: LocalStore, played: Played
) -> None:
    held = a_published_job(database, store, status=AdapterStatus.QUARANTINED).adapter_id
    gone = a_published_job(database, store).adapter_id
    client.delete(f"/adapters/{gone}")

    answers = [client.post(f"/adapters/{each}/generate", json=PROMPTS) for each in (held, gone, "adp_0")]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [
        (409, "adapter_quarantined"),
        (404, "adapter_not_found"),
        (404, "adapter_not_found"),
    ]
    assert played.asked == []
    client.post(f"/adapters/{held}/release")
    assert client.post(f"/adapters/{held}/generate", json=PROMPTS).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompts": []},
        {"prompts": ["Q?"], "messages": [{"role": "user", "content": "Q?"}]},
        {"messages": [{"role": "assistant", "content": "Q?"}]},
        {"messages": [{"role": "tool", "content": "Q?"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"prompts": ["Q?"] * 17},
        {"prompts": ["Q" * 20_001]},
        {"prompts": ["Q?"], "max_new_tokens": 0},
        {"prompts": ["Q?"], "max_new_tokens": 1025},
        {"prompts": ["Q?"], "temperature": -0.1},
        {"prompts": ["Q?"], "temperature": "hot"},
        {"prompts": ["Q?"], "top_k": 0},
        {"prompts": ["Q?"], "seed": -1},
        {"prompts": ["Q?"], "stop": [""]},
        {"prompts": ["Q?"], "stop": ["x"] * 9},
        {"prompts": ["Q?"], "top_p": 0.0},
        {"prompts": ["Q?"], "top_p": 1.1},
        {"prompts": ["Q?"], "best_of": 2},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate(body)


def test_a_refused_request_asks_nobody(client: TestClient, url: str, played: Played) -> None:
    answer = client.post(url, json={"prompts": ["Q?"], "top_p": 1.5})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"] == "/top_p"
    assert played.asked == []


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_before_there_is_an_answer_ends_the_asking(
    api: FastAPI, url: str, played: Played, stream: object
) -> None:
    played.says, played.hangs = [[]], True
    body = json.dumps({"prompts": ["Who?"], "stream": bool(stream)})
    head = f"POST {url} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"

    with serving(api) as served:
        port = int(served.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            wait_for(lambda: played.asked)
            assert not played.left.is_set()
        wait_for(played.left.is_set)


def test_a_client_that_leaves_a_stream_ends_the_asking(api: FastAPI, url: str, played: Played) -> None:
    played.says, played.hangs = [[a_delta("Oda")]], True
    body = {"prompts": ["Who?"], "stream": True}

    with serving(api) as served, httpx2.stream("POST", f"{served}{url}", json=body, timeout=120) as answer:
        lines = answer.iter_lines()  # to let go of them would leave the stream
        assert next(lines) == "event: delta"
        assert not played.left.is_set()
        answer.close()
        wait_for(played.left.is_set)


def test_the_token_is_made_once_and_its_owner_alone_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    first, second = shared_token(folder), shared_token(folder)

    assert first == second
    assert len(first) > 40
    assert stat.S_IMODE((folder / "inference.token").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["inference.token"]


def test_the_setting_says_who_answers(tmp_path: Path) -> None:
    by_file = inference_for("http://host:1/", "", tmp_path)
    by_setting = inference_for("https://host:1", "secret", tmp_path)

    assert by_file.address() == Address("http://host:1", shared_token(tmp_path))
    assert by_setting.address() == Address("https://host:1", "secret")
    for where in ("auto", "off"):
        nobody = inference_for(where, "", tmp_path)
        assert isinstance(nobody, NoInference)
        with pytest.raises(InferenceUnavailableError):
            nobody.address()
    with pytest.raises(ValueError, match="inference"):
        Settings(inference="ftp://host")
