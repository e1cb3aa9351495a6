"""Drawing the mishaps of a scenario: the kind of its server, faults of the server, of its clock and of its network.

Each part has its own random generator, so adding a part did not change the rest of any seed's scenario.
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
"""Share of scenarios with a server in memory and no faults of that server."""
TROUBLED_SHARE = 0.3
"""Share of the scenarios without server faults that have network faults."""
CLOCK_SHARE = 0.3
"""Share of the scenarios that allow it whose server has a wrong clock."""
FALLBACK_SHARE = 0.3
"""Share of the scenarios with nonces in Redis whose server is set to go on without Redis."""
FAULTS_MAX = 3
"""The most kinds of faults in a scenario; each may happen twice."""
FIRST_FAULT_MS, LAST_FAULT_MS = 2000, 2000
"""The earliest start of the first fault, and how long before the end of the run the last fault must be over."""
FAULT_MS = (50, 400, 1500, 3000)
FLAPPING_SHARE = 0.5
"""Share of the scenarios that allow it with one fault that comes and goes, in place of several faults."""
FLAPS = 8
FLAPS_MS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "durable": {"server.kill": (50,)},
    INSTANCES: {
        "redis.pause": (200, 400), "server.pause": (1100, 1500), "redis.flush": (0,), "redis.crash": (50, 400)
    },
}  # fmt: skip
"""The most repetitions of such a fault, and its durations by kind: pauses of Redis last as long as a server waits for
it or longer, and pauses of a server longer than its lease."""
FLAP_ROOM_MS = 1500
"""Time per flap with several instances, by which a run is made long enough for all: few flaps meet an instance that
holds a lease, and most runs had time for only three."""
FAULT_PAUSE_MS = 1000
"""The shortest time from the end of a fault to the start of the next."""
FLUSH = "redis.flush"
ASKED_FAULTS = frozenset({"disk.full", "redis.down", "redis.pause"})
"""Faults during which a server must refuse heartbeats: a run only shows that if a machine sends one meanwhile."""
BEAT_MARGIN_MS = 500
"""Time for a due heartbeat to be sent and answered within such a fault."""
LONG_PARTITION_SHARE = 0.3
"""Share of the scenarios with network faults that have a partition longer than the clients' timeout."""
LONG_PARTITION_SECONDS = int(ANSWER_TIMEOUT_SECONDS) + 2
"""The length of that partition. The run is longer by the same time, which costs little: hardly anything happens."""
WRONG_TOKEN, REPLAY = "credential.wrong-token", "replay.exact"
PRESSURE = {"durable": WRONG_TOKEN, "instances": WRONG_TOKEN, "redis": REPLAY}
"""The attack that runs all the time while faults happen, by deployment: each shot changes state, or sends a nonce that
was accepted, so that a fault interrupts a request under way."""
PRESSURE_RATE, PRESSURE_BEFORE_MS, PRESSURE_AFTER_MS = 30, 900, 1500
CLOCK_OFF_MS = (2000, 30_000, 60_000)
DRIFTS_PPM = (-900_000.0, 900_000.0)


def draw_mishaps(document: Document, seconds: int, seed: int, weigh: Callable[[str], float]) -> tuple[str, ...]:
    """Change a scenario's server, and add faults, in place; return the ingredients drawn."""
    keep_certificates(document)
    drawn = Mishaps(seed, 1, weigh).happen(document, seconds)
    seconds = parse_duration(document["duration"]) // SECOND_NS
    troubles = Mishaps(seed, 2, weigh).trouble(document, seconds)
    clocks = Mishaps(seed, 3, weigh).set_clocks(document, seconds)
    make_room(document)
    return (*drawn, *troubles, *clocks)


class Mishaps(Draws):
    """The draws of one part of the mishaps, with a generator of its own."""

    def __init__(self, seed: int, part: int, weigh: Callable[[str], float]) -> None:
        super().__init__(np.random.default_rng((seed, part)), weigh)

    def happen(self, document: Document, seconds: int) -> tuple[str, ...]:
        """Draw the kind of server and the faults that happen to it."""
        if self.chance() < CALM_SHARE:
            return ()
        (deployment,) = self.some((MEMORY, *DEPLOYMENTS, INSTANCES), 1)  # INSTANCES twice: most can go wrong there
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
        """Add network faults to some of the scenarios whose server has no faults."""
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
        """Make a server's clock wrong from some moment on, and add certificates that expire meanwhile."""
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
        """Return a fault of each kind, one after the other, as far as there is time in a run of `run_ms`.

        `first_ms` is the length of the first fault, 0 to draw it. `ASKED_FAULTS` last at least `asked_ms`.
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
    """Return replays around the first fault that takes the server down: it must still know the nonces accepted."""
    return [
        {"name": REPLAY, "start": f"{_span_ms(one)[0] - 900}ms", "duration": "3s", "rate": 8, "share": 1.0}
        for one in [one for one in faults if one["kind"] in DOWN_FAULTS][:1]
    ]


def _pressure_over(faults: Sequence[Document], attack: str, run_ms: int) -> list[Document]:
    """Return a campaign of `attack` from before the first fault until after the last."""
    start_ms = min(_span_ms(one)[0] for one in faults) - PRESSURE_BEFORE_MS
    end_ms = min(run_ms, max(_span_ms(one)[1] for one in faults) + PRESSURE_AFTER_MS)
    length = f"{end_ms - start_ms}ms"
    return [{"name": attack, "start": f"{start_ms}ms", "duration": length, "rate": PRESSURE_RATE, "share": 1.0}]
