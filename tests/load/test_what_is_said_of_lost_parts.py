"""What a run says of a process that it lost: since when, and what became of the campaigns it played."""

from __future__ import annotations

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.attacks import proved_nothing
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import CampaignRecord
from simulator.history.rows import NEVER_NS, History


@pytest.mark.parametrize(("heard_last", "output"), [(20, 3), (59, 3), (90, 33)])
def test_nothing_is_unknown_from_before_the_part_began(heard_last: int, output: int) -> None:
    """An exchange may take a minute, but none began before the part did, which here was 3 s after the run."""
    part = HistoryPart(History(), shift_ns=3 * SECOND_NS, known_until_ns=heard_last * SECOND_NS)
    assert [one.known_until_ns for one in merge_histories([part]).parts] == [output * SECOND_NS]


def test_a_campaign_of_which_nothing_was_told_may_have_been_played_by_the_lost_process() -> None:
    campaign = CampaignRecord(number=1, attack="replay.exact", scripted=False, attempts=0, completed=0)
    whole = merge_histories([HistoryPart(History())])
    lost = merge_histories([HistoryPart(History(), known_until_ns=SECOND_NS)])
    assert [one.known_until_ns == NEVER_NS for one in (*whole.parts, *lost.parts)] == [True, False]
    assert proved_nothing(whole, campaign) == "the run ended before it began"
    assert proved_nothing(lost, campaign) == "what became of it was not told, as a process was lost"
