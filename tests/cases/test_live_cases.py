"""The inputs that only a run shows, as a user runs them: what it ends with, and what it says.

Each live row takes as long as its scenario. One of a kind is played in every run of the tests, all of them with
HATCHFARM_TESTS_SOAK=1.
What other tests prove without the minutes: targets that hang, `tests/broken_targets/test_targets_that_stop.py`; targets
that lack what the contract adds, `tests/published`; base paths and shared addresses,
`tests/cli/test_runs_through_gateways.py`; the arithmetic of slow answers, `tests/checkers/test_slow_servers.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from simulator.bundle.verify import read_bundle
from simulator.checkers.verdict import Status
from simulator.contract.profiles import Profile
from simulator.judging.judging import judge_run
from tests.cases.behind import INPUTS, TOKEN, behind
from tests.cli.conftest import Hatchfarm, until_conclusive
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from tests.support.forked import Finished

PASS, FAIL, UNUSABLE, INCONCLUSIVE = 0, 1, 2, 3
APART = "transparent=1"
"""What makes `proxy.py` speak to the server from the address that it was spoken to from."""


class Mode(NamedTuple):
    """One mode of `faulty.py`: a scenario that meets it, the code of a run by the published profile, and what it says.

    `lacks` are the rules that are advisories by that profile, and failures by the hardened one.
    """

    scenario: str
    code: int
    says: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


HANGING = ("/health still answered 200 on a fresh connection", "nothing was answered to the end")
MODES = {
    "hang-on-policy": Mode("healthy-20.toml", FAIL, (*HANGING, "the first without an answer was a policy create")),
    "hang-after-bogus": Mode(
        "bogus-long.toml",
        FAIL,
        (
            *HANGING,
            "policy-fetch.bogus, sent at",
            "FAILED attacks: 1 claim of attacks did not hold; policy-fetch.bogus",
        ),
    ),
    # The contract asks for the owner's id there itself (§3), so nothing is otherwise.
    "owner-required": Mode("healthy-20.toml", PASS),
    "plain-404": Mode("no-auth.toml", PASS, lacks=("checker/features.json-404",)),
    "no-v1": Mode("no-auth.toml", PASS, lacks=("checker/features.v1",)),
    # Besides the chain, what the mode writes in place of the server's answer lacks two headers.
    "no-chain": Mode(
        "healthy-20.toml",
        PASS,
        lacks=("checker/contents.request-id", "checker/contents.vary", "checker/features.chain"),
    ),
}
SAMPLE = """
version = 1
name = "sample"
duration = "3s"
metrics_interval = "500ms"
[fleet]
machines = 4
owners = 2
heartbeat_interval = "500ms"
stages = [{ duration = "300ms", target = 4 }]
"""


class Run(NamedTuple):
    """A scenario against the run's own server, or behind `proxy.py` in some mode with some settings of the server."""

    file: str
    codes: tuple[int, ...]
    says: tuple[str, ...] = ()
    proxy: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    path: str = ""
    unknown: str = ""
    """The checker that cannot know by the hardened contract what is an advisory by the published one."""


PROXIES = ("tcp", "close", "http10", "http10ka", "chunked", "nginx", "early", "nospace", "plain")
LARGER = (("RATE_LIMIT_BURST", "100"), ("RATE_LIMIT_REFILL_PER_SECOND", "20"), ("HTTP_HEADER_TIMEOUT_SECONDS", "20"))
UP_LATE = "beware: fleet.machines: the run ends before all are up"
RUNS = (
    Run("attack_past.toml", (INCONCLUSIVE,), (UP_LATE, "replay.exact: no victim was ever ready for it")),
    Run("bogus-long.toml", (PASS,)),
    Run("bom.toml", (PASS,), (UP_LATE,)),
    Run("burst.toml", (PASS,)),
    # Settings that nobody told: what the target lets through more than the scenario says proves nothing.
    Run("burst.toml", (PASS,), ("if the server tells addresses apart",), ("tcp", APART), LARGER, unknown="limits"),
    Run("co.toml", (PASS,)),
    Run("cond.toml", (PASS,)),
    Run("desc_uni.toml", (PASS,), ("Prüfung … ünïcode 日本 🦀",)),
    Run("healthy-20.toml", (PASS,)),
    Run("lim.toml", (PASS,)),
    Run("lim.toml", (PASS,), ("all machines share one address",), ("tcp",)),
    Run("no-auth.toml", (PASS,)),
    Run("ok.toml", (PASS,), (UP_LATE,)),
    Run("pipeline.toml", (PASS,)),
    Run("race.toml", (PASS,)),
    Run("silence_past.toml", (PASS,), ("beware: fleet.silence[0]: the run ends before it does",)),
    # The alert fires as it must, which its own threshold forbids; a target's own 60 s are longer than the silence.
    Run("silent-small.toml", (FAIL,), ("alerts.stale_workers.fired was 1, wanted count==0",)),
    Run("silent-small.toml", (PASS,), ("the target calls workers stale after 60s",), ("tcp", APART)),
    Run("stage_trunc.toml", (PASS,), ("beware: fleet.stages[0]: the run ends before it does",)),
    Run("thr22.toml", (UNUSABLE,)),
    Run("thr_empty.toml", (UNUSABLE,)),
    *(Run("tgt.toml", (PASS,), (), (mode, APART)) for mode in PROXIES),
    Run("tgt.toml", (PASS,), (), ("plain", "prefix=/farm", APART), (), "/farm"),
)


def run(hatchfarm: Hatchfarm, scenario: str, *arguments: str) -> Finished:
    return hatchfarm.invoke("run", scenario, "--no-reports", *arguments, env={"HATCHFARM_API_TOKEN": TOKEN})


@pytest.mark.parametrize("mode", [one for one in MODES if SOAK or one == "no-chain"])
def test_a_mode_of_the_faulty_server_is_judged_by_both_profiles(hatchfarm: Hatchfarm, mode: str) -> None:
    wanted = MODES[mode]
    path = hatchfarm.folder / "scenario.toml"
    path.write_bytes((INPUTS / wanted.scenario).read_bytes() if SOAK else SAMPLE.encode())

    def once() -> Finished:
        with behind("faulty.py.txt", mode) as url:
            return run(hatchfarm, str(path), "--target", url, "--own-addresses")

    done = until_conclusive(once)
    assert done.code == wanted.code, done.out
    for words in wanted.says:
        assert words in done.out
    record, history = _left_of(hatchfarm)
    published = judge_run(record, history)
    assert record.profile is Profile.PUBLISHED
    assert {one.rule for one in published.advisories} == set(wanted.lacks)
    hardened = judge_run(msgspec.structs.replace(record, profile=Profile.HARDENED), history)
    assert hardened.status is (Status.FAIL if wanted.lacks else published.status)
    if wanted.code == PASS:
        failed = {f"checker/{one.rule}" for checker in hardened.checkers for one in checker.findings}
        assert failed == set(wanted.lacks)
    if mode == "hang-after-bogus":
        (attack,) = published.attacks
        assert attack.status is Status.FAIL


def _left_of(hatchfarm: Hatchfarm) -> tuple[RunRecord, History]:
    """Return what the last run was, and its history."""
    (bundle,) = (one.parent for one in sorted(hatchfarm.folder.glob("results/*/*/verdict.json"))[-1:])
    return read_bundle(bundle)


@pytest.mark.parametrize(
    "wanted",
    [one for one in RUNS if SOAK or UNUSABLE in one.codes],
    ids=lambda one: "-".join((one.file, *one.proxy)),
)
def test_a_scenario_ends_as_it_must(hatchfarm: Hatchfarm, wanted: Run) -> None:
    path = str(INPUTS / wanted.file)

    def once() -> Finished:
        if not wanted.proxy:
            return run(hatchfarm, path)
        with behind("proxy.py.txt", *wanted.proxy, settings=dict(wanted.settings)) as url:
            return run(hatchfarm, path, "--target", url + wanted.path)

    done = once() if INCONCLUSIVE in wanted.codes else until_conclusive(once)
    assert done.code in wanted.codes, done.out + done.err
    for words in wanted.says:
        assert words in done.out + done.err
    if wanted.unknown:
        record, history = _left_of(hatchfarm)
        hardened = judge_run(msgspec.structs.replace(record, profile=Profile.HARDENED), history)
        assert [one.name for one in hardened.checkers if one.status is Status.INCONCLUSIVE] == [wanted.unknown]


class Replay(NamedTuple):
    """A HAR played again against the reference server: exit code, and what is said of the honest traffic."""

    code: int
    says: str
    sampled: bool = False


UNKNOWN_SECRET = "is not known: no answer has given it out"
REPLAYS = {
    "b64resp_bad.har": Replay(PASS, "1 of 1 as recorded."),
    "cdn.har": Replay(PASS, "1 of 1 as recorded."),
    "dataurl.har": Replay(PASS, "1 of 1 as recorded."),
    "ext.har": Replay(PASS, "1 of 1 as recorded."),
    "har-refused-heartbeat.har": Replay(PASS, "12 of 12 as recorded."),
    "hdr_null.har": Replay(PASS, "1 of 1 as recorded."),
    "localhost_mix.har": Replay(PASS, "2 of 2 as recorded."),
    "noresp.har": Replay(PASS, "1 of 2 as recorded; 1 right this time, or unknown then.", sampled=True),
    # A redacted trace has no token that no registration of it was let in with.
    "port80.har": Replay(INCONCLUSIVE, UNKNOWN_SECRET),
    "sec_one.har": Replay(INCONCLUSIVE, UNKNOWN_SECRET),
    "status_neg.har": Replay(INCONCLUSIVE, UNKNOWN_SECRET),
    "status_null.har": Replay(PASS, "1 of 2 as recorded; 1 right this time, or unknown then."),
    "tz_nocolon.har": Replay(PASS, "1 of 1 as recorded."),
    "ws.har": Replay(PASS, "1 of 1 as recorded."),
}


@pytest.mark.parametrize("name", [one for one, wanted in REPLAYS.items() if SOAK or wanted.sampled])
def test_a_replay_of_a_har_accuses_no_right_server(hatchfarm: Hatchfarm, name: str) -> None:
    assert hatchfarm.invoke("trace", "import", str(INPUTS / name), "-o", "x.ndjson").code == 0
    done = hatchfarm.invoke("replay", "x.ndjson")
    assert done.code == REPLAYS[name].code, done.out
    assert REPLAYS[name].says in done.out
