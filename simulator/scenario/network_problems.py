"""What is well-formed of the network's faults and makes no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.limits import NETWORK_LATENCY_MAX_SECONDS
from simulator.scenario.values import LATE_NETWORK_FAULTS, NETWORK_FAULTS, SHARED_NETWORK_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.scenario.values import FaultOptions, Scenario

DUPLICATION, LATENCY = "network.duplication", "network.latency"


def network_problems(scenario: Scenario, fault: FaultOptions) -> Iterator[tuple[str, str]]:
    """Find what is wrong with the keys of one fault that are for those of the network, by key."""
    late = fault.kind in LATE_NETWORK_FAULTS
    if fault.share != 1 and fault.kind not in SHARED_NETWORK_FAULTS:
        yield "share", f"{fault.kind} happens to all: remove it"
    if fault.kind in SHARED_NETWORK_FAULTS and not fault.share:
        yield "share", "of nothing: write one above 0"
    if fault.latency_ns and not late:
        yield "latency", f"{fault.kind} delays nothing by it: remove it"
    if late and not fault.latency_ns:
        yield "latency", f"{fault.kind} needs one that is longer than nothing"
    if fault.jitter_ns and fault.kind != LATENCY:
        yield "jitter", f"is for {LATENCY} alone: remove it"
    if fault.jitter_ns > fault.latency_ns and fault.kind == LATENCY:
        yield "jitter", "is more than `latency`: bytes do not come sooner than they are sent"
    if fault.latency_ns + fault.jitter_ns > NETWORK_LATENCY_MAX_SECONDS * SECOND_NS:
        yield "latency", f"with `jitter` more than {NETWORK_LATENCY_MAX_SECONDS:g}s: answers would come too late"
    if fault.kind in NETWORK_FAULTS and fault.kind == DUPLICATION:
        if scenario.server.tls:
            yield "kind", "TLS hides requests from what is between: take `tls` out of [server]"
        if scenario.load or scenario.fleet.processes > 1:
            yield "kind", "copies are told from other requests in one process alone: leave [[load]] and processes away"
