"""Parts of a trace: what was chosen, and what it builds on, so that the part can be played alone."""

from __future__ import annotations

import pytest

from simulator.errors import TraceError
from simulator.traces.choosing import Chosen, TraceSelection, choose, only
from simulator.traces.resign import Resigner
from tests.traces.recorded import OWNER_TOKEN, small_recording


def part(chosen: Chosen, *, redact: bool = True) -> TraceSelection:
    return choose(small_recording().trace(redact=redact), chosen)


@pytest.mark.parametrize("redact", [True, False])
def test_an_attacks_part_holds_what_it_builds_on_and_nothing_else(*, redact: bool) -> None:
    done = part(Chosen(attacks=("replay.exact",)), redact=redact)
    exchanges = done.trace.exchanges
    assert done.chosen == 1
    assert [one.sequence for one in exchanges] == list(range(1, done.trace.header.exchanges + 1))
    operations = [one.operation for one in exchanges if one.attack is None]
    # The policy, one machine with its consent, and the heartbeat whose copy the attack sent.
    assert operations.count("register") == 1
    assert operations.count("heartbeat") == 1
    assert {"policy_create", "policy_activate", "consent_create"} <= set(operations)
    resigner = Resigner(done.trace.header, exchanges, OWNER_TOKEN, "h:1", "x")
    given: set[str] = {"owner.token"}
    for one in exchanges:
        assert resigner.needs(one) <= given | resigner.gives(one)
        given |= resigner.gives(one)


def test_honest_traffic_machines_principals_and_times_are_chosen() -> None:
    trace = small_recording().trace()
    honest = [one for one in trace.exchanges if one.attack is None]
    assert part(Chosen(attacks=("honest",))).chosen == len(honest)
    named = [part(Chosen(principals=(name,))).chosen for name in ("machine.1", trace.header.machines[1].worker_id)]
    assert named[0] == named[1] > 0
    assert all(one.attack is None for one in part(only(("machine.1",))).trace.exchanges)
    assert part(Chosen(principals=("ada",))).chosen > named[0]
    whole = part(Chosen(from_ns=-(1 << 60), to_ns=1 << 60)).trace
    assert whole == trace
    moment = trace.exchanges[5].sent_ns
    assert part(Chosen(to_ns=moment)).chosen == 5
    assert part(Chosen(from_ns=moment)).chosen == len(trace.exchanges) - 5


def test_what_is_not_in_it_is_said() -> None:
    with pytest.raises(TraceError, match=r"there is no attack 'x' in it; one of .*honest, replay.exact"):
        part(Chosen(attacks=("x",)))
    with pytest.raises(TraceError, match="none of its exchanges is like that"):
        part(Chosen(principals=("nobody",)))
