"""The metrics that thresholds are of: what each measures, and what may be asked of it. Nothing else knows them all."""

from __future__ import annotations

import msgspec

from simulator.contract.answers import REASONS

TIMES = ("p", "min", "max", "med", "avg")
RATES = ("p", "min", "max", "med", "median", "avg")
"""Of what is counted in each whole second of a run."""
HONEST_SHARE = ("rate", "count")
"""Of what should be accepted."""
SHARE_AND_COUNT, COUNT, MOST = ("count", "rate"), ("count",), ("max",)
MEMORY = "server.memory"
MEGABYTE = "MB"
"""A million bytes: the unit of a bound on memory."""
AGGREGATES = {
    "p": "a percentile, like p(99)",
    "min": "the least",
    "max": "the most",
    "med": "the median",
    "median": "the median",
    "avg": "the mean",
    "rate": "the share, from 0 to 1",
    "count": "how many",
}
"""What may be asked of metrics."""


class Metric(msgspec.Struct, frozen=True):
    """What one metric measures, in words, and what may be asked of it."""

    name: str
    aggregates: tuple[str, ...]
    meaning: str
    wanted: bool = False
    """Whether it counts what a run is to bring about, so that a threshold asks for some."""

    @property
    def example(self) -> str:
        """Return an expression that means something."""
        if self.wanted:
            return "count>=1"
        if self.aggregates is TIMES:
            return "p(95)<250ms"
        if self.aggregates is RATES:
            return "median>=100"
        if self.aggregates is MOST:
            return f"max<256{MEGABYTE}" if self.name == MEMORY else "max>=100"
        if self.aggregates is HONEST_SHARE:
            return "rate>0.999"
        if self.aggregates is SHARE_AND_COUNT:
            return "rate<0.001"
        return "count==0"


_VIOLATIONS = {
    "revocation": "heartbeats accepted of a machine that had been revoked before",
    "credentials": "credentials that were taken after they had been replaced, or refused while they held",
    "limits": "requests that the rate limit let pass, or refused, against what it says",
    "durability": "things acknowledged and gone after a restart",
    "nonces": "nonces that were taken twice",
    "ledger": "balances and entries that do not add up, or were not owed",
    "metering": "jobs that were charged for other than they took",
    "matching": "jobs given to a machine that should not have had them, or to two",
    "isolation": "things shown to whom they do not belong",
}
_ALERTS = {
    "stale_workers": "the alert on machines that have fallen silent",
    "worker_auth_failures": "the alert on heartbeats that were refused for their credentials",
}
METRIC_ROWS = (
    Metric(
        "heartbeat.response_time",
        TIMES,
        "from when an honest heartbeat was due to its answer; one without an answer took endlessly long",
    ),
    Metric("heartbeat.service_time", TIMES, "from when an honest heartbeat was sent to its answer"),
    Metric("heartbeat.rate", RATES, "honest heartbeats accepted in each whole second of the run"),
    Metric("heartbeat.accepted", HONEST_SHARE, "accepted, of the honest heartbeats that should be"),
    Metric("heartbeat.refused", SHARE_AND_COUNT, "refused, of all honest heartbeats"),
    Metric(
        "heartbeat.held_up", SHARE_AND_COUNT, "starts of heartbeats that a slow answer before them kept from leaving"
    ),
    Metric("requests.lost", SHARE_AND_COUNT, "requests that got no answer, of all"),
    Metric("requests.total", SHARE_AND_COUNT, "all requests, honest and hostile", wanted=True),
    Metric("attacks.accepted", COUNT, "hostile requests that were accepted, and should not have been"),
    Metric("attacks.sent", COUNT, "hostile requests that were sent", wanted=True),
    Metric(
        "alerts.errors", COUNT, "alerts that fired or cleared when they should not have, or did not when they should"
    ),
    *(
        Metric(f"alerts.{alert}.{event}", COUNT, f"how often {what} has {event}", wanted=True)
        for alert, what in _ALERTS.items()
        for event in ("fired", "cleared")
    ),
    *(
        Metric(f"auth_failures.{reason}", COUNT, f"heartbeats refused with the reason {reason}, by the server's count")
        for reason in REASONS.values()
    ),
    Metric(
        "job.time_to_start",
        TIMES,
        "from when the server took a job to when it began, by its own times; of one that had not begun when its "
        "account was read, for how long it had waited until then; endless for one that expired",
    ),
    Metric(
        "jobs.finished", COUNT, "jobs that succeeded or failed, in the accounts that were read at the end", wanted=True
    ),
    Metric(
        "withdrawal.time_to_settle",
        TIMES,
        "from when the server took a withdrawal to when it was paid out, by its own times",
    ),
    Metric(
        "withdrawals.settled",
        COUNT,
        "withdrawals that were paid out, in the accounts that were read at the end",
        wanted=True,
    ),
    Metric("market.response_time", TIMES, "every honest request to the market: from when it was due to its answer"),
    Metric("replay.accepted_twice", COUNT, "heartbeats that were accepted again, byte for byte"),
    Metric("revocation.violations", COUNT, _VIOLATIONS["revocation"]),
    Metric("revocation.time_to_stop", TIMES, "from when a machine was revoked to the last heartbeat accepted of it"),
    Metric("credentials.violations", COUNT, _VIOLATIONS["credentials"]),
    Metric("audit.errors", COUNT, "audit events that are missing, too many, or not what happened"),
    *(
        Metric(f"{checker}.violations", COUNT, _VIOLATIONS[checker])
        for checker in ("limits", "durability", "nonces", "ledger", "metering", "matching", "isolation")
    ),
    Metric("generator.dropped_starts", SHARE_AND_COUNT, "heartbeats that this harness was too late to send"),
    Metric("machines.connected", MOST, "machines that were connected at one time"),
    Metric(MEMORY, MOST, "the most memory that a server of the run's own has taken: its peak resident set"),
)
"""Every metric of a whole run. Violations are what the checker of that name has found."""
_OF_AN_ATTACK = (
    Metric("response_time", TIMES, "from when a request of it was due to its answer"),
    Metric("sent", COUNT, "requests of it", wanted=True),
    Metric("accepted", SHARE_AND_COUNT, "requests of it that were accepted, of all"),
    Metric("refused", SHARE_AND_COUNT, "requests of it that were refused, of all"),
    Metric("lost", SHARE_AND_COUNT, "requests of it that got no answer, of all"),
)
PART_ROWS = {
    "operation": (
        Metric("response_time", TIMES, "from when an honest request of this kind was due to its answer"),
        Metric("rate", RATES, "honest requests of this kind accepted in each whole second"),
        Metric("accepted", HONEST_SHARE, "honest requests of this kind that were accepted, of all"),
        Metric("refused", SHARE_AND_COUNT, "honest requests of this kind that were refused, of all"),
        Metric("lost", SHARE_AND_COUNT, "honest requests of this kind that got no answer, of all"),
        Metric("sent", COUNT, "honest requests of this kind", wanted=True),
    ),
    "attack": _OF_AN_ATTACK,
    "campaign": _OF_AN_ATTACK,
}
"""What may be asked of a part of a run: `operation.policy-fetch.response_time` is of honest requests of one kind,
`attack.replay.exact.sent` of all campaigns of an attack, and `campaign.2.accepted` of the second campaign."""
PART_EXAMPLES = {"operation": "policy-fetch", "attack": "replay.exact", "campaign": "1"}
"""A part of each kind."""
