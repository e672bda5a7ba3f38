"""One try of a webhook: whom it connects to, and how it shows itself."""

import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from standardwebhooks import Webhook as Verifier

from app.ids import DeliveryId, WebhookId
from app.webhooks.addresses import Rules
from app.webhooks.secrets import new_secret
from app.webhooks.sending import Outcome, Parcel
from tests.worker.receiver import Answer, Receiver, receiving
from worker.webhooks.posting import Poster

LOOPBACK = Rules(("127.0.0.0/8",), http=True)
PATIENCE = timedelta(minutes=5)
BODY = '{"type":"webhook.test","data":{"id":"whk_ü"}}'


class Names:
    """A resolver that gives the next answer each time, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def post(url: str, rules: Rules, names: Names, *, tls: ssl.SSLContext | None = None) -> Outcome:
    secrets = [new_secret()]
    parcel = Parcel(DeliveryId("dlv_1"), WebhookId("whk_1"), 1, BODY, url, secrets)
    return Poster(rules, timeout=PATIENCE, resolve=names, tls=tls).post(parcel)


def test_it_connects_to_the_address_that_was_judged_under_the_name_that_was_given(receiver: Receiver) -> None:
    """The system knows no such name, so nobody can have asked a second time."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])

    outcome = post(f"http://receiver.test:{receiver.port}/a?b=%20", LOOPBACK, names)

    assert outcome.taken
    assert names.asked == [("receiver.test", receiver.port)]
    (got,) = receiver.got
    assert (got.path, got.headers["host"]) == ("/a?b=%20", f"receiver.test:{receiver.port}")


def test_a_name_that_has_moved_into_the_network_is_not_connected_to(receiver: Receiver) -> None:
    """As an attacker's would, after the endpoint was made."""
    strict = Rules(http=True)
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    url = f"http://rebinding.test:{receiver.port}/"
    strict.addresses(strict.target(url), names)

    outcome = post(url, strict, names)

    assert receiver.got == []
    assert (outcome.status, outcome.response) == (None, None)
    assert outcome.error is not None
    assert outcome.error.startswith("address_refused: ")


def test_one_address_that_is_refused_spoils_the_others(receiver: Receiver) -> None:
    outcome = post(f"http://mixed.test:{receiver.port}/", LOOPBACK, Names(["127.0.0.1", "169.254.169.254"]))

    assert receiver.got == []
    assert "address_refused" in str(outcome.error)


def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])  # the receiver listens on the second alone

    assert post(f"http://two.test:{receiver.port}/", LOOPBACK, names).taken


def test_a_name_that_nobody_can_look_up_is_an_error_of_this_try() -> None:
    def fails(host: str, port: int) -> Sequence[str]:
        raise TimeoutError("no answer about the host")

    parcel = Parcel(DeliveryId("dlv_1"), WebhookId("whk_1"), 1, BODY, "https://x.test/", [new_secret()])

    outcome = Poster(LOOPBACK, timeout=PATIENCE, resolve=fails).post(parcel)

    assert outcome.error == "TimeoutError: no answer about the host"


def test_tls_is_spoken_with_the_name_and_not_with_the_address() -> None:
    authority, other = trustme.CA(), trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("receiver.test").configure_cert(server)
    shown: list[str] = []
    server.sni_callback = lambda _, name, __: shown.append(str(name))
    trusting, suspicious = (ssl.create_default_context() for _ in range(2))
    authority.configure_trust(trusting)
    other.configure_trust(suspicious)
    rules = Rules(("127.0.0.0/8",))

    with receiving(server) as receiver:
        url = f"https://receiver.test:{receiver.port}/"
        assert post(url, rules, Names(["127.0.0.1"]), tls=trusting).taken
        assert shown == ["receiver.test"]
        another = url.replace("receiver", "another")
        for refused in (
            post(another, rules, Names(["127.0.0.1"]), tls=trusting),
            post(url, rules, Names(["127.0.0.1"]), tls=suspicious),
        ):
            assert refused.status is None
            assert "CERTIFICATE_VERIFY_FAILED" in str(refused.error)
        assert len(receiver.got) == 1


def test_the_clock_and_the_body_are_signed(receiver: Receiver) -> None:
    secret = new_secret()
    parcel = Parcel(DeliveryId("dlv_1"), WebhookId("whk_1"), 1, BODY, receiver.url, [secret])
    then = datetime.now(UTC) - timedelta(seconds=100)

    Poster(LOOPBACK, timeout=PATIENCE, clock=lambda: then).post(parcel)

    (got,) = receiver.got
    assert got.body == BODY.encode()
    assert got.headers["webhook-timestamp"] == str(int(then.timestamp()))
    Verifier(secret).verify(got.body, got.headers)
    assert secret not in repr(parcel)


def test_a_server_that_speaks_no_http_is_an_error_of_this_try(receiver: Receiver) -> None:
    receiver.answers = [Answer(body=b"")]
    names = Names(["127.0.0.1"])

    outcome = post(f"https://receiver.test:{receiver.port}/", LOOPBACK, names)

    assert outcome.status is None
    assert "ConnectError" in str(outcome.error)
