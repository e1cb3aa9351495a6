"""A real Prometheus as a process: how it is set up to watch one server, and how what it saw is read back."""

from __future__ import annotations

import http.client
import math
import os
import shutil
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.http.processes import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INTERVAL_MS = 500
"""From one scrape to the next, and from one evaluation of the rules to the next."""
JOB = "hatchfarm"
NAMES = "hatchfarm_.+|scrape_duration_seconds"
START_SECONDS = 180.0
"""Prometheus takes up its targets within five seconds of its start; a busy machine may be slower."""
POLL_SECONDS = 0.05


class Scraped(NamedTuple):
    """One of Prometheus' scrapes: when it began, when it had ended (Unix ms), what it read: nothing when it failed."""

    start_ms: int
    end_ms: int
    samples: dict[str, float]


class Evaluations(NamedTuple):
    """When the rules were evaluated (Unix ms), at which of these each alert fired, with what labels."""

    at_ms: list[int]
    firing_ms: dict[str, set[int]]
    labels: dict[str, dict[str, str]]


class Prometheus:
    """What the HTTP API of a Prometheus says. Read with the standard library, not with the code that is judged."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def _get(self, path: str, **parameters: object) -> str:
        def get() -> tuple[int, str]:
            connection = http.client.HTTPConnection(self._address, timeout=START_SECONDS)
            try:
                connection.request("GET", f"{path}?{urlencode(parameters)}")
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            finally:
                connection.close()

        status, body = await trio.to_thread.run_sync(get)
        assert status == 200, body
        return body

    async def _data(self, path: str, **parameters: object) -> Any:
        return msgspec.json.decode(await self._get(f"/api/v1/{path}", **parameters))["data"]

    async def until_it_scrapes(self) -> None:
        """Wait for the first scrape that succeeded."""
        with trio.fail_after(START_SECONDS):
            while not (await self._data("query", query=f'up{{job="{JOB}"}} == 1'))["result"]:  # noqa: ASYNC110 - another process sets no event
                await trio.sleep(POLL_SECONDS)

    async def until_scraped(self, times: int) -> None:
        """Wait until it has scraped so often: a rate needs two samples."""
        count = f'count_over_time(up{{job="{JOB}"}}[1h]) >= {times}'
        with trio.fail_after(START_SECONDS):
            while not await self.ask(count):  # noqa: ASYNC110 - as above
                await trio.sleep(POLL_SECONDS)

    async def ask(self, query: str) -> list[Any]:
        """Return the series that a query finds now; one that is no query fails."""
        return list((await self._data("query", query=query))["result"])

    async def until_evaluated(self, wall_ms: int) -> None:
        """Wait until an evaluation that began after a moment has ended."""
        with trio.fail_after(START_SECONDS):
            while await self._own("rule_group_last_evaluation_timestamp_seconds") * 1000 <= wall_ms:  # noqa: ASYNC110 - as above
                await trio.sleep(POLL_SECONDS)

    async def missed_evaluations(self) -> int:
        """Count the evaluations it has left out because it was too busy."""
        return int(await self._own("rule_group_iterations_missed_total"))

    async def _own(self, name: str) -> float:
        """Read one of its own metrics about its one rule group."""
        families = text_string_to_metric_families(await self._get("/metrics"))
        (value,) = [
            sample.value for family in families for sample in family.samples if sample.name == f"prometheus_{name}"
        ]
        return float(value)

    async def scrapes(self) -> list[Scraped]:
        """Return every scrape so far.

        A range selector gives the samples as they are stored. All of one scrape bear its beginning in whole
        milliseconds, rounded down; it had ended when its duration had passed.
        """
        read: dict[int, dict[str, float]] = defaultdict(dict)
        for series in (await self._data("query", query=f'{{__name__=~"{NAMES}",job="{JOB}"}}[1h]'))["result"]:
            labels = series["metric"]
            reason = f'{{reason="{labels["reason"]}"}}' if "reason" in labels else ""
            for moment, value in series["values"]:
                read[round(moment * 1000)][labels["__name__"] + reason] = float(value)
        scrapes = []
        for start_ms, samples in sorted(read.items()):
            end_ms = start_ms + 1 + math.ceil(samples["scrape_duration_seconds"] * 1000)
            ours = {name: value for name, value in samples.items() if name.startswith("hatchfarm_")}
            scrapes.append(Scraped(start_ms, end_ms, ours))
        return scrapes

    async def evaluations(self, from_ms: int, to_ms: int) -> Evaluations:
        """Return the evaluations within a time, by a range query that steps from one to the next.

        They are an interval apart, from wherever the hash of the rule group's name put the first: any firing alert's
        stored samples show where that is.
        """
        stored = (await self._data("query", query="ALERTS[1h]"))["result"]
        assert stored, "no alert ever fired"
        any_ms = round(stored[0]["values"][0][0] * 1000)
        first_ms = from_ms + (any_ms - from_ms) % INTERVAL_MS
        found = await self._data(
            "query_range",
            query='ALERTS{alertstate="firing"}',
            start=first_ms / 1000,
            end=to_ms / 1000,
            step=INTERVAL_MS / 1000,
        )
        firing: dict[str, set[int]] = {}
        labels: dict[str, dict[str, str]] = {}
        for series in found["result"]:
            name = series["metric"]["alertname"]
            assert name not in firing, "one server, so one series an alert"
            firing[name] = {round(moment * 1000) for moment, _ in series["values"]}
            labels[name] = {key: value for key, value in series["metric"].items() if key != "__name__"}
        return Evaluations(list(range(first_ms, to_ms + 1, INTERVAL_MS)), firing, labels)


def set_up(url: str, token: str, rules: Path, folder: Path) -> Path:
    """Write a configuration that scrapes a server and evaluates a rule file over it; nobody else may read the token."""
    folder.mkdir()
    secret = folder / "token"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    configuration = {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{INTERVAL_MS}ms"),
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": JOB,
                "authorization": {"credentials_file": str(secret)},
                "static_configs": [{"targets": [urlsplit(url).netloc]}],
            },
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return path


@asynccontextmanager
async def prometheus_watching(url: str, token: str, rules: Path, folder: Path) -> AsyncIterator[Prometheus]:
    """Run a Prometheus on a free port of 127.0.0.1 that watches a server; gives it when it has scraped.

    Its scrapes bear the times that the system clock showed: it is told not to align them.
    """
    command = (
        shutil.which("prometheus") or "prometheus",
        f"--config.file={set_up(url, token, rules, folder)}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--no-scrape.adjust-timestamps",
    )
    async with running(command) as process:
        with trio.fail_after(START_SECONDS):
            listening = await process.stderr.line_with('msg="Listening on"')
            await process.stderr.line_with("Server is ready to receive web requests")
        prometheus = Prometheus(listening.rpartition("address=")[2])
        await prometheus.until_it_scrapes()
        yield prometheus
        assert await process.stop() == 0
