"""The shapes of agents, jobs, offers, money and posts in the answers of a correct server (contract: market)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

AgentId = Annotated[str, Meta(pattern=r"^agt_[0-9a-f]{16}\Z")]
JobId = Annotated[str, Meta(pattern=r"^job_[0-9a-f]{16}\Z")]
WithdrawalId = Annotated[str, Meta(pattern=r"^wdr_[0-9a-f]{16}\Z")]
PostId = Annotated[str, Meta(pattern=r"^post_[0-9a-f]{16}\Z")]
CommentId = Annotated[str, Meta(pattern=r"^cmt_[0-9a-f]{16}\Z")]
WorkerId = Annotated[str, Meta(pattern=r"^wrk_[0-9a-f]{16}\Z")]
ApiKey = Annotated[str, Meta(pattern=r"^hfk_[0-9a-f]{64}\Z")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?Z\Z")]
Amount = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,18})(\.[0-9]{1,8})?\Z")]
Signed = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,8})?\Z")]
Price = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,18})\.[0-9]{6}\Z")]
Share = Annotated[str, Meta(pattern=r"^(0\.[0-9]{4}|1\.0000)\Z")]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Asset = Literal["USDT-TRC20", "BTC"]
JobState = Literal["queued", "assigned", "running", "succeeded", "failed", "cancelled", "expired"]


class ShownAgent(msgspec.Struct, frozen=True):
    """An agent."""

    id: AgentId
    name: str
    description: str | None
    moltbook_id: str | None
    moltbook: dict[str, Any] | None
    wallet_address: str | None
    created_at: Time
    updated_at: Time


class ShownWithKey(msgspec.Struct, frozen=True):
    """An agent with its new key."""

    agent: ShownAgent
    api_key: ApiKey


class ShownWithoutKey(msgspec.Struct, frozen=True):
    """An agent, without its key."""

    agent: ShownAgent


class ShownGpus(msgspec.Struct, frozen=True):
    """GPUs of one model."""

    model: str
    count: Count


class ShownOffer(msgspec.Struct, frozen=True):
    """The free resources of one machine, as offered."""

    worker_id: WorkerId
    cpu_cores: NotNegative
    memory_gb: NotNegative
    gpus: list[ShownGpus]
    price_per_hour: Price
    available_until: Time | None

    @property
    def place(self) -> tuple[Decimal, str]:
        """Return the sort key of the offer in a list: price, then worker id."""
        return Decimal(self.price_per_hour), self.worker_id

    def gpus_of(self, model: str) -> int:
        """Return the number of GPUs of `model`; if `model` is empty, of the most common model."""
        return max((one.count for one in self.gpus if model in {"", one.model}), default=0)


class ShownOffers(msgspec.Struct, frozen=True):
    """A page of offers."""

    resources: list[ShownOffer]


class ShownPriceRow(msgspec.Struct, frozen=True):
    """The price of one resource, and its utilisation."""

    resource: Literal["cpu-hour", "memory-gb-hour", "gpu-hour"]
    price: Price
    utilisation: Share
    model: str | None = None


class ShownPrices(msgspec.Struct, frozen=True):
    """All prices."""

    prices: list[ShownPriceRow]
    as_of: Time


class ShownNeeds(msgspec.Struct, frozen=True):
    """The resources that a job needs."""

    cpu_cores: NotNegative
    memory_gb: NotNegative
    gpu: bool
    gpu_count: Count
    gpu_model: str | None


class ShownJob(msgspec.Struct, frozen=True):
    """A job."""

    id: JobId
    state: JobState
    type: str
    resources: ShownNeeds
    max_price_usdt: Amount
    price_per_hour: Price | None
    duration_minutes: Count
    payload: dict[str, Any] | None
    worker_id: WorkerId | None
    escrow: Amount
    billed: Amount
    created_at: Time
    assigned_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    expires_at: Time | None
    attempts: Count
    result: Any
    error: str | None


class ShownOneJob(msgspec.Struct, frozen=True):
    """One job."""

    job: ShownJob


class ShownJobs(msgspec.Struct, frozen=True):
    """A page of jobs."""

    jobs: list[ShownJob]


class ShownBalance(msgspec.Struct, frozen=True):
    """An account's balance of one asset."""

    asset: Asset
    available: Amount
    held: Amount
    pending: Amount


class ShownBalances(msgspec.Struct, frozen=True):
    """All balances of an account."""

    balances: list[ShownBalance]


class ShownTransaction(msgspec.Struct, frozen=True):
    """One ledger entry of an account."""

    id: str
    type: str
    asset: Asset
    amount: Signed
    account: Literal["available", "held", "pending"]
    balance_after: Signed
    reference: str
    created_at: Time


class ShownTransactions(msgspec.Struct, frozen=True):
    """A page of ledger entries."""

    transactions: list[ShownTransaction]


class ShownWithdrawal(msgspec.Struct, frozen=True):
    """A withdrawal."""

    id: WithdrawalId
    asset: Asset
    amount: Amount
    address: str
    state: Literal["pending", "settled", "returned"]
    created_at: Time
    updated_at: Time


class ShownOneWithdrawal(msgspec.Struct, frozen=True):
    """One withdrawal."""

    withdrawal: ShownWithdrawal


class ShownAuthor(msgspec.Struct, frozen=True):
    """The author of a post or comment."""

    type: Literal["agent", "owner"]
    id: str
    name: str


class ShownPost(msgspec.Struct, frozen=True):
    """A post."""

    id: PostId
    title: str
    body: str
    tags: list[str]
    author: ShownAuthor
    comment_count: Count
    created_at: Time


class ShownComment(msgspec.Struct, frozen=True):
    """A comment."""

    id: CommentId
    post_id: PostId
    body: str
    author: ShownAuthor
    created_at: Time


class ShownOnePost(msgspec.Struct, frozen=True):
    """One post."""

    post: ShownPost


class ShownOneComment(msgspec.Struct, frozen=True):
    """One comment."""

    comment: ShownComment


class ShownPosts(msgspec.Struct, frozen=True):
    """A page of posts."""

    posts: list[ShownPost]


class ShownThread(msgspec.Struct, frozen=True):
    """A post and a page of its comments."""

    post: ShownPost
    comments: list[ShownComment]


class ShownAssigned(msgspec.Struct, frozen=True):
    """A job as the answer to its machine's heartbeat describes it."""

    job_id: JobId
    type: str
    resources: ShownNeeds
    payload: dict[str, Any] | None
    duration_minutes: Annotated[int, Meta(ge=1)]


class ShownNotices(msgspec.Struct, frozen=True):
    """The jobs in the answer to a heartbeat: newly assigned and cancelled ones."""

    assignments: list[ShownAssigned] = []
    cancelled: list[JobId] = []
