"""Drawing a scenario from a seed: sizes, attacks, clocks, habits and settings, of which each scenario has a few."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.fuzzing.draws import Draws
from simulator.fuzzing.ingredients import (
    ALERT_DEFAULTS,
    GOES_WITH,
    HABITS,
    HABITS_ON_TARGETS,
    MARKET,
    MARKET_DEFAULTS,
    MARKET_SETTINGS,
    OF_MONEY,
    SETTINGS,
    STALE_DEFAULT,
    attacks_drawn,
    attacks_on_targets,
)
from simulator.fuzzing.mishaps import draw_mishaps
from simulator.fuzzing.room import keep_certificates, meet_victims
from simulator.fuzzing.users import draw_users

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.fuzzing.documents import Document

ATTACKS_MAX, SETTINGS_MAX, HABITS_MAX = 5, 4, 3
SECONDS, BRIEF_SECONDS = (8, 12, 16), (5, 6, 7)
MARKET_SECONDS = (30, 45, 80)
"""Lengths of runs with a market: a job is for at least a minute, and many end earlier."""
MARKET_TENTHS, BRIEF_MARKET_TENTHS = 4, 1
"""How many of ten scenarios have a market: other scenarios hardly ever show its bugs."""
MARKET_ATTACKS_MAX = BRIEF_ATTACKS_MAX = 2
MACHINES, MARKET_MACHINES = (1, 2, 3, 5, 8), (2, 3, 5)
MARKET_OWNERS = 3
"""One owner in three offers nothing outside its hours: with one owner a market may have nothing to sell."""


def _kept(attacks: Sequence[str], document: Document) -> list[str]:
    """Return those of `attacks` that are still in the scenario: short-lived certificates leave no room for some."""
    names = {one["name"] for one in document["attacks"]}
    return [name for name in attacks if name in names]


class Drawn(NamedTuple):
    """A drawn scenario, and the names of its ingredients as coverage counts them."""

    document: Document
    ingredients: tuple[str, ...]


class Drawing(Draws):
    """The draws of one scenario. `weigh` returns the relative weight of drawing an ingredient, given by its name.

    A `brief` scenario takes a third of the time, for searches that play many scenarios every day.
    """

    def __init__(self, seed: int, weigh: Callable[[str], float], *, brief: bool = False) -> None:
        super().__init__(np.random.default_rng(seed), weigh)
        self._seed = seed
        self._brief = brief

    def draw(self) -> Drawn:
        """Draw the scenario and return it."""
        brief = self._brief
        market = self.up_to(9) < (BRIEF_MARKET_TENTHS if brief else MARKET_TENTHS)
        others = [one for one in HABITS if one != MARKET]
        habits = (MARKET, *self.some(others, self.up_to(1))) if market else self.some(others, self.up_to(HABITS_MAX))
        attacks = self._attacks_on_a_market() if market else self._attacks(1 - min(1, len(habits)))
        choices = {**SETTINGS, **MARKET_SETTINGS} if market else SETTINGS
        settings = self.some([*choices], self.up_to(SETTINGS_MAX))
        lengths = MARKET_SECONDS if market else BRIEF_SECONDS if brief else SECONDS
        seconds = min(lengths) if brief and market else self.one(lengths)
        values = {
            "WORKER_STATUS_STALE_SECONDS": STALE_DEFAULT,
            "WORKER_AUTH_FAIL_ALERT_THRESHOLD": ALERT_DEFAULTS[self._seed % len(ALERT_DEFAULTS)],
            **{name: self.one(choices[name]) for name in settings},
        }
        for attack in attacks:
            values |= {name: self.one(those) for name, those in GOES_WITH.get(attack, {}).items()}
        document: Document = {
            "version": 1,
            "name": f"fuzz-{self._seed}",
            "seed": self._seed,
            "duration": f"{seconds}s",
            "metrics_interval": "3s" if market else "1s",
            "server": {"settings": values},
            "fleet": self._fleet(seconds),
            "attacks": [self._attack(name, seconds) for name in attacks],
        }
        for habit in habits:
            _ADDED[habit](self, document, seconds)
        mishaps = draw_mishaps(document, seconds, self._seed, self._weigh)
        users = draw_users(document, seconds, self._seed, self._weigh)
        return Drawn(document, (*_kept(attacks, document), *settings, *habits, *mishaps, *users))

    def draw_for_target(self) -> Drawn:
        """Draw a short scenario for an existing deployment: without settings, faults and a market."""
        habits = self.some(HABITS_ON_TARGETS, self.up_to(HABITS_MAX))
        attacks = self.some(attacks_on_targets(), self.up_to(ATTACKS_MAX) or 1 - min(1, len(habits)))
        seconds = self.one(SECONDS)
        document: Document = {
            "version": 1,
            "name": f"fuzz-{self._seed}",
            "seed": self._seed,
            "duration": f"{seconds}s",
            "metrics_interval": "1s",
            "server": {"settings": {}},
            "fleet": self._fleet(seconds),
            "attacks": [self._attack(name, seconds) for name in attacks],
        }
        for habit in habits:
            _ADDED[habit](self, document, seconds)
        keep_certificates(document)
        meet_victims(document)
        return Drawn(document, (*_kept(attacks, document), *habits))

    # --- parts of a scenario

    def _attacks(self, least: int) -> tuple[str, ...]:
        return self.some(attacks_drawn(), self.up_to(BRIEF_ATTACKS_MAX if self._brief else ATTACKS_MAX) or least)

    def _attacks_on_a_market(self) -> tuple[str, ...]:
        """Draw up to `MARKET_ATTACKS_MAX` attacks on money, and sometimes one of another kind."""
        on_money = [name for name in attacks_drawn() if name.startswith(OF_MONEY)]
        others = [name for name in attacks_drawn() if name not in on_money]
        return self.some(on_money, self.up_to(MARKET_ATTACKS_MAX)) + self.some(others, self.up_to(1))

    def _fleet(self, seconds: int) -> Document:
        market = seconds >= MARKET_SECONDS[0]
        machines = self.one(MARKET_MACHINES if market else MACHINES)
        interval = self.one((3000, 5000)) if market else self.one((1000, 1500, 3000))
        return {
            "machines": machines,
            "owners": min(machines, MARKET_OWNERS) if market else 1 + self.up_to(min(machines, 4) - 1),
            "heartbeat_interval": f"{interval}ms",
            "stages": [{"duration": "1s", "target": machines}],
        }

    def _attack(self, name: str, seconds: int) -> Document:
        """Return a campaign: a few single shots, or one attempt of a script, which sends many requests."""
        shots = issubclass(CATALOGUE[name], ShotAttack)
        longer = ("2s", "3s", f"{seconds // 3}s") if shots and seconds < MARKET_SECONDS[0] else ()
        return {
            "name": name,
            "start": f"{2000 + int(self._rng.integers(1500))}ms",
            "duration": self.one(("1s", *longer)),
            "rate": self.one((2, 5, 8)) if shots else 1,
            "share": self.one((0.3, 0.5, 1.0)),
        }

    def ramp(self, document: Document, seconds: int) -> None:
        """Make machines come and go."""
        machines = document["fleet"]["machines"]
        levels = [machines, self.up_to(machines), machines]
        document["fleet"]["stages"] = [{"duration": f"{max(1, seconds // 4)}s", "target": level} for level in levels]

    def fall_silent(self, document: Document, seconds: int) -> None:
        """Make some machines silent for a while."""
        length = f"{self.one((2, 5, max(5, seconds // 2)))}s"
        silence = {"share": self.one((0.3, 0.5, 1.0)), "at": self.moment(seconds, 0.5), "duration": length}
        document["fleet"]["silence"] = [silence]

    def offset(self, document: Document, _seconds: int) -> None:
        """Make some machines' clocks wrong from the start, by less or more than the server allows."""
        self._clock(document, offset=self.one(("+20s", "-20s", "+100s", "-100s", "+130s", "-130s", "+10m", "-10m")))

    def drift(self, document: Document, _seconds: int) -> None:
        """Make some machines' clocks drift."""
        self._clock(document, drift_ppm=self.one((-200_000.0, 200_000.0, 900_000.0)))

    def step(self, document: Document, seconds: int) -> None:
        """Make some machines' clocks jump once."""
        by = self.one(("+30s", "-30s", "+5m", "-5m"))
        self._clock(document, step={"at": self.moment(seconds, 0.7), "by": by})

    def _clock(self, document: Document, **error: object) -> None:
        document["fleet"].setdefault("clocks", []).append({"share": self.one((0.2, 0.3)), **error})

    def rotate(self, document: Document, _seconds: int) -> None:
        """Make machines rotate their certificates often."""
        document["fleet"]["certificate_rotation"] = f"{self.one((2, 3, 8))}s"

    def jitter(self, document: Document, _seconds: int) -> None:
        """Draw the jitter of heartbeats: from all at the same moment to spread over the whole interval."""
        document["fleet"]["jitter"] = self.one((0.0, 0.5, 1.0))

    def scrape(self, document: Document, seconds: int) -> None:
        """Draw another interval at which the metrics are scraped."""
        document["metrics_interval"] = self.one(("200ms", "400ms", "3s")) if seconds < MARKET_SECONDS[0] else "2s"

    def trade(self, document: Document, _seconds: int) -> None:
        """Make agents post jobs and withdraw their money; some post more jobs than there is room or money for."""
        settings = document["server"]["settings"]
        for name, choices in MARKET_DEFAULTS.items():
            settings.setdefault(name, self.one(choices))
        market: Document = {
            "agents": 1 + self.up_to(3),
            "rate": self.one((0.5, 1.0)),
            "jobs_per_minute": self.one((2.0, 8.0, 20.0)),
            "gpu_jobs": self.one((0.0, 0.3)),
            "max_price_usdt": self.one(("0.50", "5")),
            "withdrawals_per_minute": self.one((0.0, 3.0, 12.0)),
            "withdrawal_usdt": self.one(("0.10", "2", "30")),
            "repeated": self.one((0.0, 0.5)),
            "cancelled": self.one((0.0, 0.3, 0.8)),
        }
        wrong = self.one(({}, {}, {"claims_more": 0.5}, {"foreign": 0.5}, {"abandons": 0.5}))
        room = self.one(({}, {"cpu_cores": 2.5}, {"cpu_cores": 2.5, "memory_gb": 8.0, "gpus": 0}))
        ends = {"early": self.one((0.3, 1.0)), "failing": self.one((0.05, 0.5))}
        document["market"] = {**market, "offer": {**room, **wrong, **ends}}


_ADDED: Mapping[str, Callable[[Drawing, Document, int], None]] = {
    "stages": Drawing.ramp,
    "silence": Drawing.fall_silent,
    "clock.offset": Drawing.offset,
    "clock.drift": Drawing.drift,
    "clock.step": Drawing.step,
    "rotation": Drawing.rotate,
    "jitter": Drawing.jitter,
    "scrapes": Drawing.scrape,
    MARKET: Drawing.trade,
}
"""The method that adds each habit to a scenario."""
