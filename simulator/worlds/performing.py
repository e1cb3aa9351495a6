"""Performing attack scripts: when attempts start, the outcomes of their steps, and their rows in the history.

No socket, no runtime and no clock: times are arguments, in nanoseconds of the run. A player executes the steps and
reports their outcomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.attacks.script import (
    Claim,
    NotTriedError,
    Outcome,
    PrerequisiteError,
    ScriptAttack,
    ScriptContext,
    Send,
    Wire,
)
from simulator.checkers.attacks import FAULT, NOT_TRIED
from simulator.client.answers import HttpAnswer
from simulator.client.target import SCRIPT_ADDRESSES, Target, script_source, source_number
from simulator.client.witness import Witness
from simulator.contract.answers import Answer
from simulator.contract.features import LACKS
from simulator.history.evidence import as_figures
from simulator.history.losses import Loss, lost_status
from simulator.history.records import ClaimRecord
from simulator.history.rows import NEVER_NS, NO_MACHINE, History
from simulator.worlds.recording import classify, elsewhere, record_send, record_wire, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.attacks.script import WireOutcome
    from simulator.scenario.values import ServerOptions
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress
    from simulator.worlds.world import Sandboxes

SHARD_CLIENTS = SCRIPT_ADDRESSES // 16
"""The distance between the first addresses of two shards' scripts, so that shards on one machine rarely share one."""
NO_HTTP2 = "it needs a target that speaks HTTP/2, over TLS"


def needs_own_server(attack: ScriptAttack) -> str:
    """Return why an attack cannot be tried over plain HTTP on a server that was not started for it.

    Else an empty text.
    """
    if attack.needs_identity:
        return "it needs a server of the run's own that asks the attacker who people and agents are"
    needs = " ".join(f"{name}={value}" for name, value in attack.needs_settings.items())
    return f"it needs a server of the run's own that speaks plain HTTP, started with {needs}"


def why_not_tried(
    attack: ScriptAttack,
    target: Target,
    sides: Mapping[str, Target],
    sandboxes: Sandboxes,
    server: ServerOptions,
    context: ScriptContext,
) -> str:
    """Return why an attack cannot be tried, as far as is known without asking the target; else an empty text.

    `sides` are the servers started for attacks that need one, by the attack's name; `server` describes a sandbox's.
    """
    own = attack.name in sides
    if attack.needs_settings and not own:
        return needs_own_server(attack)
    if attack.sandbox is not None and (obstacle := sandboxes.obstacle(attack.sandbox, server, allowed=own)):
        return obstacle
    if missing := attack.needs & target.lacks:
        return f"of this target {'; '.join(LACKS[one].does for one in sorted(missing))}"
    return attack.obstacle(context)


def next_attempt_ns(campaign: Campaign) -> int | None:
    """Return when a campaign's next attempt is due, or None after the last. Each campaign has at least one."""
    options = campaign.options
    due_ns = options.start_ns + round(campaign.fired * SECOND_NS / options.rate)
    if campaign.fired and due_ns >= options.start_ns + options.duration_ns:
        return None
    return due_ns


def claim_of_end(attack: ScriptAttack, error: BaseException | None) -> Claim | None:
    """Return the claim that stands for an attempt's error, or None if the attempt completed."""
    match error:
        case None:
            return None
        case NotTriedError():
            return Claim(NOT_TRIED, None, str(error))
        case PrerequisiteError():
            return Claim("unsettled", None, f"{attack.name} could not go on: {error}")
        case Exception():
            what = f"{type(error).__name__}: {error}"
            return Claim(FAULT, None, f"{attack.name} failed by a fault of its own, please report it: {what}")
        case _:  # cancelled, alone or within a group of concurrent steps
            return Claim("cut-off", None, f"{attack.name} was cut off by the end of the run")


class Performing:
    """The shared part of a shard's attempts: the record of their steps, and their addresses."""

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        now: Callable[[], int],
        tape: Tape | None,
        shard: int,
    ) -> None:
        self.target = target
        self.history = history
        self.progress = progress
        self.now = now
        self.tape = tape
        self._clients = shard * SHARD_CLIENTS

    def claim(self, campaign: int, claim: Claim, now_ns: int) -> None:
        """Record an attempt's claim."""
        evidence = as_figures(claim.evidence)
        self.history.claims.append(ClaimRecord(now_ns, campaign, claim.rule, claim.held, claim.message, evidence))

    def new_client(self) -> int:
        """Return the number of an address that no attempt has used, or none recently."""
        self._clients += 1
        return self._clients


class Attempt:
    """An attempt in progress: its clients' addresses, and the recording of its steps.

    Requests to a side server (`aside`) say nothing about the main one: their rows name no operation, machine or event,
    and they are not taped.
    """

    def __init__(self, performing: Performing, campaign: int, target: Target, *, aside: bool) -> None:
        self._performing = performing
        self._campaign = campaign
        self._sources: dict[int, str | None] = {}
        self.target = target
        self.aside = aside
        self.witness = None if aside else Witness(performing.history, performing.now, campaign)

    def source(self, step: Send | Wire) -> str | None:
        """Return the source address of a step."""
        if isinstance(step, Send) and step.source:
            return step.source
        if step.client not in self._sources:
            self._sources[step.client] = script_source(self.target, self._performing.new_client())
        return self._sources[step.client]

    def answered(self, step: Send, answer: HttpAnswer, sent_ns: int, now_ns: int) -> Outcome:
        """Record the answer to a whole request, and return the outcome."""
        got = classify(answer, within(step.expect, self._performing.target.lacks))
        outcome = Outcome(step.expect, got, answer.status, answer.head, answer.body, sent_ns, now_ns)
        self._record(step, outcome, 0)
        return outcome

    def lost(self, step: Send, loss: Loss, sent_ns: int, now_ns: int) -> Outcome:
        """Record that a request got no whole answer, and return the outcome."""
        outcome = Outcome(step.expect, Answer.LOST, 0, b"", b"", sent_ns, NEVER_NS)
        self._record(step, outcome, lost_status(loss, now_ns - sent_ns))
        return outcome

    def _record(self, step: Send, outcome: Outcome, lost: int) -> None:
        performing, source = self._performing, self.source(step)
        if performing.tape is not None and not self.aside:
            answer = HttpAnswer(outcome.status, outcome.head, outcome.body, keep=False).raw if outcome.status else None
            performing.tape.take(
                outcome.sent_ns, outcome.sent_ns, outcome.answered_ns, source, self._campaign,
                step.machine, step.operation, step.request, answer, step.expect.answer, outcome.got,
            )  # fmt: skip
        if self.aside:
            step, outcome = elsewhere(step, outcome)
        record_send(performing.history, self._campaign, step, outcome, source_number(source), lost)
        performing.progress.attacked(outcome.got, step.expect.answer)

    def exchanged(self, step: Wire, outcome: WireOutcome) -> None:
        """Record the outcome of raw bytes. An exchange that the end of the run cut off may still take effect."""
        performing = self._performing
        if self.witness is not None and not step.http2:
            self.witness.saw_raw(step, outcome)
        source = self.source(step)
        noted = Wire(step.parts, step.expect) if self.aside else step
        got = record_wire(performing.history, self._campaign, noted, outcome, source_number(source))
        performing.progress.attacked(got, step.expect.answer)
        if performing.tape is not None and not self.aside:
            first = outcome.answers[0] if outcome.answers else None
            answer = None if first is None else first.head + b"\r\n\r\n" + first.body
            performing.tape.take(
                outcome.sent_ns, outcome.sent_ns, NEVER_NS if first is None else first.at_ns, source,
                self._campaign, NO_MACHINE, step.operation, b"".join(part for part, _ in step.parts),
                answer, step.expect.answer, got, step,
            )  # fmt: skip
