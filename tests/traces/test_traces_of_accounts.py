"""Agents' keys, money, jobs and posts in a trace: no key is in it, and it plays again with keys that are given anew."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from simulator.traces.format import Exchange, Header, Trace, encode_line
from simulator.traces.messages import split_answer
from simulator.traces.resign import AGENT_NAME_MAX_CHARACTERS, Resigner, fresh_name
from simulator.traces.writing import TraceWriter
from tests.attacks.playing import HOST, TOKEN, World, read_request, served
from tests.traces.recorded import Recording

ATTACKS = [
    "agent.names", "key.revoked", "key.guess", "wallet.idempotency", "wallet.velocity", "job.foreign", "job.bodies",
    "forum.script",
]  # fmt: skip
SETTINGS: dict[str, Any] = {"wallet_dev_credit_usdt": Decimal(1000), "withdrawal_cooldown_seconds": 2}
SUFFIX = "5f5f"


class Taped:
    """One attempt of an attack, recorded from a server in process; and what each answer was."""

    def __init__(self, name: str) -> None:
        self.world = World(SETTINGS, seed=3)
        performance = self.world.play(name)
        assert not performance.unsettled
        recording = Recording()
        for step, outcome in zip(self.world.sent, performance.outcomes, strict=True):
            answer = outcome.head + b"\r\n\r\n" + outcome.body
            recording.take(step.request, answer, got=outcome.got, sent_ns=outcome.sent_ns, campaign=1)
        self.recording = recording
        self.moments = [outcome.sent_ns for outcome in performance.outcomes]

    def trace(self, *, redact: bool) -> Trace:
        origin = self.recording.origin(authority=HOST)
        header, *exchanges = TraceWriter(self.recording.taken, origin, TOKEN, redact=redact).lines()
        assert isinstance(header, Header)
        return Trace(header, tuple(one for one in exchanges if isinstance(one, Exchange)))


def replayed(taped: Taped, trace: Trace, world: World) -> list[int]:
    """Play a trace on a server, each request at its moment; return the statuses."""
    resigner = Resigner(trace.header, trace.exchanges, TOKEN, HOST, SUFFIX)
    start_ns = world.now_ns
    statuses = []
    for exchange, moment_ns in zip(trace.exchanges, taped.moments, strict=True):
        world.now_ns = max(world.now_ns, start_ns + moment_ns)
        reply = served(world.api, read_request(resigner.rebuild(exchange), "10.2.0.1"), world.instant)
        resigner.apply_answer(exchange, reply.status, reply.body)
        statuses.append(reply.status)
    return statuses


def statuses_of(taped: Taped) -> list[int]:
    return [split_answer(one.answer or b"")[0] for one in taped.recording.taken]


@pytest.mark.parametrize(("name", "redact"), [*((name, True) for name in ATTACKS), ("key.revoked", False)])
def test_it_plays_again_on_a_new_server_and_on_the_one_that_it_was_recorded_on(name: str, *, redact: bool) -> None:
    """There names are taken, owners have spent their money, and keys have been used."""
    taped = Taped(name)
    trace = taped.trace(redact=redact)
    assert replayed(taped, trace, World(SETTINGS, seed=4)) == statuses_of(taped)
    assert replayed(taped, trace, taped.world) == statuses_of(taped)


@pytest.mark.parametrize("name", ["key.revoked", "key.guess", "job.foreign"])
def test_no_key_that_was_given_out_is_in_a_redacted_trace(name: str) -> None:
    taped = Taped(name)
    given = [
        text.split(b'"')[0].decode()
        for one in taped.recording.taken
        for text in (one.answer or b"").split(b'"api_key":"')[1:]
    ]
    assert given
    assert all(key.startswith("hfk_") for key in given)
    trace = taped.trace(redact=True)
    text = b"".join([encode_line(trace.header), *map(encode_line, trace.exchanges)]).decode()
    assert not [key for key in given if key in text or key[4:40] in text]


def test_a_key_that_an_attacker_made_up_is_no_secret_and_one_of_honest_traffic_is() -> None:
    recording = Recording()
    refused = b"HTTP/1.1 401 X\r\n\r\n"
    keys = ["hfk_" + digit * 64 for digit in "abc"]
    for key, answer, campaign in zip(keys, (refused, refused, b"HTTP/1.1 200 X\r\n\r\n"), (2, 0, 2), strict=True):
        recording.take(f"GET / HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode(), answer, campaign=campaign)
    text = b"".join(map(encode_line, recording.lines())).decode()
    assert [key in text for key in keys] == [True, False, False]


def test_an_agent_of_a_trace_gets_a_name_that_nobody_has() -> None:
    assert fresh_name("planner", SUFFIX) == "planner.5f5f"
    for name in ("p" * AGENT_NAME_MAX_CHARACTERS, "q" * AGENT_NAME_MAX_CHARACTERS, "p" * 60):
        assert fresh_name(name, SUFFIX) != name
        assert len(fresh_name(name, SUFFIX)) <= AGENT_NAME_MAX_CHARACTERS
        assert fresh_name(name, SUFFIX) != fresh_name(name, "6a6a")
    for wrong in ("", " planner", "planner ", "p" * 65):
        assert fresh_name(wrong, SUFFIX) == wrong
