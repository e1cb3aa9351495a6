"""The server a run is aimed at, and the loopback addresses its machines speak from."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import msgspec

from simulator.features import Feature  # noqa: TC001 - a Struct resolves its annotations
from simulator.history import NO_SOURCE, PEERS_SOURCE
from simulator.limits import PEERS_MAX, SHARDS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINES_NET = 16
OWNERS_NET = 8
ATTACKERS_NET = 9
AUDITORS_NET = 6
OWNER_USERS_NET = 2
OWNER_USERS_OF_A_SHARD = 4 * 65_536 // SHARDS_MAX - 1
SCRIPTS_NET = 13
SCRIPT_ADDRESSES = 3 * 65_536 - 2
SCRAPER_ADDRESS = "127.7.0.1"
PROBE_ADDRESSES = ("127.7.0.2", "127.7.0.3")
"""From which it is looked for what a target has: once as anybody may ask, once more often."""
NETWORK_ADDRESSES = 1 << 16
IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


HTTP2 = "h2"
"""The name by which TLS agrees on HTTP/2 (RFC 9113 §3.2)."""
IPV6_ADDRESSES_FILE = Path("/proc/net/if_inet6")


class TargetError(Exception):
    """The target cannot be used; the message says why and what to do."""


class Target(msgspec.Struct, frozen=True):
    """Where to send, with what owner token. `own_addresses` says whether each machine has an address of its own."""

    scheme: str
    host: str
    port: int
    address: str
    token: str
    own_addresses: bool
    tls: ssl.SSLContext | None = None
    http2: ssl.SSLContext | None = None
    """As `tls`, but offering HTTP/2 and nothing else."""
    others: tuple[int, ...] = ()
    """Ports of further instances at the same address, which are the same server to all who ask."""
    trusted: str = ""
    """The one certificate that is trusted, as PEM; without it whatever this machine trusts is."""
    lacks: frozenset[Feature] = frozenset()
    """What the target was found not to have."""

    def __repr__(self) -> str:
        """Hide the token."""
        return f"Target({self.url})"

    @property
    def url(self) -> str:
        """Give the URL, without the API's prefix."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Give host and port as the `Host` header has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def port_of(target: Target, turn: int) -> int:
    """Give the port of one instance after the other, as turns count up; always the same where there is one."""
    return (target.port, *target.others)[turn % (1 + len(target.others))]


def parse_target(url: str, token: str, trusted: str = "") -> Target:
    """Read a target's URL, to be trusted by that certificate (PEM), if one is given. Raises TargetError."""
    if "@" in url:
        raise TargetError(
            "--target: credentials in the URL are sent to nobody: take them out; the token is given apart"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetError(f"--target {url}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TargetError(f"--target {url}: write it like http://127.0.0.1:8080 or https://host")
    _refuse_what_would_be_dropped(url, parts)
    _check_token(token)
    port = port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise TargetError(f"--target {url}: the host is not known ({error.strerror})") from None
    except UnicodeError:  # what the encoding of host names cannot write: empty and overlong parts
        raise TargetError(f"--target {url}: {parts.hostname[:80]!r} is no host name") from None
    address = str(found[0][4][0])
    own = ipaddress.ip_address(address).is_loopback and ":" not in address and can_bind("127.16.0.1")
    tls = http2 = None
    if parts.scheme == "https":
        tls, http2 = (ssl.create_default_context(cadata=trusted or None) for _ in range(2))
        http2.set_alpn_protocols([HTTP2])
    return Target(parts.scheme, parts.hostname, port, address, token, own, tls, http2, trusted=trusted)


def _refuse_what_would_be_dropped(url: str, parts: SplitResult) -> None:
    """Refuse what a URL may say beside scheme, host and port. Raises TargetError, without any credentials."""
    if "@" in parts.netloc:
        raise TargetError(
            "--target: credentials in the URL are sent to nobody: take them out; the token is given apart"
        )
    if "?" in url or "#" in url:
        raise TargetError(f"--target {url}: a query or fragment is sent to nobody: take it out")
    if parts.path not in {"", "/"}:
        raise TargetError(f"--target {url}: requests go to the root of a server: take {parts.path!r} out")
    if parts.port == 0:
        raise TargetError(f"--target {url}: nothing listens on port 0")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise TargetError(f"--target {url!r}: a space or control character in it")


def _check_token(token: str) -> None:
    """Refuse a token that no header can carry as it is. Raises TargetError, which does not show it."""
    if any(not "!" <= character <= "~" for character in token):
        raise TargetError("--token: a token is of printable ASCII without spaces; is there a line end in it?")


def can_bind(address: str) -> bool:
    """Say whether this machine lets a socket speak from an address."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _numbered(network: int) -> Callable[[Target, int], str | None]:
    def source(target: Target, index: int) -> str | None:
        if not target.own_addresses:
            return None
        number = index + 1
        high = network + number // NETWORK_ADDRESSES
        return f"127.{high}.{number >> 8 & 255}.{number & 255}"

    return source


machine_source = _numbered(MACHINES_NET)
owner_source = _numbered(OWNERS_NET)
attacker_source = _numbered(ATTACKERS_NET)
auditor_source = _numbered(AUDITORS_NET)
_owner_user_source = _numbered(OWNER_USERS_NET)


def owner_user_source(target: Target, shard: int, user: int) -> str | None:
    """Give the address of an owner whom Locust conducts, one of a shard's own."""
    return _owner_user_source(target, shard % SHARDS_MAX * OWNER_USERS_OF_A_SHARD + user % OWNER_USERS_OF_A_SHARD)


def script_source(target: Target, number: int) -> str | None:
    """Give the address of a script's client: of its own for long enough that the server has forgotten its last use."""
    return _script_source(target, number % SCRIPT_ADDRESSES)


_script_source = _numbered(SCRIPTS_NET)


def source_number(source: str | None) -> int:
    """Give an address's number for the history: the three bytes after 127, or `NO_SOURCE` where all share one.

    IPv6 peers are one client to a right server, so they have one number.
    """
    if source is None:
        return NO_SOURCE
    if ":" in source:
        return PEERS_SOURCE
    _, high, middle, low = source.split(".")
    return int(high) << 16 | int(middle) << 8 | int(low)


def peers_of(target: Target, addresses: str | None = None) -> tuple[str, ...]:
    """Give addresses of this machine within one IPv6 /64 that can speak to a target on this machine; none elsewhere.

    `addresses` is the kernel's list (`/proc/net/if_inet6`), read where it is not given.
    """
    if ":" not in target.address:
        return ()
    if addresses is None:
        try:
            addresses = IPV6_ADDRESSES_FILE.read_text(encoding="ascii")
        except OSError:
            return ()
    local = [ipaddress.IPv6Address(int(line.split()[0], 16)) for line in addresses.splitlines() if line.strip()]
    if ipaddress.IPv6Address(target.address.partition("%")[0]) not in local:
        return ()
    networks: dict[int, list[str]] = {}
    for address in sorted(local):
        if not address.is_link_local and address != ipaddress.IPv6Address(target.address):
            networks.setdefault(int(address) >> 64, []).append(str(address))
    most = max(networks.values(), key=len, default=[])
    return tuple(address for address in most[:PEERS_MAX] if can_bind(address))


def bound_socket(target: Target, source: str | None) -> socket.socket:
    """Make a non-blocking socket that will speak from an address. Raises OSError."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            try:
                # Leaves the port to connect(), so that ports run out per destination and not per machine.
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            except OSError as error:
                if error.errno not in {errno.ENOPROTOOPT, errno.EINVAL}:
                    raise
            sock.bind((source, 0))
    except OSError:
        sock.close()
        raise
    return sock
