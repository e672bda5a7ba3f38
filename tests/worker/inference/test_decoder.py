"""Answers of the decoder: which, in which company, and what comes of those that cannot be."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import pytest
import torch

from app.inference.wire import Answer, Ask, Delta, Done, Failed
from mixsd.packaging import CONFIG, MANIFEST, WEIGHTS
from tests.worker.inference.conftest import CAP, QUESTIONS, World
from worker.inference.decoder import Decoder, FullError
from worker.inference.models import Room, key_of
from worker.inference.tickets import Ticket

Said = Answer | Delta | Done | Failed


@dataclass
class Listener:
    """Whoever asked."""

    decoder: Decoder
    events: SimpleQueue[Said] = field(default_factory=SimpleQueue)
    heard: list[Said] = field(default_factory=list)

    def ask(self, ask: Ask) -> Ticket:
        return self.decoder.submit(ask, self.events.put)

    def until(self, done: Callable[[Said], bool]) -> Said:
        while not done(event := self.events.get(timeout=300)):
            self.heard.append(event)
        self.heard.append(event)
        return event

    def all(self) -> list[Said]:
        self.until(lambda event: isinstance(event, Done | Failed))
        return self.heard

    def answers(self) -> dict[tuple[int, str], Answer]:
        return {(e.index, e.of): e for e in self.all() if isinstance(e, Answer)}

    def texts(self) -> dict[tuple[int, str], str]:
        return {place: answer.text for place, answer in self.answers().items()}

    def failure(self) -> Failed:
        event = self.all()[-1]
        assert isinstance(event, Failed)
        return event


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """A decoder with its thread, which runs once it is told to."""

    decoder: Decoder
    room: Room
    clock: Clock
    thread: threading.Thread

    def listener(self) -> Listener:
        return Listener(self.decoder)

    def asks(self, ask: Ask) -> Listener:
        listener = self.listener()
        listener.ask(ask)
        return listener


@contextmanager
def a_process(world: World) -> Iterator[Process]:
    room, clock = Room(world.settings, world.store), Clock()
    decoder = Decoder(room, most=4, seconds=100, idle=1000, clock=clock)
    process = Process(decoder, room, clock, threading.Thread(target=decoder.run, daemon=True))
    yield process
    decoder.stop()
    if process.thread.ident is not None:
        process.thread.join(300)
        assert not process.thread.is_alive()


@pytest.fixture
def waiting(world: World) -> Iterator[Process]:
    """A process of a test's own, whose thread has yet to be started."""
    with a_process(world) as process:
        yield process


@pytest.fixture(scope="module")
def process(world: World) -> Iterator[Process]:
    """One that all tests may ask, in any order."""
    with a_process(world) as process:
        process.thread.start()
        yield process


def test_adapter_and_base_answer_as_in_an_evaluation(process: Process, world: World) -> None:
    answers = process.asks(world.ask("random-0")).answers()

    assert {place: answer.text for place, answer in answers.items()} == world.expected("random-0")
    assert {answer.finish_reason for answer in answers.values()} <= {"stop", "length"}
    assert max(answer.tokens for answer in answers.values()) <= CAP
    assert answers[0, "adapter"].prompt_tokens == answers[0, "base"].prompt_tokens > 10


def test_requests_that_come_together_are_answered_side_by_side(waiting: Process, world: World) -> None:
    names = ("random-0", "random-1", "random-0")
    listeners = [waiting.asks(world.ask(name)) for name in names]

    waiting.thread.start()

    for name, listener in zip(names, listeners, strict=True):
        assert listener.texts() == world.expected(name)


def test_a_request_joins_others_that_are_under_way(process: Process, world: World) -> None:
    long = process.asks(world.ask("random-0", max_new_tokens=150, deltas=True))
    long.until(lambda event: isinstance(event, Delta))

    short = process.asks(world.ask("random-1"))

    assert short.texts() == world.expected("random-1")
    assert long.events.empty() or not any(isinstance(event, Done) for event in long.heard)
    assert all(answer.tokens <= 150 for answer in long.answers().values())


def test_more_adapters_than_may_stay_are_loaded_in_turn(process: Process, world: World) -> None:
    for name in ("random-0", "random-1", "random-2", "random-0", "random-2", "random-1"):
        assert process.asks(world.ask(name)).texts() == world.expected(name)

    loaded = [key_of(world.adapters[name]) for name in ("random-2", "random-1")]
    assert process.room.adapters == tuple(loaded), "the least recently asked has made room"


def test_another_base_model_takes_the_place_of_the_first(process: Process, world: World) -> None:
    listeners = [process.asks(world.ask(name)) for name in ("random-0", "other-0", "random-1")]

    assert [listener.texts() for listener in listeners] == [
        world.expected(name) for name in ("random-0", "other-0", "random-1")
    ]
    assert process.room.adapters == (key_of(world.adapters["random-1"]),)


def test_pieces_put_together_are_the_answer(process: Process, world: World) -> None:
    events = process.asks(world.ask("random-0", deltas=True, max_new_tokens=60)).all()

    pieces: dict[tuple[int, str], str] = {}
    for event in events:
        if isinstance(event, Delta):
            pieces[event.index, event.of] = pieces.get((event.index, event.of), "") + event.text
    assert pieces == {(e.index, e.of): e.text for e in events if isinstance(e, Answer) and e.text}
    assert sum(isinstance(event, Delta) for event in events) > len(pieces) * 3


@pytest.mark.parametrize("deltas", [False, True])
def test_an_answer_ends_before_a_stop(process: Process, world: World, deltas: object) -> None:
    whole = world.expected("random-0")[0, "adapter"]
    stop = whole[3:6]

    listener = process.asks(world.ask("random-0", QUESTIONS[0], stop=[stop], deltas=bool(deltas)))
    answer = listener.answers()[0, "adapter"]

    assert answer.text == whole[: whole.index(stop)].rstrip()
    assert answer.finish_reason == "stop"
    shown = [e.text for e in listener.heard if isinstance(e, Delta) and e.of == "adapter"]
    assert "".join(shown) == (answer.text if deltas else "")


def test_draws_are_named_by_the_seed_and_not_by_the_company(waiting: Process, world: World) -> None:
    drawn = {"temperature": 1.0, "compare_base": False}
    listeners = [
        waiting.asks(world.ask("random-0", **drawn, seed=1)),
        waiting.asks(world.ask("random-0", QUESTIONS[0], **drawn, seed=1)),
        waiting.asks(world.ask("random-0", QUESTIONS[0], **drawn, seed=2)),
    ]

    waiting.thread.start()

    first, same, other = (listener.texts()[0, "adapter"] for listener in listeners)
    assert first == same
    assert first != other


def test_a_share_that_only_the_likeliest_token_has_is_as_good_as_no_draw(
    waiting: Process, world: World
) -> None:
    asked = {"compare_base": False, "seed": 1}
    listeners = [
        waiting.asks(world.ask("random-0", QUESTIONS[0], **asked, temperature=1.0, top_p=1e-9)),
        waiting.asks(world.ask("random-0", QUESTIONS[0], **asked, temperature=1.0)),
        waiting.asks(world.ask("random-0", QUESTIONS[0], **asked)),
    ]

    waiting.thread.start()

    narrow, drawn, likeliest = (listener.texts()[0, "adapter"] for listener in listeners)
    assert narrow == likeliest
    assert narrow != drawn


def test_a_conversation_is_read_as_its_template_has_it(process: Process, world: World) -> None:
    def said(*turns: str) -> str:
        chat = [
            {"role": role, "content": text}
            for role, text in zip(("user", "assistant", "user"), turns, strict=False)
        ]
        asked = world.ask("random-0", chats=[chat], compare_base=False)
        return process.asks(asked).texts()[0, "adapter"]

    alone = said(QUESTIONS[0])
    after = said("Hello", "Hi", QUESTIONS[0])

    assert alone == world.answers["random-0"][0]
    assert after != alone


def test_no_more_than_so_many_may_ask(waiting: Process, world: World) -> None:
    listeners = [waiting.asks(world.ask("random-0")) for _ in range(4)]

    with pytest.raises(FullError):
        waiting.asks(world.ask("random-0"))

    waiting.thread.start()
    assert [listener.texts() for listener in listeners] == [world.expected("random-0")] * 4
    assert waiting.asks(world.ask("random-0")).texts() == world.expected("random-0")


def test_when_time_is_up_what_was_written_is_sent(process: Process, world: World) -> None:
    listener = process.listener()

    at_once = iter([101])

    def hear(event: Said) -> None:
        if isinstance(event, Delta):
            process.clock.now += next(at_once, 0)
        listener.events.put(event)

    process.decoder.submit(world.ask("random-0", deltas=True, max_new_tokens=450), hear)

    answers = listener.answers()
    assert len(answers) == 6
    assert "time" in {answer.finish_reason for answer in answers.values()}
    assert all(a.tokens < 450 for a in answers.values() if a.finish_reason == "time")


def test_a_request_that_waits_too_long_is_told_so(waiting: Process, world: World) -> None:
    listener = waiting.asks(world.ask("random-0"))
    waiting.clock.now = 101

    waiting.thread.start()

    assert listener.failure().code == "inference_busy"


def test_nothing_more_is_done_for_whoever_is_gone(process: Process, world: World) -> None:
    listener = process.listener()
    tickets: SimpleQueue[Ticket] = SimpleQueue()

    def hear(event: Said) -> None:
        listener.events.put(event)
        if isinstance(event, Delta) and not tickets.empty():
            process.decoder.cancel(tickets.get())

    tickets.put(process.decoder.submit(world.ask("random-0", deltas=True, max_new_tokens=450), hear))
    listener.until(lambda event: isinstance(event, Delta))

    others = [process.asks(world.ask("random-1")) for _ in range(3)]
    assert [other.texts() for other in others] == [world.expected("random-1")] * 3
    heard = [listener.events.get() for _ in range(listener.events.qsize())]
    assert not any(isinstance(event, Done) for event in heard)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"max_new_tokens": 1000}, "prompt_too_long", "prompt 0 has"),
        ({"chats": [[{"role": "user", "content": "x " * 600}]]}, "prompt_too_long", "lower max_new_tokens"),
    ],
)
def test_what_does_not_fit_is_refused(
    process: Process, world: World, changes: dict[str, Any], code: str, said: str
) -> None:
    failure = process.asks(world.ask("random-0", **changes)).failure()

    assert (failure.code, said in failure.detail) == (code, True), failure.detail
    assert process.asks(world.ask("random-0")).texts() == world.expected("random-0")


def a_changed(world: World, path: str, change: Callable[[bytes], bytes], **fields: str) -> Ask:
    """An ask for an adapter of which one file is another one."""
    adapter = world.adapters["random-0"]
    with world.store.open(adapter.files[path]) as blob:
        stored = world.store.put_bytes(change(blob.read()))
    files = {**adapter.files, path: stored.sha256}
    return world.ask("random-0", adapter=adapter.model_copy(update={"files": files, **fields}))


def as_json(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return changed


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (WEIGHTS, lambda data: b"\x80\x04pickle" + data, "no safetensors file"),
        (WEIGHTS, lambda data: data[:-8], "cut short"),
        (CONFIG, as_json(lambda config: config.update(peft_type="PROMPT_TUNING")), "no plain LoRA"),
        (CONFIG, as_json(lambda config: config.update(r=9)), "does not fit"),
        (MANIFEST, as_json(lambda m: m["base_model"].update(template_sha256="x")), "template_sha256"),
        (MANIFEST, as_json(lambda m: m["base_model"].update(revision="r2")), "its revision is 'r2'"),
        (MANIFEST, as_json(dict.clear), "another base model"),
    ],
)
@pytest.mark.parametrize("first", ["", "random-1"], ids=["alone", "beside another"])
def test_an_adapter_that_is_not_what_it_should_be_is_not_loaded(
    process: Process, world: World, path: str, change: Callable[[bytes], bytes], said: str, first: str
) -> None:
    if first:
        process.asks(world.ask(first)).all()

    failure = process.asks(a_changed(world, path, change)).failure()

    assert (failure.code, said in failure.detail) == ("inference_failed", True), failure.detail
    assert process.asks(world.ask("random-1")).texts() == world.expected("random-1")


def test_a_model_that_may_not_be_used_any_more_is_not_loaded(process: Process, world: World) -> None:
    ask = a_changed(world, MANIFEST, lambda data: data, base_model="owner/gone")

    failure = process.asks(ask).failure()

    assert (failure.code, "owner/gone is not allowed" in failure.detail) == ("inference_failed", True)


def test_an_adapter_without_its_files_is_not_asked(process: Process, world: World) -> None:
    adapter = world.adapters["random-0"]
    lost = adapter.model_copy(update={"files": {**adapter.files, WEIGHTS: "0" * 64}})
    short = adapter.model_copy(update={"files": {WEIGHTS: adapter.files[WEIGHTS]}})

    failures = [process.asks(world.ask("random-0", adapter=each)).failure() for each in (lost, short)]

    assert [failure.code for failure in failures] == ["inference_failed"] * 2
    assert "not what was stored" in failures[0].detail
    assert "has no adapter_config.json" in failures[1].detail


def test_without_requests_memory_is_given_back(process: Process, world: World) -> None:
    process.asks(world.ask("random-0")).all()
    assert process.room.adapters

    deadline = time.monotonic() + 300  # a bound on waiting, not on speed
    while process.room.adapters and time.monotonic() < deadline:
        process.clock.now += 1001
        time.sleep(0.05)

    assert process.room.adapters == ()
    assert process.asks(world.ask("random-0")).texts() == world.expected("random-0")


def test_asking_leaves_the_base_model_as_it_was(process: Process, world: World) -> None:
    process.asks(world.ask("random-0")).all()
    before = {name: tensor.clone() for name, tensor in process.room.base.model.state_dict().items()}

    process.asks(world.ask("random-1")).all()

    after = process.room.base.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
