from __future__ import annotations

import pytest

from benchmarks.behind_proxy import blast_behind
from benchmarks.fronts import TRUSTING, behind_haproxy
from benchmarks.measuring import BenchmarkError
from benchmarks.processes import benchmark_server
from tests.support.haproxy import needs_haproxy


@needs_haproxy
@pytest.mark.parametrize("kind", ["lane", "direct"])
def test_heartbeats_go_through_a_proxy_to_a_server_that_trusts_it(kind: str) -> None:
    with benchmark_server(kind, 4, TRUSTING) as server:
        (rate,) = blast_behind(server, 0.2)
    assert rate > 0


def test_a_machine_without_the_proxy_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkError, match="apt-get install haproxy"), behind_haproxy("http://127.0.0.1:1"):
        pass
