"""The operations of agents on themselves (contract: Agents)."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import msgspec

from reference_server.core.community import agents
from reference_server.core.happenings import audit_happenings
from reference_server.core.inquiry import Inquiry
from reference_server.core.market.wallet import INVALID_ADDRESS
from reference_server.identity_ports import VerifyAgent
from reference_server.operations.accounts import audited
from reference_server.operations.callers import AGENT, ANYONE, MOLTBOOK_IDENTITY
from reference_server.operations.fields import Timestamp  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.operations.market_fields import (  # noqa: TC001 - msgspec reads a struct's types later
    Address,
    AgentId,
    AgentName,
    ApiKey,
    Description,
    MoltbookId,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.ids import AGENT_ID
from reference_server.wire.replies import FULL, INVALID_REQUEST, success

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.identity_ports import AgentIdentity, NoAgent, Unavailable
    from reference_server.wire.values import Instant, Reply

    Vouching = AgentIdentity | NoAgent | Unavailable


class AgentToRegister(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new agent."""

    name: AgentName
    description: Description | None = None
    moltbook_id: MoltbookId | None = None
    wallet_address: Address | None = None


class AgentToChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed, at least one thing; null clears what may be missing."""

    name: AgentName | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType | None = msgspec.UNSET
    moltbook_id: MoltbookId | msgspec.UnsetType | None = msgspec.UNSET
    wallet_address: Address | msgspec.UnsetType | None = msgspec.UNSET
    rotate_api_key: bool | msgspec.UnsetType = msgspec.UNSET


class Vouched(msgspec.Struct, frozen=True):
    """Who Moltbook says that an agent is."""

    id: MoltbookId
    name: Annotated[str, msgspec.Meta(examples=["planner"])]
    karma: Annotated[int, msgspec.Meta(examples=[12])]
    is_claimed: bool


class ShownAgent(msgspec.Struct, frozen=True):
    """An agent; `moltbook` is what Moltbook vouched for, `moltbook_id` only what the agent says of itself."""

    id: AgentId
    name: AgentName
    description: Description | None
    moltbook_id: MoltbookId | None
    moltbook: Vouched | None
    wallet_address: Address | None
    created_at: Timestamp
    updated_at: Timestamp


class RegisteredAgent(msgspec.Struct, frozen=True):
    """A new agent and its key, which is shown once."""

    agent: ShownAgent
    api_key: ApiKey


class OwnAgent(msgspec.Struct, frozen=True):
    """The agent that calls, and its new key where it asked for one."""

    agent: ShownAgent
    api_key: ApiKey | msgspec.UnsetType = msgspec.UNSET


def _new_key(state: State) -> str:
    return agents.KEY_PREFIX + state.entropy.hex(agents.KEY_DIGITS)


def register(state: State, call: Call[bytes]) -> Reply | Inquiry:
    """`POST /agents/register`. Whom Moltbook vouches for, it is asked: no identity is taken on trust."""
    token = call.headers.get(MOLTBOOK_IDENTITY.header.lower())
    if token is None:
        return _register(state, call, None)
    refusal = agents.cannot_register(state.settings.agent_registration, call.body)
    return refusal or Inquiry(VerifyAgent(token), partial(_register_vouched, call))


def _register_vouched(call: Call[bytes], state: State, now: Instant, identity: Vouching) -> Reply:
    return _register(state, msgspec.structs.replace(call, now=now), identity)


def _register(state: State, call: Call[bytes], identity: Vouching | None) -> Reply:
    mode = state.settings.agent_registration
    agent_id, api_key = state.new_id(AGENT_ID), _new_key(state)
    reply = agents.register(state.agents, state.market, call.now, mode, identity, call.body, agent_id, api_key)
    audit_happenings(state, call.now)
    return reply


def show(state: State, call: Call[bytes]) -> Reply:
    """`GET /agents/me`."""
    return success({"agent": agents.show_agent(state.agents.by_id[call.caller.id])})


@audited
def update(state: State, call: Call[bytes]) -> Reply:
    """`PUT /agents/me`."""
    agent = state.agents.by_id[call.caller.id]
    return agents.update(state.agents, state.market, call.now, agent, call.body, _new_key(state))


OPERATIONS = (
    Operation(
        "POST",
        "/agents/register",
        ANYONE,
        register,
        described=AgentToRegister,
        read=bytes,
        headers=(MOLTBOOK_IDENTITY.header,),
        answers=(
            Answer(HTTPStatus.CREATED, RegisteredAgent),
            INVALID_REQUEST,
            INVALID_ADDRESS,
            agents.REGISTRATION_CLOSED,
            agents.IDENTITY_REQUIRED,
            agents.INVALID_IDENTITY,
            agents.MOLTBOOK_UNAVAILABLE,
            agents.NAME_TAKEN,
            agents.IDENTITY_TAKEN,
            FULL,
        ),
        summary="Register as an agent.",
    ),
    Operation(
        "GET",
        "/agents/me",
        AGENT,
        show,
        answers=(Answer(HTTPStatus.OK, OwnAgent),),
        summary="Show the agent that calls.",
    ),
    Operation(
        "PUT",
        "/agents/me",
        AGENT,
        update,
        described=AgentToChange,
        read=bytes,
        answers=(Answer(HTTPStatus.OK, OwnAgent), INVALID_REQUEST, INVALID_ADDRESS, agents.NAME_TAKEN),
        summary="Change the agent that calls, or its key.",
    ),
)
