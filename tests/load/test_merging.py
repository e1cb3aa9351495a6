"""What several processes recorded is judged as if one had; clocks that are only known within bounds accuse nobody."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.checkers.facts import Facts
from simulator.checkers.verdict import Status
from simulator.history.merging import ADDED_UP, OBSERVED, UNKNOWN_NUMBER, HistoryPart, merge_histories
from simulator.history.records import (
    AuditReading,
    CampaignRecord,
    FailedExchange,
    GeneratorSample,
    MachineRecord,
    Revocation,
    Scrape,
    Trouble,
)
from simulator.history.rows import NEVER_NS, NO_SOURCE, OTHER_CAUSES, PEERS_SOURCE, History, at_host
from simulator.history.tables import TABLES
from simulator.limits import EXCHANGES_MAX, TROUBLES_MAX
from tests.checkers.audited_world import AuditedWorld, eventful
from tests.load.parts import (
    MACHINES,
    Clock,
    anything,
    judged,
    split,
)
from tests.support.tiers import examples

FACTS = Facts(
    stale_seconds=5,
    auth_window_seconds=20,
    auth_threshold=3,
    baseline={"hatchfarm_uptime_seconds": 99.0},
    rate_limit_refill_per_second=0.5,
    rate_limit_burst=3,
    only_client=True,
)
SHIFTS = (0, -3 * SECOND_NS, 7_000_000_001)


def exact(shift_ns: int) -> Clock:
    return Clock(shift_ns=shift_ns)


def cut_at(cuts: list[int]) -> list[range]:
    ends = [*sorted(set(cuts)), MACHINES]
    return [range(start, end) for start, end in pairwise(ends)]


@pytest.mark.long
@settings(deadline=None, max_examples=examples(40))
@given(
    seed=st.integers(0, 1 << 30),
    cuts=st.lists(st.integers(0, MACHINES - 1), min_size=1, max_size=4),
    shifts=st.lists(st.sampled_from(SHIFTS), min_size=4, max_size=4),
)
def test_what_is_split_by_machines_and_merged_is_judged_as_the_whole(
    seed: int, cuts: list[int], shifts: list[int]
) -> None:
    """A history in which much is wrong: the same verdicts, figures and findings, up to their order."""
    whole = anything(seed)
    machines = cut_at(cuts)
    parts = split(whole, machines, [exact(shift) for shift in shifts[: len(machines)]])
    merged = merge_histories(parts)
    before, after = judged(whole, FACTS), judged(merged, FACTS)
    assert after == before
    assert sum(status is Status.FAIL for status, *_ in before.values()) >= 4, "it would not show otherwise"
    assert len(merged) == len(whole)
    assert np.all(np.diff(merged.rows()["answered_ns"][merged.rows()["answered_ns"] != NEVER_NS]) >= 0)
    for table in set(TABLES) - {"parts", "machines", "owners", "certificates", "consents", "revocations"}:
        assert sorted(map(repr, getattr(merged, table))) == sorted(map(repr, getattr(whole, table))), table
    assert merged.machines == whole.machines
    assert merged.owners[0] == whole.owners[0]
    assert sorted(merged.owners) == sorted(whole.owners)


def test_the_audit_of_a_right_server_holds_when_each_machine_was_played_by_another_process() -> None:
    world = AuditedWorld()
    eventful(world)
    world.read_all()
    parts = split(world.history, [range(1), range(1, 2), range(2, 4)], [exact(shift) for shift in SHIFTS])
    merged = merge_histories(parts)
    assert judged(merged, world.facts) == judged(world.history, world.facts)
    assert judged(merged, world.facts)["audit"][0] is Status.PASS


def seen(*exchanges: tuple[int, int]) -> History:
    history = History()
    history.exchanges += [FailedExchange(at_ns, at_ns + 1, campaign, b"", b"", "") for at_ns, campaign in exchanges]
    return history


def test_evidence_of_every_part_is_kept_while_there_is_room() -> None:
    """One part's many errors do not hide another's few."""
    many, few = seen(*((at_ns, 1) for at_ns in range(EXCHANGES_MAX))), seen((9000, 2), (9001, 2))
    kept = merge_histories([HistoryPart(many), HistoryPart(few)]).exchanges
    assert len(kept) == EXCHANGES_MAX
    assert [one.campaign for one in kept].count(2) == 2
    assert [one.sent_ns for one in kept] == sorted(one.sent_ns for one in kept)


def test_attempts_of_a_campaign_are_added_up_and_it_was_tried_where_any_part_tried_it() -> None:
    parts = []
    for attempts, not_tried in ((2, ""), (0, "no IPv6"), (3, "")):
        history = History()
        counts: Any = {"attempts": attempts, "completed": attempts, "planned": attempts, "held_up": 2, "unready": 1}
        history.campaigns.append(CampaignRecord(1, "peers", scripted=True, **counts))
        history.campaigns[0] = msgspec.structs.replace(history.campaigns[0], not_tried=not_tried)
        history.campaigns.append(CampaignRecord(2, "skew", scripted=False, attempts=0, completed=0, not_tried="why"))
        parts.append(HistoryPart(history))
    assert merge_histories(parts).campaigns == [
        CampaignRecord(1, "peers", scripted=True, attempts=5, completed=5, planned=5, held_up=6, unready=3),
        CampaignRecord(2, "skew", scripted=False, attempts=0, completed=0, not_tried="why"),
    ]


def test_a_second_of_the_harness_is_as_bad_as_its_worst_process() -> None:
    first, second = History(), History()
    first.generator += [GeneratorSample(1_500_000_000, 10, 0.9, 1, 2), GeneratorSample(2_500_000_000, 10, 0.1, 0, 0)]
    second.generator += [GeneratorSample(900_000_000, 30, 0.2, 4, 8)]
    merged = merge_histories([HistoryPart(first), HistoryPart(second, shift_ns=SECOND_NS)])
    assert merged.generator == [
        GeneratorSample(1_900_000_000, 30, 0.9, 5, 10),
        GeneratorSample(2_500_000_000, 10, 0.1, 0, 0),
    ]


def test_samples_of_one_process_are_as_it_took_them() -> None:
    """Two that fall into one second of the clock stay two."""
    history = History()
    history.generator += [GeneratorSample(1_000_000_001, 10, 0.9, 1), GeneratorSample(1_999_999_999, 20, 0.1, 0)]
    assert merge_histories([HistoryPart(History()), HistoryPart(history)]).generator == history.generator


def test_troubles_are_added_up_and_their_bound_holds() -> None:
    parts = []
    for process in range(3):
        history = History()
        for cause in range(TROUBLES_MAX - 10):
            history.trouble(cause, "heartbeat", f"cause {cause * (process + 1)}")
            history.trouble(cause + 100, "heartbeat", f"cause {cause * (process + 1)}")
        parts.append(HistoryPart(history, shift_ns=process))
    troubles = merge_histories(parts).troubles
    assert sum(one.count for one in troubles) == 3 * 2 * (TROUBLES_MAX - 10)
    assert len(troubles) == TROUBLES_MAX + 1
    assert msgspec.structs.astuple(troubles[0])[:5] == ("heartbeat", "cause 0", 6, 0, 102)
    assert troubles[-1].why == OTHER_CAUSES


def test_troubles_are_told_in_the_seconds_of_the_run() -> None:
    history = History()
    for at_ns in (0, 1, 3 * SECOND_NS):
        history.trouble(at_ns, "heartbeat", "refused")
    merged = merge_histories([HistoryPart(history, shift_ns=2 * SECOND_NS), HistoryPart(history, shift_ns=-SECOND_NS)])
    assert [one.seconds for one in merged.troubles] == [{2: 3, 5: 1, -1: 2}]


def test_other_causes_of_a_part_are_other_causes_of_the_run() -> None:
    full, more = History(), History()
    for cause in range(TROUBLES_MAX):
        full.trouble(cause, "heartbeat", f"cause {cause}")
    more.add_trouble(Trouble("scrape", OTHER_CAUSES, 5, 1, 2))
    assert merge_histories([HistoryPart(full), HistoryPart(more)]).troubles[-1] == Trouble(
        "scrape", OTHER_CAUSES, 5, 1, 2
    )


def sent_from(source: int) -> History:
    history = History()
    history.append(1, 1, 2, bytes(12), 0, 200, 0, 0, 0, 0, source=source)
    return history


@pytest.mark.parametrize("source", [NO_SOURCE, PEERS_SOURCE, 0, 16 << 16 | 1, 13 << 16 | 65_535])
def test_an_address_is_one_client_on_one_host_and_others_on_others(source: int) -> None:
    """Two processes of one host share what it uses; no server can confuse two hosts."""
    parts = [HistoryPart(sent_from(source), host=host) for host in (0, 0, 1, 127)]
    sources = merge_histories(parts).rows()["source"].tolist()
    assert sources[0] == sources[1] == source
    assert len(set(sources)) == 3
    assert [at_host(one) for one in sources] == [(source, host) for host in (0, 0, 1, 127)]


def test_what_the_records_of_a_part_do_not_tell_of_is_nobody_elses() -> None:
    """A row may name a certificate or consent whose record was not delivered; so may a revoke."""
    whole = anything(1)
    cut = History()
    cut.append(1, 1, 2, bytes(12), 0, 200, 0, 0, 0, 0, certificate=1, consent=7)
    cut.revocations.append(Revocation(1, 3, 4))
    merged = merge_histories([HistoryPart(cut), HistoryPart(whole, machine_base=100)])
    row = merged.rows()[np.flatnonzero(merged.rows()["machine"] == 0)[0]]
    assert (row["certificate"], row["consent"]) == (UNKNOWN_NUMBER, UNKNOWN_NUMBER)
    assert merged.revocations[0].consent == 0
    assert judged(merged, FACTS)["revocation"][0] is not Status.INCONCLUSIVE


def with_machine(worker_id: str) -> History:
    history = History()
    history.machines[0] = MachineRecord(worker_id, "ada")
    return history


def with_campaign(attack: str) -> History:
    history = History()
    history.campaigns.append(CampaignRecord(1, attack, scripted=False, attempts=1, completed=1))
    return history


def with_reading() -> History:
    history = History()
    history.audit_readings.append(AuditReading("ada", 1, 2, 200, 0, 0))
    return history


def with_scrape() -> History:
    history = History()
    history.scrapes.append(Scrape(1, 2, {}))
    return history


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([HistoryPart(with_machine("wrk_a")), HistoryPart(with_machine("wrk_b"))], "machine 0 is two"),
        ([HistoryPart(with_campaign("skew")), HistoryPart(with_campaign("replay"))], "campaign 1 is two attacks"),
        ([HistoryPart(History(), clock_ns=(2, 1))], "at least 2 ns and at most 1 ns"),
        ([HistoryPart(History(), host=128)], "host 128"),
        ([HistoryPart(merge_histories([HistoryPart(History(), host=1)]), host=2)], "several hosts"),
        ([HistoryPart(with_reading(), clock_ns=(0, 1))], "not the conductor's"),
        ([HistoryPart(with_scrape(), clock_ns=(-1, -1))], "not the conductor's"),
    ],
    ids=["machine", "campaign", "bounds", "host", "hosts", "reading", "scrape"],
)
def test_parts_that_contradict_each_other_are_refused(parts: list[HistoryPart], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        merge_histories(parts)


def test_merging_leaves_the_parts_as_they_were() -> None:
    parts = split(anything(3), [range(4), range(4, 9)], [exact(5), exact(7)])
    before = [
        (part.history.rows().tobytes(), repr({name: getattr(part.history, name) for name in TABLES})) for part in parts
    ]
    merge_histories(parts)
    after = [
        (part.history.rows().tobytes(), repr({name: getattr(part.history, name) for name in TABLES})) for part in parts
    ]
    assert after == before


def made_up(kind: Any) -> Any:
    """Return a value of a side table's record, with every time a thousand after the start."""
    record = msgspec.inspect.type_info(kind)
    assert isinstance(record, msgspec.inspect.StructType)
    plain: dict[type, Any] = {
        msgspec.inspect.IntType: 1000,
        msgspec.inspect.FloatType: 1.0,
        msgspec.inspect.StrType: "said",
        msgspec.inspect.BytesType: b"sent",
        msgspec.inspect.BoolType: True,
        msgspec.inspect.VarTupleType: (),
        msgspec.inspect.DictType: {},
        msgspec.inspect.UnionType: None,
    }
    return kind(**{one.name: plain[type(one.type)] for one in record.fields if one.required})


DURATIONS = {"life_ns", "loop_lag_ns", "interval_ns", "shortest_rest_ns", "longest_rest_ns", "waited_ns"}
DURATIONS |= {"clock_low_ns", "clock_high_ns", "refused_for_ns"}
UNIX_TIMES = {"unix_ns"}
"""What this machine's wall clock showed: no time of the run, and so never moved."""


@pytest.mark.parametrize("name", sorted(TABLES.keys() - ADDED_UP))
def test_every_time_of_every_side_table_becomes_one_of_the_run(name: str) -> None:
    """One that is added to the history later too: its fields say by their names what they are."""
    (kind,) = TABLES[name].__args__
    history, one = History(), made_up(kind)
    getattr(history, name).append(one)
    bounds = (0, 0) if name in OBSERVED else (-7, 20)
    merged = merge_histories([HistoryPart(history, machine_base=5, shift_ns=100, clock_ns=bounds)])
    (moved,) = getattr(merged, name)
    for field in kind.__struct_fields__:
        before, after = getattr(one, field), getattr(moved, field)
        if field.endswith("_ns") and field not in DURATIONS | UNIX_TIMES:
            assert after - before in {100 + bounds[0], 100 + bounds[1]}, field
        elif field == "machine":
            assert after == before + 5
        elif field != "consent":
            assert after == before, field


def test_nothing_merges_to_nothing() -> None:
    assert len(merge_histories([])) == 0
