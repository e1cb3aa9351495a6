"""Checks of the fields of agents, jobs, offers, money and posts against the request (contract: market)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from reference_server.wire.timestamps import parse_timestamp
from simulator.contract.market_shapes import (
    ShownBalances,
    ShownComment,
    ShownJobs,
    ShownNotices,
    ShownOffers,
    ShownOneComment,
    ShownOneJob,
    ShownOnePost,
    ShownOneWithdrawal,
    ShownPost,
    ShownPosts,
    ShownPrices,
    ShownThread,
    ShownTransactions,
    ShownWithKey,
    ShownWithoutKey,
)
from simulator.contract.objects import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_Shape = TypeVar("_Shape")


class MarketReader(Reader):
    """A reader of one answer's data that also knows the routes of the market."""

    def read(self, status: int, data: Any) -> None:
        """Check the data of a success; does nothing for a route without fields of its own."""
        first, *rest = self._asked.path.strip("/").split("/")
        readers = {
            "agents": self._read_agents,
            "resources": self._read_offers,
            "jobs": self._read_jobs,
            "wallet": self._read_wallet,
            "forum": self._read_forum,
        }
        if first in readers:
            readers[first](status, data, [self._asked.method, *rest])
        else:
            super().read(status, data)

    def _read_agents(self, status: int, data: Any, asked: list[str]) -> None:
        match asked:
            case ["POST", "register"]:
                self._is_status(status, HTTPStatus.CREATED)
                self._see_agent(self._shape(data, ShownWithKey))
            case ["GET" | "PUT" as method, "me"]:
                self._is_status(status, HTTPStatus.OK)
                rotated = method == "PUT" and self._body.get("rotate_api_key") is True
                self._see_agent(self._shape(data, ShownWithKey) if rotated else self._shape(data, ShownWithoutKey))
                if not rotated and isinstance(data, dict) and "api_key" in data:
                    self._say("fields", "it shows an api_key that nobody asked to be made")

    def _read_offers(self, status: int, data: Any, asked: list[str]) -> None:
        self._is_status(status, HTTPStatus.OK)
        match asked:
            case ["GET"]:
                self._see_offers(self._shape(data, ShownOffers))
            case ["GET", "prices"]:
                self._see_prices(self._shape(data, ShownPrices))

    def _read_jobs(self, status: int, data: Any, asked: list[str]) -> None:
        self._is_status(status, HTTPStatus.CREATED if asked == ["POST"] else HTTPStatus.OK)
        match asked:
            case ["POST"]:
                self._see_new_job(self._shape(data, ShownOneJob))
            case ["GET"]:
                self._see_jobs(self._shape(data, ShownJobs))
            case ["GET" | "DELETE" as method, job_id]:
                self._see_job(self._shape(data, ShownOneJob), job_id, "cancelled" if method == "DELETE" else "")

    def _read_wallet(self, status: int, data: Any, asked: list[str]) -> None:
        self._is_status(status, HTTPStatus.ACCEPTED if asked == ["POST", "withdraw"] else HTTPStatus.OK)
        match asked:
            case ["GET", "balance"]:
                self._see_balances(self._shape(data, ShownBalances))
            case ["GET", "transactions"]:
                self._see_transactions(self._shape(data, ShownTransactions))
            case ["POST", "withdraw"]:
                self._see_withdrawal(self._shape(data, ShownOneWithdrawal), self._body)
            case ["GET", "withdrawals", withdrawal_id]:
                self._see_withdrawal(self._shape(data, ShownOneWithdrawal), {"id": withdrawal_id})

    def _accepted(self, data: Mapping[str, Any], worker_id: str) -> None:
        super()._accepted(data, worker_id)
        if "assignments" in data or "cancelled" in data:
            self._shape(data, ShownNotices)

    # --- agents, offers and jobs

    def _see_agent(self, shown: ShownWithKey | ShownWithoutKey | None) -> None:
        name = self._body.get("name")
        if shown is not None and isinstance(name, str) and name.isascii() and shown.agent.name != name:
            self._say("echo", f"its name is {shown.agent.name[:120]!r}, asked was {name[:120]!r}")

    def _see_offers(self, shown: ShownOffers | None) -> None:
        if shown is None:
            return
        self._see_order((one.place for one in shown.resources), "its offers are not cheapest first, then by worker_id")
        asked = self._asked.parameters()
        model = asked.get("gpu_model", "")
        has: dict[str, list[float]] = {
            "min_cpu_cores": [one.cpu_cores for one in shown.resources],
            "min_memory_gb": [one.memory_gb for one in shown.resources],
            "min_gpu_count": [one.gpus_of(model) for one in shown.resources],
        }
        for name, numbers in has.items():
            least = _number(asked.get(name))
            if least is not None and any(Decimal(repr(one)) < least for one in numbers):
                self._say("page-filter", f"it has offers with less than {name}={asked[name][:40]}")
        if model and any(not one.gpus_of(model) for one in shown.resources):
            self._say("page-filter", f"it has offers without {model[:80]!r}")

    def _see_prices(self, shown: ShownPrices | None) -> None:
        if shown is None:
            return
        kinds = [one.resource for one in shown.prices]
        if kinds.count("cpu-hour") != 1 or kinds.count("memory-gb-hour") != 1:
            self._say("fields", "it has not one price of a core and one of memory")
        if any((one.model is not None) != (one.resource == "gpu-hour") for one in shown.prices):
            self._say("fields", "a price names a model and is no GPU's, or is a GPU's and names none")

    def _see_new_job(self, shown: ShownOneJob | None) -> None:
        if shown is None:
            return
        job, body = shown.job, self._body
        if job.state not in {"queued", "assigned"}:
            self._say("state", f"its job's state is {job.state!r}, and it was only just posted")
        for name in ("type", "duration_minutes", "payload"):
            if name in body and getattr(job, name) != body[name]:
                self._say("echo", f"its {name} is {getattr(job, name)!r}, asked was {body[name]!r}"[:240])
        wanted = _number(body.get("max_price_usdt"))
        if wanted is not None and {Decimal(job.max_price_usdt), Decimal(job.escrow)} != {wanted}:
            self._say("echo", f"its maximum is {job.max_price_usdt}, {job.escrow} of it held; asked was {wanted}"[:200])

    def _see_jobs(self, shown: ShownJobs | None) -> None:
        if shown is None:
            return
        self._see_newest_first([one.created_at for one in shown.jobs])
        state = self._asked.parameters().get("state")
        if state and any(one.state != state for one in shown.jobs):
            self._say("page-filter", f"it has jobs in another state than {state[:40]}")

    def _see_job(self, shown: ShownOneJob | None, job_id: str, state: str) -> None:
        if shown is None:
            return
        if shown.job.id != job_id:
            self._say("other", f"it shows {shown.job.id}, asked was {job_id[:80]}")
        if state and shown.job.state != state:
            self._say("state", f"its job's state is {shown.job.state!r}, not {state!r}")

    # --- money

    def _see_balances(self, shown: ShownBalances | None) -> None:
        if shown is not None and sorted(one.asset for one in shown.balances) != ["BTC", "USDT-TRC20"]:
            self._say("fields", "it has not one balance of each asset")

    def _see_transactions(self, shown: ShownTransactions | None) -> None:
        if shown is None:
            return
        self._see_newest_first([one.created_at for one in shown.transactions])
        asset = self._asked.parameters().get("asset")
        if asset and any(one.asset != asset for one in shown.transactions):
            self._say("page-filter", f"it has entries of another asset than {asset[:40]}")

    def _see_withdrawal(self, shown: ShownOneWithdrawal | None, asked: Mapping[str, Any]) -> None:
        if shown is None:
            return
        for name in ("id", "asset", "address"):
            if name in asked and getattr(shown.withdrawal, name) != asked[name]:
                self._say("other" if name == "id" else "echo", f"its {name} is another than was asked for")
        wanted = _number(asked.get("amount"))
        if wanted is not None and Decimal(shown.withdrawal.amount) != wanted:
            self._say("echo", f"its amount is {shown.withdrawal.amount}, asked was {wanted}"[:200])

    # --- the forum

    def _read_forum(self, status: int, data: Any, asked: list[str]) -> None:
        self._is_status(status, HTTPStatus.CREATED if self._asked.method == "POST" else HTTPStatus.OK)
        match asked:
            case ["GET", "posts"]:
                posts = self._shape(data, ShownPosts)
                if posts is not None:
                    self._see_newest_first([one.created_at for one in posts.posts])
                    self._see_tags(posts.posts)
            case ["GET", "posts", post_id]:
                thread = self._shape(data, ShownThread)
                if thread is not None and {thread.post.id, *(one.post_id for one in thread.comments)} != {post_id}:
                    self._say("other", f"it shows more, or another one, than {post_id[:80]}")
                if thread is not None:
                    times = (parse_timestamp(one.created_at) or 0 for one in thread.comments)
                    self._see_order(times, "its comments are not oldest first")
            case ["POST", "posts"]:
                made = self._shape(data, ShownOnePost)
                self._see_echo(None if made is None else made.post, "title", "body", "tags")
            case ["POST", "posts", _, "comments"]:
                written = self._shape(data, ShownOneComment)
                self._see_echo(None if written is None else written.comment, "body")

    def _see_tags(self, posts: Sequence[ShownPost]) -> None:
        tag = self._asked.parameters().get("tag")
        if tag and any(tag not in one.tags for one in posts):
            self._say("page-filter", f"it has posts without the tag {tag[:40]}")

    def _see_echo(self, shown: ShownPost | ShownComment | None, *names: str) -> None:
        for name in names:
            if shown is not None and name in self._body and getattr(shown, name) != self._body[name]:
                self._say("echo", f"its {name} is not what was written")

    # --- shared by several routes

    def _shape(self, data: Any, shape: type[_Shape]) -> _Shape | None:
        """Return `data` as a `shape`; None, after adding a violation, if it does not match."""
        try:
            return msgspec.convert(data, shape)
        except (msgspec.ValidationError, RecursionError) as error:
            self._say("fields", f"its data is not what it must be: {error}"[:240])
            return None

    def _see_order(self, places: Iterable[Any], wrong: str) -> None:
        if any(before > after for before, after in pairwise(places)):
            self._say("page-order", wrong)

    def _see_newest_first(self, times: Sequence[str]) -> None:
        self._see_order((-(parse_timestamp(one) or 0) for one in times), "it is not newest first")


def _number(shown: Any) -> Decimal | None:
    """Return a value of the request as a decimal; None if it is not a string with a finite decimal."""
    try:
        found = Decimal(shown) if isinstance(shown, str) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None
