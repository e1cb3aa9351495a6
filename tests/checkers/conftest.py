"""What the checkers' tests share: a builder of hand-written histories, and a server that is right by construction."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.alerts import check_alerts
from simulator.checkers.facts import Facts
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.records import CertificateRecord, ConsentRecord, GeneratorSample, Revocation, Scrape
from simulator.history.rows import HONEST, NEVER_NS, NO_SOURCE, NONE, History

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.checkers.verdict import Verdict

MILLION = 1_000_000
SCRAPE_OFFSET_SECONDS = 100.0
NO_FAILURES: Mapping[Answer, int] = {}


def nanoseconds(seconds: float) -> int:
    """Return whole nanoseconds; exact for the small numbers that tests use."""
    return round(seconds * SECOND_NS)


def metrics(
    uptime: float,
    *,
    workers: int = 0,
    unknown: int = 0,
    stale: int = 0,
    recent: int = 0,
    reasons: Mapping[Answer, int] = NO_FAILURES,
    failures: int | None = None,
    stale_alert: float | None = None,
    auth_alert: float | None = None,
    threshold: int = 3,
) -> dict[str, float]:
    """Return what a metrics page shows; total and gauges agree with the counts unless they are given."""
    total = sum(reasons.values()) if failures is None else failures
    shown = {
        "hatchfarm_uptime_seconds": uptime,
        "hatchfarm_workers_total": workers,
        "hatchfarm_workers_unknown_total": unknown,
        "hatchfarm_workers_stale_total": stale,
        "hatchfarm_worker_auth_failures_total": total,
        "hatchfarm_worker_auth_failures_recent": recent,
        "hatchfarm_alert_stale_workers": stale > 0 if stale_alert is None else stale_alert,
        "hatchfarm_alert_worker_auth_failures": recent >= threshold if auth_alert is None else auth_alert,
    }
    for answer, reason in REASONS.items():
        shown[f'hatchfarm_worker_auth_failures_by_reason_total{{reason="{reason}"}}'] = reasons.get(answer, 0)
    return {name: float(value) for name, value in shown.items()}


class Story:
    """A run told in seconds. Defaults: stale after 10 s, failures recent for 20 s, alert at 3, requests take 10 ms."""

    def __init__(
        self,
        *,
        stale_seconds: float = 10,
        window_seconds: float = 20,
        threshold: int = 3,
        baseline: dict[str, float] | None = None,
        **settings: Any,
    ) -> None:
        self.history = History()
        self.facts = Facts(
            stale_seconds=stale_seconds,
            auth_window_seconds=window_seconds,
            auth_threshold=threshold,
            baseline=metrics(SCRAPE_OFFSET_SECONDS) if baseline is None else baseline,
            **settings,
        )
        self._nonces = 0

    def request(
        self,
        operation: Operation,
        machine: int,
        at: float,
        got: Answer = Answer.ACCEPTED,
        *,
        expected: Answer | None = None,
        took: float = 0.01,
        planned: float | None = None,
        nonce: bytes | None = None,
        campaign: int = HONEST,
        status: int = 200,
        source: int = NO_SOURCE,
        certificate: int = NONE,
        consent: int = NONE,
    ) -> None:
        """Add one request; what is expected is what it got unless said."""
        self._nonces += 1
        self.history.append(
            nanoseconds(at if planned is None else planned),
            nanoseconds(at),
            NEVER_NS if got is Answer.LOST else nanoseconds(at + took),
            self._nonces.to_bytes(12, "big") if nonce is None else nonce,
            machine,
            status,
            operation,
            got if expected is None else expected,
            got,
            campaign,
            source,
            certificate,
            consent,
        )

    def register(self, machine: int, at: float, got: Answer = Answer.ACCEPTED, took: float = 0.01) -> None:
        """Register a machine."""
        self.request(Operation.REGISTER, machine, at, got, expected=Answer.ACCEPTED, took=took)

    def heartbeat(self, machine: int, at: float, got: Answer = Answer.ACCEPTED, **more: Any) -> None:
        """Send an honest heartbeat, accepted unless said."""
        self.request(Operation.HEARTBEAT, machine, at, got, **{"expected": Answer.ACCEPTED, **more})

    def attack(self, machine: int, at: float, got: Answer, **more: Any) -> None:
        """Send a hostile heartbeat that gets the refusal it must get unless said."""
        self.request(Operation.HEARTBEAT, machine, at, got, **{"campaign": 1, "status": 401, **more})

    def certificate(self, machine: int, at: float, *, took: float = 0.01, life: float = 900) -> int:
        """Issue a certificate; gives its number."""
        record = CertificateRecord(machine, "mcert", nanoseconds(at), nanoseconds(at + took), nanoseconds(life))
        return self.history.add_certificate(record)

    def consent(self, machine: int, at: float, *, policy_id: str = "pol", took: float = 0.01) -> int:
        """Consent that a machine runs under a policy; gives the consent's number."""
        record = ConsentRecord(machine, policy_id, "con", nanoseconds(at), nanoseconds(at + took))
        return self.history.add_consent(record)

    def revoke(self, consent: int, at: float, *, took: float | None = 0.01) -> None:
        """Revoke a consent; None took is a revoke whose answer was lost."""
        answered_ns = NEVER_NS if took is None else nanoseconds(at + took)
        self.history.revocations.append(Revocation(consent, nanoseconds(at), answered_ns))

    def scrape(self, at: float, *, took: float = 0.01, uptime: float | None = None, **figures: Any) -> None:
        """Add a scrape; `without` leaves one of its metrics out, `extra` adds some."""
        without, extra = figures.pop("without", ""), figures.pop("extra", {})
        shown = metrics(
            SCRAPE_OFFSET_SECONDS + at if uptime is None else uptime,
            **{"threshold": self.facts.auth_threshold, **figures},
        )
        samples = {name: value for name, value in {**shown, **extra}.items() if name != without}
        self.history.scrapes.append(Scrape(nanoseconds(at), nanoseconds(at + took), samples))

    def healthy_second(self, at: float, *, lag: float = 0.001, cpu: float = 0.2, dropped: int = 0) -> None:
        """Add a second of the harness's own health."""
        self.history.generator.append(GeneratorSample(nanoseconds(at), nanoseconds(lag), cpu, dropped))

    def alerts(self) -> Verdict:
        """Have the alerts checker judge."""
        return check_alerts(self.history, self.facts)

    def rules(self) -> list[str]:
        """Return the rules that the alerts checker found broken, in its order."""
        return [finding.rule.removeprefix("alerts.") for finding in self.alerts().findings]


class ModelServer:
    """A server that is right by construction. Moments are the harness's nanoseconds; its own clock runs at a rate.

    `rate_ppm` is exact: its clock counts millionths of a nanosecond. `closed` says how it reads an age that meets an
    edge exactly, where the contract leaves it open. Subclasses err.
    """

    def __init__(self, facts: Facts, rate_ppm: int = 0, *, closed: bool = False, whole_seconds: bool = False) -> None:
        self.facts = facts
        self.rate = MILLION + rate_ppm
        self.closed = closed
        self.whole_seconds = whole_seconds
        self.booted_ns = -100 * SECOND_NS
        self.registered: set[int] = set()
        self.heard: dict[int, int] = {}
        self.failures: list[tuple[int, Answer]] = []
        self.counted: Counter[Answer] = Counter()

    def register(self, machine: int) -> None:
        """Register a machine; any number stands for one."""
        self.registered.add(machine)

    def accept(self, machine: int, at_ns: int) -> None:
        """Accept a heartbeat."""
        self.heard[machine] = at_ns

    def refuse(self, machine: int, reason: Answer, at_ns: int) -> None:
        """Refuse a request and count it."""
        del machine
        self.failures.append((at_ns, reason))
        self.counted[reason] += 1

    def restart(self, at_ns: int) -> None:
        """Start anew with a state file: what is durable survives, counters of the process begin at zero."""
        self.booted_ns = at_ns
        self.counted.clear()

    def stale(self, at_ns: int) -> int:
        """Count the workers whose last heartbeat is older than the threshold."""
        threshold = self.facts.stale_seconds or 0.0
        return sum(self.older(at_ns - heard_ns, threshold) for heard_ns in self.heard.values())

    def recent(self, at_ns: int) -> int:
        """Count the failures of the last window."""
        return sum(not self.older(at_ns - failed_ns, self.facts.auth_window_seconds) for failed_ns, _ in self.failures)

    def older(self, age_ns: int, seconds: float) -> bool:
        """Compare an age, on the server's clock, with a setting."""
        age, bound = age_ns * self.rate, nanoseconds(seconds) * MILLION
        return age > bound or (self.closed and age == bound)

    def page(self, at_ns: int) -> dict[str, float]:
        """Show the metrics."""
        uptime = (at_ns - self.booted_ns) * self.rate / (MILLION * SECOND_NS)
        return metrics(
            float(int(uptime)) if self.whole_seconds else uptime,
            workers=len(self.registered),
            unknown=len(self.registered) - len(self.heard),
            stale=self.stale(at_ns),
            recent=self.recent(at_ns),
            reasons=self.counted,
            threshold=self.facts.auth_threshold,
        )


@pytest.fixture
def story() -> Story:
    """A story that nothing has happened in."""
    return Story()


@pytest.fixture(scope="session")
def new_story() -> type[Story]:
    """The class of stories, for tests that need several or other settings."""
    return Story


@pytest.fixture(scope="session")
def page() -> Any:
    """The function that writes a metrics page's samples."""
    return metrics


@pytest.fixture(scope="session")
def model_server() -> type[ModelServer]:
    """The class of servers that are right."""
    return ModelServer
