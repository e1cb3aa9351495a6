"""A trace of a real run on real servers: re-signed with the same verdicts, verbatim with each signed one refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from haralyzer import HarParser

from simulator.traces.format import Trace, read_trace
from simulator.traces.recording import TRACE
from simulator.traces.resign import recorded_bytes
from tests.cli.conftest import Hatchfarm, serve_until_stopped, until_conclusive
from tests.traces.recorded import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.forked import Finished

ATTACKS = (
    "replay.exact",
    "credential.wrong-token",
    "signature.forged",
    "certificate.rotated-out",
    "skew.ahead",
    "skew.behind",
)
SCENARIO = """\
version = 1
name = "taped"
seed = 9
duration = "2500ms"
metrics_interval = "500ms"
[server.settings]
RATE_LIMIT_BURST = 1000
[fleet]
machines = 12
owners = 2
heartbeat_interval = "600ms"
stages = [{ duration = "200ms", target = 12 }]
[[fleet.clocks]]
share = 0.25
offset = "-60s"
"""
ATTACK = '[[attacks]]\nname = "{}"\nstart = "900ms"\nduration = "1500ms"\nrate = 8\nshare = 0.5\n'
TOKEN = "owner-token-of-the-traces"
NEAR = 4


@pytest.fixture(scope="module")
def hatchfarm(tmp_path_factory: pytest.TempPathFactory) -> Hatchfarm:
    folder = tmp_path_factory.mktemp("traces")
    scenario = SCENARIO + "".join(map(ATTACK.format, ATTACKS))
    (folder / "taped.toml").write_text(scenario, encoding="utf-8")
    (folder / "honest.toml").write_text(SCENARIO.replace("taped", "honest"), encoding="utf-8")
    return Hatchfarm(folder)


def latest(scenario: str = "taped") -> Path:
    return Path("results") / scenario / "latest" / TRACE


@pytest.fixture(scope="module")
def recorded(hatchfarm: Hatchfarm) -> Finished:
    """One run, recorded with its secrets so that the tests know them."""
    done = until_conclusive(lambda: hatchfarm.run("run", "taped.toml", "--record", "--with-secrets"))
    assert done.code == 0, done
    return done


@pytest.fixture(scope="module")
def open_trace(recorded: Finished, hatchfarm: Hatchfarm) -> Trace:
    del recorded
    return read_trace(hatchfarm.folder / latest())


@pytest.fixture(scope="module")
def redacted(recorded: Finished, hatchfarm: Hatchfarm) -> Path:
    del recorded
    assert hatchfarm.run("trace", "redact", latest(), "-o", "redacted.ndjson").code == 0
    return hatchfarm.folder / "redacted.ndjson"


def checkers(verdict: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in verdict["checkers"]}


def test_a_run_says_where_its_trace_is_and_warns_of_the_secrets_in_it(recorded: Finished, open_trace: Trace) -> None:
    output = next(line for line in recorded.lines if line.startswith("Trace: results/taped/"))
    assert output.endswith(f"{TRACE}, {open_trace.header.exchanges} exchanges")
    assert "The trace holds tokens in clear: whoever reads it can act as the fleet's owners" in recorded.lines


def test_the_trace_holds_every_request_of_the_run(hatchfarm: Hatchfarm, open_trace: Trace) -> None:
    """The history does not count the owners' policies, which come before it."""
    policies = sum(
        one.operation.startswith("policy_") and one.operation != "policy_fetch" for one in open_trace.exchanges
    )
    verdict = hatchfarm.verdict(scenario="taped")
    assert policies == 4
    assert open_trace.header.exchanges - policies == verdict["requests"]["total"]
    attacks = [one.attack for one in open_trace.exchanges if one.attack]
    assert len(attacks) == verdict["requests"]["attacks"]
    assert set(attacks) == set(ATTACKS)


def test_re_signed_on_a_fresh_server_every_exchange_gets_the_recorded_answer(
    hatchfarm: Hatchfarm, redacted: Path
) -> None:
    done = until_conclusive(lambda: hatchfarm.run("replay", redacted.name))
    assert done.code == 0, done
    judged = checkers(hatchfarm.verdict(scenario="taped-replay"))
    groups = [judged[f"replay of {name}"] for name in ("honest traffic", *ATTACKS)]
    assert [one["figures"]["as_recorded"] for one in groups] == [one["figures"]["exchanges"] for one in groups]
    assert sum(one["figures"]["exchanges"] for one in groups) == read_trace(redacted).header.exchanges
    assert judged["replay of replay.exact"]["figures"]["replayed"].keys() == {"nonce_replayed"}
    assert judged["reasons"]["figures"]["counted"] == judged["reasons"]["figures"]["replayed"]
    assert sum(judged["reasons"]["figures"]["replayed"].values()) >= 6 * 8
    assert any(line.split()[:1] == ["replay.exact"] for line in done.lines)
    digest = next(line for line in done.lines if line.startswith("Bundle: ")).split()[1]
    verified = hatchfarm.invoke("verify", "latest", "--digest", digest)
    assert (verified.code, verified.err) == (0, ""), verified
    assert hatchfarm.invoke("report", "latest").code == 0


def test_verbatim_on_a_fresh_server_every_signed_request_is_refused(hatchfarm: Hatchfarm, recorded: Finished) -> None:
    del recorded
    done = until_conclusive(lambda: hatchfarm.run("replay", latest(), "--verbatim"))
    assert done.code == 0, done
    signed = checkers(hatchfarm.verdict(scenario="taped-replay"))["signed requests refused"]
    assert (signed["status"], signed["figures"]["accepted"]) == ("pass", 0)
    assert signed["figures"]["refused"] == signed["figures"]["signed"] > 100


def test_verbatim_on_the_very_server_nothing_counts_twice_and_lasting_signatures_are_named(
    hatchfarm: Hatchfarm,
) -> None:
    """Here the tokens are right and the timestamps still good: only its memory of nonces refuses the heartbeats."""
    with serve_until_stopped({"HATCHFARM_API_TOKEN": TOKEN, "RATE_LIMIT_BURST": "1000"}) as (_, url):
        record = ("--record", "--with-secrets", "--no-reports")
        flags = ("--target", url, "--token", TOKEN, "--profile", "hardened")
        run = until_conclusive(lambda: hatchfarm.run("run", "honest.toml", *record, *flags))
        assert run.code == 0, run
        trace = latest("honest")
        verbatim = until_conclusive(lambda: hatchfarm.run("replay", trace, "--verbatim", *flags))
        assert verbatim.code == 0, verbatim
        figures = checkers(hatchfarm.verdict(scenario="honest-replay"))["signed requests refused"]["figures"]
        policies_and_consents = 2 + 12
        assert (figures["accepted"], figures["weakness.lasting-owner-signature"]) == (0, policies_and_consents)
        assert figures["refused"] == figures["signed"] - policies_and_consents > 20
        # And re-signed on a server that has seen the trace before, its owners are new ones.
        again = until_conclusive(lambda: hatchfarm.run("replay", trace, *flags))
        assert again.code == 0, again


def test_a_server_that_accepts_what_it_must_refuse_fails_the_replay(hatchfarm: Hatchfarm, redacted: Path) -> None:
    """No server here is that wrong; one that expects an attack to be accepted is as good as one."""
    lines = redacted.read_text(encoding="utf-8").splitlines(keepends=True)
    wrong = [line.replace('"expected":"nonce_replayed"', '"expected":"accepted"') for line in lines]
    (hatchfarm.folder / "wrong.ndjson").write_text("".join(wrong), encoding="utf-8")
    done = until_conclusive(lambda: hatchfarm.run("replay", "wrong.ndjson"))
    assert done.code == 1, done
    judged = checkers(hatchfarm.verdict(scenario="taped-replay"))
    assert judged["replay of replay.exact"]["status"] == "fail"
    assert judged["replay of skew.ahead"]["status"] == "pass"


def texts_of(folder: Path, trace: Trace) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.read_bytes().decode("latin-1")
    yield from (recorded_bytes(exchange).decode("latin-1") for exchange in trace.exchanges)


def test_no_secret_and_no_near_miss_is_in_what_a_recorded_run_leaves(
    hatchfarm: Hatchfarm, redacted: Path, open_trace: Trace, tmp_path: Path
) -> None:
    (tmp_path / TRACE).write_bytes(redacted.read_bytes())
    har = hatchfarm.run("trace", "export", redacted.name, "--har", tmp_path / "t.har")
    assert har.code == 0, har
    assert (
        len(HarParser(json.loads((tmp_path / "t.har").read_bytes())).har_data["entries"]) == open_trace.header.exchanges
    )
    secrets = open_trace.header.secrets.values()
    assert len(secrets) == 13
    wrong = [one for one in open_trace.exchanges if one.attack == "credential.wrong-token"]
    near = [one for one in wrong if min(nearest(recorded_bytes(one).decode(), secret) for secret in secrets) == 1]
    assert near, "the run must have made near misses for this to prove anything"
    run = (hatchfarm.folder / latest()).resolve().parent
    bundle = [path.read_bytes().decode("latin-1") for path in run.rglob("*") if path.is_file() and path.name != TRACE]
    for text in [*texts_of(tmp_path, read_trace(redacted)), *bundle]:
        assert _nearest(text, secrets) > NEAR


def _nearest(text: str, secrets: Any) -> int:
    """Return how near a text comes to any secret: only where it shares a twelfth of one, or four errors are not all."""
    found = 99
    for secret in secrets:
        step = len(secret) // (NEAR + 1)
        for at in range(0, len(secret) - step + 1, step):
            start = text.find(secret[at : at + step])
            while start >= 0:
                begin = max(0, start - at)
                found = min(found, nearest(text[begin : begin + len(secret)], secret))
                start = text.find(secret[at : at + step], start + 1)
    return found
