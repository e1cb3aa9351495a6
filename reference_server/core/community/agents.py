"""Agents: records, names, keys, and changes of their own data (contract: Agents)."""

from __future__ import annotations

import unicodedata
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from reference_server.core.changes import Changing, change
from reference_server.core.community.bounds import COMMUNITY_BOUNDS, CommunityBounds
from reference_server.core.market.addresses import asset_of, normal_address
from reference_server.core.market.market import Happening
from reference_server.core.market.notes import Part
from reference_server.core.market.wallet import INVALID_ADDRESS, begin_cooldown
from reference_server.identity_ports import AgentIdentity, NoAgent, Unavailable
from reference_server.limits import (
    AGENT_DESCRIPTION_MAX_CHARACTERS,
    AGENT_NAME_MAX_CHARACTERS,
    AGENT_NAME_SENT_MAX_CHARACTERS,
    MOLTBOOK_ID_MAX_CHARACTERS,
)
from reference_server.wire.replies import FULL, INVALID_REQUEST, failure, success
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Instant, Reply

if TYPE_CHECKING:
    from reference_server.core.market.market import Market

OPEN, MOLTBOOK, CLOSED = "open", "moltbook", "closed"
"""Values of `AGENT_REGISTRATION`, which decides who may register."""
KEY_PREFIX, KEY_DIGITS = "hfk_", 64
REGISTRATION_CLOSED = failure(403, "agent registration is closed")
IDENTITY_REQUIRED = failure(401, "moltbook identity required")
INVALID_IDENTITY = failure(401, "invalid moltbook identity")
MOLTBOOK_UNAVAILABLE = failure(503, "moltbook unavailable")
NAME_TAKEN = failure(409, "name taken")
IDENTITY_TAKEN = failure(409, "moltbook identity taken")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and format characters, surrogates and line separators: different names must not look alike."""


class Agent(msgspec.Struct, gc=False):
    """One agent; `key_digest` is the SHA-256 of its API key. Empty texts are not set."""

    id: str
    name: str
    description: str
    moltbook_id: str
    moltbook: AgentIdentity | None
    wallet_address: str
    key_digest: bytes
    created: Instant
    updated: Instant

    @property
    def account(self) -> str:
        """The name of its account."""
        return f"agent:{self.id}"


class HasAgents(Changing, Protocol):
    """What a change is made to, by decisions and by recovery: agents, or a state that has such."""

    @property
    def agents(self) -> Agents:
        """Return them."""
        ...


class Agents(Part):
    """All agents, with indexes by name, key and Moltbook identity."""

    def __init__(self, notes: Changing | None = None, bounds: CommunityBounds = COMMUNITY_BOUNDS) -> None:
        super().__init__(notes)
        self.bounds = bounds
        self.happened: list[Happening] = []
        self.by_id: dict[str, Agent] = {}
        self._by_name: dict[str, Agent] = {}
        self._by_key: dict[bytes, Agent] = {}
        self._by_moltbook: dict[str, Agent] = {}

    @property
    def agents(self) -> Agents:
        """Return itself: a change is made to this, or to a state that has it."""
        return self

    def add(self, agent: Agent) -> None:
        """Add an agent unchanged."""
        self.by_id[agent.id] = agent
        self._by_name[unique_name(agent.name)] = agent
        self._by_key[agent.key_digest] = agent
        if agent.moltbook is not None:
            self._by_moltbook[agent.moltbook.id] = agent

    def rename(self, agent: Agent, name: str) -> None:
        """Change a name, which frees the old one."""
        del self._by_name[unique_name(agent.name)]
        agent.name = name
        self._by_name[unique_name(name)] = agent

    def replace_key(self, agent: Agent, digest: bytes) -> None:
        """Change a key; the old one is invalid at once."""
        del self._by_key[agent.key_digest]
        agent.key_digest = digest
        self._by_key[digest] = agent

    def named(self, name: str) -> Agent | None:
        """Return the agent with a name, in any spelling that counts as the same, or None."""
        return self._by_name.get(unique_name(name))

    def with_key(self, key: str) -> Agent | None:
        """Return the agent with an API key, or None for a malformed, unknown or replaced key.

        A digest is looked up, so the time it takes reveals nothing about a key.
        """
        digest = key_digest(key)
        agent = self._by_key.get(digest)
        return agent if agent is not None and compare_digest(agent.key_digest, digest) else None

    def with_identity(self, moltbook_id: str) -> Agent | None:
        """Return the agent that registered with a Moltbook identity, by its id there, and may call by it."""
        return self._by_moltbook.get(moltbook_id)


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a registration."""

    name: str
    description: str | None = None
    moltbook_id: str | None = None
    wallet_address: str | None = None


class Update(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a change; null clears what may be missing."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    moltbook_id: str | msgspec.UnsetType | None = msgspec.UNSET
    wallet_address: str | msgspec.UnsetType | None = msgspec.UNSET
    rotate_api_key: bool | msgspec.UnsetType = msgspec.UNSET


_decode_registration = msgspec.json.Decoder(Registration).decode
_decode_update = msgspec.json.Decoder(Update).decode


def key_digest(key: str) -> bytes:
    """Return the stored digest of an API key."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def unique_name(name: str) -> str:
    """Return a name's normal form, by NFKC and case folding; names with the same form count as the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def valid_name(name: str) -> bool:
    """Return whether an agent can have a name: 1 to 64 characters after NFKC, no control or format characters."""
    if len(name) > AGENT_NAME_SENT_MAX_CHARACTERS:
        return False
    normal = unicodedata.normalize("NFKC", name)
    if not 1 <= len(normal) <= AGENT_NAME_MAX_CHARACTERS or normal != normal.strip():
        return False
    return not any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in name + normal)


def show_agent(agent: Agent) -> dict[str, Any]:
    """Return an agent as the API shows it."""
    return {
        "id": agent.id,
        "name": agent.name,
        "description": agent.description or None,
        "moltbook_id": agent.moltbook_id or None,
        "moltbook": None if agent.moltbook is None else msgspec.structs.asdict(agent.moltbook),
        "wallet_address": agent.wallet_address or None,
        "created_at": format_timestamp(agent.created.wall_ns),
        "updated_at": format_timestamp(agent.updated.wall_ns),
    }


@change("agent_added")
def add_agent(
    state: HasAgents,
    at: Instant,
    agent_id: str,
    name: str,
    description: str,
    moltbook_id: str,
    moltbook: tuple[str, str, int, bool] | None,
    wallet_address: str,
    digest: bytes,
) -> None:
    """Add an agent."""
    agents = state.agents
    identity = None if moltbook is None else AgentIdentity(*moltbook)
    agents.add(Agent(agent_id, name, description, moltbook_id, identity, wallet_address, bytes(digest), at, at))


@change("agent_changed")
def change_agent(
    state: HasAgents, at: Instant, agent_id: str, name: str, description: str, moltbook_id: str, wallet_address: str
) -> None:
    """Change an agent's own data."""
    agents = state.agents
    agent = agents.by_id[agent_id]
    agents.rename(agent, name)
    agent.description, agent.moltbook_id, agent.wallet_address = description, moltbook_id, wallet_address
    agent.updated = at


@change("agent_key_replaced")
def replace_key(state: HasAgents, at: Instant, agent_id: str, digest: bytes) -> None:
    """Replace an agent's key by the one with a digest."""
    agents = state.agents
    agent = agents.by_id[agent_id]
    agents.replace_key(agent, bytes(digest))
    agent.updated = at


def cannot_register(mode: str, body: bytes) -> Reply | None:
    """Return the refusal of a registration that no Moltbook identity could change, or None: then it is worth asking."""
    read = _read_registration(body)
    if isinstance(read, Reply):
        return read
    return REGISTRATION_CLOSED if mode == CLOSED else None


def register(
    agents: Agents,
    market: Market,
    now: Instant,
    mode: str,
    identity: AgentIdentity | NoAgent | Unavailable | None,
    body: bytes,
    agent_id: str,
    api_key: str,
) -> Reply:
    """`POST /agents/register`. `identity` is Moltbook's answer about the identity that was sent, or None."""
    read = _read_registration(body)
    if isinstance(read, Reply):
        return read
    description, moltbook_id, wallet = read.description or "", read.moltbook_id or "", read.wallet_address or ""
    if mode == CLOSED:
        return REGISTRATION_CLOSED
    if isinstance(identity, NoAgent):
        return INVALID_IDENTITY
    if isinstance(identity, Unavailable):
        return MOLTBOOK_UNAVAILABLE
    if identity is None and mode == MOLTBOOK:
        return IDENTITY_REQUIRED
    if agents.named(read.name) is not None:
        return NAME_TAKEN
    if identity is not None and agents.with_identity(identity.id) is not None:
        return IDENTITY_TAKEN
    if len(agents.by_id) >= agents.bounds.agents_max:
        return FULL
    refusal = _cool_down(market, now, f"agent:{agent_id}", wallet)
    if refusal is not None:
        return refusal
    moltbook = None if identity is None else (identity.id, identity.name, identity.karma, identity.is_claimed)
    add_agent(agents, now, agent_id, read.name, description, moltbook_id, moltbook, wallet, key_digest(api_key))
    agent = agents.by_id[agent_id]
    agents.happened.append(Happening("agent_registered", agent.account, agent_id, {}, agent.account))
    return success({"agent": show_agent(agent), "api_key": api_key}, 201)


def _read_registration(body: bytes) -> Registration | Reply:
    try:
        body.decode("utf-8")
        read = _decode_registration(body)
    except (ValueError, RecursionError):
        return INVALID_REQUEST
    return _refuse_fields(read.name, read.description or "", read.moltbook_id or "", read.wallet_address or "") or read


def update(agents: Agents, market: Market, now: Instant, agent: Agent, body: bytes, api_key: str) -> Reply:
    """`PUT /agents/me`. `api_key` is the new key, if one is asked for; null clears an optional field."""
    try:
        body.decode("utf-8")
        read = _decode_update(body)
    except (ValueError, RecursionError):
        return INVALID_REQUEST
    if all(value is msgspec.UNSET for value in msgspec.structs.astuple(read)):
        return INVALID_REQUEST
    name = agent.name if isinstance(read.name, msgspec.UnsetType) else read.name
    description = _changed(read.description, agent.description)
    moltbook_id = _changed(read.moltbook_id, agent.moltbook_id)
    wallet = _changed(read.wallet_address, agent.wallet_address)
    refusal = _refuse_fields(name, description, moltbook_id, wallet)
    if refusal is not None:
        return refusal
    other = agents.named(name)
    if other is not None and other is not agent:
        return NAME_TAKEN
    if wallet != agent.wallet_address:
        refusal = _cool_down(market, now, agent.account, wallet)
        if refusal is not None:
            return refusal
    if (name, description, moltbook_id, wallet) != (
        agent.name,
        agent.description,
        agent.moltbook_id,
        agent.wallet_address,
    ):
        change_agent(agents, now, agent.id, name, description, moltbook_id, wallet)
        agents.happened.append(Happening("agent_updated", agent.account, agent.id, {}, agent.account))
    if read.rotate_api_key is True:
        replace_key(agents, now, agent.id, key_digest(api_key))
        agents.happened.append(Happening("agent_key_rotated", agent.account, agent.id, {}, agent.account))
        return success({"agent": show_agent(agent), "api_key": api_key})
    return success({"agent": show_agent(agent)})


def _changed(value: str | msgspec.UnsetType | None, before: str) -> str:
    return before if isinstance(value, msgspec.UnsetType) else value or ""


def _refuse_fields(name: str, description: str, moltbook_id: str, wallet: str) -> Reply | None:
    if not valid_name(name) or len(description) > AGENT_DESCRIPTION_MAX_CHARACTERS:
        return INVALID_REQUEST
    if len(moltbook_id) > MOLTBOOK_ID_MAX_CHARACTERS:
        return INVALID_REQUEST
    return INVALID_ADDRESS if wallet and asset_of(wallet) is None else None


def _cool_down(market: Market, now: Instant, account: str, wallet: str) -> Reply | None:
    """Start the cooldown of a new address; return a refusal, or None."""
    asset = asset_of(wallet) if wallet else None
    address = None if asset is None else normal_address(asset, wallet)
    return None if asset is None or address is None else begin_cooldown(market, now, account, asset, address)
