"""A run whose own servers speak TLS trusts their certificate and no other, and strains what speaks HTTP/2."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography import x509
from rich.console import Console

from simulator.attacks import strain, strain_http2
from simulator.checkers.verdict import Status
from simulator.client.access import Access
from simulator.client.connection import ControlConnection, LostError
from simulator.client.raw import speaks_http2
from simulator.client.target import parse_target
from simulator.deployment.certificate import make_certificate
from simulator.deployment.own import Deployment, own_deployment
from simulator.deployment.server_process import own_server
from simulator.judging.judging import judge_run
from simulator.load.messages import Begin, Order
from simulator.load.shard_process import ShardProcess
from simulator.running.run import RunRequest, observe
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import Scenario, ServerOptions
from tests.simulator.conftest import API_TOKEN

if TYPE_CHECKING:
    from simulator.client.target import Target

NOW = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC)
TEXT = 'version = 1\nname = "s"\nduration = "5s"\n[fleet]\nmachines = 1\nowners = 1\n'


def today() -> dt.datetime:
    """Return the day by the clock of this machine, to which TLS holds a certificate."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - as OpenSSL reads it


async def health(target: Target) -> int:
    async with ControlConnection(target, None) as connection:
        return (await connection.request("GET", "/health", {}, rooted=True)).status


def test_a_certificate_is_for_loopback_alone_and_its_files_for_nobody_else(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, NOW)
    certificate = x509.load_pem_x509_certificate(made.pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc < NOW - dt.timedelta(days=7)
    assert certificate.not_valid_after_utc > NOW + dt.timedelta(days=7)
    files = [Path(made.settings[name]) for name in ("TLS_CERT_FILE", "TLS_KEY_FILE")]
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert files[0].read_text("ascii") == made.pem
    assert "PRIVATE KEY" not in made.pem


async def test_a_server_is_trusted_by_its_own_certificate_alone_and_keeps_it_over_a_restart(tmp_path: Path) -> None:
    other = make_certificate(tmp_path, today())
    async with own_deployment(ServerOptions(tls=True), API_TOKEN, (), today()) as deployment:
        url = deployment.server.url
        assert url.startswith("https://127.0.0.1:")
        trusting = Access(trusted=deployment.trusted)
        target = parse_target(url, API_TOKEN, trusting)
        assert await health(target) == 200
        assert await health(parse_target(url.replace("127.0.0.1", "localhost"), API_TOKEN, trusting)) == 200
        assert await speaks_http2(target)
        for trusted in ("", other.pem):
            with pytest.raises(LostError, match="certificate is not trusted"):
                await health(parse_target(url, API_TOKEN, Access(trusted=trusted)))
        async with own_server(other.settings, API_TOKEN) as stranger:
            with pytest.raises(LostError, match="certificate is not trusted"):
                await health(parse_target(stranger.url, API_TOKEN, trusting))
        await deployment.server.kill()
        await deployment.server.start()
        assert await health(target) == 200
        assert deployment.certificate is not None
        folder = Path(deployment.certificate.settings["TLS_KEY_FILE"]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_without_the_key_of_the_scenario_nothing_is_made_or_trusted() -> None:
    plain = Deployment(())
    assert (plain.trusted, ServerOptions().tls) == ("", False)


def test_a_shard_is_told_what_to_trust(tmp_path: Path) -> None:
    pem = make_certificate(tmp_path, NOW).pem
    order = Order(TEXT, 1, "https://127.0.0.1:9", "o", sides={"http.nul": "https://127.0.0.1:10"})
    nowhere: Any = None
    shard: Any = ShardProcess(Begin(order, 0, 0, 0, 1), API_TOKEN, nowhere, Access(trusted=pem))
    reported = [shard._player._target, *shard._player._sides.values()]
    assert [(one.port, one.access.trusted) for one in reported] == [(9, pem), (10, pem)]


def test_a_run_over_tls_tries_resets_and_side_servers_and_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(strain.Strain, "seconds", 0.6)
    monkeypatch.setattr(strain_http2, "RESET_STREAMS_MAX", 200)
    attack = {"start": "1s", "duration": "500ms", "rate": 1}
    content = {
        "version": 1, "name": "secure", "duration": "3s", "metrics_interval": "500ms", "server": {"tls": True},
        "fleet": {"machines": 5, "owners": 1, "heartbeat_interval": "500ms"},
        "attacks": [{"name": name, **attack} for name in ("strain.rapid-reset", "tls.spoofed-proto")],
        "thresholds": {"heartbeat.accepted": ("rate==1",), "attacks.accepted": ("count==0",)},
    }  # fmt: skip
    scenario = msgspec.convert(content, Scenario, dec_hook=decode_value)
    request = RunRequest(scenario, tmp_path / "secure.toml", 1, tmp_path, None, API_TOKEN)
    record, history = observe(request, Console(file=io.StringIO()))
    verdict = judge_run(record, history)
    assert record.interrupted is None
    assert {threshold.status for threshold in verdict.thresholds} == {Status.PASS}, verdict.thresholds
    assert {1, 2} <= set(history.rows()["campaign"].tolist()), "one over HTTP/2, one on a side server's plain HTTP"
