"""What a target shows of itself, before a run and during it: its health, metrics, staleness threshold and clock."""

from __future__ import annotations

import errno
import os
import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import trio
from prometheus_client.parser import text_string_to_metric_families

from reference_server.wire.units import SECOND_NS
from simulator.client.connection import ControlConnection, LostError
from simulator.client.plain_metrics import plain_samples
from simulator.client.target import SCRAPER_ADDRESS, Target, TargetError
from simulator.contract.metrics import COUNTERS, PUBLISHED
from simulator.contract.reading import MalformedDataError, read_data
from simulator.fleet.clocks import TOLERANCE_NS, ClockBounds, clock_bounds
from simulator.fleet.requests import ANY_OWNER, owner_headers
from simulator.limits import (
    DURATION_MAX_SECONDS,
    METRICS_LINE_MAX_CHARACTERS,
    METRICS_MAX_BYTES,
    METRICS_SAMPLES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.client.answers import HttpAnswer

OK, REDIRECT, BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, TOO_MANY = (
    HTTPStatus.OK,
    300,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS,
)
METRIC_MAX = 2.0**53
"""What a float counts to exactly."""
LOCATION_SHOWN_MAX = 200
CLOCK_READINGS = 3
CLOCK_PATIENCE_SECONDS = 10.0
_LOCATION = re.compile(rb"(?i)\r\nlocation:[ \t]*([!-~]+)")
_DATE = re.compile(rb"(?i)\r\ndate:[ \t]*([ -~]+)")


class MalformedError(TargetError):
    """The target shows something else than a metrics page."""


class UnreachableError(TargetError):
    """The target cannot be reached, or serves nothing: `found` says what was seen, and `hint` what to do.

    The message says what was seen, and `more`.
    """

    def __init__(self, found: str, hint: str, more: str = "") -> None:
        super().__init__(f"{found}{more}")
        self.found = found
        self.hint = hint


def parse_metrics(text: str) -> dict[str, float]:
    """Read the HatchFarm samples of a metrics page: name with labels, as exposed, to value. Raises ValueError."""
    samples: dict[str, float] = {}
    if any(len(line) > METRICS_LINE_MAX_CHARACTERS for line in text.splitlines()):
        raise ValueError(f"a line of more than {METRICS_LINE_MAX_CHARACTERS} characters")
    plain = plain_samples(text)
    try:
        for shown, value in _any_samples(text) if plain is None else plain:
            if shown in samples:
                raise ValueError(f"{shown} is there twice")
            if len(samples) == METRICS_SAMPLES_MAX:
                raise ValueError(f"more than {METRICS_SAMPLES_MAX} samples")
            samples[shown] = value
    except IndexError:  # the parser's own, for some lines that end too early
        raise ValueError("a line that ends too early") from None
    except OverflowError:
        raise ValueError("a number past any") from None
    return samples


def _any_samples(text: str) -> Iterator[tuple[str, float]]:
    """Read a page of any shape."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("hatchfarm_"):
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                yield f"{sample.name}{{{labels}}}" if labels else sample.name, float(sample.value)


async def read_metrics(connection: ControlConnection, target: Target, *, known: bool = True) -> dict[str, float]:
    """Scrape once. Raises LostError, and TargetError for an answer that is not what the contract says.

    `known` says that it was found to be a HatchFarm server, so that nobody asks whether it is.
    """
    answer = await connection.request("GET", "/metrics", owner_headers(target.token), rooted=True)
    if answer.status == UNAUTHORIZED:
        wrong = "refuses the owner token: give the right one" if target.token else "wants an owner token: give it"
        raise TargetError(f"{target.url} {wrong} in HATCHFARM_API_TOKEN or by --token-file")
    if answer.status != OK:
        raise TargetError(f"{target.url}/metrics answered {_describe(answer, known=known)}")
    if len(answer.body) > METRICS_MAX_BYTES:
        raise MalformedError(f"{target.url}/metrics is longer than {METRICS_MAX_BYTES >> 20} MiB")
    try:
        return parse_metrics(answer.body.decode("utf-8", "replace"))
    except ValueError as error:
        raise MalformedError(f"{target.url}/metrics is not in the Prometheus text format ({error})") from None


async def check_target(target: Target) -> dict[str, float]:
    """See that the target is reachable, takes the token and speaks the contract. Returns its metrics before the run."""
    source = SCRAPER_ADDRESS if target.own_addresses else None
    healthy = False
    async with ControlConnection(target, source) as connection:
        try:
            answer = await connection.request("GET", "/health", {}, rooted=True)
            # The published API has no health page: what its metrics page is like then says whether it is one.
            if answer.status != NOT_FOUND and (answer.status != OK or b"healthy" not in answer.body):
                raise TargetError(f"{target.url}/health answered {_describe(answer, known=False)}")
            healthy = True
            baseline = await read_metrics(connection, target, known=False)
            if answer.status == NOT_FOUND and not baseline:
                raise TargetError(f"{target.url} has no /health, and its metrics show nothing of a HatchFarm server")
        except LostError as error:
            if healthy:
                raise UnreachableError(
                    f"{target.url} answers /health and nothing else (GET /metrics: {error}): its process lives, but it "
                    "does not serve",
                    "look at what it logs, and restart it",
                ) from None
            tried = f"try `hatchfarm doctor --target {target.url}`"
            if isinstance(error.__cause__, ConnectionRefusedError):
                raise UnreachableError(
                    f"{target.url} cannot be reached ({error}): nothing listens there",
                    "start the server, or give its own address and port with --target",
                    f", {tried}",
                ) from None
            closed = "closed before" in str(error) or os.strerror(errno.ECONNRESET) in str(error)
            more = ", or https:// where it wants TLS" if target.tls is None and closed else ""
            more += ", or its proxy's where it has PROXY_PROTOCOL=true" if closed else ""
            raise UnreachableError(
                f"{target.url} cannot be reached ({error})",
                f"see that it runs and that --target is its own{more}",
                f": {tried}{more}",
            ) from None
    for name, value in baseline.items():
        if (name in PUBLISHED or name.startswith(COUNTERS)) and not 0 <= value <= METRIC_MAX:
            raise TargetError(f"{target.url}/metrics shows {name} as {value:g}, which no HatchFarm server counts to")
    return baseline


def _describe(answer: HttpAnswer, *, known: bool) -> str:
    """Return a status for people, with what it says of a target that is not `known`, or where a redirect points to."""
    if answer.status == TOO_MANY:
        return f"{answer.status}: too many requests from this machine's address"
    found = _LOCATION.search(answer.head)
    to = ""
    if found and REDIRECT <= answer.status < BAD_REQUEST:
        to = f", to {found[1][:LOCATION_SHOWN_MAX].decode('ascii', 'backslashreplace')}"
    return f"{answer.status}{to}" if known else f"{answer.status}{to}: is this a HatchFarm server?"


async def stale_seconds_of(target: Target) -> float | None:
    """Ask the target after how many seconds of silence it calls a worker stale. None when it does not say.

    Every owner's summary shows it (contract §3), also that of one who has no machines.
    """
    source = SCRAPER_ADDRESS if target.own_addresses else None
    async with ControlConnection(target, source) as connection:
        try:
            headers = owner_headers(target.token, ANY_OWNER)
            answer = await connection.request("GET", "/workers/summary", headers)
            shown = read_data(answer.status, answer.body)
        except (LostError, MalformedDataError):
            return None
    threshold = shown.get("stale_threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        return None
    return float(threshold) if 0 < threshold <= DURATION_MAX_SECONDS else None


async def read_target_clock(target: Target) -> ClockBounds | None:
    """Read the target's clock, off its health page or else off a `Date` header. None when it does not show it.

    A few readings, until one tells it as well as this machine needs to know it; the best one counts.
    """
    best: ClockBounds | None = None
    source = SCRAPER_ADDRESS if target.own_addresses else None
    with trio.move_on_after(CLOCK_PATIENCE_SECONDS):
        async with ControlConnection(target, source) as connection:
            for _ in range(CLOCK_READINGS):
                sent_ns = time.time_ns()  # noqa: TID251 - judging clocks
                try:
                    answer = await connection.request("GET", "/health", {}, rooted=True)
                except LostError:
                    break
                bounds = _bounds_of(answer, sent_ns, time.time_ns())  # noqa: TID251 - judging clocks
                if bounds is not None and (best is None or bounds.width_ns < best.width_ns):
                    best = bounds
                if best is not None and best.width_ns <= 2 * TOLERANCE_NS:
                    break
    return best


def _bounds_of(answer: HttpAnswer, sent_ns: int, answered_ns: int) -> ClockBounds | None:
    """Return how far a clock may be off by what one answer shows; times are Unix nanoseconds."""
    try:
        shown = msgspec.json.decode(answer.body)["timestamp"]
    except (ValueError, KeyError, TypeError, RecursionError):
        shown = None
    bounds = clock_bounds(shown, sent_ns, answered_ns) if isinstance(shown, str) else None
    found = _DATE.search(answer.head)
    if bounds is not None or found is None:
        return bounds
    try:
        shown_ns = int(parsedate_to_datetime(found[1].decode("ascii")).timestamp()) * SECOND_NS
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return ClockBounds(shown_ns - answered_ns, shown_ns + SECOND_NS - sent_ns)
