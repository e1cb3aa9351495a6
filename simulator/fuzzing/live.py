"""Playing drawn scenarios live against an existing deployment: one at a time, with every checker on."""

from __future__ import annotations

import io
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from simulator.errors import first_message
from simulator.fuzzing.drawing import Drawing, Drawn
from simulator.fuzzing.playing import Played, Recorded, UnplayableError, judged
from simulator.fuzzing.searching import Found, Way, make_small
from simulator.judging.facts import with_settings
from simulator.limits import FUZZ_LIVE_SHRINK_SECONDS
from simulator.running.recorded import origin_of
from simulator.running.run import USER_ERRORS, RunRequest
from simulator.running.run import play as play_run
from simulator.scenario.loading import parse_scenario
from simulator.traces.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.client.aim import Aim
    from simulator.contract.profiles import Profile
    from simulator.fuzzing.documents import Document
    from simulator.fuzzing.playing import Failure
    from simulator.running.run_state import RunState


class LivePlayer(msgspec.Struct, frozen=True):
    """A player of drawn scenarios against one target."""

    url: str
    token: str
    aim: Aim
    profile: Profile | None

    @property
    def flags(self) -> str:
        """Return the command-line flags with which `run` plays against the same target, without secrets."""
        profile = () if self.profile is None else ("--profile", self.profile.value)
        return shlex.join(("--target", self.url, *profile, *self.aim.options))

    def way(self) -> Way:
        """Return how a search draws and shrinks scenarios for this target, with rounds of one scenario."""
        return Way(self._draw, 1, self._make_small)

    def play(self, text: str) -> Played:
        """Play the scenario in `text`, and judge the run. Raises UnplayableError if it cannot be played."""
        return judged(*self._play(text, Recording.NOTHING))

    def record(self, text: str) -> Recorded | None:
        """Play the scenario again and return its exchanges; None if it cannot be played or has no recording."""
        try:
            request, outcome = self._play(text, Recording.REDACTED)
        except UnplayableError:
            return None
        return None if outcome.tape is None else Recorded(outcome.tape, origin_of(request, outcome), request.token)

    def _play(self, text: str, record: Recording) -> tuple[RunRequest, RunState]:
        scenario = with_settings(parse_scenario(text), self.aim.settings)
        request = RunRequest(
            scenario, Path(f"{scenario.name}.toml"), scenario.seed, Path(), self.url, self.token, record=record,
            reports=False, profile=self.profile, aim=self.aim,
        )  # fmt: skip
        problem = ""
        try:
            outcome = play_run(request, Console(file=io.StringIO(), quiet=True))
        except* USER_ERRORS as group:
            problem = first_message(group)
        if problem:
            raise UnplayableError(problem)
        return request, outcome

    @staticmethod
    def _draw(seed: int, _weigh: Callable[[str], float]) -> Drawn:
        """Draw by the seed alone: the coverage of a live run is not reproducible."""
        return Drawing(seed, lambda _ingredient: 1.0).draw_for_target()

    def _make_small(
        self, seed: int, drawn: Document, failures: tuple[Failure, ...], stopped: Callable[[], bool],
        look: Callable[[], object],
    ) -> Found:  # fmt: skip
        ends_at = time.monotonic() + FUZZ_LIVE_SHRINK_SECONDS

        def is_over() -> bool:
            return stopped() or time.monotonic() >= ends_at

        return make_small(seed, drawn, failures, is_over, look, self.play, seeded=False)
