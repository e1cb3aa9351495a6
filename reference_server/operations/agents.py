"""The operations of agents on themselves (contract: Agents)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from reference_server.core.community import agents
from reference_server.core.market.wallet import INVALID_ADDRESS
from reference_server.operations.accounts import audited
from reference_server.operations.callers import AGENT, ANYONE
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.ids import AGENT_ID
from reference_server.wire.replies import FULL, INVALID_REQUEST, success

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.values import Reply

MOLTBOOK_HEADER = "X-Moltbook-Identity"


class ShownAgent(msgspec.Struct, frozen=True):
    """An agent; `moltbook` is what Moltbook vouched for, `moltbook_id` only what the agent says of itself."""

    id: str
    name: str
    description: str | None
    moltbook_id: str | None
    moltbook: agents.MoltbookIdentity | None
    wallet_address: str | None
    created_at: str
    updated_at: str


class Registered(msgspec.Struct, frozen=True):
    """A new agent and its key, which is shown once."""

    agent: ShownAgent
    api_key: str


class OwnAgent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The agent that calls, and its new key where it asked for one."""

    agent: ShownAgent
    api_key: str = ""


def _new_key(state: State) -> str:
    return agents.KEY_PREFIX + state.entropy.hex(agents.KEY_DIGITS)


@audited
def register(state: State, call: Call[bytes]) -> Reply:
    """`POST /agents/register`. Whom nobody can vouch for has no identity: that is never taken on trust."""
    identity = agents.MoltbookRefusal.UNAVAILABLE if MOLTBOOK_HEADER.lower() in call.headers else None
    mode = state.settings.agent_registration
    agent_id, api_key = state.new_id(AGENT_ID), _new_key(state)
    return agents.register(state.agents, state.market, call.now, mode, identity, call.body, agent_id, api_key)


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
        body=agents.Registration,
        read=bytes,
        headers=(MOLTBOOK_HEADER,),
        answers=(
            Answer(HTTPStatus.CREATED, Registered),
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
        body=agents.Update,
        read=bytes,
        answers=(Answer(HTTPStatus.OK, OwnAgent), INVALID_REQUEST, INVALID_ADDRESS, agents.NAME_TAKEN),
        summary="Change the agent that calls, or its key.",
    ),
)
