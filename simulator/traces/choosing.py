"""A part of a trace: the exchanges of an attack, a machine, a principal or a time, and those they build on. No I/O.

A request that names a machine means nothing to a server where that machine was never registered. So what was chosen
comes with what gave out its ids and secrets, back to the beginning, and the part can be played like the whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from simulator.errors import TraceError
from simulator.platform.wording import nearest
from simulator.traces.format import Trace
from simulator.traces.messages import to_text
from simulator.traces.principals import OWNER_TOKEN
from simulator.traces.resign import Resigner, recorded_bytes

if TYPE_CHECKING:
    from simulator.traces.format import Exchange

HONEST = "honest"
"""What honest traffic is called beside the attacks."""
_WORD = re.compile(r"[A-Za-z0-9_.@-]+")
_NONCE = re.compile(r'"nonce"\s{0,9}:\s{0,9}"([^"\\]{1,256})"')
_NUMBERED = "machine."
_POLICY = "pol_"
_POLICY_CHANGES = frozenset({"policy_create", "policy_activate"})
_CHANGES = _POLICY_CHANGES | {"register", "certificate", "consent_create", "consent_revoke"}


class Chosen(msgspec.Struct, frozen=True):
    """What to take: what is of one of the attacks, of one of the machines and principals, and was sent within the time.

    An empty choice of a kind takes all. Principals are owners, workers' ids, and machines as `machine.3`. Times are
    nanoseconds from the start of the run.
    """

    attacks: tuple[str, ...] = ()
    machines: tuple[int, ...] = ()
    principals: tuple[str, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None


def only(names: tuple[str, ...]) -> Chosen:
    """Read what to play again: names of attacks, `honest`, or machines as `machine.3`."""
    machines = tuple(int(name.removeprefix(_NUMBERED)) for name in names if _is_machine(name))
    return Chosen(tuple(name for name in names if not _is_machine(name)), machines)


class TraceSelection(msgspec.Struct, frozen=True):
    """A part of a trace. `chosen` exchanges were chosen, the others in it are what those build on."""

    trace: Trace
    chosen: int


def choose(trace: Trace, chosen: Chosen) -> TraceSelection:
    """Take a part of a trace. Raises TraceError where nothing is like it, with the names there are."""
    header, exchanges = trace.header, trace.exchanges
    names = {HONEST, *header.attacks}
    for name in chosen.attacks:
        if name not in names:
            raise TraceError(f"there is no attack {name!r} in it; {nearest(name, names)}")
    words = _words_of(trace, chosen.principals)
    kept = [_is_chosen(exchange, chosen, words) for exchange in exchanges]
    if not any(kept):
        raise TraceError("none of its exchanges is like that")
    number = sum(kept)
    _keep_what_they_build_on(trace, kept)
    left = [one for one, keep in zip(exchanges, kept, strict=True) if keep]
    numbered = tuple(msgspec.structs.replace(one, sequence=at) for at, one in enumerate(left, 1))
    return TraceSelection(Trace(msgspec.structs.replace(header, exchanges=len(numbered)), numbered), number)


def _is_machine(name: str) -> bool:
    return name.startswith(_NUMBERED) and name.removeprefix(_NUMBERED).isascii() and name[len(_NUMBERED) :].isdecimal()


def _is_chosen(exchange: Exchange, chosen: Chosen, words: frozenset[str]) -> bool:
    if chosen.attacks and (exchange.attack or HONEST) not in chosen.attacks:
        return False
    if chosen.machines and exchange.machine not in chosen.machines:
        return False
    if chosen.from_ns is not None and exchange.sent_ns < chosen.from_ns:
        return False
    if chosen.to_ns is not None and exchange.sent_ns >= chosen.to_ns:
        return False
    return not chosen.principals or not words.isdisjoint(_words_in(exchange))


def _words_of(trace: Trace, principals: tuple[str, ...]) -> frozenset[str]:
    """Return the words by which requests name principals: owners, workers' ids, tokens or references."""
    words = set(principals)
    for machine in trace.header.machines:
        if not {machine.name, machine.worker_id, machine.owner_id}.isdisjoint(principals):
            token = f"{machine.name}.token"
            words |= {machine.name, machine.worker_id, token, trace.header.secrets.get(token, token)}
    return frozenset(words)


def _words_in(exchange: Exchange) -> set[str]:
    text = to_text(recorded_bytes(exchange))
    lines = (line.partition(": ")[2] for line in text.partition("\r\n\r\n")[0].split("\r\n"))
    numbered = set() if exchange.machine is None else {f"machine.{exchange.machine}"}
    return {*_WORD.findall(text), *lines, *numbered}


def _keep_what_they_build_on(trace: Trace, kept: list[bool]) -> None:
    """Keep also what made and changed the machines and policies of those kept, and whose nonce one of them repeats."""
    resigner = Resigner(trace.header, trace.exchanges, "", trace.header.authority, "")
    wanted: set[str] = set()
    nonces: set[str] = set()
    for index in range(len(trace.exchanges) - 1, -1, -1):  # what one builds on came before it
        exchange = trace.exchanges[index]
        names = (resigner.gives(exchange) | resigner.needs(exchange)) - {OWNER_TOKEN}
        # A policy is many machines': it does not make one of them what another builds on.
        own = names if exchange.operation in _POLICY_CHANGES else {one for one in names if not one.startswith(_POLICY)}
        sent = set(_NONCE.findall(to_text(recorded_bytes(exchange))))
        changes = exchange.operation in _CHANGES and not own.isdisjoint(wanted)
        if kept[index] or changes or not sent.isdisjoint(nonces):
            kept[index] = True
            wanted |= names
            nonces |= sent
