"""Where webhooks may go: not into the network that the service stands in, unless it is allowed.

A URL is judged by its form, and its host by every address that the name has. That is done when an
endpoint is made, to tell its owner, and again for each connection, which goes to one of the very
addresses that were judged. So a name that changes its addresses in between gains nothing.
"""

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias

import httpx2

from app.errors import InputProblem, InvalidError, listed

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Resolver: TypeAlias = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host, as text. Raises OSError; `socket.gaierror` says that there are none."""

RESOLVE_SECONDS: Final = 5.0
LONGEST_URL: Final = 2000

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; metadata of Alibaba Cloud
        "168.63.129.16/32",  # host services of Azure, on a public address
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "192.0.0.0/24",  # metadata of Oracle Cloud
        "192.88.99.0/24",  # relays of 6to4
        "64:ff9b:1::/48",  # NAT64 of one's own network
        "2001::/32",  # Teredo: it wraps an address that we would not see
        "2002::/16",  # 6to4: likewise
        "fec0::/10",  # site-local, of old
    )
)
"""Beside what `ipaddress` itself calls not global, which differs a little between Python versions."""

_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class WebhookUrlError(InvalidError):
    """A URL that no webhook may have. `code` of the problem in the list says why."""

    code: ClassVar[str] = "webhook_url_refused"

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self._problem = InputProblem(reason, detail, pointer="/url")
        super().__init__(f"/url: {detail}")

    def members(self) -> dict[str, object]:
        return dict(listed([self._problem]))


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in parts, as they are connected to and sent. `host` is ASCII, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Return what the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == standard else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator lets webhooks reach.

    `allow` has networks, addresses and host names that are taken although they are private; `http`
    lets a webhook go without TLS.
    """

    allow: tuple[str, ...] = ()
    http: bool = False
    _networks: tuple[IpNetwork, ...] = field(init=False)
    _names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        networks = [network for entry in self.allow if (network := network_in(entry)) is not None]
        names = {entry.lower().rstrip(".") for entry in self.allow if network_in(entry) is None}
        object.__setattr__(self, "_networks", tuple(networks))
        object.__setattr__(self, "_names", frozenset(names))

    def target(self, url: str) -> Target:
        """Take a URL apart.

        Raises:
            WebhookUrlError: Its form is not what a webhook may have.
        """
        if len(url) > LONGEST_URL or not url.isprintable() or " " in url or "\\" in url:
            raise WebhookUrlError("bad_url", f"a URL has no spaces and at most {LONGEST_URL} characters")
        try:
            parsed = httpx2.URL(url)
            host = parsed.raw_host.decode("ascii")
        except (httpx2.InvalidURL, ValueError) as error:
            raise WebhookUrlError("bad_url", f"this is no URL: {error}") from None
        self._check_scheme(parsed.scheme)
        if parsed.userinfo or "@" in url.partition("//")[2].partition("/")[0]:
            raise WebhookUrlError("url_with_credentials", "leave user and password out of the URL")
        if parsed.fragment or "#" in url:
            raise WebhookUrlError("bad_url", "leave the part behind # out of the URL")
        _check_host(host)
        port = parsed.port if parsed.port is not None else {"https": 443, "http": 80}[parsed.scheme]
        if port not in {80, 443} and not 1024 <= port <= 65535:
            raise WebhookUrlError("port_refused", "take port 443, 80, or one from 1024 on")
        return Target(parsed.scheme, host, port, parsed.raw_path.decode("ascii"))

    def addresses(self, target: Target, resolve: Resolver) -> list[str]:
        """Return the addresses to connect to, of which every single one may be reached.

        Raises:
            WebhookUrlError: One may not, or there is none.
            OSError: They could not be found out now.
        """
        literal = _address_in(target.host)
        try:
            found = [target.host] if literal else list(resolve(target.host, target.port))
        except socket.gaierror as error:
            if error.errno not in _NO_SUCH_NAME:
                raise
            found = []
        if not found:
            raise WebhookUrlError("host_unknown", f"there is no host {target.host}")
        if target.host.rstrip(".") not in self._names:
            for text in found:
                self._check_address(text, target.host)
        return found

    def _check_scheme(self, scheme: str) -> None:
        if scheme == "http" and not self.http:
            raise WebhookUrlError(
                "https_needed",
                "the URL must begin with https://; an operator may allow http (MIXSD_WEBHOOK_HTTP)",
            )
        if scheme not in {"https", "http"}:
            raise WebhookUrlError("https_needed", f"webhooks go over HTTP, not {scheme[:20] or 'nothing'}")

    def _check_address(self, text: str, host: str) -> None:
        address = _address_in(text)
        if address is None:
            raise WebhookUrlError("address_refused", f"{host} has an address that cannot be read")
        if not is_public(address) and not any(_within(address, network) for network in self._networks):
            raise WebhookUrlError(
                "address_refused",
                f"{host} is not on the public internet; an operator may allow it (MIXSD_WEBHOOK_ALLOW)",
            )


def network_in(text: str) -> IpNetwork | None:
    """Return the network or the single address that `text` is; None of a name.

    Raises:
        ValueError: It looks like a network and is none.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        if "/" in text or ":" in text or not _NAME.fullmatch(text.lower()) or _is_numeric(text):
            raise ValueError(f"{text!r} is no network, address or host name") from None
        return None


def is_public(address: IpAddress) -> bool:
    """Say whether an address is one of the public internet, whatever it is wrapped in."""
    inner = _unwrapped(address)
    if any(_within(inner, network) for network in _REFUSED):
        return False
    return inner.is_global and not inner.is_multicast and not inner.is_reserved and not inner.is_unspecified


def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host, for a few seconds at most.

    Raises:
        OSError: There are none, or no answer came in time.
    """
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except OSError as error:
            answers.put(error)
        except UnicodeError:  # a label that is too long
            answers.put(socket.gaierror(socket.EAI_NONAME, "no such name"))

    threading.Thread(target=ask, name="resolve", daemon=True).start()  # getaddrinfo takes no time-out
    try:
        answer = answers.get(timeout=RESOLVE_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer about the host {host} within {RESOLVE_SECONDS:g} s") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _check_host(host: str) -> None:
    """Refuse what is neither a name nor an address in its one usual form.

    `0x7f.1`, `2130706433` and `0177.0.0.1` are addresses to some programs and names to others.
    """
    if _address_in(host) is not None:
        return
    if not _NAME.fullmatch(host) or len(host) > 253 or _is_numeric(host):
        raise WebhookUrlError("bad_host", "the host must be a name, or an address in its usual form")


def _is_numeric(host: str) -> bool:
    return bool(_NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]))


def _address_in(text: str) -> IpAddress | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


def _unwrapped(address: IpAddress) -> IpAddress:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: IpAddress, network: IpNetwork) -> bool:
    inner = _unwrapped(address)
    return inner in network or address in network
