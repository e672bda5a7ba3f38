"""Where webhooks may go: forms of URLs, addresses, and names that lead to addresses."""

import socket
from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from app.settings import Settings
from app.webhooks.addresses import Resolver, Rules, WebhookUrlError, is_public, network_in, system_resolver

PUBLIC = "93.184.215.14"


def names(*addresses: str) -> Resolver:
    return lambda *_: addresses


def nobody(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


def no_answer(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_AGAIN, "later")


def reason(url: str, rules: Rules = Rules(), resolve: Resolver = names(PUBLIC)) -> str | None:  # noqa: B008  frozen
    try:
        rules.addresses(rules.target(url), resolve)
    except WebhookUrlError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/a/b?c=d&e=%20f",
        "https://example.com:8443/x",
        "https://a_b.example.com./x",
        "https://münchen.example/ü",
        "https://93.184.215.14/",
        "https://[2606:4700::1111]/",
    ],
)
def test_public_receivers_are_taken(url: str) -> None:
    assert reason(url) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com", "https_needed"),
        ("ftp://example.com", "https_needed"),
        ("file:///etc/passwd", "https_needed"),
        ("gopher://127.0.0.1:6379/_x", "https_needed"),
        ("example.com", "https_needed"),
        ("//example.com", "https_needed"),
        ("https://", "bad_host"),
        ("https://user:secret@example.com/", "url_with_credentials"),
        ("https://@example.com/", "url_with_credentials"),
        ("https://example.com\\@127.0.0.1/", "bad_url"),
        ("https://example.com/#x", "bad_url"),
        ("https://example.com/a b", "bad_url"),
        ("https://example.com/\r\nHost: x", "bad_url"),
        ("https://example.com/" + "a" * 2000, "bad_url"),
        ("https://example.com:22/", "port_refused"),
        ("https://example.com:0/", "port_refused"),
        ("https://example.com:99999/", "port_refused"),
        ("https://example.com:x/", "bad_url"),
        ("https://2130706433/", "bad_host"),
        ("https://0x7f000001/", "bad_host"),
        ("https://0x7f.1/", "bad_host"),
        ("https://127.1/", "bad_host"),
        ("https://0177.0.0.1/", "bad_url"),
        ("https://[fe80::1%25eth0]/", "bad_host"),
        ("https://a..b/", "bad_host"),
        ("https://127。0。0。1/", "address_refused"),
    ],
)
def test_odd_forms_are_refused(url: str, why: str) -> None:
    assert reason(url) == why


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",  # noqa: S104  nobody listens
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public_are_refused_however_they_are_named(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address

    assert reason(f"https://{literal}/") == "address_refused"
    assert reason("https://inside.example.com/", resolve=names(address)) == "address_refused"
    assert reason("https://both.example.com/", resolve=names(PUBLIC, address)) == "address_refused"


def test_an_address_with_a_zone_is_refused() -> None:
    assert reason("https://x.example.com/", resolve=names("fe80::1%2")) == "address_refused"


def test_a_public_address_behind_a_translator_is_taken() -> None:
    network = network_in("64:ff9b::5db8:d70e/128")

    assert network is not None
    assert is_public(network.network_address)


def test_a_name_that_does_not_exist_is_refused_and_one_of_which_nobody_knows_is_told_apart() -> None:
    assert reason("https://typo.example.com/", resolve=nobody) == "host_unknown"
    assert reason("https://empty.example.com/", resolve=names()) == "host_unknown"
    with pytest.raises(OSError, match="later"):
        reason("https://example.com/", resolve=no_answer)


@pytest.mark.parametrize(
    ("allow", "url", "resolve", "why"),
    [
        (("10.1.0.0/16",), "https://10.1.2.3/", nobody, None),
        (("10.1.0.0/16",), "https://10.2.2.3/", nobody, "address_refused"),
        (("10.1.0.0/16",), "https://ci.internal/", names("10.1.2.3"), None),
        (("10.1.0.0/16",), "https://[::ffff:10.1.2.3]/", nobody, None),
        (("ci.internal",), "https://CI.internal/", names("10.1.2.3", "fd00::1"), None),
        (("CI.internal.",), "https://ci.internal/", names("10.1.2.3"), None),
        (("ci.internal",), "https://ci.internal.example.com/", names("10.1.2.3"), "address_refused"),
        (("ci.internal",), "https://10.1.2.3/", nobody, "address_refused"),
        (("fd00::1",), "https://[fd00::1]/", nobody, None),
        (("10.1.0.0/16",), "https://10.1.2.3:22/", nobody, "port_refused"),
    ],
)
def test_an_operator_may_allow_receivers_of_its_own(
    allow: tuple[str, ...], url: str, resolve: Resolver, why: str | None
) -> None:
    assert reason(url, Rules(allow), resolve) == why


def test_http_goes_only_where_it_is_allowed() -> None:
    assert reason("http://example.com/", Rules(http=True)) is None
    assert reason("http://127.0.0.1/", Rules(http=True)) == "address_refused"


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "10.0.0.1/8", "a b", "http://x", "1.2.3", ""])
def test_an_entry_that_means_nothing_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="is no network, address or host name"):
        Rules((entry,))


def test_a_bad_network_is_a_bad_setting() -> None:
    with pytest.raises(ValidationError, match="webhook_allow"):
        Settings(webhook_allow=("10.0.0.0/99",))


def test_the_header_names_the_host_as_it_was_given() -> None:
    rules = Rules(http=True)
    given = {
        "https://example.com/": "example.com",
        "https://example.com:8443/": "example.com:8443",
        "http://example.com:80/": "example.com",
        "https://[2606:4700::1111]:8443/": "[2606:4700::1111]:8443",
    }

    assert {url: rules.target(url).authority for url in given} == given


def test_the_system_knows_this_machine() -> None:
    assert set(system_resolver("localhost", 443)) <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match="name"):
        system_resolver("a" * 64 + ".invalid", 443)
