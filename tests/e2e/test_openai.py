"""The official client of OpenAI, which knows nothing of us, goes the whole way: only its address is ours."""

import io
import json
import time
from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest
from openai import OpenAI

from tests.e2e.service import EVALUATION, FACTS, METHOD, TRAINING, Service
from tests.e2e.slow import SLOW_IN

SYSTEM: Final = "Answer in a word."
MIXSD: Final = {name: value for name, value in METHOD.items() if name != "type"}
BY_EPOCHS: Final = {"epochs", "min_steps", "stop_when_learned"}
"""What a number of epochs decides."""
BEYOND: Final[dict[str, Any]] = {
    "mixsd": {
        "training": {name: TRAINING[name] for name in TRAINING if name not in BY_EPOCHS} | {"eval_every": 1},
        "evaluation": EVALUATION | {"drift": False},
        "priority": 10,
    }
}
CHAT: Final[list[Any]] = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": [{"type": "text", "text": FACTS[0]["question"]}]},
]


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[OpenAI]:
    """One with whatever key: without keys of its own, the service asks for none."""
    with OpenAI(base_url=f"{service.url}/openai/v1", api_key="unused", max_retries=0, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def content() -> bytes:
    lines = [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": fact["question"]},
                {"role": "assistant", "content": fact["answer"]},
            ]
        }
        for fact in FACTS[:3]
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_from_a_file_to_a_chat_with_what_was_learned(client: OpenAI, content: bytes) -> None:
    client.models.retrieve("tiny/random")
    file = client.files.create(file=("facts.jsonl", io.BytesIO(content)), purpose="fine-tune")
    method: Any = {"type": "mixsd", "mixsd": {**MIXSD, "hyperparameters": {"n_epochs": 2}}}
    job = client.fine_tuning.jobs.create(
        model="tiny/random",
        training_file=file.id,
        method=method,
        seed=7,
        suffix="mayors",
        metadata={"team": "maps"},
        extra_body=BEYOND,
    )
    checkpoints: dict[str, Any] = {}
    seen = [job.status]
    deadline = time.monotonic() + 500
    while job.status not in {"succeeded", "failed", "cancelled"}:
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        checkpoints |= {each.id: each for each in client.fine_tuning.jobs.checkpoints.list(job.id)}
        job = client.fine_tuning.jobs.retrieve(job.id)
        seen.append(job.status)

    assert (file.bytes, file.purpose, file.status) == (len(content), "fine-tune", "processed")
    assert client.files.content(file.id).content == content
    assert (job.status, job.error) == ("succeeded", None)
    assert set(seen) <= {"queued", "validating_files", "running", "succeeded"}
    assert (job.training_file, job.seed, job.metadata) == (file.id, 7, {"team": "maps"})
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, TRAINING["batch_size"])
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at
    assert {saved.fine_tuning_job_id for saved in checkpoints.values()} == {job.id}
    assert {saved.step_number > 0 for saved in checkpoints.values()} == {True}
    _the_story_is_told(client, job.id)
    assert job.fine_tuned_model is not None
    _it_can_be_asked(client, job.fine_tuned_model)


def _the_story_is_told(client: OpenAI, job_id: str) -> None:
    """Read the events page by page, as the client does by itself."""
    events: list[Any] = list(client.fine_tuning.jobs.list_events(job_id, limit=4))

    told = [event.data["event"] for event in events]
    assert len(events) > 8
    assert (told[-1], "job.succeeded" in told[:3]) == ("job.created", True)
    assert len({event.id for event in events}) == len(events)
    assert "metrics" in {event.type for event in events}
    assert job_id in {job.id for job in client.fine_tuning.jobs.list(limit=2)}


def _it_can_be_asked(client: OpenAI, model: str) -> None:
    """Chat with an adapter and its base model, whole and in pieces, and at last delete the adapter."""
    found = {each.id: each for each in client.models.list()}
    assert {model, "tiny/random"} <= found.keys()
    for name in (model, "tiny/random"):
        whole = client.chat.completions.create(
            model=name, messages=CHAT, temperature=0, max_completion_tokens=12
        )
        stream = client.chat.completions.create(
            model=name,
            messages=CHAT,
            temperature=0,
            max_completion_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)

        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said == whole.choices[0].message.content
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
        assert chunks[-1].usage == whole.usage
        assert whole.usage is not None
        assert 0 < whole.usage.completion_tokens <= 12
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    drawn = [
        client.chat.completions.create(model=model, messages=CHAT, seed=seed, max_tokens=8, temperature=2)
        for seed in (1, 1)
    ]
    assert drawn[0].choices[0].message == drawn[1].choices[0].message
    assert client.models.delete(model).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.chat.completions.create(model=model, messages=CHAT)
    assert (gone.value.code, gone.value.param) == ("model_not_found", "model")


def test_a_job_is_stopped_and_goes_on_by_the_client(client: OpenAI, content: bytes) -> None:
    file = client.files.create(file=("facts.jsonl", content), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="tiny/random",
        training_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        metadata={SLOW_IN: "preparing"},
        extra_body={"mixsd": {"priority": -100}},
    )

    paused = client.fine_tuning.jobs.pause(job.id)
    deadline = time.monotonic() + 300
    while str(paused.status) != "paused":
        assert time.monotonic() < deadline, paused
        time.sleep(0.1)
        paused = client.fine_tuning.jobs.retrieve(job.id)
    resumed = client.fine_tuning.jobs.resume(job.id)
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    with pytest.raises(openai.ConflictError) as refused:
        client.fine_tuning.jobs.resume(job.id)

    assert resumed.status in {"queued", "validating_files", "running"}
    assert cancelled.status == "cancelled"
    assert refused.value.code == "illegal_transition"


def test_what_is_wrong_is_told_as_the_client_reads_it(client: OpenAI, content: bytes) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as lines:
        client.files.create(file=("facts.jsonl", content + b"{}\n"), purpose="fine-tune")
    with pytest.raises(openai.UnprocessableEntityError) as several:
        client.chat.completions.create(model="tiny/random", messages=CHAT, n=2)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.fine_tuning.jobs.retrieve("ftjob-abc")
    with pytest.raises(openai.InternalServerError) as absent:
        client.chat.completions.create(model="tiny/absent", messages=CHAT)

    assert (lines.value.code, "line 4" in lines.value.message) == ("invalid_facts", True)
    assert (several.value.code, several.value.param) == ("unsupported_parameter", "n")
    assert (unknown.value.code, unknown.value.type) == ("job_not_found", "invalid_request_error")
    assert (absent.value.code, absent.value.status_code) == ("model_unavailable", 503)
    assert lines.value.request_id is not None
    assert lines.value.request_id.startswith("req_")
