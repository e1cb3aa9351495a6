"""A target of other settings than assumed is no wrong server, and a wrong server fits no settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.checkers import run_checkers
from simulator.checkers.facts import SHARED, UNKNOWN
from simulator.checkers.fitting import FIELDS, WORDS, Fit, interval
from simulator.checkers.limits import LARGER, SMALLER
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.client.aim import JUDGED_SETTINGS
from simulator.contract.answers import Answer, Operation
from simulator.contract.profiles import Profile
from simulator.history.records import CampaignRecord, ClaimRecord
from simulator.judging.advisories import judge_by
from tests.checkers.audited_world import AuditedWorld

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History
    from tests.checkers.conftest import ModelServer, Story

ALL = tuple(JUDGED_SETTINGS)


def verdict_of(name: str, history: History, facts: Facts, *unsure: str) -> Verdict:
    """Judge as of a target whose settings are unsure, all unless said."""
    facts = msgspec.structs.replace(facts, unsure_settings=unsure or ALL)
    return next(one for one in run_checkers(history, facts) if one.name == name)


def test_every_setting_that_is_judged_by_can_be_fitted() -> None:
    assert set(FIELDS) == set(WORDS) == set(ALL)


# --- alerts


def shown_by(model_server: type[ModelServer], story: Story, **settings: Any) -> None:
    """Play two machines, one that falls silent, and attacks, on a right server of these settings."""
    server = model_server(msgspec.structs.replace(story.facts, **settings))
    moments: list[tuple[float, str, int]] = [(0.1, "register", 0), (0.2, "register", 1)]
    moments += [(1.0 + number, "beat", 0) for number in range(88)]
    moments += [(1.5 + number, "beat", 1) for number in range(10)]
    moments += [(20.25 + number / 2, "attack", 0) for number in range(10)]
    moments += [(30.8 + number, "scrape", 0) for number in range(-30, 58)]
    for at, what, machine in sorted(moments):
        effect_ns = round((at + 0.005) * SECOND_NS)
        match what:
            case "register":
                story.register(machine, at)
                server.register(machine)
            case "beat":
                story.heartbeat(machine, at)
                server.accept(machine, effect_ns)
            case "attack":
                story.attack(machine, at, Answer.NONCE_REPLAYED)
                server.refuse(machine, Answer.NONCE_REPLAYED, effect_ns)
            case _:
                story.scrape(at, extra=server.page(effect_ns))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"auth_window_seconds": 15.0}, ["a window of 15 s", "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS=15"]),
        ({"auth_window_seconds": 30.0}, ["WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS=30"]),
        ({"auth_threshold": 7}, ["a threshold of ", "WORKER_AUTH_FAIL_ALERT_THRESHOLD="]),
        ({"stale_seconds": 25.0}, ["a staleness of 25 s", "WORKER_STATUS_STALE_SECONDS=25"]),
        ({"auth_window_seconds": 15.0, "stale_seconds": 25.0}, ["a window of 15 s", "a staleness of 25 s"]),
    ],
)
def test_a_server_of_another_setting_is_told_by_what_it_shows(
    model_server: type[ModelServer], story: Story, settings: dict[str, Any], says: list[str]
) -> None:
    shown_by(model_server, story, **settings)
    assert story.alerts().status is Status.FAIL
    found = verdict_of("alerts", story.history, story.facts)
    assert found.status is Status.INCONCLUSIVE
    assert all(text in found.summary for text in says), found.summary
    assert found.figures["errors"] == 0
    assert [finding.rule for finding in found.findings] == ["alerts.settings"]


def test_settings_that_are_certain_are_judged_by(model_server: type[ModelServer], story: Story) -> None:
    """A run's own server, `--strict-settings`, and a staleness that the target shows."""
    shown_by(model_server, story, stale_seconds=25.0)
    verdicts = run_checkers(story.history, story.facts)
    assert next(one for one in verdicts if one.name == "alerts").status is Status.FAIL
    others = [name for name in ALL if name != "WORKER_STATUS_STALE_SECONDS"]
    assert verdict_of("alerts", story.history, story.facts, *others).status is Status.FAIL


@pytest.mark.parametrize("fault", ["never on", "always on", "one too many", "forgets at once"])
def test_a_server_that_is_wrong_fits_no_setting(model_server: type[ModelServer], story: Story, fault: str) -> None:
    shown_by(model_server, story)
    assert story.alerts().status is Status.PASS
    gauge, recent = "hatchfarm_alert_worker_auth_failures", "hatchfarm_worker_auth_failures_recent"
    for index, scrape in enumerate(story.history.scrapes):
        samples = dict(scrape.samples)
        match fault:
            case "never on" | "always on":
                samples[gauge] = float(fault == "always on")
            case "one too many":
                samples[recent] += 1
                samples[gauge] = float(samples[recent] >= 3)
            case _:
                samples[recent] = samples[gauge] = 0.0
        story.history.scrapes[index] = msgspec.structs.replace(scrape, samples=samples)
    assert story.alerts().status is Status.FAIL
    assert verdict_of("alerts", story.history, story.facts).status is Status.FAIL


def test_what_is_never_forgotten_within_a_run_fits_the_contracts_own_window(
    model_server: type[ModelServer], story: Story
) -> None:
    """As of a server that nobody has given the scenario's window; of one that is known to have it, it is proven."""
    shown_by(model_server, story)
    gauge, recent = "hatchfarm_alert_worker_auth_failures", "hatchfarm_worker_auth_failures_recent"
    most = 0.0
    for index, scrape in enumerate(story.history.scrapes):
        most = max(most, scrape.samples[recent])
        samples = {**scrape.samples, recent: most, gauge: float(most >= 3)}
        story.history.scrapes[index] = msgspec.structs.replace(scrape, samples=samples)
    found = verdict_of("alerts", story.history, story.facts)
    assert (found.status, "a window of 300 s" in found.summary) == (Status.INCONCLUSIVE, True)
    assert story.alerts().status is Status.FAIL


def test_another_fault_beside_another_setting_is_still_proven(model_server: type[ModelServer], story: Story) -> None:
    shown_by(model_server, story, auth_window_seconds=15.0)
    last = story.history.scrapes[-1]
    wrong = {**last.samples, "hatchfarm_workers_total": 7.0}
    story.history.scrapes[-1] = msgspec.structs.replace(last, samples=wrong)
    assert verdict_of("alerts", story.history, story.facts).status is Status.FAIL


# --- rate limits


@pytest.fixture
def limited(new_story: type[Story]) -> Story:
    """A target with the contract's limit, as far as is known."""
    return new_story(rate_limit_refill_per_second=5.0, rate_limit_burst=20)


def asked(story: Story, burst: int, *, at: float, source: int, count: int = 60, limit: bool = True) -> None:
    """Ask so many times in a row, of which a bucket of its own lets a burst through."""
    for number in range(count):
        refused = limit and number >= burst
        story.request(
            Operation.OTHER, -1, at + number / 1000, Answer.RATE_LIMITED if refused else Answer.ACCEPTED,
            expected=Answer.WITHIN_LIMIT, took=0.0005, campaign=1, status=429 if refused else 200, source=source,
        )  # fmt: skip


def claimed(story: Story, rule: str, evidence: dict[str, int]) -> None:
    story.history.campaigns.append(CampaignRecord(1, "limit.burst", scripted=True, attempts=1, completed=1))
    story.history.claims.append(ClaimRecord(1, 1, rule, held=False, message="they were", evidence=evidence))


@pytest.mark.parametrize("burst", [5, 40])
def test_a_bucket_of_another_size_is_told_by_what_it_let_through(limited: Story, burst: int) -> None:
    asked(limited, burst, at=5, source=100)
    asked(limited, burst, at=9, source=200)
    served = {"served": burst, "first_sent_ns": 5 * SECOND_NS, "last_answered_ns": 5_100_000_000}
    rule, more = ("never-more", {"allowed": 21}) if burst > 20 else ("never-fewer", {"due": 20})
    claimed(limited, rule, served | more)
    for name in ("attacks", *(["limits"] if burst > 20 else [])):
        found = verdict_of(name, limited.history, limited.facts)
        assert found.status is Status.INCONCLUSIVE, found.summary
        assert f"RATE_LIMIT_BURST={burst}" in found.summary
        strict = next(one for one in run_checkers(limited.history, limited.facts) if one.name == name)
        assert strict.status is Status.FAIL


@pytest.mark.parametrize("burst", [5, 40])
def test_another_bucket_is_an_advisory_where_no_bucket_is_asked_for(limited: Story, burst: int) -> None:
    """The published API limits rates, and does not say at what: what the fit explains counts for nobody there."""
    asked(limited, burst, at=5, source=100)
    asked(limited, burst, at=9, source=200)
    if burst < 20:  # who asks at a limit says so itself; here it is the fleet that was refused
        for at in (20, 25, 30):
            for number in range(burst + 1):
                refused = number >= burst
                limited.heartbeat(
                    1, at + number / 1000, Answer.RATE_LIMITED if refused else Answer.ACCEPTED, took=0.0005,
                    status=429 if refused else 200, source=300,
                )  # fmt: skip
    found = verdict_of("limits", limited.history, limited.facts)
    assert found.status is Status.INCONCLUSIVE, found.summary
    rule = "limits.too-few" if burst < 20 else "limits.too-many"
    assert {one["rule"] for one in found.findings[0].evidence["doubts"]} == {rule}
    published, hardened = (judge_by(profile, [found], {1: "limit.burst"}, ()) for profile in Profile)
    assert [one.status for one in published.checkers] == [Status.PASS]
    assert [(one.finding, one.message) for one in published.advisories] == [
        ("limits.settings", found.findings[0].message)
    ]
    assert (hardened.checkers, hardened.advisories) == ([found], [])


def test_another_setting_that_explains_what_is_asked_for_stays_in_doubt() -> None:
    """One rule of the published API among those that it explains is enough."""
    doubts = [{"rule": "audit.chain"}, {"rule": "audit.missing-refusal"}]
    verdicts = [
        Verdict("audit", Status.INCONCLUSIVE, "so", (Finding("audit.settings", "fits", 0, {"doubts": some}),))
        for some in (doubts, doubts[:1])
    ]
    judged = [judge_by(Profile.PUBLISHED, [one], {}, ()) for one in verdicts]
    assert [one.checkers[0].status for one in judged] == [Status.INCONCLUSIVE, Status.PASS]


def test_a_server_that_refuses_nobody_fits_no_bucket(limited: Story) -> None:
    asked(limited, 0, at=5, source=100, limit=False)
    assert verdict_of("limits", limited.history, limited.facts).status is Status.FAIL


def test_two_bursts_of_two_sizes_fit_no_bucket(limited: Story) -> None:
    asked(limited, 40, at=5, source=100)
    asked(limited, 25, at=9, source=200)
    assert verdict_of("limits", limited.history, limited.facts).status is Status.FAIL


def test_where_addresses_may_be_a_proxys_no_excess_is_proven(limited: Story) -> None:
    """Of several addresses that a proxy has, each has its bucket."""
    asked(limited, 40, at=5, source=-1)
    claimed(limited, "never-more", {"served": 40, "allowed": 21})
    unknown = msgspec.structs.replace(limited.facts, addresses=UNKNOWN)
    verdicts = {one.name: one for one in run_checkers(limited.history, unknown)}
    assert verdicts["limits"].status is Status.INCONCLUSIVE
    assert "--shared-address" in verdicts["limits"].summary
    assert verdicts["attacks"].status is not Status.FAIL
    shared = msgspec.structs.replace(limited.facts, addresses=SHARED)
    stated = {one.name: one.status for one in run_checkers(limited.history, shared)}
    assert (stated["limits"], stated["attacks"]) == (Status.FAIL, Status.FAIL)


# --- audit


def trimmed(*owners: str, kept: int = 8) -> AuditedWorld:
    """Make a right server that keeps fewer events than is assumed of it, and fill its owners' streams."""
    world = AuditedWorld(audit_events_per_stream=kept)
    for number, owner in enumerate(owners):
        machine = world.machine(world.owner(owner), number)
        for _ in range(12):
            world.beat(machine)
    world.read_all()
    world.facts = msgspec.structs.replace(world.facts, audit_events_per_stream=5000)
    assert world.rules() == {"evicted"}
    return world


def test_streams_that_are_all_as_long_tell_how_long_they_may_be() -> None:
    world = trimmed("ada", "ben")
    found = verdict_of("audit", world.history, world.facts)
    assert found.status is Status.INCONCLUSIVE
    assert "streams of 8 events" in found.summary
    assert verdict_of("audit", world.history, world.facts, "RATE_LIMIT_BURST").status is Status.FAIL


def test_one_stream_alone_may_have_lost_its_beginning_in_any_way() -> None:
    world = trimmed("ada")
    assert verdict_of("audit", world.history, world.facts).status is Status.FAIL


def test_streams_of_several_lengths_fit_no_bound() -> None:
    """As of a server that has lost one tenant's events to others."""
    world = trimmed("ada", "ben")
    for index, one in enumerate(world.history.audit_readings):
        if one.owner_id == "ada":
            routine = [event for event in one.events if event["type"] == "worker_heartbeat"]
            kept = [event for event in one.events if event not in routine[:2]]
            fewer = msgspec.structs.replace(one, events=kept, total=one.total - 2)
            world.history.audit_readings[index] = fewer
    assert world.rules() == {"evicted"}
    assert verdict_of("audit", world.history, world.facts).status is Status.FAIL


# --- which numbers fit


@given(st.integers(2, 5000), st.integers(0, 5000), st.integers(1, 10_000))
def test_the_numbers_that_fit_are_found_whole(low: int, width: int, most: int) -> None:
    def doubts(value: int) -> set[str]:
        return {LARGER} if value < low else {SMALLER} if value > low + width else set()

    found = interval(doubts, most)
    if low + width < most:
        assert found == (low, low + width)
    else:
        assert found is None  # nothing bounds it


def test_what_contradicts_itself_fits_nothing() -> None:
    assert interval(lambda _: {LARGER, SMALLER}, 100) is None
    assert interval(lambda value: {LARGER} if value < 50 else {SMALLER}, 100) is None
    assert interval(lambda _: set(), 100) is None


@pytest.mark.parametrize(
    ("low", "high", "value"), [(15, 15, 15), (14, 16, 15), (55, 65, 60), (290, 310, 300), (7, 8, 8), (3, 3, 3)]
)
def test_of_several_values_the_roundest_is_named(low: int, high: int, value: int) -> None:
    assert Fit("RATE_LIMIT_BURST", low, high).value == value
