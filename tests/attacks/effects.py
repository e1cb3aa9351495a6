"""What an attack left behind on a server in process, against what its rows and effects say it must have left."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.rows import NO_MACHINE, NONE

if TYPE_CHECKING:
    from tests.attacks.playing import World

Event = tuple[str, str, str, str]
"""Type, actor, object and reason."""


def reasons_of_rows(world: World) -> dict[str, int]:
    """Count the auth failures that the rows' answers stand for."""
    counts = Counter(REASONS[Answer(int(got))] for got in world.history.rows()["got"] if int(got) in REASONS)
    return dict(counts)


def reasons_counted(world: World) -> dict[str, int]:
    """Count those that the server counted."""
    return {reason: count for reason, count in world.api.state.failures.by_reason.items() if count}


GRANTED = ("machine_registered", "policy_created")
"""What makes an owner of whoever it is granted to; of others, what was refused is in no owner's stream."""


def unattributed_rows(world: World) -> int:
    """Count the auth failures that name no machine."""
    rows = world.history.rows()
    nobody = rows[rows["machine"] == NO_MACHINE]
    return sum(int(got) in REASONS for got in nobody["got"])


def events_due(world: World, owner_id: str) -> Counter[Event]:
    """Return the events, but for heartbeats, that an owner's streams must show."""
    history = world.history
    granted = {whose for one in history.effects if one.type in GRANTED for whose in one.owners}
    due: Counter[Event] = Counter(
        (one.type, one.actor, one.object_id, one.reason)
        for one in history.effects
        if owner_id in one.owners and one.sure and owner_id in granted
    )
    for row in history.rows():
        machine = history.machines.get(int(row["machine"]))
        if int(row["got"]) in REASONS and machine is not None and machine.owner_id == owner_id:
            worker_id = machine.worker_id
            due["worker_auth_failed", f"worker:{worker_id}", worker_id, REASONS[Answer(int(row["got"]))]] += 1
    return due


def events_shown(world: World, owner_id: str, due: Counter[Event]) -> Counter[Event]:
    """Return those it does show; the object of one that fits any is left out, as it is in what is due."""
    anywhere = {(kind, actor, reason) for kind, actor, object_id, reason in due if not object_id}
    owner = world.api.state.owners.get(owner_id)
    streams = () if owner is None else (owner.notable, owner.refused)
    shown: Counter[Event] = Counter()
    for event in [stream.event(position) for stream in streams for position in range(len(stream))]:
        reason = str(event["metadata"].get("reason", ""))
        kind, actor = str(event["type"]), str(event["actor"])
        shown[kind, actor, "" if (kind, actor, reason) in anywhere else str(event["object_id"]), reason] += 1
    return shown


def assert_effects_are_as_recorded(world: World) -> None:
    """Every failure counted, every event of every owner, and every acceptance: as the history says, and no other."""
    assert reasons_counted(world) == reasons_of_rows(world)
    assert world.api.state.failures.unattributed == unattributed_rows(world)
    for owner_id in world.history.owners:
        due = events_due(world, owner_id)
        assert events_shown(world, owner_id, due) == due
    rows = world.history.rows()
    beats = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]
    assert sum(owner.routine.sequence for owner in world.api.state.owners.values()) == len(beats)
    machines = world.history.machines
    heard = {worker.id for worker in world.api.state.workers.values() if worker.heard_monotonic_ns is not None}
    assert {machines[int(index)].worker_id for index in beats["machine"]} == heard


def assert_rows_name_what_their_requests_carry(world: World) -> None:
    """Machine, nonce and certificate of each row are those of its request; checkers know no other."""
    history = world.history
    certificates = {one.certificate_id: number for number, one in enumerate(history.certificates, 1)}
    workers = {machine.worker_id: index for index, machine in history.machines.items()}
    rows = history.rows()
    assert len(rows) == len(world.sent)
    for step, row in zip(world.sent, rows, strict=True):
        assert bytes(row["nonce"]) == step.nonce
        if step.operation not in {Operation.HEARTBEAT, Operation.POLICY_FETCH}:
            continue
        path = step.request.split(b" ", 2)[1].decode()
        assert int(row["machine"]) == workers.get(path.split("/")[4], NO_MACHINE)
        head, _, body = step.request.partition(b"\r\n\r\n")
        carried = re.search(rb"X-Machine-Certificate-Id: (\S+)", head)
        certificate_id = carried[1].decode() if carried else ""
        refused_before = int(row["got"]) in {Answer.POLICY_MISSING_HEADERS, Answer.POLICY_INVALID_TOKEN}
        if not refused_before or int(row["certificate"]):
            assert int(row["certificate"]) == certificates.get(certificate_id, NONE)
        if step.operation is Operation.HEARTBEAT:
            assert step.nonce.hex().encode() in body
