"""What machines may have offered is found without a look at every report, and is what a look at every one finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.checkers.facts import Facts
from simulator.checkers.market_workers import Workers
from simulator.contract.pricing import Capacity, capacity_of, scale
from simulator.fleet.clocks import SKEW_WINDOW_NS
from simulator.history.market_records import CapacityReport
from simulator.history.records import MachineRecord
from simulator.history.rows import NEVER_NS, History

RULES = {"max_cpu_percent": 50, "max_memory_percent": 50}
MOMENT = st.integers(0, 60)


@st.composite
def reports(draw: st.DrawFn) -> list[CapacityReport]:
    """Draw reports of one machine whose answers overtake each other, and do not come at all."""
    made = []
    for cores in range(1, draw(st.integers(0, 12)) + 1):
        sent = draw(MOMENT)
        answered = draw(st.one_of(st.just(NEVER_NS), st.integers(sent, sent + 20)))
        capacity = {"cpu_cores": cores, "memory_gb": 1} if draw(st.integers(0, 5)) else {"cpu_cores": "none"}
        rules = RULES if draw(st.booleans()) else {}
        honest = draw(st.booleans()) and answered != NEVER_NS
        made.append(CapacityReport(0, sent, answered, capacity, honest, rules))
    return made


def plain_offers(made: list[CapacityReport], from_ns: int, to_ns: int) -> list[Capacity]:
    over_ns = max((one.sent_ns for one in made if one.honest and one.answered_ns < from_ns), default=-NEVER_NS)
    found = []
    for one in sorted(made, key=lambda one: one.sent_ns):
        heard_ns = one.answered_ns if one.answered_ns != NEVER_NS else one.sent_ns + 2 * SKEW_WINDOW_NS
        capacity = capacity_of(one.capacity) if one.sent_ns <= to_ns and over_ns <= heard_ns else None
        if capacity is not None:
            found.append(scale(capacity, one.rules) if one.rules else capacity)
    return found


@given(made=reports(), looks=st.lists(st.tuples(MOMENT, MOMENT), min_size=1, max_size=8))
def test_what_may_be_offered_is_what_a_look_at_every_report_finds(
    made: list[CapacityReport], looks: list[tuple[int, int]]
) -> None:
    history = History()
    history.machines[0] = MachineRecord("wrk_0", "ada")
    history.capacity_reports += made
    workers = Workers(history, Facts(60, 60, 10, {}))
    for from_ns, longer_ns in looks:
        to_ns = from_ns + longer_ns
        assert workers.may_offer(0, from_ns, to_ns) == plain_offers(made, from_ns, to_ns)
    assert workers.may_offer(1, 0, 60) == []
