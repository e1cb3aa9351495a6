"""The server a run is aimed at, and the loopback addresses its machines speak from."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import msgspec

from simulator.client.access import Access, AccessError, TokenError, check_token
from simulator.client.front import Front
from simulator.client.known_secrets import KnownSecrets  # noqa: TC001 - a Struct resolves its annotations
from simulator.client.network import Network  # noqa: TC001 - a Struct resolves its annotations
from simulator.client.patience import PATIENCE, Patience
from simulator.client.resolving import UnknownHostError, resolve
from simulator.contract.features import Feature  # noqa: TC001 - a Struct resolves its annotations
from simulator.history.rows import NO_SOURCE, PEERS_SOURCE
from simulator.limits import PEERS_MAX, SHARDS_MAX

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

MACHINES_NET = 16
OWNERS_NET = 8
ATTACKERS_NET = 9
AUDITORS_NET = 6
OWNER_USERS_NET = 2
OWNER_USERS_OF_A_SHARD = 4 * 65_536 // SHARDS_MAX - 1
SCRIPTS_NET = 13
AGENTS_NET = 10
ACCOUNTS_NET = 11
SCRIPT_ADDRESSES = 3 * 65_536 - 2
SCRAPER_ADDRESS = "127.7.0.1"
PROBE_ADDRESSES = ("127.7.0.2", "127.7.0.3")
"""From which it is looked for what a target has: once as anybody may ask, once more often."""
NETWORK_ADDRESSES = 1 << 16
IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


HTTP2 = "h2"
"""The name by which TLS agrees on HTTP/2 (RFC 9113 §3.2)."""
IPV6_ADDRESSES_FILE = Path("/proc/net/if_inet6")
_BASE = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?")
_ROUTES = ("/api/v1", "/v1", "/api")
NO_ACCESS = Access()


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
    lacks: frozenset[Feature] = frozenset()
    """What the target was found not to have."""
    base: str = ""
    """What is in front of every path, like `/farm`."""
    access: Access = NO_ACCESS
    front: Front | None = None
    """What writes the base and the headers of the way into every request; None where there are none."""
    further: tuple[str, ...] = ()
    """Other addresses of the same name, to be tried where the first one cannot be connected to."""
    addresses_known: bool = True
    """Whether it is known, and not only hoped, that the server tells the addresses of machines apart."""
    settings_known: bool = False
    """Whether the run set it up by the scenario, so that it is known how every setting stands."""
    secrets: KnownSecrets | None = None
    """Where what it gives out is noted, for its log to be searched; None where nobody can read that."""
    network: Network | None = None
    """What it is reached through; None for sockets."""
    patience: Patience = PATIENCE
    """How long it is waited for."""

    def __repr__(self) -> str:
        """Hide the token."""
        return f"Target({self.url})"

    @property
    def url(self) -> str:
        """Return the URL, without the API's prefix."""
        return f"{self.scheme}://{self.authority}{self.base}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return all addresses, in the order in which they are tried."""
        return (self.address, *self.further)

    @property
    def authority(self) -> str:
        """Return host and port as the `Host` header has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def port_of(target: Target, turn: int) -> int:
    """Return the port of one instance after the other, as turns count up; always the same where there is one."""
    return (target.port, *target.others)[turn % (1 + len(target.others))]


def parse_target(
    url: str, token: str, access: Access = NO_ACCESS, addresses: str = "", patience: Patience = PATIENCE
) -> Target:
    """Read a target's URL, to be reached by that access. Raises TargetError.

    `addresses` is what its user says of them: `shared` where the server sees all machines at one, `own` where it tells
    them apart. Of a name with several addresses the one that answers first is used (RFC 8305).
    """
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
    base = _base_of(url, parts)
    try:
        check_token(token)
    except TokenError as error:
        raise TargetError(str(error)) from None
    port = port or (443 if parts.scheme == "https" else 80)
    tls, http2 = _contexts(url, parts.scheme, access)
    try:
        found = resolve(parts.hostname, port)
    except UnknownHostError as error:
        raise TargetError(f"--target {url}: {error}") from None
    own = addresses != "shared" and _is_own(found[0]) and can_bind("127.16.0.1")
    if own:
        # From an address of its own a machine reaches those of the same kind alone.
        found = tuple(address for address in found if _is_own(address))
    fields = "".join(f"{name}: {value}\r\n" for name, value in access.headers)
    front = Front(base.encode(), fields.encode()) if base or fields else None
    return Target(
        parts.scheme, parts.hostname, port, found[0], token, own, tls, http2, base=base, access=access, front=front,
        further=found[1:], patience=patience,
    )  # fmt: skip


def is_on_this_machine(target: Target) -> bool:
    """Return whether a target is asked at an address that only this machine has, so that both share its CPUs."""
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in target.addresses)


def _is_own(address: str) -> bool:
    """Return whether an address is this machine's own, of those of which it has millions."""
    return ":" not in address and ipaddress.ip_address(address).is_loopback


def _contexts(url: str, scheme: str, access: Access) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """Make the settings of TLS, and the same that offer HTTP/2. Raises TargetError."""
    if scheme == "http":
        if access.of_tls:
            raise TargetError(f"--target {url}: --cacert, --insecure and --cert are for https://: this is plain HTTP")
        return None, None
    try:
        tls, http2 = access.context(), access.context()
    except AccessError as error:
        raise TargetError(str(error)) from None
    http2.set_alpn_protocols([HTTP2])
    return tls, http2


def _base_of(url: str, parts: SplitResult) -> str:
    """Return the base path, and refuse what a URL may say beside it, scheme, host and port. Raises TargetError."""
    if "?" in url or "#" in url:
        raise TargetError(f"--target {url}: a query or fragment is sent to nobody: take it out")
    if parts.port == 0:
        raise TargetError(f"--target {url}: nothing listens on port 0")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise TargetError(f"--target {url!r}: a space or control character in it")
    if not _BASE.fullmatch(parts.path) or {".", ".."} & set(parts.path.split("/")):
        raise TargetError(f"--target {url}: {parts.path!r} is no base path: write it like /farm or /apis/farm")
    base = parts.path.rstrip("/")
    if base in _ROUTES:
        raise TargetError(f"--target {url}: the API's own {base!r} is added to every request: take it out")
    return base


def can_bind(address: str) -> bool:
    """Return whether this machine lets a socket speak from an address."""
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
agent_source = _numbered(AGENTS_NET)
account_source = _numbered(ACCOUNTS_NET)
"""From which an account is read at the end: none of its requests before has used that address up."""
_owner_user_source = _numbered(OWNER_USERS_NET)


def owner_user_source(target: Target, shard: int, user: int) -> str | None:
    """Return the address of an owner whom Locust conducts, one of a shard's own."""
    return _owner_user_source(target, shard % SHARDS_MAX * OWNER_USERS_OF_A_SHARD + user % OWNER_USERS_OF_A_SHARD)


def script_source(target: Target, number: int) -> str | None:
    """Return the address of a script's client: its own for long enough that the server has forgotten its last use."""
    return _script_source(target, number % SCRIPT_ADDRESSES)


_script_source = _numbered(SCRIPTS_NET)


def source_number(source: str | None) -> int:
    """Return an address's number for the history: the three bytes after 127, or `NO_SOURCE` where all share one.

    IPv6 peers are one client to a right server, so they have one number.
    """
    if source is None:
        return NO_SOURCE
    if ":" in source:
        return PEERS_SOURCE
    _, high, middle, low = source.split(".")
    return int(high) << 16 | int(middle) << 8 | int(low)


def peers_of(target: Target, addresses: str | None = None) -> tuple[str, ...]:
    """Return addresses of this machine within one IPv6 /64 that can speak to a target on this machine; none elsewhere.

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


def bound_socket(target: Target, source: str | None, address: str = "") -> socket.socket:
    """Make a non-blocking socket that will speak from a source to an address of the target, or its first.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in (address or target.address) else socket.AF_INET
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
