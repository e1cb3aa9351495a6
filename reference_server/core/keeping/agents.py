"""Agents in files (contract: Agents). Only a key's digest is stored, and that is never shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.community.agents import Agent, unique_name, valid_name
from reference_server.core.keeping import moments
from reference_server.core.table import Table
from reference_server.identity_ports import AgentIdentity  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.limits import AGENT_DESCRIPTION_MAX_CHARACTERS, AGENTS_MAX, MOLTBOOK_ID_MAX_CHARACTERS
from reference_server.wire.exposition import Figure
from reference_server.wire.ids import AGENT_ID
from reference_server.wire.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant

_DIGEST = re.compile("[0-9a-f]{64}")


class AgentRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agent. Empty texts are not set."""

    id: str
    name: str
    description: str
    moltbook_id: str
    moltbook: AgentIdentity | None
    wallet_address: str
    key_digest: str
    created_at: str
    updated_at: str


def _keep(state: State) -> Iterator[tuple[str, AgentRecord]]:
    for one in state.agents.by_id.values():
        yield (
            one.id,
            AgentRecord(
                one.id,
                one.name,
                one.description,
                one.moltbook_id,
                one.moltbook,
                one.wallet_address,
                one.key_digest.hex(),
                moments.write(one.created),
                moments.write(one.updated),
            ),
        )


def _restore(state: State, file: StateFile, now: Instant) -> None:
    for one in SECTION.of(file.sections).values():
        state.agents.add(
            Agent(
                one.id,
                one.name,
                one.description,
                one.moltbook_id,
                one.moltbook,
                one.wallet_address,
                bytes.fromhex(one.key_digest),
                moments.read(now, one.created_at),
                moments.read(now, one.updated_at),
            )
        )


def _check(reading: Reading, place: str, _key: str, one: AgentRecord) -> None:
    reading.require(place, "its name is none that an agent can have", right=valid_name(one.name))
    first = reading.is_first("agent name", unique_name(one.name))
    reading.require(place, "another agent has its name", right=first)
    reading.require(place, "its key_digest is not 64 hex digits", right=_DIGEST.fullmatch(one.key_digest) is not None)
    reading.require(place, "another agent has its key", right=reading.is_first("agent key", one.key_digest))
    if one.moltbook is not None:
        first = reading.is_first("moltbook identity", one.moltbook.id)
        reading.require(place, "another agent has its Moltbook identity", right=first)
    short = len(one.description) <= AGENT_DESCRIPTION_MAX_CHARACTERS
    short = short and len(one.moltbook_id) <= MOLTBOOK_ID_MAX_CHARACTERS
    reading.require(place, "its description or its moltbook_id is too long", right=short)
    reading.times(place, created_at=one.created_at, updated_at=one.updated_at)


def _figures(state: State) -> Sequence[Figure]:
    failures = state.auth_failures
    return (
        Figure("hatchfarm_agents", "Registered agents.", len(state.agents.by_id)),
        Figure.labelled(
            "hatchfarm_auth_failures", "Keys and sessions that were shown and are none.", "principal", failures
        ),
    )


SECTION = Section(
    name="agents", record=AgentRecord, most=AGENTS_MAX, form=AGENT_ID, check=_check, hidden=frozenset({"key_digest"})
)
TABLE: Table[Any, AgentRecord] = Table(section=SECTION, keep=_keep, restore=_restore, figures=_figures)
