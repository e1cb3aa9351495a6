"""What every form of the report is made from."""

from __future__ import annotations

import msgspec

from simulator.history.rows import History  # noqa: TC001 - as above
from simulator.judging.record import RunRecord  # noqa: TC001 - a Struct resolves its annotations
from simulator.judging.verdict_file import RunVerdict  # noqa: TC001 - as above


class ReportInput(msgspec.Struct, frozen=True):
    """A judged run: its verdict, what it was judged by, its history, and the scenario file's text.

    `files` are those beside the reports, by their paths from there.
    """

    verdict: RunVerdict
    record: RunRecord
    history: History
    scenario_text: str
    files: tuple[str, ...] = ()

    @property
    def attack_names(self) -> dict[int, str]:
        """Return the attack of each campaign."""
        return {one.campaign: one.attack for one in self.verdict.attacks}
