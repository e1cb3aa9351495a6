"""Nonces: burnt by forgers, too long, with field borders inside, and more than anybody needs. Metrics: too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from reference_server.wire.signing import sign_text
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS
from simulator.attacks.acting import enrol, heartbeat, heartbeat_send
from simulator.attacks.catalogue import NONCE_BYTES, Moment, Shot, ShotAttack
from simulator.attacks.script import Claim, JoinFleet, Outcome, ScriptAttack, Together, heartbeat_gets
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis
from simulator.fleet.machine import heartbeat_request, signed_heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from simulator.attacks.script import Script, ScriptContext, Send
    from simulator.fleet.machine import Machine

NONCE_MAX_CHARACTERS = 128
"""Contract §4, check 3."""
HUGE_CHARACTERS = 900_000
"""Inside the body limit of 1 MiB: it is the nonce that is refused."""
METRICS_MAX_BYTES = 16 * 1024
"""Contract §4, check 3."""
DEPTH_ALLOWED, DEPTH_REFUSED = 7, 16
"""Eight deep is the bound: whether a value in the innermost counts is for nobody to be accused of."""
WAVE = 32
FLOOD_WAVES_MAX = 10
"""320 heartbeats within a second or two: a limit that has not shown itself by then is none that stops a flood."""


class Burn(ScriptAttack):
    """A forger uses up the nonce that the victim will use next, and others send what is nearly the same."""

    name = "nonce.burn"
    basis = Basis.HARDENED
    shape = (
        "a badly signed heartbeat with the victim's next nonce, genuine ones with the same nonce by another machine "
        "and with nonces that differ in case, by a space and in the last of 128 characters, then the victim's own"
    )
    verdict = "401 invalid heartbeat auth, then 200"
    effect = "one worker_auth_failed event, reason invalid_heartbeat_signature; then acceptances"
    anchor = "contract §4: a nonce is reserved only after the signature has been verified, and is its worker's alone"
    severity = 5.3

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        nonce = context.rng.bytes(NONCE_BYTES)
        timestamp = format_timestamp(context.wall() // MILLISECOND_NS * MILLISECOND_NS)
        key = context.rng.bytes(24).hex().encode()
        body = signed_heartbeat(key, machine.worker_id, timestamp, nonce.hex(), machine.policy_id, "{}")
        bad = heartbeat_gets(Answer.INVALID_SIGNATURE, "it is signed with a key that the forger made up")
        yield heartbeat_send(context, machine, body, bad, nonce=nonce, client=1)
        sibling = yield from enrol(context, machine.owner_id, machine.policy_id, client=3)
        yield heartbeat(context, sibling, Answer.ACCEPTED, "nonces are each machine's own", nonce=nonce, client=3)
        for raw, text in alike(context.rng):
            yield _named(context, machine, raw, text)
        yield heartbeat(context, machine, Answer.ACCEPTED, "a forger can never burn its nonce", nonce=nonce, client=2)
        yield JoinFleet(machine)
        yield JoinFleet(sibling)


def alike(rng: np.random.Generator) -> Iterator[tuple[bytes, str]]:
    """Yield nonces as what the history knows them by, which they hold, and as text.

    Whoever compares less than the whole takes each second one for the one before it.
    """
    for first, second in (
        ("n{one}{OTHER}", "N{ONE}{other}"),
        ("{one}{other}", "{one}{other} "),
        ("{one}{other}{more}a", "{one}{other}{more}b"),
    ):
        one, other = rng.bytes(NONCE_BYTES), rng.bytes(NONCE_BYTES)
        parts = {"one": one.hex(), "other": other.hex(), "ONE": one.hex().upper(), "OTHER": other.hex().upper()}
        more = "." * (NONCE_MAX_CHARACTERS - 1 - len(parts["one"] + parts["other"]))
        yield one, first.format(**parts, more=more)
        yield other, second.format(**parts, more=more)


def _named(context: ScriptContext, machine: Machine, nonce: bytes, text: str) -> Send:
    """Make a genuine heartbeat whose nonce is a text."""
    timestamp = format_timestamp(context.wall() // MILLISECOND_NS * MILLISECOND_NS)
    body = signed_heartbeat(machine.token, machine.worker_id, timestamp, text, machine.policy_id, "{}")
    expect = heartbeat_gets(Answer.ACCEPTED, "its nonce was never seen, only one that is nearly the same")
    return heartbeat_send(context, machine, body, expect, nonce=nonce, client=2)


class Oversized(ScriptAttack):
    """Nonces and metrics as large as is allowed, and larger."""

    name = "nonce.oversized"
    basis = Basis.HARDENED
    shape = (
        "rightly signed heartbeats whose nonces have 900,000 and 129 characters, and 128 of one and of two bytes, and "
        f"whose metrics have 16 KiB and a byte more, and nest {DEPTH_ALLOWED} and {DEPTH_REFUSED} deep"
    )
    verdict = "400 invalid heartbeat fields past 128 characters, 16 KiB and a depth of 8, else 200"
    effect = "one worker_auth_failed event, reason malformed_heartbeat_fields, for each that is too large"
    anchor = "OWASP API4:2023; contract §4, check 3"
    severity = 5.3

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        for characters, filling in (
            (HUGE_CHARACTERS, "a"),
            (NONCE_MAX_CHARACTERS + 1, "a"),
            (NONCE_MAX_CHARACTERS, "a"),
            (NONCE_MAX_CHARACTERS, "é"),
        ):
            raw = context.rng.bytes(NONCE_BYTES)
            text = raw.hex().ljust(characters, filling)
            timestamp = format_timestamp(context.wall() // MILLISECOND_NS * MILLISECOND_NS)
            body = signed_heartbeat(machine.token, machine.worker_id, timestamp, text, machine.policy_id, "{}")
            fits = characters <= NONCE_MAX_CHARACTERS
            answer = Answer.ACCEPTED if fits else Answer.MALFORMED_FIELDS
            because = f"a nonce may have {NONCE_MAX_CHARACTERS} characters, and this one has {characters}"
            yield heartbeat_send(context, machine, body, heartbeat_gets(answer, because), nonce=raw, client=1)
        for metrics, fits, because in sized_metrics():
            answer = Answer.ACCEPTED if fits else Answer.MALFORMED_FIELDS
            yield heartbeat(context, machine, answer, because, metrics=metrics, client=2)
        yield JoinFleet(machine)


def sized_metrics() -> Iterator[tuple[str, bool, str]]:
    """Return metrics of many sizes and depths, whether each is allowed, and why."""
    for size in (METRICS_MAX_BYTES, METRICS_MAX_BYTES + 1, 4 * METRICS_MAX_BYTES):
        text = '{"note":"' + "a" * (size - len('{"note":""}')) + '"}'
        yield text, size <= METRICS_MAX_BYTES, f"metrics may have {METRICS_MAX_BYTES:,} bytes, and these have {size:,}"
    for depth in (DEPTH_ALLOWED, DEPTH_REFUSED):
        for opening, closing in (('{"a":', "}"), ("[", "]")):
            inner = opening * (depth - 1) + "1" + closing * (depth - 1)
            yield f'{{"a":{inner}}}', depth == DEPTH_ALLOWED, f"metrics may nest 8 deep, and these nest {depth} deep"


class Delimiter(ShotAttack):
    """Field borders and control characters inside of fields: two different heartbeats must never sign the same text."""

    name = "nonce.delimiter"
    basis = Basis.HARDENED
    shape = "a rightly signed heartbeat with a | or a control character in its nonce or policy id, moving field borders"
    verdict = "400 invalid heartbeat fields"
    effect = "one worker_auth_failed event, reason malformed_heartbeat_fields"
    anchor = "contract §4, check 3; CWE-140"
    severity = 6.5

    forms: ClassVar[tuple[tuple[str, str], ...]] = (
        ("{nonce}|{policy}", "{policy}"),
        ("{nonce}|pol_0000000000000000", "{policy}"),
        ("|{nonce}", "{policy}"),
        ("{nonce}|", "{policy}"),
        ("{nonce}", "x|{policy}"),
        ("{nonce}", "{policy}|"),
        *((f"{{nonce}}{character}", "{policy}") for character in "\0\t\n\r\x1b\x7f\x85"),
        ("{nonce}", "{policy}\n"),
        ("{nonce}", "\0{policy}"),
    )
    """Nonce and policy id of each form."""

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Sign it as its fields are: only the characters are wrong."""
        raw = rng.bytes(NONCE_BYTES)
        forms = self.forms[int(rng.integers(len(self.forms)))]
        nonce, policy_id = (form.format(nonce=raw.hex(), policy=victim.policy_id) for form in forms)
        timestamp = format_timestamp(moment.wall_ns // MILLISECOND_NS * MILLISECOND_NS)
        text = f"{victim.worker_id}|{timestamp}|{nonce}|{policy_id}"
        fields = {"timestamp": timestamp, "nonce": nonce, "policy_id": policy_id, "metrics": {}}
        body = msgspec.json.encode({**fields, "signature": sign_text(victim.token, text).decode()})
        token = victim.token.decode()
        request = heartbeat_request(moment.host, victim.worker_id, token, victim.certificate_id, body)
        return Shot(request, raw, Answer.MALFORMED_FIELDS, victim.certificate_number)


class Flood(ScriptAttack):
    """A genuine machine that sends as fast as it can: only the rate limit keeps it from filling the nonce store."""

    name = "nonce.flood"
    basis = Basis.HARDENED
    shape = f"genuine heartbeats with fresh nonces, {WAVE} at once from one address, until the rate limit shows itself"
    verdict = "200 while within the limit, then 429"
    effect = "none beyond the limit"
    anchor = "OWASP API4:2023"
    severity = 5.3

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        sent = accepted = 0
        limited = False
        while not limited and sent < WAVE * FLOOD_WAVES_MAX:
            outcomes: list[Outcome] = yield Together(tuple(self._flooding(context, machine) for _ in range(WAVE)))
            sent += len(outcomes)
            accepted += sum(outcome.got is Answer.ACCEPTED for outcome in outcomes)
            limited = any(outcome.got is Answer.RATE_LIMITED for outcome in outcomes)
        if limited:
            yield Claim("limited", held=True, message=f"{accepted} of {sent} were accepted, then the limit held")
        else:
            yield Claim(
                "limited", held=None, message=f"the rate limit of this target is past {sent} heartbeats at once"
            )
        yield heartbeat(context, machine, Answer.ACCEPTED, "others are not limited by the flood", client=2)
        yield JoinFleet(machine)

    @staticmethod
    def _flooding(context: ScriptContext, machine: Machine) -> Send:
        return heartbeat(context, machine, Answer.WITHIN_LIMIT, "one address may send no faster", client=1)
