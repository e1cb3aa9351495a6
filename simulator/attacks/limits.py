"""Getting more through than one client may (contract §6), and being many clients at once.

Of any requests that took effect between two moments, a right server serves no more than a bucket holds and gains in
that time. A request took effect somewhere between its sending and its answer, so that what it let through is certain.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

import msgspec

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.script import Claim, Expect, Pause, ScriptAttack, Send, Together
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from simulator.attacks.defences import Defences
    from simulator.attacks.script import Outcome, Script, ScriptContext

OK, TOO_MANY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
TIMES_OVER = 3
"""How many times its bucket a client asks for: enough that several buckets show."""
REQUESTS_MAX = 600
"""More than this at once would be load, not attack: a limit that is higher is not reached."""
RETRY_MARGIN_NS = 50 * MILLISECOND_NS
"""By how much later than told it is tried again: the answer may have been made a moment before it was read."""
EDGE_NS = 150 * MILLISECOND_NS
"""How far before and after the edge of a window its two bursts are: more than an edge that was learned may be off."""
WINDOW_NS = SECOND_NS
"""The shortest window that is guessed: limits are mostly told by the second."""
POLL_NS = 25 * MILLISECOND_NS
"""How often it is asked whether a window has ended: two edges known this well tell a third within 63 ms."""
DRAINED_TOKENS, DRAINED_NS = 20, (SECOND_NS, 6 * SECOND_NS)
"""For how many refilled tokens a bucket is kept empty: a tenth more shows as two. Within what is worth waiting for."""
DRAIN_NS = 100 * MILLISECOND_NS
"""How often it is asked meanwhile, twice as much as is refilled."""
PEERS_MIN = 2
PREFLIGHTS = 8
"""More than a bucket gains meanwhile: of one that counts them some are refused."""


def requests_for(defences: Defences) -> int:
    """Return how many requests show that a client is limited."""
    return min(REQUESTS_MAX, TIMES_OVER * defences.burst)


def ask_health(
    context: ScriptContext, client: int = 0, headers: Mapping[str, str] | None = None, source: str = ""
) -> Send:
    """Make a request that costs a server nothing but a token."""
    message = http_message("GET", "/health", context.host, headers or {})
    expect = Expect(Answer.WITHIN_LIMIT, (OK,), "", "one client may send no faster")
    return Send(message, expect, client=client, source=source)


def in_turn(sends: Iterable[Send]) -> Script[list[Outcome]]:
    """Send one after the other."""
    outcomes = []
    for send in sends:
        outcome: Outcome = yield send
        outcomes.append(outcome)
    return outcomes


class _Excess:
    """The span of requests that exceeds its bucket the most, if any does."""

    def __init__(self, outcomes: Sequence[Outcome], defences: Defences) -> None:
        served = sorted((one for one in outcomes if one.status == OK), key=lambda one: one.sent_ns)
        self.served = len(served)
        self.limited = sum(one.status == TOO_MANY for one in outcomes)
        self.by = 0
        self.message = f"{self.served} of {len(outcomes)} requests were served, {self.limited} got HTTP {TOO_MANY}"
        self.evidence: dict[str, int] = {"served": self.served, "limited": self.limited}
        for first, start in enumerate(served):
            last_ns = start.answered_ns
            for last in range(first, len(served)):
                last_ns = max(last_ns, served[last].answered_ns)
                count, allowed = last - first + 1, defences.allows(last_ns - start.sent_ns)
                if count - allowed > self.by:
                    self.by = count - allowed
                    self.message = f"{count} were served within {(last_ns - start.sent_ns) / SECOND_NS:.3f}s"
                    self.message += f", where {allowed} are allowed ({defences.burst} at once and "
                    self.message += f"{defences.refill_per_second:g} a second)"
                    self.evidence = {"served": count, "allowed": allowed}
                    self.evidence |= {"first_sent_ns": start.sent_ns, "last_answered_ns": last_ns}

    def say(self, rule: str) -> Claim:
        """Claim that there is none."""
        if not self.by and not self.limited:
            return Claim(rule, None, f"never came over the limit: {self.message}")
        return Claim(rule, not self.by, self.message, self.evidence)


class _Limit(ScriptAttack):
    verdict = "429 with Retry-After; never more than allowed"
    effect = "none: what is over the limit is not looked at"
    anchor = "OWASP API4:2023; contract §6"
    severity = 5.3
    needs = frozenset({Feature.HEALTH})

    def obstacle(self, context: ScriptContext) -> str:
        """Return why not: a limit is so high that to reach it would be load, not attack."""
        burst = context.defences.burst
        return f"the rate limit is raised to {burst:,} at once, out of reach" if burst >= REQUESTS_MAX else ""


class Burst(_Limit):
    """One address that asks as fast as it can, on one connection and on many."""

    name = "limit.burst"
    basis = Basis.HARDENED
    shape = (
        f"{TIMES_OVER} times a burst from one address, on many connections at once and on one, then OPTIONS, again "
        "when told, and then for some seconds twice as much as is refilled"
    )

    def script(self, context: ScriptContext) -> Script[None]:
        """Ask on connections of their own, then on one, and then when Retry-After says."""
        count = requests_for(context.defences)
        outcomes: list[Outcome] = yield Together(tuple(ask_health(context) for _ in range(count // 2)))
        outcomes += yield from in_turn(ask_health(context) for _ in range(count - len(outcomes)))
        excess = _Excess(outcomes, context.defences)
        yield excess.say("never-more")
        known = all(one.status in {OK, TOO_MANY} for one in outcomes) and context.own_addresses
        whole = excess.served >= min(count, context.defences.burst)
        due = {"served": excess.served, "due": min(count, context.defences.burst)}
        yield Claim("never-fewer", whole if known else None, f"of a new address, {excess.message}", due)
        limited = [one for one in outcomes if one.status == TOO_MANY]
        if limited:
            yield from _asked_first(context)
            outcomes += yield from _retried(context, limited)
            if not excess.by:
                outcomes += yield from _drained(context)
                yield _Excess(outcomes, context.defences).say("refill")


def _asked_first(context: ScriptContext) -> Script[None]:
    """Claim that what browsers ask before a request is answered to one who is over the limit, too."""
    expect = Expect(Answer.ACCEPTED, (OK,), "", "OPTIONS has no rate limit")
    send = Send(http_message("OPTIONS", "/health", context.host, {}), expect)
    outcomes = yield from in_turn([send] * PREFLIGHTS)
    limited = sum(one.status == TOO_MANY for one in outcomes)
    known = limited or all(one.known for one in outcomes)
    message = f"of {len(outcomes)} OPTIONS of one who was over the limit {limited} got HTTP {TOO_MANY}"
    yield Claim("options-served", not limited if known else None, message)


def _retried(context: ScriptContext, limited: list[Outcome]) -> Script[list[Outcome]]:
    """Claim that every refusal says how long to wait, and that to wait so long is enough; return what was sent."""
    if Feature.RETRY_AFTER in context.lacks:
        return []
    waits = [_retry_after(one.head) for one in limited]
    silent = waits.count(0)
    message = f"{silent} of {len(waits)} refusals had no Retry-After of whole seconds, one or more"
    yield Claim("retry-after", not silent, message)
    if not waits[-1]:
        return []
    yield Pause(limited[-1].answered_ns + waits[-1] * SECOND_NS + RETRY_MARGIN_NS)
    again: Outcome = yield ask_health(context)
    # Where others share the address, they may have taken the token.
    known = again.status in {OK, TOO_MANY} and context.own_addresses
    message = f"after the {waits[-1]}s that it was told to wait, it got HTTP {again.status}"
    yield Claim("retry-served", again.status == OK if known else None, message)
    return [again]


def _drained(context: ScriptContext) -> Script[list[Outcome]]:
    """Keep the bucket empty for a while, so that what refills it too fast adds up."""
    per_second = context.defences.refill_per_second
    least_ns, most_ns = DRAINED_NS
    until_ns = context.now() + min(max(int(DRAINED_TOKENS / per_second * SECOND_NS), least_ns), most_ns)
    each_ns = max(DRAIN_NS, int(SECOND_NS / per_second) // 2)
    each = max(1, math.ceil(2 * per_second * each_ns / SECOND_NS))
    outcomes: list[Outcome] = []
    if until_ns >= context.end_ns or each * (until_ns - context.now()) > REQUESTS_MAX * each_ns:
        return outcomes
    while context.now() < until_ns:
        outcomes += yield Together(tuple(ask_health(context) for _ in range(each)))
        yield Pause(context.now() + each_ns)
    return outcomes


def _retry_after(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\nretry-after:")
    digits = rest.split(b"\r\n", 1)[0].strip() if found else b""
    return int(digits) if digits.isdigit() and len(digits) < 6 else 0  # noqa: PLR2004 - a day or so


class WindowEdge(_Limit):
    """Two bursts, before and after the edge of a window, which a limiter that counts by windows lets through."""

    name = "limit.window-edge"
    basis = Basis.HARDENED
    shape = "two bursts around an edge: of windows by the clock, from the first request on, and as refusals tell"
    window_ns: ClassVar[int] = WINDOW_NS

    def script(self, context: ScriptContext) -> Script[None]:
        """Try edges by the clock, edges a second and a bucket's refill after a first request, and edges it learns."""
        defences = context.defences
        refill_ns = max(self.window_ns, round(defences.burst / defences.refill_per_second) * SECOND_NS)
        to_edge_ns = refill_ns - context.wall() % refill_ns
        if to_edge_ns < 2 * EDGE_NS:
            to_edge_ns += refill_ns
        outcomes = yield from self._around(context, context.now() + to_edge_ns, 0, opened=False)
        yield _Excess(outcomes, defences).say("clock-window")
        for client, length_ns in ((1, self.window_ns), (2, refill_ns)):
            outcomes = yield from self._around(context, context.now() + length_ns, client, opened=True)
            yield _Excess(outcomes, defences).say("first-request-window")
        outcomes = yield from self._learned(context, 3, 2 * refill_ns)
        yield _Excess(outcomes, defences).say("learned-window")

    @staticmethod
    def _around(context: ScriptContext, edge_ns: int, client: int, *, opened: bool) -> Script[list[Outcome]]:
        burst = context.defences.burst
        outcomes: list[Outcome] = []
        if opened:
            outcomes.append((yield ask_health(context, client)))
        for moment_ns in (edge_ns - EDGE_NS, edge_ns + EDGE_NS):
            yield Pause(moment_ns)
            outcomes += yield Together(tuple(ask_health(context, client) for _ in range(burst)))
        return outcomes

    def _learned(self, context: ScriptContext, client: int, patience_ns: int) -> Script[list[Outcome]]:
        """Learn when windows of any phase and length end, leave one unused, and be around its end."""
        outcomes: list[Outcome] = []
        edges: list[int] = []
        # Once before a first edge, and once behind it: from there on it takes a whole window to be served again.
        while len(edges) < 2:  # noqa: PLR2004 - two edges tell a length
            outcomes += yield Together(tuple(ask_health(context, client) for _ in range(context.defences.burst)))
            asked_ns, until_ns = context.now(), context.now() + patience_ns
            while context.now() < until_ns:
                again: Outcome = yield ask_health(context, client)
                outcomes.append(again)
                if again.status == OK:
                    edges.append((asked_ns + again.answered_ns) // 2)
                    break
                asked_ns = again.sent_ns
                yield Pause(asked_ns + POLL_NS)
            else:
                return outcomes
        # A request of the window behind the second edge is spent; the next is left whole until just before its end.
        edge_ns = edges[1] + 2 * (edges[1] - edges[0])
        return outcomes + (yield from self._around(context, edge_ns, client, opened=False))


class SpoofedAddress(_Limit):
    """Headers that name another client with every request."""

    name = "limit.spoofed-ip"
    basis = Basis.HARDENED
    shape = "a burst, and beside it requests that claim another address each, in the headers by which proxies tell it"
    verdict = "one bucket for all, whatever address they claim"
    anchor = "OWASP API4:2023; RFC 7239 §8.1; contract §6"
    severity = 6.5

    def script(self, context: ScriptContext) -> Script[None]:
        """Use the bucket up, and claim addresses beside that, in each header so often that who believes it shows."""
        burst = context.defences.burst
        each = max(2, min(-(-burst // 2), (REQUESTS_MAX - burst) // len(_WAYS)))
        ways = [way for way in _WAYS for _ in range(each)]
        claimed = (".".join(str(part) for part in context.rng.integers(1, 255, size=4)) for _ in ways)
        sends = [ask_health(context, headers=way(address)) for way, address in zip(ways, claimed, strict=True)]
        outcomes: list[Outcome] = yield Together((*(ask_health(context) for _ in range(burst)), *sends))
        excess = _Excess(outcomes, context.defences)
        claim = excess.say("one-bucket")
        if not excess.by and not self._would_show(outcomes, burst, each, context.defences):
            claim = Claim(claim.rule, None, f"the answers took too long to tell: {excess.message}", claim.evidence)
        yield claim

    @staticmethod
    def _would_show(outcomes: list[Outcome], burst: int, each: int, defences: Defences) -> bool:
        """Return whether more would have been served than is allowed if those that claim it in any one way had been."""
        for first in range(burst, len(outcomes), each):
            believed = [msgspec.structs.replace(one, status=OK) for one in outcomes[first : first + each]]
            if not _Excess([*outcomes[:first], *believed, *outcomes[first + each :]], defences).by:
                return False
        return True


_NAMES = ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP")


def _in_header(name: str) -> Callable[[str], dict[str, str]]:
    return lambda address: {name: address}


_WAYS: tuple[Callable[[str], dict[str, str]], ...] = (
    *(_in_header(name) for name in _NAMES),
    lambda address: {"Forwarded": f"for={address}"},
    lambda address: {"X-Forwarded-For": f"{address}, 127.0.0.1"},
    lambda address: {**dict.fromkeys(_NAMES, address), "Forwarded": f"for={address};proto=https"},
)
"""How a claimed address is told."""


class RotatedAddress(_Limit):
    """Many addresses of one network, as everybody has who has IPv6."""

    name = "limit.ipv6-rotate"
    basis = Basis.HARDENED
    shape = "requests from address after address within one IPv6 /64"
    verdict = "one bucket for all addresses of a /64"
    anchor = "RFC 6177; contract §6: IPv6 counts per /64"
    severity = 6.5

    def obstacle(self, context: ScriptContext) -> str:
        """Return why not: it needs an IPv6 target on this machine, and addresses beside it."""
        if len(context.peer_sources) >= PEERS_MIN:
            return super().obstacle(context)
        return (
            f"it needs a target at an IPv6 address of this machine, and {PEERS_MIN} others within one /64 "
            "(like `ip address add fd00::2/64 dev lo`)"
        )

    def script(self, context: ScriptContext) -> Script[None]:
        """Ask from one address after the other."""
        sources = context.peer_sources
        count = requests_for(context.defences)
        outcomes = yield from in_turn(
            ask_health(context, source=sources[number % len(sources)]) for number in range(count)
        )
        message = {"addresses": len(sources)}
        claim = _Excess(outcomes, context.defences).say("one-bucket")
        yield Claim(
            claim.rule,
            claim.held,
            f"from {plural(len(sources), 'address', 'addresses')}, {claim.message}",
            {**claim.evidence, **message},
        )
