"""A queued job, its account's queue, and the class of jobs with similar needs (contract: Jobs, matching)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.market.prices import highest_rate

if TYPE_CHECKING:
    from reference_server.core.market.jobs import Job
    from reference_server.core.market.prices import Need


class JobClass:
    """Queued jobs that need at least `least`, and not much more.

    `rates` are the highest hourly rates they may cost, sorted; `dear` counts those of its jobs that are dear.
    """

    __slots__ = ("dear", "jobs", "least", "rates")

    def __init__(self, least: Need) -> None:
        self.least = least
        self.jobs: dict[str, Waiting] = {}
        self.rates: list[int] = []
        self.dear = 0

    @property
    def sleeps(self) -> bool:
        """Return whether only a lower price can help any of its jobs, however much room there is.

        GPU prices differ by model: if only expensive GPUs are free, room on cheap ones helps too.
        """
        return self.dear == len(self.jobs) and not self.least.gpus


class Queue:
    """One account's jobs, oldest first. The lowest `turn` of all is next."""

    __slots__ = ("account", "jobs", "turn")

    def __init__(self, account: str, turn: int) -> None:
        self.account = account
        self.turn = turn
        self.jobs: list[Waiting] = []


class Waiting:
    """One queued job, and the highest hourly rate it may cost.

    `dear` says that the price kept it from a machine when it was examined: it must be examined again when prices fall
    to `hope` of what they were. Other jobs found no room and wait for a machine with more, or are new. `looked_at` is
    the pass of matching in which it found no place.
    """

    __slots__ = ("dear", "highest", "hope", "job", "kind", "looked_at", "queue")

    def __init__(self, job: Job, kind: JobClass, queue: Queue) -> None:
        self.job = job
        self.kind = kind
        self.queue = queue
        self.highest = highest_rate(job.maximum, job.minutes)
        self.dear = False
        self.hope = 0
        self.looked_at = 0
