"""What goes wrong in a drawn scenario: what its server is, what happens to it, its clock and its network.

Each part has a generator of its own, so that the rest of a seed's scenario is what it was before there was that part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.fuzzing.draws import Draws
from simulator.fuzzing.ingredients import DEPLOYMENTS, EXPIRES, FORGETTING, GOES_WITH, INSTANCES, MEMORY, MISHAPS
from simulator.fuzzing.room import has_lasting_certificates, keep_certificates, keeps_clear_of_expiry, make_room
from simulator.limits import ANSWER_TIMEOUT_SECONDS, SHARED_CLOCKS_OFF_MAX_MS
from simulator.scenario.clock_problems import MARKET_ATTACKS, WINDOW_ATTACKS
from simulator.scenario.kinds import parse_duration
from simulator.scenario.values import (
    CLOCK_FAULT,
    DOWN_FAULTS,
    LATE_NETWORK_FAULTS,
    NETWORK_FAULTS,
    PARTITION,
    READING_FAULTS,
    SHARED_NETWORK_FAULTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.fuzzing.documents import Document

CALM_SHARE = 0.4
"""Of scenarios in which the server is one in memory that nothing happens to."""
TROUBLED_SHARE = 0.3
"""Of those, how many have a network that is at fault."""
CLOCK_SHARE = 0.3
"""Of scenarios in which it may be, how many have a server whose clock is wrong."""
FALLBACK_SHARE = 0.3
"""Of those whose nonces are kept in a Redis, how many go on without it."""
FAULTS_MAX = 3
"""Kinds of them; each may come twice."""
FIRST_FAULT_MS, LAST_FAULT_MS = 2000, 2000
"""How long after the beginning the first may begin, and before the end the last must be over."""
FAULT_MS = (50, 400, 1500, 3000)
FLAPPING_SHARE = 0.5
"""Of scenarios in which one may, how many have a fault that comes and goes, in place of several."""
FLAPS = 8
FLAPS_MS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "durable": {"server.kill": (50,)},
    INSTANCES: {
        "redis.pause": (200, 400), "server.pause": (1100, 1500), "redis.flush": (0,), "redis.crash": (50, 400)
    },
}  # fmt: skip
"""How often it comes at most, and how long it lasts: longer than an answer is waited for, or than a lease."""
FLAP_ROOM_MS = 1500
"""From a flap of several instances to the next: few meet somebody under a lease, and most runs had time for three."""
FAULT_PAUSE_MS = 1000
"""From the end of one to the beginning of the next, at least."""
FLUSH = "redis.flush"
ASKED_FAULTS = frozenset({"disk.full", "redis.down", "redis.pause"})
"""What a server must refuse meanwhile, of which a run says nothing where no machine beat."""
BEAT_MARGIN_MS = 500
"""For a heartbeat to be sent and answered within such a fault, once its moment has come."""
LONG_PARTITION_SHARE = 0.3
"""Of scenarios whose network is at fault, how many have a partition for longer than clients wait."""
LONG_PARTITION_SECONDS = int(ANSWER_TIMEOUT_SECONDS) + 2
"""By which such a run is longer, too: most of that time nothing happens, which costs next to nothing."""
WRONG_TOKEN, REPLAY = "credential.wrong-token", "replay.exact"
PRESSURE = {"durable": WRONG_TOKEN, "instances": WRONG_TOKEN, "redis": REPLAY}
"""What is shot all the time while faults happen: each shot changes state, or asks for a nonce that was accepted, so
that a fault meets somebody in the midst of it."""
PRESSURE_RATE, PRESSURE_BEFORE_MS, PRESSURE_AFTER_MS = 30, 900, 1500
CLOCK_OFF_MS = (2000, 30_000, 60_000)
DRIFTS_PPM = (-900_000.0, 900_000.0)


def draw_mishaps(document: Document, seconds: int, seed: int, weigh: Callable[[str], float]) -> tuple[str, ...]:
    """Have a scenario's server be another one, and things go wrong; return what was drawn."""
    keep_certificates(document)
    drawn = Mishaps(seed, 1, weigh).happen(document, seconds)
    seconds = parse_duration(document["duration"]) // SECOND_NS
    troubles = Mishaps(seed, 2, weigh).trouble(document, seconds)
    clocks = Mishaps(seed, 3, weigh).set_clocks(document, seconds)
    make_room(document)
    return (*drawn, *troubles, *clocks)


class Mishaps(Draws):
    """The draws of one part."""

    def __init__(self, seed: int, part: int, weigh: Callable[[str], float]) -> None:
        super().__init__(np.random.default_rng((seed, part)), weigh)

    def happen(self, document: Document, seconds: int) -> tuple[str, ...]:
        """Have the server be another one, and faults happen to it."""
        if self.chance() < CALM_SHARE:
            return ()
        (deployment,) = self.some((MEMORY, *DEPLOYMENTS, INSTANCES), 1)  # those twice: most can go wrong with them
        server = document["server"]
        instances = 1
        if deployment == "durable":
            server["durable"] = True
            server["settings"]["HATCHFARM_JOURNAL_BYTES"] = self.one((4096, 65536, 0))
        elif deployment != MEMORY:
            server["redis"] = True
        if deployment == "redis" and self.chance() < FALLBACK_SHARE:
            server["settings"]["REDIS_NONCE_FALLBACK"] = True
        if deployment == INSTANCES:
            instances = server["instances"] = self.one((2, 3))
        forgets = deployment in {MEMORY, "redis"} and "market" in document
        possible = [kind for kind in MISHAPS[deployment] if not (forgets and kind in DOWN_FAULTS)]
        kinds = 2 * self.some(possible, 1 + self.up_to(FAULTS_MAX - 1))
        kinds = (
            *(one for one in kinds if one not in FORGETTING),
            *dict.fromkeys(one for one in kinds if one in FORGETTING),
        )
        beat_ms = parse_duration(document["fleet"]["heartbeat_interval"]) // MILLISECOND_NS
        asked_ms = beat_ms + BEAT_MARGIN_MS
        lengths_ms: Sequence[int] = FAULT_MS
        if deployment in FLAPS_MS and self.chance() < FLAPPING_SHARE:
            kind, lengths_ms = self.one([*FLAPS_MS[deployment].items()])
            kinds, asked_ms = (kind,) * FLAPS, 0
            if instances > 1:
                needed_ms = FIRST_FAULT_MS + LAST_FAULT_MS + FLAPS * (max(lengths_ms) + FLAP_ROOM_MS)
                seconds = max(seconds, needed_ms // 1000)
                document["duration"] = f"{seconds}s"
        document["faults"] = self._faults(kinds, instances, seconds * 1000, lengths_ms, asked_ms=asked_ms)
        lasting = has_lasting_certificates(document)
        if deployment == "durable" and lasting:
            document["attacks"] += _replays_over(document["faults"])
        if deployment in PRESSURE and document["faults"]:
            attack = PRESSURE[deployment] if lasting else WRONG_TOKEN
            document["attacks"] += _pressure_over(document["faults"], attack, seconds * 1000)
        return (deployment, *(one["kind"] for one in document["faults"]))

    def trouble(self, document: Document, seconds: int) -> tuple[str, ...]:
        """Have the network have faults, of some servers that have none of their own."""
        if "faults" in document or self.chance() >= TROUBLED_SHARE:
            return ()
        kinds = self.some(sorted(NETWORK_FAULTS), 1 + self.up_to(FAULTS_MAX - 1))
        first_ms = 0
        if self.chance() < LONG_PARTITION_SHARE:
            kinds = (PARTITION, *(one for one in kinds if one != PARTITION))
            seconds += LONG_PARTITION_SECONDS
            document["duration"] = f"{seconds}s"
            first_ms = LONG_PARTITION_SECONDS * 1000
        faults = document["faults"] = self._faults(kinds, 1, seconds * 1000, first_ms=first_ms)
        for fault in faults:
            if fault["kind"] in LATE_NETWORK_FAULTS:
                fault["latency"] = self.one(("20ms", "150ms", "900ms"))
            if fault["kind"] in SHARED_NETWORK_FAULTS:
                fault["share"] = self.one((0.1, 0.5, 1.0))
        return tuple(one["kind"] for one in faults)

    def set_clocks(self, document: Document, seconds: int) -> tuple[str, ...]:
        """Have a server's clock be wrong from some moment on, and certificates that end meanwhile."""
        faults = document.get("faults", [])
        impossible = (
            "clocks" in document["fleet"]
            or any(one["kind"] in READING_FAULTS for one in faults)
            or "market" in document
            or any(one["name"].startswith((*WINDOW_ATTACKS, *MARKET_ATTACKS)) for one in document["attacks"])
        )
        if impossible or self.chance() >= CLOCK_SHARE:
            return ()
        instances = document["server"].get("instances", 1)
        at_ms = 500 + self.up_to(2500)
        length_ms = seconds * 1000 - at_ms - 500
        fault: Document = {"kind": CLOCK_FAULT, "at": f"{at_ms}ms", "duration": f"{length_ms}ms"}
        if instances > 1:
            fault |= {"by": f"{self.one('+-')}{SHARED_CLOCKS_OFF_MAX_MS}ms", "instance": self.up_to(instances - 1)}
        elif self.chance() < CLOCK_SHARE and length_ms < min(CLOCK_OFF_MS[1:]):
            fault["drift_ppm"] = self.one(DRIFTS_PPM)
        else:
            fault["by"] = f"{self.one('+-')}{self.one(CLOCK_OFF_MS)}ms"
        document["faults"] = [*faults, fault]
        if not any(one["name"] == EXPIRES or keeps_clear_of_expiry(one["name"]) for one in document["attacks"]):
            settings = document["server"]["settings"]
            settings |= {name: self.one(those) for name, those in GOES_WITH[EXPIRES].items()}
            end = {"name": EXPIRES, "start": f"{at_ms + 500}ms", "duration": "1s", "rate": 1, "share": 0.5}
            document["attacks"].append(end)
        return (CLOCK_FAULT,)

    def _faults(
        self,
        kinds: Sequence[str],
        instances: int,
        run_ms: int,
        lengths_ms: Sequence[int] = FAULT_MS,
        *,
        first_ms: int = 0,
        asked_ms: int = 0,
    ) -> list[Document]:
        """Return a fault of each kind, one after the other, as far as there is time; the first may have its length.

        Of some nothing is known unless somebody asks meanwhile: they last `asked_ms` at least.
        """
        faults: list[Document] = []
        free_ms = FIRST_FAULT_MS
        for number, kind in enumerate(kinds):
            length_ms = 0 if kind == FLUSH else first_ms or int(self.one(lengths_ms))
            first_ms = 0
            if kind in ASKED_FAULTS:
                length_ms = max(length_ms, asked_ms)
            last_ms = run_ms - LAST_FAULT_MS - length_ms
            if free_ms >= last_ms:
                break
            latest_ms = free_ms + max(1, (last_ms - free_ms) // (len(kinds) - number))
            at_ms = free_ms + self.up_to(latest_ms - free_ms)
            fault: Document = {"kind": kind, "at": f"{at_ms}ms"}
            if length_ms:
                fault["duration"] = f"{length_ms}ms"
            if instances > 1 and not kind.startswith("redis."):
                fault["instance"] = self.up_to(instances - 1)
            faults.append(fault)
            free_ms = at_ms + length_ms + FAULT_PAUSE_MS
        return faults


def _span_ms(fault: Document) -> tuple[int, int]:
    at_ms, length_ms = (parse_duration(fault.get(key, "0s")) // MILLISECOND_NS for key in ("at", "duration"))
    return at_ms, at_ms + length_ms


def _replays_over(faults: Sequence[Document]) -> list[Document]:
    """Return replays from before a server is down until after it: what it had accepted it must know again."""
    return [
        {"name": REPLAY, "start": f"{_span_ms(one)[0] - 900}ms", "duration": "3s", "rate": 8, "share": 1.0}
        for one in [one for one in faults if one["kind"] in DOWN_FAULTS][:1]
    ]


def _pressure_over(faults: Sequence[Document], attack: str, run_ms: int) -> list[Document]:
    """Return what is shot from before the first fault until after the last."""
    start_ms = min(_span_ms(one)[0] for one in faults) - PRESSURE_BEFORE_MS
    end_ms = min(run_ms, max(_span_ms(one)[1] for one in faults) + PRESSURE_AFTER_MS)
    length = f"{end_ms - start_ms}ms"
    return [{"name": attack, "start": f"{start_ms}ms", "duration": length, "rate": PRESSURE_RATE, "share": 1.0}]
