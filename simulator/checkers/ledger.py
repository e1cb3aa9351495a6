"""The ledger checker: money adds up, every balance is reached by its entries, and each request had one effect, whole.

Of an answer that was lost nobody knows whether it took effect: both are right, but whichever it was must be all of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import healed_ns
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.ledger_entries import (
    CHARGE,
    CREDIT,
    EARNING,
    HOLD,
    OPENING,
    OUT,
    RELEASE,
    RETURNED,
    SETTLED,
    Book,
    amount_text,
    books_of,
    broken_books,
    written,
    wrong_job_moves,
    wrong_withdrawal_moves,
)
from simulator.checkers.ledger_fees import Fees
from simulator.checkers.ledger_keys import WITH_KEYS, made, wrong_keys
from simulator.checkers.ledger_limits import wrong_amounts, wrong_limits
from simulator.checkers.market_view import (
    NO_MARKET,
    all_is_known,
    granted,
    has_market,
    may_have_been_granted,
    of_one_market,
    seconds,
    stories_of,
)
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Operation
from simulator.contract.pricing import DECIMALS, USDT, asked_units, units
from simulator.history.rows import HONEST, NEVER_NS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.checkers.market_view import JobStory
    from simulator.history.market_records import MarketExchange
    from simulator.history.rows import History

IMBALANCE = "hatchfarm_ledger_imbalance"
GATEWAY_PATIENCE_SECONDS = 180.0
"""Three times the longest pause after which a gateway is asked again: what it has settled is known by then."""
WITHDRAWAL_STATES = ("settled", "returned")
_OF_JOBS, _OF_WITHDRAWALS = frozenset({HOLD, RELEASE, CHARGE}), frozenset({OUT, SETTLED, RETURNED})


def check_ledger(history: History, facts: Facts) -> Verdict:
    """Judge what accounts were shown of their money against what they asked for, and against itself."""
    unbalanced = [one for one in history.scrapes if one.samples.get(IMBALANCE)]
    if not has_market(history) and not unbalanced:
        return Verdict("ledger", Status.NOT_APPLICABLE, NO_MARKET)
    history = of_one_market(history, facts)
    ledger = _Ledger(history, facts)
    findings = [
        Finding(
            "ledger.imbalance",
            f"{IMBALANCE} was {one.samples[IMBALANCE]:g} at {seconds(one.sent_ns)}: the ledger's sums are not zero",
            one.sent_ns,
            {"metric": IMBALANCE, "value": one.samples[IMBALANCE]},
        )
        for one in unbalanced
    ]
    findings += broken_books(ledger.books, ledger.may_change(), ledger.may_earn())
    findings += [*wrong_keys(history), *wrong_amounts(history)]
    findings += [*ledger.wrong_credits(), *ledger.wrong_moves(), *ledger.missing(), *ledger.wrong_states()]
    fees, wrong_fees = Fees(history, facts, ledger.books, ledger.earners).wrong(ledger.stories)
    findings += wrong_fees
    if all_is_known(history, facts):
        findings += ledger.unexplained()
        if facts.market is not None:
            findings += wrong_limits(history, facts.market)
    findings.sort(key=lambda one: one.at_ns)
    entries = sum(len(one.entries) for one in ledger.books)
    unread = len(ledger.unread())
    figures: dict[str, Any] = {
        "violations": len(findings),
        "accounts": len({one.shown.account for one in ledger.books}),
        "accounts_not_read": unread,
        "entries": entries,
        "fees": fees,
        "withdrawals": len(ledger.withdrawals),
        "jobs": sum(one.created is not None for one in ledger.stories.values()),
    }
    if findings:
        shown = one_of_each_first(findings, lambda one: one.rule)
        summary = f"{plural(len(findings), 'fault')} of the ledger; {shown[0].message}."
        return Verdict("ledger", Status.FAIL, summary, kept(shown), figures, len(findings))
    if not ledger.books:
        if not unread:
            return Verdict("ledger", Status.NOT_APPLICABLE, "No account asked for money, or was shown its own.")
        summary = f"No account was shown its entries; {plural(unread, 'account')} asked for money."
        return Verdict("ledger", Status.INCONCLUSIVE, summary, (), figures)
    summary = (
        f"The money of {plural(figures['accounts'], 'account')} adds up over {plural(entries, 'entry', 'entries')}, "
        f"with {plural(figures['withdrawals'], 'withdrawal')} and {plural(figures['jobs'], 'job')}."
    )
    if unread:
        summary += f" The entries of {plural(unread, 'account')} that asked for money were not read."
    return Verdict("ledger", Status.PASS, summary, (), figures)


class _Ledger:
    """What is known of all accounts: their books, their jobs and withdrawals, and what became of these when."""

    def __init__(self, history: History, facts: Facts) -> None:
        self._history, self._facts = history, facts
        self.books = books_of(history)
        self.stories: dict[str, JobStory] = stories_of(history)
        self.withdrawals = {
            made(one): one
            for one in reversed(history.market_exchanges)
            if one.operation == Operation.WITHDRAW and made(one)
        }
        self.earners = {f"owner:{one.owner_id}" for one in history.machines.values()}
        self._states: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        """By withdrawal, what it was shown as between two moments, in order of the second."""
        for one in history.market_exchanges:
            if one.operation == Operation.WALLET_READ and granted(one):
                self._note_state(one.sent_ns, one.answered_ns, one.data.get("withdrawal"))
        for account in history.accounts_shown:
            for shown in account.withdrawals:
                self._note_state(account.sent_ns, account.answered_ns, shown)
        for states in self._states.values():
            states.sort(key=lambda one: (one[1], one[0]))

    def _note_state(self, sent_ns: int, answered_ns: int, shown: Any) -> None:
        if isinstance(shown, dict) and isinstance(shown.get("id"), str):
            self._states[shown["id"]].append((sent_ns, answered_ns, str(shown.get("state"))))

    def may_change(self) -> dict[str, set[str]]:
        """Return by account the jobs and withdrawals that were not known to have ended before its last reading."""
        found: dict[str, set[str]] = {}
        for book in self.books:
            known = {reference for reference in book.by_reference if self._ended_ns(reference) < book.shown.sent_ns}
            found.setdefault(book.shown.account, set()).update(book.by_reference.keys() - known)
        return found

    def may_earn(self) -> dict[str, int]:
        """Return by earning account the most that may come to it between its entries and its balance.

        One server shows the balance first, and so nothing. Of several each may be a little behind another.
        """
        found = dict.fromkeys(self.earners, 0)
        for book in self.books if self._facts.instances > 1 else ():
            account = book.shown.account
            if account in found:
                from_ns, to_ns = book.shown.sent_ns, book.shown.answered_ns
                may_end = (
                    one
                    for one in self.stories.values()
                    if one.created_from_ns() <= to_ns and one.ended_by_ns() >= from_ns
                )
                found[account] = max(found[account], sum(one.maximum or 0 for one in may_end))
        return found

    def unread(self) -> set[str]:
        """Return the accounts that may have been granted what takes money, and of which no entries were read."""
        asked = {
            one.account
            for one in self._history.market_exchanges
            if one.operation in WITH_KEYS and one.campaign == HONEST and may_have_been_granted(one)
        }
        return asked - {book.shown.account for book in self.books} - {""}

    def _ended_ns(self, reference: str) -> int:
        if reference in self.stories:
            return self.stories[reference].ended_by_ns()
        ended = (answered_ns for _, answered_ns, state in self._states[reference] if state in WITHDRAWAL_STATES)
        return min(ended, default=NEVER_NS)

    def wrong_credits(self) -> Iterator[Finding]:
        """Find accounts that were not credited once what each new one is."""
        due = self._facts.market.dev_credit if self._facts.market and self._facts.only_client else None
        for book in self.books:
            account = book.shown.account
            credited = [one for one in book.entries if one.type == CREDIT]
            missing = bool(due) and not credited and book.is_from_the_first
            if len(credited) > 1 or missing or (due is not None and any(one.amount != due for one in credited)):
                evidence = {"account": account, "entries": written(credited)}
                amounts = ", ".join(amount_text(one.amount, one.asset) for one in credited)
                message = f"{account} was credited {amounts or 'nothing'}"
                if due is not None:
                    message += f", due is {amount_text(due, USDT)} once"
                yield Finding("ledger.credit", message, book.shown.sent_ns, evidence)

    def wrong_moves(self) -> Iterator[Finding]:
        """Find jobs and withdrawals that moved money otherwise than once there and once back, or on."""
        for book in self.books:
            account = book.shown.account
            for reference, entries in book.by_reference.items():
                types = {one.type for one in entries}
                evidence = {"account": account, "reference": reference, "entries": written(entries)}
                if types & _OF_WITHDRAWALS and book.is_from_the_first:
                    wrong = wrong_withdrawal_moves(entries) or self._otherwise_asked(reference, entries)
                    if wrong:
                        message = f"withdrawal {reference} of {account}: {wrong}"
                        yield Finding("ledger.withdrawal", message, book.shown.sent_ns, evidence)
                elif types & _OF_JOBS:
                    yield from self._wrong_job(
                        book, reference, [one for one in entries if one.type in _OF_JOBS], evidence
                    )

    def _otherwise_asked(self, reference: str, entries: list[Any]) -> str:
        asked = self.withdrawals.get(reference)
        if asked is None:
            return ""
        asset = str(asked.asked.get("asset"))
        amount = asked_units(asked.asked.get("amount"), asset)
        if entries[0].asset != asset or (amount is not None and abs(entries[0].amount) != amount):
            return f"{asked.asked.get('amount')} {asset} was asked for, and {written(entries[:1])[0]} was entered"
        return ""

    def _wrong_job(self, book: Book, job_id: str, entries: list[Any], evidence: dict[str, Any]) -> Iterator[Finding]:
        account, story = book.shown.account, self.stories.get(job_id)
        wrong = wrong_job_moves(entries, story.maximum if story else None, from_the_first=book.is_from_the_first)
        evidence = {**evidence, "job": job_id}
        if wrong:
            yield Finding("ledger.escrow", f"job {job_id} of {account}: {wrong}", book.shown.sent_ns, evidence)
            return
        if story is None or story.final is None or not book.is_from_the_first:
            return
        if story.ended_by_ns() >= book.shown.sent_ns:
            return
        held = sum(one.amount for one in entries if one.part == "held")
        charged = -sum(one.amount for one in entries if one.type == CHARGE)
        billed = units(story.final.job.get("billed"))
        if held or units(story.final.job.get("escrow")):
            message = f"job {job_id} of {account} has ended, and {amount_text(held, USDT)} of its escrow is still held"
            yield Finding("ledger.escrow", message, book.shown.sent_ns, evidence)
        elif billed is not None and charged != billed:
            message = (
                f"job {job_id} of {account} was billed {amount_text(billed, USDT)}, "
                f"and charged {amount_text(charged, USDT)}"
            )
            yield Finding("ledger.billed", message, book.shown.sent_ns, evidence)

    def missing(self) -> Iterator[Finding]:
        """Find jobs and withdrawals that were acknowledged and are in no entry, or not found."""
        acknowledged: dict[str, MarketExchange] = dict(self.withdrawals)
        acknowledged |= {story.id: story.created for story in self.stories.values() if story.created is not None}
        for book in self.books:
            if not book.is_from_the_first:
                continue
            for reference, one in acknowledged.items():
                shown = book.shown
                if (
                    one.account == shown.account
                    and one.answered_ns <= shown.sent_ns
                    and reference not in book.by_reference
                ):
                    message = (
                        f"{reference} was granted to {one.account} at {seconds(one.sent_ns)}, and no entry is of it"
                    )
                    evidence = {"account": one.account, "reference": reference, "asked": one.asked}
                    yield Finding("ledger.missing", message, shown.sent_ns, evidence)
        for read in self._history.market_exchanges:
            own = acknowledged.get(read.object_id)
            if own is None or read.status != HTTPStatus.NOT_FOUND or read.account != own.account:
                continue
            if read.sent_ns >= own.answered_ns:
                message = f"{read.object_id} of {own.account} was not found at {seconds(read.sent_ns)}"
                evidence = {"account": own.account, "reference": read.object_id, "asked": own.asked}
                yield Finding("ledger.missing", message, read.sent_ns, evidence)

    def unexplained(self) -> Iterator[Finding]:
        """Find jobs and withdrawals in entries that nobody asked for: more than answers were lost."""
        lost: dict[tuple[str, str, int], set[str]] = defaultdict(set)
        for number, one in enumerate(self._history.market_exchanges):
            if may_have_been_granted(one) and not granted(one) and one.operation in WITH_KEYS:
                lost[one.account, *_asked_for(one)].add(one.key or str(number))
        for book in self.books:
            unknown: Counter[tuple[str, str, int]] = Counter()
            account = book.shown.account
            own = self._own(account)
            for reference, entries in book.by_reference.items():
                first = entries[0]
                evidence = {"account": account, "reference": reference, "entries": written(entries)}
                types = {one.type for one in entries} & (_OF_JOBS | _OF_WITHDRAWALS)
                if reference in own or (not types and self._may_earn(account, entries)):
                    continue
                unknown[account, first.asset, abs(first.amount)] += 1
                if unknown[account, first.asset, abs(first.amount)] > len(
                    lost[account, first.asset, abs(first.amount)]
                ):
                    message = f"{account} has entries of {reference}, which it never asked for"
                    yield Finding("ledger.unexplained", message, book.shown.sent_ns, evidence)

    def _own(self, account: str) -> set[str]:
        jobs = {one.id for one in self.stories.values() if one.account == account}
        return jobs | {name for name, one in self.withdrawals.items() if one.account == account}

    def _may_earn(self, account: str, entries: list[Any]) -> bool:
        return account in self.earners and {one.type for one in entries} <= {EARNING, OPENING}

    def wrong_states(self) -> Iterator[Finding]:
        """Find withdrawals that changed after they had ended, or that never end."""
        for withdrawal_id, states in self._states.items():
            ended = [one for one in states if one[2] in WITHDRAWAL_STATES]
            for sent_ns, _, state in states:
                if ended and sent_ns >= ended[0][1] and state != ended[0][2]:
                    message = f"withdrawal {withdrawal_id} was {ended[0][2]}, and later {state}"
                    yield Finding("ledger.state", message, sent_ns, {"reference": withdrawal_id})
                    break
        for book in self.books:
            for reference, entries in book.by_reference.items():
                types = {one.type for one in entries}
                if not types & _OF_WITHDRAWALS or not book.is_from_the_first:
                    continue
                evidence = {"account": book.shown.account, "reference": reference, "entries": written(entries)}
                ended_as = [
                    state for _, answered_ns, state in self._states[reference] if answered_ns < book.shown.sent_ns
                ]
                last = ended_as[-1] if ended_as else ""
                if last in WITHDRAWAL_STATES and f"withdrawal_{last}" not in types:
                    message = f"withdrawal {reference} is {last}, and no entry says so"
                    yield Finding("ledger.state", message, book.shown.sent_ns, evidence)
                elif not types & {SETTLED, RETURNED} and self._waits_too_long(reference, book.shown.sent_ns):
                    message = (
                        f"withdrawal {reference} of {book.shown.account} was debited, and neither paid nor returned"
                    )
                    yield Finding("ledger.stuck", message, book.shown.sent_ns, evidence)

    def _waits_too_long(self, withdrawal_id: str, at_ns: int) -> bool:
        asked, market = self.withdrawals.get(withdrawal_id), self._facts.market
        if asked is None or market is None:
            return False
        since_ns = max([asked.answered_ns, *map(healed_ns, self._history.faults)])
        return at_ns - since_ns > (market.payout_seconds + GATEWAY_PATIENCE_SECONDS) * SECOND_NS


def _asked_for(one: MarketExchange) -> tuple[str, int]:
    """Return the asset and the units that a request for a job or a withdrawal takes from what is available."""
    if one.operation == Operation.WITHDRAW:
        asset = str(one.asked.get("asset"))
        return asset, asked_units(one.asked.get("amount"), asset) or 0 if asset in DECIMALS else 0
    asked = one.asked.get("max_price_usdt")
    return USDT, units(
        asked if isinstance(asked, str) else f"{asked:.6f}" if isinstance(asked, int | float) else ""
    ) or 0
