"""What a run needs from this machine and its target, looked at beforehand, with how to mend what is missing."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import msgspec
import trio

from simulator.aim import Aim
from simulator.worlds.addresses import with_known_addresses
from simulator.worlds.checking import check_target, read_target_clock
from simulator.worlds.target import Target, TargetError, can_bind

FILES_BESIDES_MACHINES = 256
"""Files a run needs besides one for each machine: attackers, control connections, the runtime's own."""
CLOCK_TOLERANCE_SECONDS = 30.0
SECOND_NS = 1_000_000_000
PORTS_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Check(msgspec.Struct, frozen=True):
    """One thing looked at. `mend` says what to do when it is not right; `fatal` that a run cannot work without."""

    name: str
    right: bool
    found: str
    mend: str = ""
    fatal: bool = False


def raise_open_files() -> int:
    """Raise the soft limit on open files to the hard one, as every load tool must. Gives the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 30


def check_open_files(machines: int, held: int = 0) -> Check:
    """Look at the open-file limit: each machine needs one file here, and one in a server beside it.

    `held` are connections that attacks keep open besides.
    """
    limit = raise_open_files()
    needed = machines + held + FILES_BESIDES_MACHINES
    mend = f"raise it with `ulimit -n {needed}` (or LimitNOFILE=), or run fewer machines"
    whom = f"{machines} machines" + (f" and {held} connections of attacks" if held else "")
    return Check("open files", limit >= needed, f"{limit} allowed, {needed} needed for {whom}", mend, fatal=True)


def check_machine(machines: int) -> list[Check]:
    """Look at this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loopback = can_bind("127.16.0.1")
    checks = [
        check_open_files(machines),
        Check(
            "loopback addresses",
            loopback,
            "each machine can have its own (127.x.y.z)" if loopback else "only 127.0.0.1",
            "all machines will share one address, so per-IP limits count them as one client: run on Linux, or raise "
            "RATE_LIMIT_REFILL_PER_SECOND on the server",
        ),
        Check(
            "cores", cores > 1, str(cores), "with one core the server and the fleet take turns: expect late heartbeats"
        ),
    ]
    try:
        low, high = map(int, PORTS_FILE.read_text().split())
        enough = loopback or high - low > machines
        checks.append(
            Check(
                "ephemeral ports",
                enough,
                f"{high - low}",
                "widen net.ipv4.ip_local_port_range, or run fewer machines",
            ),
        )
    except (OSError, ValueError):
        pass  # a platform that does not say
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
            checks.append(Check("free ports", right=True, found="a server can listen"))
        except OSError as error:
            checks.append(Check("free ports", right=False, found=str(error), mend="free a port", fatal=True))
    return checks


async def check_the_target(target: Target, aim: Aim = Aim()) -> list[Check]:  # noqa: B008 - frozen
    """Look at the target: whether it is reachable, speaks the contract, keeps the time, and tells addresses apart."""
    try:
        metrics = await check_target(target)
    except TargetError as error:
        mend = "see that it runs, and that --target and the token are its own"
        return [Check("target", right=False, found=str(error), mend=mend, fatal=True)]
    workers = int(metrics.get("hatchfarm_workers_total", 0))
    checks = [
        Check("target", right=True, found=f"{target.url} speaks the contract and takes the token ({workers} workers)")
    ]
    clock = await read_target_clock(target)
    if clock is None:
        found = "the target shows no time, neither on its health page nor as a Date"
        checks.append(Check("clock", right=False, found=found, mend="check its clock by hand"))
    else:
        right = clock.surely_off_ns < CLOCK_TOLERANCE_SECONDS * SECOND_NS
        mend = "set both clocks by NTP: heartbeats more than 90s off are refused"
        checks.append(Check("clock", right, f"the target is {clock.middle_ns / SECOND_NS:+.0f}s off", mend))
    checks += [Check("certificate", right=False, found=one, mend="use --cacert") for one in aim.access.warnings]
    return [*checks, await _check_addresses(target, aim)]


async def _check_addresses(target: Target, aim: Aim) -> Check:
    """Look whether the target's server tells the addresses of machines apart, or sees one for all."""
    target, problem = await with_known_addresses(target, aim.addresses, aim.settings)
    if problem:
        return Check("addresses", right=False, found=problem, mend="a run that is refused for its rate is inconclusive")
    if target.own_addresses:
        return Check("addresses", right=True, found="the target tells the machines' addresses apart")
    mend = "its per-IP limits count the whole fleet as one client: raise RATE_LIMIT_REFILL_PER_SECOND on the server"
    return Check("addresses", right=False, found="the target sees one address for all machines", mend=mend)


def look(machines: int, target: Target | None, aim: Aim = Aim()) -> list[Check]:  # noqa: B008 - frozen
    """Look at everything."""
    checks = check_machine(machines)
    if target is not None:
        checks += trio.run(check_the_target, target, aim)
    return checks
