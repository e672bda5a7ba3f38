"""The face of the inference process, as the API meets it: over HTTP, with a decoder that is played."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from app.inference.wire import Answer, Ask, Delta, Done
from tests.served import serving
from worker.inference.decoder import FullError
from worker.inference.server import Face
from worker.inference.tickets import Sink, Ticket

TOKEN = "secret-token"  # noqa: S105
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
ASK: dict[str, Any] = {
    "adapter": {"id": "adp_1", "base_model": "tiny", "base_revision": "r1", "files": {}},
    "chats": [[{"role": "user", "content": "Who?"}]],
    "compare_base": False,
    "max_new_tokens": 4,
    "temperature": 0.0,
    "top_k": 1,
    "seed": 0,
    "stop": [],
    "deltas": True,
}
ANSWER = Answer(index=0, of="adapter", text="I\u2028", finish_reason="stop", tokens=2, prompt_tokens=3)


class Played:
    """A decoder that says what it is told to."""

    def __init__(self) -> None:
        self.full = False
        self.silent = False
        self.asks: list[Ask] = []
        self.gone = threading.Event()

    def submit(self, ask: Ask, sink: Sink) -> Ticket:
        if self.full:
            raise FullError
        self.asks.append(ask)
        if not self.silent:
            for event in (Delta(index=0, of="adapter", text="I"), ANSWER, Done()):
                sink(event)
        return Ticket(ask, sink, until=0.0)

    def cancel(self, ticket: Ticket) -> None:
        self.gone.set()


@pytest.fixture
def decoder() -> Played:
    return Played()


@pytest.fixture
def beat() -> float:
    """One that no answer takes, however slow the machine is."""
    return 300.0


@pytest.fixture
def url(decoder: Played, beat: float) -> Iterator[str]:
    with serving(Face(decoder, TOKEN, beat=beat).routes()) as url:
        yield url


def test_events_come_a_line_each(url: str, decoder: Played) -> None:
    answer = httpx2.post(f"{url}/generate", json=ASK, headers=SHOWN, timeout=120)

    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["type"] for line in lines] == ["waiting", "delta", "answer", "done"]
    assert lines[2]["text"] == "I\u2028"
    assert decoder.asks == [Ask.model_validate(ASK)]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
def test_without_the_token_nothing_is_done(url: str, decoder: Played, headers: dict[str, str]) -> None:
    answer = httpx2.post(f"{url}/generate", json=ASK, headers=headers, timeout=120)

    assert (answer.status_code, decoder.asks) == (401, [])
    assert httpx2.get(f"{url}/healthz", timeout=120).json() == {"status": "ok"}


def test_when_too_many_ask_it_says_when_to_come_again(url: str, decoder: Played) -> None:
    decoder.full = True

    answer = httpx2.post(f"{url}/generate", json=ASK, headers=SHOWN, timeout=120)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("body", [b"{", b"[]", json.dumps({**ASK, "chats": []}).encode()])
def test_what_is_no_ask_is_refused(url: str, decoder: Played, body: bytes) -> None:
    assert httpx2.post(f"{url}/generate", content=body, headers=SHOWN, timeout=120).status_code == 422
    assert decoder.asks == []


def test_a_body_without_end_is_not_read_to_it(url: str, decoder: Played) -> None:
    flood = (b" " * 1_000_000 for _ in range(9))

    assert httpx2.post(f"{url}/generate", content=flood, headers=SHOWN, timeout=120).status_code == 413


@pytest.mark.parametrize("beat", [0.05])
def test_it_gives_signs_of_life_and_notices_when_the_caller_is_gone(url: str, decoder: Played) -> None:
    decoder.silent = True

    with httpx2.stream("POST", f"{url}/generate", json=ASK, headers=SHOWN, timeout=120) as answer:
        lines = answer.iter_lines()
        assert [json.loads(next(lines)) for _ in range(3)] == [{"type": "waiting"}] * 3
        assert not decoder.gone.is_set()

    assert decoder.gone.wait(120)
