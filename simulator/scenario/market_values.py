"""The scenario's `[market]` as values: agents, how they behave, and what machines offer them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from reference_server.wire.units import SECOND_NS
from simulator import limits
from simulator.fleet.agents import AgentHabits
from simulator.fleet.work import Manner, WorkHabits
from simulator.scenario.kinds import Duration, Money, Share, Table, micro_of


class OfferOptions(Table, frozen=True, kw_only=True):
    """What machines offer the market, and which of them do wrong; those that do are wrong in one way each."""

    share: Annotated[Share, Meta(description="The share of the fleet that offers anything.")] = 1.0
    cpu_cores: Annotated[float, Meta(gt=0, le=1024, description="What each says that it has of CPU cores.")] = 8.0
    memory_gb: Annotated[float, Meta(gt=0, le=65_536, description="Of memory, in GB.")] = 32.0
    gpus: Annotated[
        int, Meta(ge=0, le=64, description="Of GPUs; a policy's maximum is rounded down to whole ones.")
    ] = 4
    gpu_model: Annotated[str, Meta(min_length=1, max_length=64, description="And their model.")] = "rtx-4090"
    early: Annotated[Share, Meta(description="The share of jobs that end before their time.")] = 0.3
    failing: Annotated[Share, Meta(description="The share of jobs that fail.")] = 0.05
    claims_more: Annotated[
        Share, Meta(description="The share of these machines that now and then claim what no machine has.")
    ] = 0.0
    foreign: Annotated[Share, Meta(description="The share that report the end of jobs which are not theirs.")] = 0.0
    abandons: Annotated[Share, Meta(description="The share that fall silent in the middle of a job.")] = 0.0
    abandoned_for_ns: Annotated[Duration, Meta(description="For how long those are silent; 30s by default.")] = (
        msgspec.field(name="abandoned_for", default_factory=partial(Duration, 30 * SECOND_NS))
    )

    def habits(self) -> WorkHabits:
        """Return them as machines take them."""
        gpus = [{"model": self.gpu_model, "count": self.gpus}] if self.gpus else []
        capacity = {"cpu_cores": self.cpu_cores, "memory_gb": self.memory_gb, "gpus": gpus}
        return WorkHabits(capacity, self.early, self.failing, int(self.abandoned_for_ns))

    def wrong(self) -> dict[Manner, float]:
        """Return the shares of the wrong ones."""
        return {manner: getattr(self, manner.value) for manner in (Manner.CLAIMS_MORE, Manner.FOREIGN, Manner.ABANDONS)}


class MarketOptions(Table, frozen=True, kw_only=True):
    """The market: the agents that the run plays itself, how all agents behave, and what machines offer."""

    agents: Annotated[
        int,
        Meta(
            ge=0,
            le=limits.MARKET_AGENTS_MAX,
            description="Agents that the run plays by itself, besides those of `[[load]]`.",
        ),
    ] = 0
    rate: Annotated[
        float, Meta(gt=0, le=limits.USER_RATE_MAX, description="What each of these asks a second; 1 by default.")
    ] = 1.0
    jobs_per_minute: Annotated[float, Meta(ge=0, le=600, description="Jobs that each agent posts.")] = 2.0
    minutes: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=10_080)], ...],
        Meta(min_length=1, max_length=100, description="How long jobs are, in whole minutes; one is drawn for each."),
    ] = (1,)
    max_price_usdt: Annotated[Money, Meta(description="What an agent pays for a job at most; half of it at least.")] = (
        "0.50"
    )
    gpu_jobs: Annotated[Share, Meta(description="The share of jobs that need a GPU.")] = 0.3
    cancelled: Annotated[Share, Meta(description="The share of jobs that their agent cancels.")] = 0.1
    withdrawals_per_minute: Annotated[
        float, Meta(ge=0, le=600, description="Withdrawals that each agent asks for.")
    ] = 0.5
    withdrawal_usdt: Annotated[Money, Meta(description="What an agent withdraws at most at a time.")] = "0.10"
    repeated: Annotated[
        Share, Meta(description="The share of jobs and withdrawals that are asked for again with the same key.")
    ] = 0.1
    posts_per_minute: Annotated[
        float, Meta(ge=0, le=600, description="Posts and comments that each agent writes in the forum.")
    ] = 0.2
    offer: Annotated[OfferOptions, Meta(description="What machines offer.")] = msgspec.field(
        default_factory=OfferOptions
    )

    def habits(self) -> AgentHabits:
        """Return how agents behave."""
        return AgentHabits(
            jobs_per_minute=self.jobs_per_minute,
            minutes=self.minutes,
            max_price_micro=micro_of(self.max_price_usdt),
            gpu_jobs=self.gpu_jobs,
            cancelled=self.cancelled,
            withdrawals_per_minute=self.withdrawals_per_minute,
            withdrawal_micro=micro_of(self.withdrawal_usdt),
            repeated=self.repeated,
            posts_per_minute=self.posts_per_minute,
        )
