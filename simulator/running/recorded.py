"""The records of a run other than its history: the one that judging needs, and the origin of its trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.contract.profiles import profile_of
from simulator.judging.facts import facts_of
from simulator.judging.record import RunRecord
from simulator.platform.machine_facts import machine_facts
from simulator.traces.writing import Origin

if TYPE_CHECKING:
    from simulator.running.run import RunRequest
    from simulator.running.run_state import RunState

VIRTUAL = "--virtual"


def record_of(request: RunRequest, outcome: RunState) -> RunRecord:
    """Return the record that judging a run needs, together with its history."""
    scenario = request.scenario
    facts = facts_of(
        scenario, outcome.baseline, outcome.stale_seconds, only_client=request.target is None, clock=outcome.clock,
        lacks=outcome.lacks, addresses=outcome.addresses, stated=request.aim.settings,
        strict_settings=request.aim.strict_settings,
    )  # fmt: skip
    own = () if request.conducted_by is None else request.conducted_by.options
    return RunRecord(
        scenario=scenario.name,
        description=scenario.description,
        scenario_file=str(request.path),
        seed=request.seed,
        machines=scenario.fleet.machines,
        thresholds=scenario.judged_thresholds,
        attacks=tuple(attack.name for attack in scenario.attacks),
        facts=msgspec.structs.replace(facts, virtual=request.virtual),
        target=outcome.target,
        given_target=request.target is not None,
        started_at=outcome.started_at.isoformat(timespec="milliseconds"),
        elapsed_ns=outcome.progress.elapsed_ns,
        connected_max=outcome.progress.connected_max,
        memory_max_bytes=outcome.progress.memory_max_bytes,
        interrupted=outcome.interrupted,
        ended_early=outcome.ended_early,
        host=machine_facts(),
        warnings=tuple(outcome.warnings),
        options=(*request.options, *own, *request.aim.options, *((VIRTUAL,) if request.virtual else ())),
        profile=profile_of(request.profile, given_target=request.target is not None),
        log=outcome.log,
        changes=request.changes,
        program=request.program,
    )


def origin_of(request: RunRequest, outcome: RunState) -> Origin:
    """Return the origin of a run's trace, for the trace's header."""
    scenario = request.scenario
    return Origin(
        scenario.name, request.seed, outcome.target, outcome.authority,
        attacks=tuple(attack.name for attack in scenario.attacks), server_settings=scenario.server.environ(),
    )  # fmt: skip
