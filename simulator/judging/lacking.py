"""What thresholds say of a target that lacks what they count: that it was not tried, as its attacks say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.checkers.verdict import Status, Verdict
from simulator.contract.features import LACKS, TRADE, Feature
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

OF_A_MARKET = ("job.", "jobs.", "withdrawal.", "withdrawals.", "market.")
SENT = "attacks.sent: "


def untried(thresholds: Iterable[Verdict], lacks: Collection[str] | None, checkers: Sequence[Verdict]) -> list[Verdict]:
    """Return thresholds, those n/a that count what the target has no part for. `lacks` are names of `Feature`.

    Fewer attacks than wanted say nothing either where some could not be tried on what it lacks.
    """
    missing = [one for one in TRADE if one in (lacks or ())]
    attacks = next((one for one in checkers if one.name == "attacks"), None)
    not_tried = attacks.figures.get("not_tried", {}) if lacks and attacks is not None else {}
    return [_judged(one, missing, len(not_tried)) for one in thresholds]


def _judged(one: Verdict, missing: Sequence[Feature], not_tried: int) -> Verdict:
    if missing and one.name.startswith(OF_A_MARKET):
        why = "; ".join(LACKS[feature].does for feature in sorted(missing))
        return Verdict(one.name, Status.NOT_APPLICABLE, f"not tried: {why}", (), one.figures)
    if not_tried and one.status is Status.FAIL and one.name.startswith(SENT) and ">" in one.name:
        what = plural(not_tried, "attack")
        return Verdict(one.name, Status.NOT_APPLICABLE, f"{one.summary}, with {what} not tried", (), one.figures)
    return one
