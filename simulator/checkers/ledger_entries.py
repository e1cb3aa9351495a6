"""The ledger's entries as accounts were shown them: each balance is reached by them, and each moves money once.

Contract: Wallet. All entries of one transaction have its reference, the id of a job or a withdrawal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.checkers.verdict import Finding
from simulator.contract.pricing import DECIMALS, PARTS, USDT, units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.history.market_records import AccountShown
    from simulator.history.rows import History

OPENING = "opening"
HOLD, RELEASE, CHARGE, EARNING = "escrow_hold", "escrow_release", "job_charge", "job_earning"
OUT, SETTLED, RETURNED = "withdrawal", "withdrawal_settled", "withdrawal_returned"
CREDIT = "credit"
BY_ITSELF = frozenset({RELEASE, CHARGE, EARNING, SETTLED, RETURNED})
"""What the server enters though nobody asks at that moment."""
ENTRIES_SHOWN_MAX = 12
"""As many entries are evidence enough of what one job or withdrawal moved."""


class Entry(msgspec.Struct, frozen=True):
    """One entry of an account, amounts in units of its asset."""

    id: str
    type: str
    asset: str
    part: str
    amount: int
    after: int
    reference: str

    @property
    def place(self) -> tuple[str, str]:
        """Which balance it is of."""
        return self.asset, self.part


class Book:
    """What one reading of an account shows of its entries, the oldest first, each once."""

    def __init__(self, shown: AccountShown) -> None:
        self.shown = shown
        self.entries: list[Entry] = []
        self.unread: list[dict[str, Any]] = []
        known: set[str] = set()
        for raw in reversed(shown.transactions):
            entry = entry_of(raw)
            if entry is None:
                self.unread.append(raw)
            # While pages are read, new entries move the older ones on, so that they are seen twice.
            elif entry.id not in known:
                known.add(entry.id)
                self.entries.append(entry)
        self.is_whole = shown.complete and shown.transactions_total >= 0
        self.is_from_the_first = self.is_whole and all(one.type != OPENING for one in self.entries)
        by_reference: dict[str, list[Entry]] = defaultdict(list)
        for one in self.entries:
            if one.type not in {OPENING, CREDIT}:
                by_reference[one.reference].append(one)
        self.by_reference = dict(by_reference)

    def of(self, reference: str, kind: str) -> list[int]:
        """Return the amounts of all entries of a type that one job or withdrawal made."""
        return [one.amount for one in self.by_reference.get(reference, ()) if one.type == kind]


def entry_of(raw: Any) -> Entry | None:
    """Read an entry; None for what is none."""
    if not isinstance(raw, dict):
        return None
    asset, part = raw.get("asset"), raw.get("account")
    amount, after = (units(raw.get(name), str(asset)) for name in ("amount", "balance_after"))
    texts = [raw.get(name) for name in ("id", "type", "reference")]
    if amount is None or after is None or part not in PARTS or not all(isinstance(one, str) for one in texts):
        return None
    return Entry(str(raw["id"]), str(raw["type"]), str(asset), str(part), amount, after, str(raw["reference"]))


def written(entries: list[Entry]) -> list[str]:
    """Write entries for people, as evidence."""
    return [
        f"{one.type} {amount_text(one.amount, one.asset)} {one.asset} {one.part}" for one in entries[:ENTRIES_SHOWN_MAX]
    ]


def amount_text(amount: int, asset: str) -> str:
    """Write units as the decimal that the API shows."""
    whole, rest = divmod(abs(amount), 10 ** DECIMALS[asset])
    return f"{'-' if amount < 0 else ''}{whole}.{rest:0{DECIMALS[asset]}d}"


def books_of(history: History) -> list[Book]:
    """Return the readings of accounts whose entries were read."""
    return [Book(one) for one in history.accounts_shown if one.transactions_total >= 0 or one.transactions]


def broken_books(books: list[Book], may_change: dict[str, set[str]], may_earn: dict[str, int]) -> Iterator[Finding]:
    """Find entries that do not chain, balances that none of them reaches, and any that is below zero.

    `may_change` has by account the jobs and withdrawals that may have moved money by themselves while it was read;
    `may_earn` has the accounts that earn by others' jobs, each with the most that can have come after its entries.
    """
    seen: dict[tuple[str, str], tuple[Entry, int]] = {}
    for book in books:
        account, at_ns = book.shown.account, book.shown.sent_ns
        evidence = {"account": account, "sent_ns": at_ns, "answered_ns": book.shown.answered_ns}
        for raw in book.unread[:1]:
            shown = msgspec.json.encode(raw).decode()[:500]
            yield Finding("ledger.chain", f"{account} has an entry that is none: {shown}", at_ns, evidence)
        yield from _broken_chain(book, evidence)
        yield from _unreached(book, evidence, may_change.get(account, set()), may_earn.get(account))
        for one in book.entries:
            if one.type == OPENING:
                continue
            before = seen.setdefault((account, one.id), (one, at_ns))[0]
            if before != one:
                message = f"entry {one.id} of {account} is another one than it was before"
                yield Finding("ledger.rewritten", message, at_ns, {**evidence, "entries": written([before, one])})


def _broken_chain(book: Book, evidence: dict[str, Any]) -> Iterator[Finding]:
    account, at_ns = book.shown.account, book.shown.sent_ns
    balance: dict[tuple[str, str], int] = {}
    for one in book.entries:
        known = balance.get(one.place, 0 if book.is_from_the_first and one.type != OPENING else None)
        if known is not None and known + one.amount != one.after:
            message = (
                f"{account} had {amount_text(known, one.asset)} {one.asset} {one.part}, and after {one.type} of "
                f"{amount_text(one.amount, one.asset)} for {one.reference} it had {amount_text(one.after, one.asset)}"
            )
            yield Finding("ledger.chain", message, at_ns, {**evidence, "entries": written([one]), "job": one.reference})
            return
        balance[one.place] = one.after
        if one.after < 0:
            message = f"{account} had {amount_text(one.after, one.asset)} {one.asset} {one.part} after {one.type}"
            yield Finding("ledger.negative", message, at_ns, {**evidence, "entries": written([one])})
            return


def _unreached(book: Book, evidence: dict[str, Any], may_change: set[str], may_earn: int | None) -> Iterator[Finding]:
    """Find balances that differ from what the entries come to, however what may have changed meanwhile did."""
    account, at_ns = book.shown.account, book.shown.sent_ns
    balances = balances_of(book.shown.balances)
    for (asset, part), amount in balances.items():
        if amount < 0:
            message = f"{account} has {amount_text(amount, asset)} {asset} {part}"
            yield Finding("ledger.negative", message, at_ns, evidence)
    if not balances or not book.is_whole:
        return
    reached: dict[tuple[str, str], int] = dict.fromkeys(balances, 0)
    for one in book.entries:
        reached[one.place] = one.after
    if _is_reached(book, balances, reached, may_change, may_earn):
        return
    differs = {place: (balances.get(place, 0), amount) for place, amount in reached.items()}
    shown = "; ".join(
        f"{amount_text(has, asset)} {asset} {part}, its entries come to {amount_text(sums, asset)}"
        for (asset, part), (has, sums) in differs.items()
        if has != sums
    )
    yield Finding("ledger.sum", f"{account} has {shown}", at_ns, evidence)


def _is_reached(
    book: Book,
    balances: dict[tuple[str, str], int],
    reached: dict[tuple[str, str], int],
    may_change: set[str],
    may_earn: int | None,
) -> bool:
    if {place: amount for place, amount in reached.items() if amount} == _nonzero(balances):
        return True
    if not may_change and may_earn is None:
        return False
    # The balances may have been read before what came last.
    before = dict(reached)
    for one in reversed(book.entries):
        if one.type not in BY_ITSELF or not (
            one.reference in may_change or (may_earn is not None and one.type == EARNING)
        ):
            break
        before[one.place] -= one.amount
        if _nonzero(before) == _nonzero(balances):
            return True
    # Or after the entries: then what was held or on its way has come back, or is gone, and a little more was earned.
    for asset in DECIMALS:
        change = {part: balances.get((asset, part), 0) - reached.get((asset, part), 0) for part in PARTS}
        if change["held"] > 0 or change["pending"] > 0 or change["available"] < 0:
            return False
        earned = may_earn or 0 if asset == USDT else 0
        if change["available"] > earned - change["held"] - change["pending"]:
            return False
    return True


def _nonzero(amounts: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {place: amount for place, amount in amounts.items() if amount}


def balances_of(shown: Any) -> dict[tuple[str, str], int]:
    """Return shown balances by asset and part; those that cannot be read are none."""
    found: dict[tuple[str, str], int] = {}
    for one in shown if isinstance(shown, list) else ():
        asset = str(one.get("asset")) if isinstance(one, dict) else ""
        for part in PARTS:
            amount = units(one.get(part), asset) if asset in DECIMALS else None
            if amount is not None:
                found[asset, part] = amount
    return found


def wrong_job_moves(entries: list[Entry], maximum: int | None, *, from_the_first: bool) -> str:
    """Say what is wrong with what a job moved in its account: held once, charged, released once. Empty for nothing."""
    kinds = Counter((one.type, one.part) for one in entries)
    for kind, verb in ((HOLD, "held"), (RELEASE, "released")):
        moved = [one.amount for one in entries if one.type == kind]
        if max(kinds[kind, "available"], kinds[kind, "held"]) > 1:
            return f"its escrow was {verb} {max(kinds[kind, 'available'], kinds[kind, 'held'])} times"
        if moved and from_the_first and (len(moved) != 2 or sum(moved)):  # noqa: PLR2004 - from one part to the other
            return f"its escrow was {verb} in one part of the account and not in the other"
    held = 0
    for one in entries:
        held += one.amount if one.part == "held" else 0
        if held < 0 and from_the_first:
            return f"more was taken from its escrow than was in it, at last by {one.type}"
    amount = next((one.amount for one in entries if (one.type, one.part) == (HOLD, "held")), None)
    if from_the_first and any(one.type == CHARGE for one in entries) and amount is None:
        return "it was charged, and nothing was held for it"
    if maximum is not None and amount is not None and amount != maximum:
        asset = entries[0].asset
        return f"{amount_text(amount, asset)} was held for it, its maximum is {amount_text(maximum, asset)}"
    return ""


def wrong_withdrawal_moves(entries: list[Entry]) -> str:
    """Say what is wrong with what a withdrawal moved: out once, settled or returned once. Empty for nothing."""
    moves = Counter((one.type, one.part) for one in entries)
    amounts = {abs(one.amount) for one in entries}
    if moves[OUT, "available"] != 1 or moves[OUT, "pending"] != 1:
        return f"it was debited {moves[OUT, 'available']} times"
    ends = moves[SETTLED, "pending"] + moves[RETURNED, "pending"]
    if ends > 1 or moves[RETURNED, "available"] > 1:
        return f"it was settled {moves[SETTLED, 'pending']} times and returned {moves[RETURNED, 'available']} times"
    if moves[RETURNED, "available"] != moves[RETURNED, "pending"] or moves[SETTLED, "available"]:
        return "what it moved does not sum to zero"
    if len(amounts) != 1:
        return "it moved several amounts"
    signs = {(one.type, one.part): one.amount for one in entries}
    if signs[OUT, "available"] > 0 or signs[OUT, "available"] + signs[OUT, "pending"]:
        return "what it moved does not sum to zero"
    return ""
