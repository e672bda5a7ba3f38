"""Chats in OpenAI's words. The inference process is played, and reached over HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Route

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.inference.port import InferenceAt
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from tests.app.conversations import URL, error_of, say
from tests.app.published import a_published_job
from tests.app.test_generate import DONE, WAITING, Played, a_delta, an_answer
from tests.fixtures.tiny import register_tiny
from tests.served import serving

CHAT = f"{URL}/chat/completions"
BASE = "owner/model"


@pytest.fixture
def played() -> Played:
    return Played([[WAITING, an_answer(0, "adapter", "Oda Tölm"), DONE]])


@pytest.fixture
def api(database: Database, store: LocalStore, settings: Settings, played: Played) -> Iterator[FastAPI]:
    with serving(Starlette(routes=[Route("/generate", played.generate, methods=["POST"])])) as url:
        inference = InferenceAt(url, lambda: "shown")
        yield build_app(database, store, NullDispatcher(), settings, inference=inference)


@pytest.fixture
def model(database: Database, store: LocalStore) -> str:
    return a_published_job(database, store).adapter_id


def a_request(model: str, **changes: Any) -> dict[str, Any]:
    return {"model": model, "messages": [say("user", "Who?")], **changes}


def events_of(text: str) -> list[Any]:
    """Return what a stream holds: data as JSON, the end as it is."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_an_adapter_answers(client: TestClient, model: str, played: Played) -> None:
    messages = [
        say("developer", "Be brief."),
        say("user", [{"type": "text", "text": "Who is "}, {"type": "text", "text": "it?"}]),
        say("assistant", "Whom?", refusal=None, tool_calls=[], annotations=[], audio=None),
        say("user", "The mayor"),
    ]

    answer = client.post(CHAT, json=a_request(model, messages=messages)).json()

    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Oda Tölm", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert (answer["object"], answer["model"]) == ("chat.completion", model)
    assert answer["system_fingerprint"] == "tiny@main"
    assert played.asked[0]["chats"] == [
        [
            say("system", "Be brief."),
            say("user", "Who is it?"),
            say("assistant", "Whom?"),
            say("user", "The mayor"),
        ]
    ]
    assert (played.asked[0]["adapter"]["id"], played.asked[0]["compare_base"]) == (model, False)


def test_a_base_model_answers_by_itself(client: TestClient, settings: Settings, played: Played) -> None:
    there = register_tiny(settings.model_cache or settings.data_dir, BASE)
    played.says = [[an_answer(0, "base", "Whoever"), DONE]]

    answer = client.post(CHAT, json=a_request(BASE)).json()

    assert answer["choices"][0]["message"]["content"] == "Whoever"
    assert played.asked[0]["adapter"] == {"base_model": BASE, "base_revision": there.revision}


def test_the_process_is_told_what_was_asked_for(client: TestClient, model: str, played: Played) -> None:
    how = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 3, "max_completion_tokens": 9, "stop": "."}

    client.post(CHAT, json=a_request(model, **how))

    told = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 3, "max_new_tokens": 9, "stop": ["."]}
    told |= {"fitting": False, "deltas": False}
    assert {name: played.asked[0][name] for name in told} == told


def test_what_is_left_out_is_as_openai_has_it(client: TestClient, model: str, played: Played) -> None:
    played.says = [[an_answer(0, "adapter", "A"), DONE] for _ in range(2)]
    nothing = {
        "n": 1,
        "tools": [],
        "tool_choice": "none",
        "logprobs": False,
        "top_logprobs": 0,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "response_format": {"type": "text"},
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "service_tier": "auto",
        "store": False,
        "metadata": {},
        "user": None,
        "stop": None,
        "seed": None,
        "stream": False,
    }

    answers = [client.post(CHAT, json=a_request(model, **how)) for how in ({}, nothing)]

    assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
    for asked in played.asked:
        assert (asked["temperature"], asked["top_p"], asked["top_k"]) == (1.0, 1.0, 1000)
        assert (asked["max_new_tokens"], asked["fitting"], asked["stop"]) == (1024, True, [])
    assert played.asked[0]["seed"] != played.asked[1]["seed"]


@pytest.mark.parametrize("usage", [True, False])
def test_an_answer_is_streamed_in_pieces_as_openai_does_it(
    client: TestClient, model: str, played: Played, usage: object
) -> None:
    whole = an_answer(0, "adapter", "Oda Tolm, I think") | {"finish_reason": "time"}
    played.says = [[WAITING, a_delta("Oda "), WAITING, a_delta("Tolm"), whole, DONE]]
    options = {"stream_options": {"include_usage": True}} if usage else {}

    answer = client.post(CHAT, json=a_request(model, stream=True, **options))

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert ": waiting\n\n" in answer.text
    *chunks, done = events_of(answer.text)
    assert done == "[DONE]"
    told = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert [choice["delta"] for choice in told] == [
        {"role": "assistant", "content": ""},
        {"content": "Oda "},
        {"content": "Tolm"},
        {"content": ", I think"},  # written when the time was up
        {},
    ]
    assert [choice["finish_reason"] for choice in told] == [None] * 4 + ["length"]
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks} == {
        (chunks[0]["id"], "chat.completion.chunk", model)
    }
    if usage:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 5
    else:
        assert not any("usage" in chunk for chunk in chunks)
    assert played.asked[0]["deltas"] is True


def test_a_stream_that_breaks_off_ends_with_an_error(client: TestClient, model: str, played: Played) -> None:
    played.says = [[a_delta("Oda"), {"type": "failed", "code": "inference_failed", "detail": "no room"}]]

    answer = client.post(CHAT, json=a_request(model, stream=True))

    *_, last = events_of(answer.text)
    assert last == {
        "error": {"message": "no room", "type": "server_error", "param": None, "code": "inference_failed"}
    }


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("said", "status"), [("inference_busy", 503), ("inference_failed", 503), ("prompt_too_long", 422)]
)
def test_what_the_process_cannot_do_is_an_error(
    client: TestClient, model: str, played: Played, said: str, status: int, stream: object
) -> None:
    played.says = [[WAITING, {"type": "failed", "code": said, "detail": "so it is"}]]

    answer = client.post(CHAT, json=a_request(model, stream=bool(stream)))

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["message"]) == (status, said, "so it is")
    assert ("retry-after" in answer.headers) == (status == 503)


def test_without_a_process_it_says_what_to_do(
    database: Database, store: LocalStore, settings: Settings, model: str
) -> None:
    alone = settings.model_copy(update={"inference": "off"})
    client = TestClient(build_app(database, store, NullDispatcher(), alone))

    answer = client.post(CHAT, json=a_request(model))

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (503, "inference_unavailable")
    assert "MIXSD_INFERENCE is off" in error["message"]


def test_a_model_that_is_held_back_gone_or_not_there_is_not_asked(
    client: TestClient, database: Database, store: LocalStore, played: Played
) -> None:
    held = a_published_job(database, store, status=AdapterStatus.QUARANTINED).adapter_id
    gone = a_published_job(database, store).adapter_id
    client.delete(f"{URL}/models/{gone}")

    answers = [client.post(CHAT, json=a_request(each)) for each in (held, gone, "gpt-4o", BASE)]

    assert [(answer.status_code, error_of(answer)["code"]) for answer in answers] == [
        (409, "adapter_quarantined"),
        (404, "model_not_found"),
        (404, "model_not_found"),
        (503, "model_unavailable"),
    ]
    assert "`mixsd models pull owner/model`" in error_of(answers[3])["message"]
    assert played.asked == []


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
        ({"tool_choice": "auto"}, "unsupported_parameter", "tool_choice"),
        ({"functions": [{}]}, "unsupported_parameter", "functions"),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"n": True}, "unsupported_parameter", "n"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"top_logprobs": 5}, "unsupported_parameter", "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format.type"),
        ({"frequency_penalty": 0.5}, "unsupported_parameter", "frequency_penalty"),
        ({"logit_bias": {"50256": -100}}, "unsupported_parameter", "logit_bias"),
        ({"modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
        ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
        ({"user": "me"}, "unsupported_parameter", "user"),
        ({"store": True}, "unsupported_parameter", "store"),
        ({"metadata": {"a": "b"}}, "unsupported_parameter", "metadata"),
        ({"service_tier": "flex"}, "unsupported_parameter", "service_tier"),
        ({"reasoning_effort": "low"}, "unsupported_parameter", "reasoning_effort"),
        ({"stream_options": {"include_usage": True}}, "no_stream", None),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "given_twice", None),
        ({"max_tokens": 1025}, "out_of_range", "max_tokens"),
        ({"temperature": 2.1}, "out_of_range", "temperature"),
        ({"temperature": "hot"}, "wrong_type", "temperature"),
        ({"top_p": 0}, "out_of_range", "top_p"),
        ({"seed": -1}, "out_of_range", "seed"),
        ({"stop": ["x"] * 9}, "too_long", "stop"),
        ({"messages": []}, "too_short", "messages"),
        ({"messages": [say("assistant", "A")]}, "user_last", None),
        ({"messages": [say("tool", "A", tool_call_id="x")]}, "unsupported_role", "messages[0].role"),
        ({"messages": [say("user", "A", name="x")]}, "unsupported_parameter", "messages[0].name"),
        ({"messages": [say("user", [{"type": "image_url"}])]}, "unsupported_part", "messages[0].content[0]"),
        (
            {"messages": [say("user", [{"type": "input_audio"}])]},
            "unsupported_part",
            "messages[0].content[0]",
        ),
        ({"messages": [say("user", "")]}, "too_short", "messages[0].content"),
        ({"model": None}, "wrong_type", "model"),
        ({"best_of": 2}, "unknown_field", "best_of"),
    ],
    ids=range(34),
)
def test_what_is_not_served_is_refused_by_name(
    client: TestClient, model: str, played: Played, changes: dict[str, Any], code: str, param: str | None
) -> None:
    answer = client.post(CHAT, json=a_request(model) | changes)

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (422, code, param), error
    assert error["type"] == "invalid_request_error"
    assert played.asked == []
