"""What people know things by: workers by the ids that the server gave them, moments by the clock, rules in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simulator.checkers.verdict import Finding
from simulator.judging.rules import known_rules, rule_id, rule_of
from simulator.limits import EVIDENCE_SHOWN_MAX_CHARACTERS
from simulator.report import wording
from simulator.report.text import shortened

if TYPE_CHECKING:
    from simulator.judging.verdict_file import Advisory
    from simulator.report.over_time import RunClock
    from simulator.report.report_input import ReportInput

_MACHINE = re.compile(r"\bmachine ([0-9]{1,7})\b")

_KNOWN = frozenset(known_rules())


class Naming:
    """Puts a run's findings into words, with who and when by names that its readers can look up."""

    def __init__(self, report_input: ReportInput, clock: RunClock) -> None:
        self._machines = report_input.history.machines
        self._attacks = report_input.attack_names
        self._clock = clock

    def message(self, finding: Finding | Advisory) -> str:
        """Return a finding's message with each machine's worker id, and its cause."""
        return self.with_workers(wording.message_with_cause(finding))

    def with_workers(self, text: str) -> str:
        """Put the worker's id behind each machine that a text names by its number."""
        return _MACHINE.sub(lambda match: match[0] + self._worker(int(match[1])), text)

    def _worker(self, number: int) -> str:
        record = self._machines.get(number)
        return f" ({record.worker_id})" if record is not None else ""

    def moment(self, finding: Finding | Advisory) -> str:
        """Write when something was found: from the start of the run where it does not say so itself, and by the clock.

        Nothing of what was at no moment.
        """
        if not finding.at_ns:
            return ""
        return ", ".join(filter(None, (wording.time_text(finding), self._clock.text(finding.at_ns))))

    def expected(self, finding: Finding | Advisory) -> str:
        """Return what a correct server does, in the words of the rule that was broken; nothing for a rule without."""
        identifier = rule_id(finding, self._attacks) if isinstance(finding, Finding) else finding.rule
        return rule_of(identifier).expected if identifier in _KNOWN else ""

    def evidence(self, finding: Finding | Advisory) -> list[tuple[str, str]]:
        """Return a finding's evidence as text: a machine's number with its worker, a moment with the wall clock."""
        texts = []
        for name, text in wording.evidence_texts(finding):
            value = finding.evidence[name]
            more = ""
            if isinstance(value, int) and not isinstance(value, bool):
                record = self._machines.get(value) if name == "machine" else None
                more = f", worker {record.worker_id} of {record.owner_id}" if record is not None else ""
                more = f", {self._clock.text(value)}" if name.endswith("_ns") and self._clock.at(value) else more
            texts.append((name, shortened(text + more, 2 * EVIDENCE_SHOWN_MAX_CHARACTERS)))
        return texts
