"""Hand-written histories with faults in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.checkers import run_checkers
from simulator.history.records import Fault, MachineRecord, StatusReading
from tests.checkers.conftest import Story, nanoseconds

if TYPE_CHECKING:
    from simulator.checkers.verdict import Verdict

KILL, RESTART, FULL = "server.kill", "server.restart", "disk.full"
DOWN, PAUSE, FLUSH, CRASH = "redis.down", "redis.pause", "redis.flush", "redis.crash"


class Tale(Story):
    """A story in which things go wrong. Machines are known from the start, all of one owner."""

    def __init__(self, machines: int = 3, **settings: Any) -> None:
        super().__init__(**settings)
        for machine in range(machines):
            self.history.machines[machine] = MachineRecord(f"wrk_{machine}", "ada")

    def fault(self, kind: str, at: float, until: float, *, took: float = 0.01, problem: str = "") -> None:
        """Have a fault begin at a moment and be over by another."""
        began, ended = nanoseconds(at), nanoseconds(until)
        spent = nanoseconds(took)
        self.history.faults.append(Fault(kind, began, began + spent, max(began + spent, ended - spent), ended, problem))

    def shown(self, at: float, **ages: float) -> None:
        """Have the owner be shown its machines."""
        self.history.status_readings.append(StatusReading("ada", nanoseconds(at), nanoseconds(at + 0.01), dict(ages)))

    def lost(self, what: str, at: float, count: int = 1) -> None:
        """Have something go wrong on the way to the target."""
        for _ in range(count):
            self.history.trouble(nanoseconds(at), what, "refused")

    def judge(self) -> dict[str, Verdict]:
        """Have every checker judge."""
        return {verdict.name: verdict for verdict in run_checkers(self.history, self.facts)}

    def rules(self, checker: str = "durability") -> list[str]:
        """Return the rules that a checker found broken."""
        return [finding.rule.partition(".")[2] for finding in self.judge()[checker].findings]
