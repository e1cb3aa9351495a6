"""What a short run against a right server is: its scenario and its circumstances, all drawn from its number."""

from __future__ import annotations

import tomllib
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS = Path(__file__).parent.parent
FILES = sorted(TESTS.glob("false_alarms/scenarios/*.toml")) + sorted(TESTS.glob("planted_bugs/scenarios/*.toml"))
"""Besides what is drawn: crowded, healthy, and those by which servers are accused, which must not accuse one that is
right."""
DRAWN = "drawn"
FILE_EVERY = 10
"""One run in so many plays one of the files, which are longer."""
FIRST_FILE_AT = 3
"""So that the most crowded file, which comes first by its name, meets overcommitted CPUs."""
OWN_EVERY = 5
"""One drawn run in so many starts its server itself, and lets it fail."""
SETTLED_SECONDS = 1.5
"""Before attacks begin: some machines are set up by then."""
LEFT_SECONDS = 2.3
"""Before the end, for what an attack does after its first request."""
WITHOUT_LIMIT = 1_000_000
LEFT_OUT = ("strain.", "tls.", "audit.evict", "weakness.")
"""Attacks that cost thousands of requests each, or need a server of another kind."""
OVER_TCP_ALONE = ("http.", "json.huge", "limit.")
"""Attacks that a proxy which reads HTTP answers itself, and is right to."""


class Circumstance(Enum):
    """What is not as it should be while a run goes on."""

    PLAIN = "plain"
    PROXY = "behind an honest proxy"
    STALLED = "a server that stands still now and then"
    BUSY = "the CPUs overcommitted"


class Proxy(Enum):
    """What stands in front of the server."""

    NONE = "none"
    PORT = "published port"
    """Passes bytes on, from an address of its own: the server sees one client."""
    TRANSPARENT = "transparent"
    """Passes bytes on, from the address that they came from."""
    POOL = "reverse proxy"
    """Passes requests on over connections that it shares among its clients, from one address."""
    SLOW = "slow link"
    """Transparent, but now and then nothing comes through for a while."""


class Run(NamedTuple):
    """One run to make, of a server that is right.

    `flags` are those of `hatchfarm run` besides the target. `settings` are the server's. `own` says whether the run
    starts its server itself; else it is started for it. `pauses` are for how long the server, or a slow
    link to it, works, and then stands still, again and again, in seconds.
    """

    number: int
    circumstance: Circumstance
    scenario: str
    kind: str
    proxy: Proxy = Proxy.NONE
    flags: tuple[str, ...] = ()
    settings: dict[str, str] = {}  # noqa: RUF012 - never changed
    own: bool = False
    pauses: tuple[tuple[float, float], ...] = ()

    @property
    def short(self) -> bool:
        """Return whether it takes a few seconds: one of a file, or with a server of its own, takes twice as long."""
        return self.kind.startswith(DRAWN) and not self.own

    @property
    def name(self) -> str:
        """Name it for people."""
        how = f", {self.proxy.value}" if self.proxy is not Proxy.NONE else ""
        flags = "".join(f" {flag}" for flag in self.flags)
        return f"run {self.number}: {self.kind}, {self.circumstance.value}{how}{flags}"


def drawn_run(number: int) -> Run:
    """Return a run: the same for the same number, whatever else is made."""
    circumstance = list(Circumstance)[number % len(Circumstance)]
    rng = np.random.default_rng([number, 11])
    if number % FILE_EVERY == FIRST_FILE_AT:
        return _of_file(FILES[number // FILE_EVERY % len(FILES)], number, circumstance, rng)
    own = circumstance in {Circumstance.PLAIN, Circumstance.BUSY} and rng.integers(OWN_EVERY) == 0
    return _own(number, circumstance, rng) if own else _targeted(number, circumstance, rng)


def _of_file(path: Path, number: int, circumstance: Circumstance, rng: np.random.Generator) -> Run:
    text = path.read_text(encoding="utf-8")
    settings = tomllib.loads(text).get("server", {}).get("settings", {})
    # Its rate limit is for machines with addresses of their own.
    proxy = {Circumstance.PROXY: Proxy.TRANSPARENT}.get(circumstance, Proxy.NONE)
    pauses = _pauses(rng) if circumstance is Circumstance.STALLED else ()
    return Run(number, circumstance, text, path.stem, proxy, (), _as_environ(settings), pauses=pauses)


def _targeted(number: int, circumstance: Circumstance, rng: np.random.Generator) -> Run:
    proxy, pauses = Proxy.NONE, _pauses(rng) if circumstance is Circumstance.STALLED else ()
    if circumstance is Circumstance.PROXY:
        proxy = [Proxy.PORT, Proxy.PORT, Proxy.TRANSPARENT, Proxy.POOL][rng.integers(4)]
    elif circumstance is Circumstance.STALLED:
        proxy = [Proxy.SLOW, Proxy.NONE, Proxy.NONE][rng.integers(3)]
    settings, flags, machines_max = _settings(rng), [], 60
    if proxy in {Proxy.PORT, Proxy.POOL}:
        burst, refill, machines_max = [(20, 5, 3), (120, 60, 20), (WITHOUT_LIMIT, WITHOUT_LIMIT, 60)][rng.integers(3)]
        settings |= {"RATE_LIMIT_BURST": burst, "RATE_LIMIT_REFILL_PER_SECOND": refill}
        flags += [[], ["--shared-address"]][rng.integers(2)]
    if rng.integers(3):
        flags.append("--strict-settings")
    names = [name for name in _attacks() if proxy is not Proxy.POOL or not name.startswith(OVER_TCP_ALONE)]
    text = _scenario(number, rng, names, settings, "", machines_max)
    kind = f"{DRAWN}, {len(tomllib.loads(text).get('attacks', ()))} attacks"
    return Run(number, circumstance, text, kind, proxy, tuple(flags), _as_environ(settings), pauses=pauses)


def _own(number: int, circumstance: Circumstance, rng: np.random.Generator) -> Run:
    """Draw a run whose own server fails: it is killed, stands still, runs out of disk, or loses its Redis."""
    durable, redis = bool(rng.integers(2)), bool(rng.integers(3) == 0)
    kinds = ["server.kill", "server.restart", "server.pause"]
    kinds += ["disk.full"] * durable + ["redis.down", "redis.pause"] * redis
    at = round(float(rng.uniform(2.0, 3.0)), 2)
    kind, length = kinds[rng.integers(len(kinds))], int(rng.integers(100, 1200))
    fault = f'[[faults]]\nkind = "{kind}"\nat = "{at}s"\nduration = "{length}ms"\n'
    server = f"durable = {str(durable).lower()}\nredis = {str(redis).lower()}\n"
    settings = _settings(rng)
    text = _scenario(number, rng, _attacks(), settings, server, 20, fault)
    return Run(number, circumstance, text, f"{DRAWN}, own server with {kind}", own=True)


def _settings(rng: np.random.Generator) -> dict[str, Any]:
    """Draw a server's settings. Deadlines are short, so that attacks which wait for them end with the run."""
    settings: dict[str, Any] = {
        "WORKER_STATUS_STALE_SECONDS": int(rng.choice([1, 2, 3, 20])),
        "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": int(rng.choice([1, 2, 5, 60])),
        "WORKER_AUTH_FAIL_ALERT_THRESHOLD": int(rng.choice([1, 3, 10])),
        "AUDIT_EVENTS_PER_STREAM": int(rng.choice([100, 5000])),
        "HTTP_HEADER_TIMEOUT_SECONDS": 1,
        "HTTP_BODY_TIMEOUT_SECONDS": 1,
    }
    if rng.integers(4) == 0:
        settings["MACHINE_CERT_TTL_SECONDS"] = 4
    return settings


def _pauses(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Draw for how long a server works, and then stands still, again and again."""
    return tuple((round(float(rng.uniform(0.5, 3.0)), 2), round(float(rng.uniform(0.1, 2.0)), 2)) for _ in range(30))


def _attacks() -> list[str]:
    """Return the attacks on a run's own target; those that start servers of their own are run by other tests."""
    return [
        name
        for name, attack in CATALOGUE.items()
        if not name.startswith(LEFT_OUT)
        and not (issubclass(attack, ScriptAttack) and (attack.sandbox or attack.needs_settings))
    ]


def _scenario(
    number: int,
    rng: np.random.Generator,
    attacks: Sequence[str],
    settings: dict[str, Any],
    server: str,
    machines_max: int,
    more: str = "",
) -> str:
    """Write a scenario: a fleet of some size with its silences, clocks and rotations, and some attacks beside it."""
    seconds = round(float(rng.uniform(4.0, 6.0)), 1)
    machines = int(min(machines_max, rng.choice([2, 3, 8, 15, 30, 60])))
    interval = int(rng.choice([400, 700, 1000, 2000]))
    if settings.get("RATE_LIMIT_BURST") == 20:
        interval = 2000
    lines = [
        f'version = 1\nname = "false-alarms"\nseed = {number}\nduration = "{seconds}s"',
        f'metrics_interval = "{rng.choice([200, 500, 1000])}ms"',
        f"[server]\n{server}[server.settings]",
        *(f"{name} = {value}" for name, value in settings.items()),
        f"[fleet]\nmachines = {machines}\nowners = {int(rng.integers(1, min(machines, 4) + 1))}",
        f'heartbeat_interval = "{interval}ms"\njitter = {rng.choice([0.0, 0.1, 0.5])}',
    ]
    if rng.integers(2):
        lines.append(f'certificate_rotation = "{rng.choice([1500, 3000])}ms"')
    stages = [f'{{ duration = "{rng.choice([300, 1500])}ms", target = {machines} }}']
    if rng.integers(3) == 0:
        stages += [f'{{ duration = "1s", target = {machines // 2} }}', f'{{ duration = "1s", target = {machines} }}']
    lines.append(f"stages = [{', '.join(stages)}]")
    clocks = ('offset = "-80s"', 'offset = "+80s"', 'offset = "+2m"', 'offset = "-2m"', "drift_ppm = 50000.0",
              'step = { at = "2s", by = "+10m" }', 'step = { at = "2s", by = "-10m" }')  # fmt: skip
    lines += [f"[[fleet.clocks]]\nshare = 0.2\n{clocks[at]}" for at in rng.choice(len(clocks), int(rng.integers(3)))]
    if rng.integers(3) == 0:
        lines.append(f'[[fleet.silence]]\nshare = {rng.choice([0.2, 0.5])}\nat = "2s"\nduration = "1500ms"')
    how_many = int(rng.choice([0, 1, 3, 6, 12]))
    for name in rng.choice(attacks, how_many, replace=False):
        start = round(float(rng.uniform(SETTLED_SECONDS, seconds - LEFT_SECONDS)), 1)
        rate = 1 if issubclass(CATALOGUE[name], ScriptAttack) else int(rng.choice([2, 5, 10]))
        lines.append(
            f'[[attacks]]\nname = "{name}"\nstart = "{start}s"\nduration = "1s"\nrate = {rate}\n'
            f"share = {rng.choice([0.2, 0.5, 1.0])}"
        )
    return "\n".join([*lines, more])


def _as_environ(settings: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}
