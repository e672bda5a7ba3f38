from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from mixsd.cli.client import JSONL, LONGEST_WAIT, TRIES, Client, RefusedError, ServiceError
from tests.cli.fake_service import FakeService, running


def a_client(*answers: httpx2.Response, seen: list[httpx2.Request] | None = None) -> Client:
    """Return a client of a service that gives these answers, the last one for ever."""
    left = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        return left.pop(0) if len(left) > 1 else left[0]

    return Client("http://service", sleep=lambda _seconds: None, transport=httpx2.MockTransport(answer))


def test_a_problem_document_becomes_one_line() -> None:
    problem = {
        "title": "Unprocessable",
        "code": "invalid_facts",
        "detail": "the facts\ncannot be used",
        "errors": [
            {"line": 3, "detail": "`answer` is missing"},
            {"pointer": "/facts/4/key", "detail": "bad key"},
            {"detail": "third"},
            {"detail": "fourth"},
        ],
        "total_errors": 7,
    }

    with pytest.raises(ServiceError) as caught:
        a_client(httpx2.Response(422, json=problem)).create_job({})

    assert str(caught.value) == (
        "POST /jobs answered 422 [invalid_facts]: the facts cannot be used; line 3: `answer` is missing; "
        "/facts/4/key: bad key; third; and 4 more"
    )


def test_a_refusal_that_is_no_problem_document_is_named_too() -> None:
    with pytest.raises(ServiceError, match=r"GET /jobs/job_1 answered 502: Bad Gateway"):
        a_client(httpx2.Response(502, text="<html>")).job("job_1")


def test_another_kind_of_server_is_recognised() -> None:
    with pytest.raises(ServiceError, match="is this a MixSD service"):
        a_client(httpx2.Response(200, text="<html>")).job("job_1")


def test_reads_wait_for_a_service_that_is_busy() -> None:
    client = a_client(httpx2.Response(503), httpx2.Response(503), httpx2.Response(200, json={"id": "job_1"}))

    assert client.job("job_1") == {"id": "job_1"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_says_when_to_come_again_is_asked_then(status: int) -> None:
    waited: list[float] = []
    left = [
        httpx2.Response(status, json={"code": "rate_limited"}, headers={"Retry-After": after})
        for after in ("7", "4000", "Wed, 21 Oct 2026 07:28:00 GMT")
    ]

    def answer(_: httpx2.Request) -> httpx2.Response:
        return left.pop(0) if left else httpx2.Response(200, json={"id": "job_1"})

    client = Client("http://service", sleep=waited.append, transport=httpx2.MockTransport(answer))

    assert client.job("job_1") == {"id": "job_1"}
    assert waited == [7.0, LONGEST_WAIT, 1.0]


def test_a_service_that_stays_too_busy_is_given_up() -> None:
    seen: list[httpx2.Request] = []

    with pytest.raises(ServiceError, match="answered 429"):
        a_client(httpx2.Response(429, json={"code": "rate_limited"}), seen=seen).job("job_1")

    assert len(seen) == TRIES


def test_what_is_used_up_is_not_waited_for() -> None:
    seen: list[httpx2.Request] = []
    used_up = httpx2.Response(429, json={"code": "quota_exceeded"}, headers={"Retry-After": "3600"})

    with pytest.raises(RefusedError) as refused:
        a_client(used_up, seen=seen).create_job({})

    assert (len(seen), refused.value.retry_after) == (1, LONGEST_WAIT)


def test_reads_give_up_in_the_end() -> None:
    seen: list[httpx2.Request] = []

    with pytest.raises(ServiceError, match="answered 503"):
        a_client(httpx2.Response(503), seen=seen).job("job_1")

    assert len(seen) == TRIES


def test_what_creates_is_sent_again_under_its_key_until_it_is_answered() -> None:
    seen: list[httpx2.Request] = []
    busy = httpx2.Response(409, json={"code": "idempotency_in_progress", "detail": "wait"})
    made = httpx2.Response(202, json={"id": "job_1"})
    client = a_client(httpx2.Response(503), busy, made, seen=seen)

    assert client.create_job({"name": "rivers"}) == {"id": "job_1"}
    client.create_job({"name": "rivers"})

    keys = [request.headers["Idempotency-Key"] for request in seen]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert {request.content for request in seen} == {seen[0].content}


def test_an_answer_that_was_lost_is_asked_for_under_the_same_key() -> None:
    keys: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            raise httpx2.ReadError("the connection was reset")
        return httpx2.Response(202, json={"id": "job_1"})

    client = Client("http://service", sleep=lambda _seconds: None, transport=httpx2.MockTransport(answer))

    assert client.create_job({}) == {"id": "job_1"}
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_a_refusal_is_not_asked_for_again() -> None:
    seen: list[httpx2.Request] = []
    problem = {"code": "illegal_transition", "detail": "job job_1 is succeeded"}

    with pytest.raises(ServiceError, match="illegal_transition"):
        a_client(httpx2.Response(409, json=problem), seen=seen).cancel("job_1")

    assert len(seen) == 1


def test_a_fact_set_is_sent_as_it_is() -> None:
    seen: list[httpx2.Request] = []

    a_client(httpx2.Response(201, json={"id": "fset_1"}), seen=seen).create_fact_set(b"{}\n", name="rivers")

    assert seen[0].content == b"{}\n"
    assert seen[0].headers["Content-Type"] == JSONL
    assert seen[0].url.params["name"] == "rivers"


def test_a_service_that_is_not_there_is_named_by_its_url() -> None:
    client = Client("http://127.0.0.1:9", sleep=lambda _seconds: None)

    assert not client.is_ready()
    with pytest.raises(ServiceError, match=r"no answer from http://127\.0\.0\.1:9"):
        client.job("job_1")


def test_all_pages_of_the_facts_are_read() -> None:
    with running(FakeService()) as url, Client(url) as client:
        assert [fact["key"] for fact in client.facts("job_1")] == ["ebra", "tolm"]


def test_a_refused_download_leaves_nothing_behind(tmp_path: Path) -> None:
    problem = {"code": "adapter_not_ready", "detail": "the job has not finished"}

    with pytest.raises(ServiceError, match="the job has not finished"):
        a_client(httpx2.Response(409, json=problem)).download_adapter("adp_1", tmp_path / "adapter.tar.gz")

    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise httpx2.ReadError("the connection was reset")

    with pytest.raises(ServiceError, match="the connection was reset"):
        a_client(httpx2.Response(200, stream=Broken())).download_adapter("adp_1", tmp_path / "adapter.tar.gz")

    assert list(tmp_path.iterdir()) == []
