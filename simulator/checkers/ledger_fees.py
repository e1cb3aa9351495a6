"""What workers' owners earned of jobs: of each charge all but the platform's fee (contract: Wallet, Jobs)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.checkers.ledger_entries import CHARGE, EARNING, amount_text
from simulator.checkers.market_view import alone
from simulator.checkers.verdict import Finding
from simulator.contract.pricing import USDT, fee_of

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts, MarketFacts
    from simulator.checkers.ledger_entries import Book
    from simulator.checkers.market_view import JobStory
    from simulator.history.rows import History


class Fees:
    """The fees of a run: of each job of which every account is known that may have earned by it."""

    def __init__(self, history: History, facts: Facts, books: list[Book], earners: set[str]) -> None:
        self._market = facts.market
        self._alone = alone(history, facts)
        self._earners = earners
        self._owners = {one.worker_id: f"owner:{one.owner_id}" for one in history.machines.values()}
        self._last = {book.shown.account: book for book in books if book.is_from_the_first}

    def wrong(self, stories: dict[str, JobStory]) -> tuple[int, list[Finding]]:
        """Return of how many jobs the fee was judged, and those of which an owner got more or less than is due."""
        judged, found = 0, []
        for story in stories.values():
            accounts = self._accounts(story)
            if accounts is None or not accounts <= self._last.keys():
                continue
            if story.ended_by_ns() >= min(self._last[one].shown.sent_ns for one in accounts):
                continue
            judged += 1
            found += _wrong_fee(story, self._last, self._market)
        return judged, found

    def _accounts(self, story: JobStory) -> set[str] | None:
        """Return whose books a job's money is in for sure; None where others may have earned by it."""
        final = story.final
        if final is not None and not final.attempts:
            # One that was never given back was only ever on the machine that its end is shown with.
            owner = self._owners.get(final.worker_id)
            if final.worker_id and owner is None:
                return None
            return {story.account} | ({owner} if owner else set())
        return {story.account} | self._earners if self._alone else None


def _wrong_fee(story: JobStory, books: dict[str, Book], market: MarketFacts | None) -> list[Finding]:
    own = books[story.account]
    charged = sorted(-amount for amount in own.of(story.id, CHARGE))
    earned = sorted(amount for book in books.values() for amount in book.of(story.id, EARNING))
    if market is None:
        right = sum(earned) <= sum(charged)
    else:
        parts = (one - fee_of(one, market.fee_basis_points) for one in charged)
        right = sorted(part for part in parts if part) == earned
    if right:
        return []
    message = (
        f"job {story.id} was charged {amount_text(sum(charged), USDT)}, of which "
        f"{amount_text(sum(earned), USDT)} was earned"
        + ("" if market is None else f", at a fee of {market.fee_basis_points} basis points")
    )
    evidence = {"account": story.account, "job": story.id, "charged": charged, "earned": earned}
    return [Finding("ledger.fee", message, own.shown.sent_ns, evidence)]
