"""Shrinking a failing scenario: fewer faults, attacks, habits, settings, machines and seconds, with the same failure.

Each step tries smaller scenarios and continues from the first that still fails; then the next step follows, until no
step finds a smaller one. Faults are removed first, the last fault before the others, because the run before it stays
unchanged; then whatever costs most time, so that later tries are quick. Nothing is random: the scenario decides.
"""

from __future__ import annotations

import copy
from itertools import cycle
from typing import TYPE_CHECKING, Any

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.scenario.kinds import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.fuzzing.documents import Document

    Step = Callable[[Document], Iterator[Document]]

DROPPED = (
    "load",
    "market",
    "fleet.silence",
    "fleet.clocks",
    "fleet.certificate_rotation",
    "fleet.jitter",
    "metrics_interval",
)
"""Parts of a scenario that can be removed as a whole."""
OTHER_SEEDS = 6
"""How many other seeds are tried for each attack or fault that is left out; each try is one more run."""
LEAST_SECONDS = 4
SHORT_FAULT_NS = 50 * MILLISECOND_NS


def shrink(
    document: Document, fails: Callable[[Document], bool], tries_max: int, *, seeded: bool = True
) -> tuple[Document, int]:
    """Return the smallest scenario found for which `fails` is true, and the number of tries, at most `tries_max`.

    `seeded` is true if the seed decides the order in which tasks run: then other seeds are tried as well.
    """
    steps = _steps(seeded=seeded)
    smallest, tries, in_vain = document, 0, 0
    for step in cycle(steps):
        smaller, in_vain = step(smallest), in_vain + 1
        while tries < tries_max and (candidate := next(smaller, None)) is not None:
            tries += 1
            if fails(candidate):
                smallest, smaller, in_vain = candidate, step(candidate), 1
        if in_vain == len(steps) or tries == tries_max:
            break
    return smallest, tries


def size_of(document: Document) -> dict[str, float]:
    """Return the figures that measure the size of a scenario."""
    return {
        "machines": document["fleet"]["machines"],
        "attacks": len(document["attacks"]),
        "faults": len(document.get("faults", ())),
        "instances": document["server"].get("instances", 1),
        "settings": len(document["server"]["settings"]),
        "seconds": parse_duration(document["duration"]) / SECOND_NS,
    }


def _steps(*, seeded: bool) -> tuple[Step, ...]:
    """Return the reductions to try on a failing scenario, those that remove most first."""
    return (
        _fewer_faults,
        _fewer_attacks,
        _shorter,
        _simpler_servers,
        _fewer_habits,
        _fewer_machines,
        _fewer_settings,
        _simpler_stages,
        _simpler_markets,
        _shorter_faults,
        _calmer_attacks,
        *((_by_other_seeds,) if seeded else ()),
    )


def _by_other_seeds(document: Document) -> Iterator[Document]:
    """Yield the scenario with fewer attacks or faults, and with other seeds.

    The seed decides the order in which tasks run. An attack or fault may matter only because it shifts that order to
    one that fails; without it, another seed may give such an order.
    """
    first = document.get("seed", 0)
    for seed in range(first + 1, first + 1 + OTHER_SEEDS):
        for smaller in (*_fewer_attacks(document), *_fewer_faults(document)):
            yield _with(smaller, "seed", seed)


def _fewer_faults(document: Document) -> Iterator[Document]:
    return _fewer(document, "faults")


def _fewer_attacks(document: Document) -> Iterator[Document]:
    return _fewer(document, "attacks")


def _fewer(document: Document, place: str) -> Iterator[Document]:
    """Yield the scenario with the list `place` empty, with each half of it, and with each item left out, last first."""
    ones: list[Document] = document.get(place, [])
    half = len(ones) // 2
    kept: list[list[Document]] = [[]] if half else []
    kept += [ones[:half], ones[half:]] if half > 1 else []
    kept += [[*ones[:index], *ones[index + 1 :]] for index in reversed(range(len(ones)))]
    yield from (_with(document, place, some) for some in kept)


def _faults(document: Document) -> list[Document]:
    faults: list[Document] = document.get("faults", [])
    return faults


def _shorter_faults(document: Document) -> Iterator[Document]:
    for index, fault in enumerate(_faults(document)):
        if "duration" in fault and parse_duration(fault["duration"]) > SHORT_FAULT_NS:
            smaller = copy.deepcopy(document)
            smaller["faults"][index]["duration"] = f"{SHORT_FAULT_NS // MILLISECOND_NS}ms"
            yield smaller


def _simpler_servers(document: Document) -> Iterator[Document]:
    """Yield the scenario with fewer instances, and with a server in memory, each without faults that need the rest."""
    instances = document["server"].get("instances", 1)
    for fewer in range(1, instances):
        smaller = _with(document, "server.instances", fewer)
        yield _with_faults(smaller, lambda fault, most=fewer: fault.get("instance", 0) < most)  # type: ignore[misc]
    if instances == 1:
        for key, prefix in (("durable", "disk."), ("redis", "redis.")):
            for smaller in _without(document, f"server.{key}"):
                yield _with_faults(smaller, lambda fault, begins=prefix: not fault["kind"].startswith(begins))  # type: ignore[misc]


def _with_faults(document: Document, possible: Callable[[Document], bool]) -> Document:
    if "faults" not in document:
        return document
    return _with(document, "faults", [fault for fault in document["faults"] if possible(fault)])


def _fewer_machines(document: Document) -> Iterator[Document]:
    machines = document["fleet"]["machines"]
    for fewer in sorted({1, 2, machines // 2, machines - 1}):
        if 0 < fewer < machines:
            smaller = _with(document, "fleet.machines", fewer)
            fleet = smaller["fleet"]
            fleet["owners"] = min(fleet["owners"], fewer)
            for stage in fleet.get("stages", ()):
                stage["target"] = min(stage["target"], fewer)
            yield smaller
    if document["fleet"]["owners"] > 1:
        yield _with(document, "fleet.owners", 1)


def _shorter(document: Document) -> Iterator[Document]:
    """Yield the scenario with shorter durations in which everything planned still begins, and its faults end."""
    seconds = parse_duration(document["duration"]) // SECOND_NS
    fleet = document["fleet"]
    moments = [one["start"] for one in document["attacks"]] + [one["at"] for one in fleet.get("silence", ())]
    moments += [one["step"]["at"] for one in fleet.get("clocks", ()) if "step" in one]
    ends_ns = [parse_duration(one["at"]) + parse_duration(one.get("duration", "0s")) for one in _faults(document)]
    last_ns = max([*map(parse_duration, moments), *ends_ns], default=0)
    shortest = max(LEAST_SECONDS, last_ns // SECOND_NS + 1)
    for fewer in sorted({shortest, seconds // 2, seconds * 3 // 4, seconds * 7 // 8, seconds - 1}):
        if LEAST_SECONDS <= fewer < seconds and last_ns < fewer * SECOND_NS:
            yield _with(document, "duration", f"{fewer}s")


def _simpler_stages(document: Document) -> Iterator[Document]:
    fleet = document["fleet"]
    simplest = [{"duration": "1s", "target": fleet["machines"]}]
    if fleet.get("stages") != simplest:
        yield _with(document, "fleet.stages", simplest)


def _calmer_attacks(document: Document) -> Iterator[Document]:
    """Yield the scenario with one attack that lasts one second, or has a rate of one per second."""
    for index, attack in enumerate(document["attacks"]):
        for key, value in (("duration", "1s"), ("rate", 1)):
            if attack[key] != value and not (key == "duration" and _is_short(attack[key])):
                smaller = copy.deepcopy(document)
                smaller["attacks"][index][key] = value
                yield smaller


def _is_short(duration: str) -> bool:
    return parse_duration(duration) <= 1000 * MILLISECOND_NS


def _fewer_settings(document: Document) -> Iterator[Document]:
    """Yield the scenario without settings, and with each setting left out."""
    settings = document["server"]["settings"]
    if len(settings) > 1:
        yield _with(document, "server.settings", {})
    for name in settings:
        yield from _without(document, f"server.settings.{name}")


def _fewer_habits(document: Document) -> Iterator[Document]:
    for place in DROPPED:
        yield from _without(document, place)


def _simpler_markets(document: Document) -> Iterator[Document]:
    for name in document.get("market", {}):
        yield from _without(document, f"market.{name}")


def _without(document: Document, place: str) -> Iterator[Document]:
    """Yield the scenario without the value or table at `place`, if it has one there."""
    *path, last = place.split(".")
    smaller = copy.deepcopy(document)
    table: dict[str, Any] = smaller
    for key in path:
        table = table.get(key, {})
    if last in table:
        del table[last]
        yield smaller


def _with(document: Document, place: str, value: object) -> Document:
    *path, last = place.split(".")
    changed = copy.deepcopy(document)
    table: dict[str, Any] = changed
    for key in path:
        table = table[key]
    table[last] = copy.deepcopy(value)
    return changed
