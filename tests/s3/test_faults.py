"""What S3 may do to us: it is asked again, and nothing that is not whole is ever seen."""

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import SSLError

from app.s3.calls import RETRIES, full_jitter
from app.s3.reading import Reader
from app.s3.store import S3Store
from app.storage import CHUNK, CorruptBlobError, StoreMisconfiguredError, StoreUnavailableError
from tests.s3 import moto
from tests.s3.lying import (
    HUSH,
    Answer,
    Call,
    Lie,
    LyingServer,
    cut,
    cut_afterwards,
    half,
    other_bytes,
    refusal,
    refusal_afterwards,
    silence,
    with_headers,
)
from tests.s3.moto import SMALLEST_PART, Pauses

DATA = bytes(range(256)) * 8192 + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()
LARGE = DATA * 6
"""Of three parts."""

PASSING: dict[str, Lie] = {
    "500": refusal(500, "InternalError"),
    "503": refusal(503, "SlowDown"),
    "409": refusal(409, "ConditionalRequestConflict"),
    "400 timeout": refusal(400, "RequestTimeout"),
    "cut": cut,
    "silence": silence,
}
AFTERWARDS: dict[str, Lie] = {"503 done": refusal_afterwards(503, "SlowDown"), "cut done": cut_afterwards}


@pytest.fixture
def store(lying: LyingServer, bucket: str, pauses: Pauses) -> Iterator[S3Store]:
    """A store that waits a second for an answer where none will come, and long for all others."""
    patiently = URLLib3Session(timeout=(moto.PATIENCE, moto.PATIENCE))

    def send(request: Any, **_: Any) -> Any:
        address = urlsplit(request.url)
        if lying.is_silent_to(request.method, f"{address.path}?{address.query}"):
            request.headers[HUSH] = "yes"
            return None  # the store itself sends it
        return patiently.send(request)

    with moto.a_store(lying.url, bucket, pauses=pauses, silence=1.0, send=send) as store:
        yield store
    patiently.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(LARGE)
    assert len(LARGE) > 2 * SMALLEST_PART
    return path


def read(store: S3Store, sha256: str) -> bytes:
    with store.open(sha256) as blob:
        return blob.read()


@pytest.mark.parametrize("fault", [*PASSING, *AFTERWARDS])
def test_an_upload_is_sent_again(store: S3Store, lying: LyingServer, pauses: Pauses, fault: str) -> None:
    lying.tell("PUT", (PASSING | AFTERWARDS)[fault], times=2 if fault in PASSING else 1)

    blob = store.put_bytes(DATA)

    assert (blob.sha256, blob.bytes) == (SHA256, len(DATA))
    assert pauses.taken == ([0, 1] if fault in PASSING else [0])
    assert read(store, SHA256) == DATA


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_what_never_answers_is_asked_five_times_more(
    store: S3Store, lying: LyingServer, pauses: Pauses, s3_endpoint: str, bucket: str, fault: str
) -> None:
    lying.tell("PUT", PASSING[fault], times=1000)

    with pytest.raises(StoreUnavailableError, match="put_object"):
        store.put_bytes(DATA)

    assert (lying.count("PUT"), len(pauses.taken), RETRIES) == (6, 5, 5)
    assert moto.keys_in(s3_endpoint, bucket) == []


@pytest.mark.parametrize(
    ("method", "part"), [("POST", "?uploads"), ("PUT", "partNumber=2"), ("POST", "uploadId")]
)
@pytest.mark.parametrize("fault", [*PASSING, *AFTERWARDS])
def test_an_upload_of_parts_goes_on_after_a_fault(
    store: S3Store, lying: LyingServer, large: Path, method: str, part: str, fault: str
) -> None:
    lying.tell(method, (PASSING | AFTERWARDS)[fault], part=part)

    blob = store.put(large)

    assert blob.bytes == len(LARGE)
    assert read(store, blob.sha256) == LARGE


@pytest.mark.parametrize("part", ["partNumber=2", "uploadId"])
def test_an_upload_that_cannot_go_on_is_aborted_and_nothing_of_it_seen(
    store: S3Store, lying: LyingServer, large: Path, s3_endpoint: str, bucket: str, part: str
) -> None:
    lying.tell("PUT" if "Number" in part else "POST", refusal(503, "SlowDown"), part=part, times=1000)

    with pytest.raises(StoreUnavailableError):
        store.put(large)

    assert lying.count("DELETE", "uploadId") == 1
    assert moto.uploads_in(s3_endpoint, bucket) == []
    assert moto.keys_in(s3_endpoint, bucket) == []


def test_an_upload_that_cannot_be_aborted_is_left_to_the_sweeper(
    store: S3Store, lying: LyingServer, large: Path, s3_endpoint: str, bucket: str
) -> None:
    lying.tell("PUT", refusal(500, "InternalError"), part="partNumber=2", times=1000)
    lying.tell("DELETE", cut, times=3)

    with pytest.raises(StoreUnavailableError, match="upload_part"):
        store.put(large)

    assert len(moto.uploads_in(s3_endpoint, bucket)) == 1
    assert len(list(store.begun())) == 1
    assert moto.keys_in(s3_endpoint, bucket) == []


@pytest.mark.parametrize("noticed", [False, True])
def test_what_arrives_otherwise_is_sent_again(
    store: S3Store, lying: LyingServer, pauses: Pauses, *, noticed: bool
) -> None:
    lying.tell("PUT", refusal(400, "BadDigest") if noticed else other_bytes)

    store.put_bytes(DATA)

    assert (lying.count("PUT"), pauses.taken) == (2, [0])
    assert read(store, SHA256) == DATA


def test_a_part_that_arrives_otherwise_is_sent_again(store: S3Store, lying: LyingServer, large: Path) -> None:
    lying.tell("PUT", other_bytes, part="partNumber=2")

    blob = store.put(large)

    assert lying.count("PUT", "partNumber=2") == 2
    assert read(store, blob.sha256) == LARGE


def test_what_always_arrives_otherwise_is_not_left_behind(
    store: S3Store, lying: LyingServer, s3_endpoint: str, bucket: str
) -> None:
    lying.tell("PUT", other_bytes, times=1000)

    with pytest.raises(StoreUnavailableError, match="is not what is sent"):
        store.put_bytes(DATA)

    assert lying.count("PUT") == 1 + RETRIES
    assert moto.keys_in(s3_endpoint, bucket) == []


@pytest.mark.parametrize("method", ["PUT", "HEAD"])
def test_a_wrong_etag_means_nothing(store: S3Store, lying: LyingServer, method: str) -> None:
    lying.tell(method, with_headers(etag='"0123"'), times=1000)

    store.put_bytes(DATA)

    assert read(store, SHA256) == DATA


def test_a_wrong_etag_of_a_part_makes_the_upload_start_anew(
    store: S3Store, lying: LyingServer, large: Path, s3_endpoint: str, bucket: str
) -> None:
    lying.tell("PUT", with_headers(etag='"0123"'), part="partNumber=2")

    blob = store.put(large)

    assert lying.count("POST", "?uploads") == 2
    assert read(store, blob.sha256) == LARGE
    assert moto.uploads_in(s3_endpoint, bucket) == []


@pytest.mark.parametrize(
    ("checksum", "read_back"),
    [(base64.b64encode(bytes.fromhex(SHA256)).decode(), 0), ("AAAA", 1), (None, 1)],
    ids=["right", "wrong", "none"],
)
def test_what_was_put_is_read_back_unless_the_server_knows_its_sha256(
    store: S3Store, lying: LyingServer, checksum: str | None, read_back: int
) -> None:
    lying.tell("HEAD", Call.pass_on)
    lying.tell("HEAD", with_headers(x_amz_checksum_sha256=checksum))

    store.put_bytes(DATA)

    assert lying.count("GET") == read_back


def test_what_somebody_else_puts_meanwhile_is_not_overwritten(
    store: S3Store, lying: LyingServer, s3_endpoint: str, bucket: str
) -> None:
    def first(call: Call) -> Answer:
        with moto.a_store(s3_endpoint, bucket) as other:
            other.put_bytes(DATA)
        return call.pass_on()

    lying.tell("PUT", first)

    assert store.put_bytes(DATA).sha256 == SHA256

    assert lying.count("PUT") == 1
    assert read(store, SHA256) == DATA


def test_a_server_that_knows_no_conditions_is_asked_without(store: S3Store, lying: LyingServer) -> None:
    lying.tell("PUT", refusal(501, "NotImplemented"))

    store.put_bytes(DATA)

    assert lying.count("PUT") == 2
    assert read(store, SHA256) == DATA


def test_what_is_there_already_is_not_sent_again(store: S3Store, lying: LyingServer) -> None:
    store.put_bytes(DATA)
    store.put_bytes(DATA)

    assert lying.count("PUT") == 1


def test_what_has_long_been_there_is_made_young_again(store: S3Store, lying: LyingServer) -> None:
    store.put_bytes(DATA)
    lying.tell(
        "HEAD",
        with_headers(last_modified="Mon, 02 Nov 2026 00:00:00 GMT", date="Mon, 02 Nov 2026 02:00:00 GMT"),
    )

    store.put_bytes(DATA)

    assert lying.count("PUT") == 2


def test_what_lies_there_damaged_is_put_right(
    store: S3Store, lying: LyingServer, s3_endpoint: str, bucket: str
) -> None:
    store.put_bytes(DATA)
    (key,) = moto.keys_in(s3_endpoint, bucket)
    moto.overwrite(s3_endpoint, bucket, key, DATA[:-1] + b"X")

    store.put_bytes(DATA)

    assert read(store, SHA256) == DATA


@pytest.mark.parametrize("fault", [*PASSING, "half"])
def test_a_download_goes_on_where_it_broke_off(store: S3Store, lying: LyingServer, fault: str) -> None:
    store.put_bytes(DATA)
    lying.tell("GET", (PASSING | {"half": half})[fault], times=2)

    assert read(store, SHA256) == DATA

    with store.open_at(SHA256, CHUNK + 1) as blob:
        assert blob.read() == DATA[CHUNK + 1 :]


class BrokenCipher(io.BytesIO):
    """Ends in the middle with what urllib3 raises then, which botocore passes on as it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise SSLError("bad record mac")
        return super().read(1000)


def test_a_download_goes_on_where_its_cipher_broke_off() -> None:
    bodies = [BrokenCipher(DATA), io.BytesIO(DATA[1000:])]
    asked: list[Any] = []

    def ask(operation: str, **parameters: Any) -> dict[str, Any]:
        asked.append(parameters.get("Range"))
        body = bodies[len(asked) - 1]
        return {"Body": body, "ContentLength": len(body.getbuffer()), "ContentRange": "some"}

    calls: Any = SimpleNamespace(ask=ask, pause=lambda _: None, retries=1)

    with io.BufferedReader(Reader(calls, "blob")) as blob:
        assert blob.read() == DATA
    assert asked == [None, "bytes=1000-"]


def test_a_download_that_breaks_off_again_and_again_is_given_up(store: S3Store, lying: LyingServer) -> None:
    store.put_bytes(DATA)

    def nothing(call: Call) -> bytes:
        answer = call.pass_on()
        return f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()

    lying.tell("GET", nothing, times=1000)

    with store.open(SHA256) as blob, pytest.raises(StoreUnavailableError, match="broke off"):
        io.BytesIO(blob.read())


def test_a_download_that_comes_otherwise_is_found_out(store: S3Store, lying: LyingServer) -> None:
    store.put_bytes(DATA)

    def wrong(call: Call) -> Answer:
        answer = call.pass_on()
        return Answer(answer.status, answer.headers, b"X" + answer.body[1:])

    lying.tell("GET", wrong)

    with store.open(SHA256) as blob, pytest.raises(CorruptBlobError, match=SHA256):
        io.BytesIO(blob.read())


def test_a_list_that_is_old_names_what_is_gone(store: S3Store, lying: LyingServer) -> None:
    store.put_bytes(DATA)
    before = [kept.name for kept in store.blobs()]
    kept: list[Answer] = []

    def remember(call: Call) -> Answer:
        kept.append(call.pass_on())
        return kept[0]

    lying.tell("GET", remember, part="list-type=2")
    assert [each.name for each in store.blobs()] == before == [SHA256]
    lying.tell("GET", lambda _: kept[0], part="list-type=2")
    store.delete(SHA256)

    assert [each.name for each in store.blobs()] == [SHA256]
    assert store.age(SHA256) is None
    store.delete(SHA256)


def test_a_list_that_never_ends_is_left(store: S3Store, lying: LyingServer) -> None:
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    )
    lying.tell("GET", lambda _: Answer(200, [("Content-Type", "application/xml")], page), times=1000)

    assert list(store.blobs()) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "AccessDenied"),
        (401, "Unauthorized"),
    ],
)
def test_what_somebody_has_to_change_first_is_not_asked_again(
    store: S3Store, lying: LyingServer, pauses: Pauses, status: int, code: str
) -> None:
    lying.tell("PUT", refusal(status, code), times=1000)

    with pytest.raises(StoreMisconfiguredError, match=rf"refuses put_object .*\({code}\).*docs/s3\.md"):
        store.put_bytes(DATA)

    assert (lying.count("PUT"), pauses.taken) == (1, [])


def test_pauses_are_by_chance_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("app.s3.calls.time.sleep", waited.append)

    for failed in range(RETRIES):
        full_jitter(failed)

    assert all(0 <= seconds <= min(0.5 * 2**n, 10) for n, seconds in enumerate(waited))
    assert len(set(waited)) == RETRIES
