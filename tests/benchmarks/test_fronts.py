from __future__ import annotations

import pytest

from benchmarks.blaster import blast
from benchmarks.fronts import TRUSTING, behind_haproxy
from benchmarks.measuring import BenchmarkError
from benchmarks.processes import benchmark_server
from tests.support.haproxy import needs_haproxy


@needs_haproxy
def test_heartbeats_go_through_a_proxy_to_a_server_that_trusts_it() -> None:
    with benchmark_server("lane", 4, TRUSTING) as server, behind_haproxy(server.url) as url:
        assert url != server.url
        assert blast(url, server.machines, 0.2) > 0


def test_a_machine_without_the_proxy_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkError, match="apt-get install haproxy"), behind_haproxy("http://127.0.0.1:1"):
        pass
