"""Checks before a run: what it needs from this computer and its target, and how to provide what is missing."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import trio

from reference_server.open_files import raise_open_files
from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack, ScriptContext
from simulator.client.addresses import with_known_addresses
from simulator.client.aim import Aim
from simulator.client.checking import UnreachableError, check_target, read_target_clock
from simulator.client.probing import look_for_features
from simulator.client.raw import speaks_http2
from simulator.client.target import Target, TargetError, can_bind, peers_of
from simulator.contract.features import LACKS, Feature
from simulator.contract.profiles import Profile
from simulator.deployment.redis_process import PROGRAM
from simulator.deployment.sandbox import obstacle_to
from simulator.history.rows import History
from simulator.platform.wording import plural
from simulator.scenario.values import ServerOptions
from simulator.worlds.performing import NO_HTTP2, needs_own_server

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from simulator.scenario.values import Scenario

FILES_BESIDES_MACHINES = 256
"""Open files that a run needs in addition to one per machine: attackers, control connections, the runtime's own."""
CLOCK_TOLERANCE_SECONDS = 30.0
ATTACKS_NAMED = 5
"""Attacks that are named for one reason not to be tried; of more, their number is enough."""
PORTS_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Check(msgspec.Struct, frozen=True):
    """The result of one check. `hint` says what to do if it is not `right`; then a `fatal` one prevents any run."""

    name: str
    right: bool
    found: str
    hint: str = ""
    fatal: bool = False


def check_open_files(machines: int, held: int = 0) -> Check:
    """Check the limit of open files: each machine needs one file here, and one in a server on this computer.

    `held` is the number of connections that attacks keep open in addition.
    """
    limit = raise_open_files()
    needed = machines + held + FILES_BESIDES_MACHINES
    hint = f"raise it with `ulimit -n {needed}` (or LimitNOFILE=), or run fewer machines"
    whom = plural(machines, "machine") + (f" and {plural(held, 'connection')} of attacks" if held else "")
    return Check("open files", limit >= needed, f"{limit:,} allowed, {needed:,} needed for {whom}", hint, fatal=True)


def check_programs_and_protocols() -> list[Check]:
    """Check what only some scenarios need: Redis and IPv6."""
    redis = shutil.which(PROGRAM)
    ipv6 = _speaks_ipv6()
    return [
        Check(
            PROGRAM,
            redis is not None,
            redis or "not on the PATH",
            "install it (Debian's package is called so): scenarios with `redis = true` and the attacks that cut a "
            "server off from it need it",
        ),
        Check(
            "IPv6",
            ipv6,
            "a server can listen at ::1" if ipv6 else "not on this machine",
            "targets at IPv6 addresses cannot be reached, and limit.ipv6-rotate is not tried",
        ),
    ]


def _speaks_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def check_machine(machines: int, held: int = 0, ports_file: Path = PORTS_FILE) -> list[Check]:
    """Check this computer for a fleet of `machines`; `held` is the number of connections that attacks keep open."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loopback = can_bind("127.16.0.1")
    checks = [
        check_open_files(machines, held),
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
        low, high = map(int, ports_file.read_text().split())
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
        pass  # this platform does not tell its range of ports
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
            checks.append(Check("free ports", right=True, found="a server can listen"))
        except OSError as error:
            checks.append(Check("free ports", right=False, found=str(error), hint="free a port", fatal=True))
    return checks + check_programs_and_protocols()


async def check_the_target(
    target: Target,
    profile: Profile = Profile.PUBLISHED,
    aim: Aim = Aim(),  # noqa: B008 - frozen
) -> list[Check]:
    """Check that the target is reachable, has its profile's features, keeps time, and tells addresses apart."""
    try:
        metrics = await check_target(target)
    except UnreachableError as error:
        return [Check("target", right=False, found=error.found, hint=error.hint, fatal=True)]
    except TargetError as error:
        hint = "see that --target and the token are its own"
        return [Check("target", right=False, found=str(error), hint=hint, fatal=True)]
    workers = int(metrics.get("hatchfarm_workers_total", 0))
    checks = [
        Check(
            "target",
            right=True,
            found=f"{target.url} speaks the contract and takes the token ({plural(workers, 'worker')})",
        )
    ]
    target, problem = await with_known_addresses(target, aim.addresses, aim.settings)
    checks += _features(await look_for_features(target, metrics), profile)
    clock = await read_target_clock(target)
    if clock is None:
        found = "the target shows no time, neither on its health page nor as a Date"
        checks.append(Check("clock", right=False, found=found, hint="check its clock by hand"))
    else:
        right = clock.surely_off_ns < CLOCK_TOLERANCE_SECONDS * SECOND_NS
        hint = "set both clocks by NTP: heartbeats more than 90s off are refused"
        checks.append(Check("clock", right, f"the target is {clock.middle_ns / SECOND_NS:+.0f}s off", hint))
    checks += [Check("certificate", right=False, found=one, hint="use --cacert") for one in aim.access.warnings]
    return [*checks, _addresses(target, problem)]


def _addresses(target: Target, problem: str) -> Check:
    """Return the check whether the target tells the addresses of machines apart, or sees one address for all."""
    if problem:
        return Check("addresses", right=False, found=problem, hint="a run that is refused for its rate is inconclusive")
    if target.own_addresses:
        return Check("addresses", right=True, found="the target tells the machines' addresses apart")
    hint = "its per-IP limits count the whole fleet as one client: raise RATE_LIMIT_REFILL_PER_SECOND on the server"
    return Check("addresses", right=False, found="the target sees one address for all machines", hint=hint)


def _features(lacks: Collection[Feature], profile: Profile) -> list[Check]:
    """Return the check for features of the contract that the target lacks, with what is not tried for each."""
    if not lacks:
        return [Check("contract", right=True, found="the target has all that the contract adds to the published API")]
    missing = [LACKS[one] for one in Feature if one in lacks]
    found = f"of {len(Feature)} things that the contract adds the target lacks {len(missing)}: "
    found += "; ".join(f"{one.does}, so not tried: {one.not_tried}" for one in missing)
    hint = "nothing needs to be done: it is judged by the published API, and this is said as advisories"
    if profile is Profile.HARDENED:
        hint = "by --profile hardened each of this fails; leave that away to judge it by the published API"
    return [Check("contract", right=False, found=found, hint=hint)]


async def check_attacks(target: Target | None, scenario: Scenario | None = None) -> Check:
    """Check which attacks would not be tried on the target, or on the run's own server if it is None, and why.

    The attacks are those of `scenario`, or all of the catalogue without one.
    """
    names = list(CATALOGUE) if scenario is None else sorted({attack.name for attack in scenario.attacks})
    server = ServerOptions() if scenario is None else scenario.server
    peers = () if target is None else peers_of(target)
    http2 = server.tls if target is None else await speaks_http2(target)
    context = ScriptContext(
        campaign=0,
        host="",
        token="",
        victims=[],
        history=History(),
        rng=np.random.default_rng(0),
        now=int,
        wall=int,
        new_number=int,
        interval_ns=SECOND_NS,
        rotation_ns=SECOND_NS,
        end_ns=SECOND_NS,
        owner_prefix="",
        peer_sources=peers,
    )
    untried: dict[str, list[str]] = {}
    for name in names:
        attack = CATALOGUE[name]
        if issubclass(attack, ScriptAttack):
            why = _obstacle(attack(), context, server, own=target is None, http2=http2)
            if why:
                untried.setdefault(why, []).append(name)
    if not untried:
        return Check("attacks", right=True, found=f"{plural(len(names), 'attack')}, all of which can be tried")
    count = sum(map(len, untried.values()))
    reasons = "; ".join(f"{_some(which)}: {why}" for why, which in untried.items())
    found = f"{count} of {plural(len(names), 'attack')} not tried ({reasons})"
    return Check("attacks", right=False, found=found, hint="a run names them as not tried, and they prove nothing")


def _some(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are; `hatchfarm attack list` has all."""
    more = len(names) - ATTACKS_NAMED
    return ", ".join(names[:ATTACKS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _obstacle(attack: ScriptAttack, context: ScriptContext, server: ServerOptions, *, own: bool, http2: bool) -> str:
    # It is unknown how to make a foreign command serve plain HTTP in addition to TLS.
    if attack.needs_settings and (not own or (server.command and server.tls)):
        return needs_own_server(attack)
    if attack.sandbox is not None and (why := obstacle_to(attack.sandbox, server, allowed=own)):
        return why
    return attack.obstacle(context) or (NO_HTTP2 if attack.needs_http2 and not http2 else "")


def look(
    machines: int,
    target: Target | None,
    profile: Profile = Profile.PUBLISHED,
    aim: Aim = Aim(),  # noqa: B008 - frozen
    *,
    held: int = 0,
    scenario: Scenario | None = None,
) -> list[Check]:
    """Return all checks of this computer, the target and the attacks, for one `scenario` or for all attacks.

    Other needs of a scenario are checked by `scenario_needs`. `held` is the number of connections that attacks keep
    open.
    """
    checks = check_machine(machines, held)
    if target is not None:
        checks += trio.run(check_the_target, target, profile, aim)
        if any(check.fatal and not check.right for check in checks):
            return checks  # no attack can be tried
    if scenario is None or scenario.attacks:
        checks.append(trio.run(check_attacks, target, scenario))
    return checks
