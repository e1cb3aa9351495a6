"""The scrapes of a run can be taken elsewhere: the text is read by the library's own parser and by Prometheus."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reference_server.wire.units import SECOND_NS
from simulator.history.records import Scrape
from simulator.limits import SCRAPES_SHOWN_MAX
from simulator.report.openmetrics import openmetrics
from tests.report import runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

parsed: Callable[[str], Iterable[Any]] = text_string_to_metric_families  # type: ignore[assignment,unused-ignore]
"""The library's parser, which has no types."""


def test_every_sample_of_every_scrape_is_there_with_its_time() -> None:
    report_input = runs.report_input(runs.broken())
    text = openmetrics(report_input).decode()
    read = [sample for family in parsed(text) for sample in family.samples]
    scrapes = report_input.history.scrapes
    assert len(read) == sum(len(scrape.samples) for scrape in scrapes)
    stale = [sample.value for sample in read if sample.name == "hatchfarm_workers_stale_total"]
    assert stale == [scrape.samples["hatchfarm_workers_stale_total"] for scrape in scrapes]
    by_reason = [sample for sample in read if sample.labels.get("reason") == "nonce_replayed"]
    assert len(by_reason) == len(scrapes)


def test_a_long_run_is_thinned_out_evenly() -> None:
    report_input = runs.report_input(runs.broken())
    report_input.history.scrapes[:] = [
        Scrape(number * SECOND_NS, number * SECOND_NS + 1, {"hatchfarm_x": float(number)})
        for number in range(3 * SCRAPES_SHOWN_MAX)
    ]
    (family,) = parsed(openmetrics(report_input).decode())
    assert [sample.value for sample in family.samples] == [3.0 * number for number in range(SCRAPES_SHOWN_MAX)]


def test_a_name_that_is_none_is_left_out_and_hostile_labels_stay_text() -> None:
    report_input = runs.report_input(runs.broken())
    samples = {"not a name": 1.0, 'hatchfarm_a{b="\\n} 5"}': 2.0}
    report_input.history.scrapes[:] = [Scrape(0, 1, samples)]
    (family,) = parsed(openmetrics(report_input).decode())
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"b": "\\n} 5"}, 2.0)]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_prometheus_takes_it_in(tmp_path: Path) -> None:
    """As the docs say it is loaded."""
    (tmp_path / "metrics.om").write_bytes(openmetrics(runs.report_input(runs.broken())))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "metrics.om", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "data").iterdir())
