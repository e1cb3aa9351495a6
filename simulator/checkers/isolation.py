"""The isolation checker: nobody was shown what is another's, and another's id tells as little as one that is none.

Contract: Principals and accounts. Jobs, withdrawals and entries are their account's; who owns a machine is not shown.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.ledger_entries import EARNING, entry_of
from simulator.checkers.ledger_keys import made
from simulator.checkers.market_view import (
    NO_MARKET,
    granted,
    has_market,
    jobs_in,
    message_of,
    of_one_market,
    seconds,
    stories_of,
)
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Operation, operation_name
from simulator.contract.features import Feature
from simulator.contract.market import NOT_FOUND
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.checkers.facts import Facts
    from simulator.history.market_records import MarketExchange
    from simulator.history.rows import History

TELLS = (HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
"""Refusals that would tell of another's object, if they differed from those for an id that is none."""
OF_OWNERS = ("owner", "owner_id", "account", "agent_id", "api_key", "email")
"""Fields by which an offer or a price would say whose it is."""


def check_isolation(history: History, facts: Facts) -> Verdict:
    """Find what an account was shown that another one made."""
    if not has_market(history):
        return Verdict("isolation", Status.NOT_APPLICABLE, NO_MARKET)
    owned = _Owned(of_one_market(history, facts), has_messages=Feature.JSON_404 not in (facts.lacks or ()))
    findings = sorted(owned.findings(), key=lambda one: one.at_ns)
    figures: dict[str, Any] = {
        "violations": len(findings),
        "objects": len(owned.account_of),
        "answers": owned.answers,
        "foreign_ids_asked": owned.asked_for_foreign,
    }
    if findings:
        first = one_of_each_first(findings, lambda one: one.rule)
        summary = f"{plural(len(findings), 'answer')} showed what is another's; {first[0].message}."
        return Verdict("isolation", Status.FAIL, summary, kept(first), figures, len(findings))
    if not owned.answers and not owned.asked_for_foreign:
        summary = "Nothing was shown to anybody, so nothing tells whether one is shown what is another's."
        return Verdict("isolation", Status.INCONCLUSIVE, summary, (), figures)
    shown, objects = plural(owned.answers, "answer"), plural(len(owned.account_of), "object")
    asked = plural(owned.asked_for_foreign, "time")
    summary = f"None of {shown} showed one of {objects} to another; {asked} another's was asked for."
    return Verdict("isolation", Status.PASS, summary, (), figures)


class _Owned:
    """Who made which job and withdrawal, and who owns which machine."""

    def __init__(self, history: History, *, has_messages: bool) -> None:
        self._history = history
        self._has_messages = has_messages
        self.account_of = {story.id: story.account for story in stories_of(history).values() if story.account}
        for one in history.market_exchanges:
            if one.operation == Operation.WITHDRAW and made(one):
                self.account_of.setdefault(made(one), one.account)
        self._owners = {*history.owners, *(one.owner_id for one in history.machines.values())}
        self._earners = {f"owner:{one.owner_id}" for one in history.machines.values()}
        self.answers = self.asked_for_foreign = 0

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with any answer."""
        for one in self._history.market_exchanges:
            self.answers += granted(one)
            if granted(one):
                yield from self._shown(one.account, one.sent_ns, jobs_in(one), operation_name(one.operation))
                yield from self._entries(one.account, one.sent_ns, one.data.get("transactions"))
                yield from self._agent(one)
                for name in ("resources", "prices"):
                    yield from self._offers(one.sent_ns, one.data.get(name))
            yield from self._asked(one)
        for account in self._history.accounts_shown:
            self.answers += 1
            yield from self._shown(account.account, account.sent_ns, account.jobs, "list of jobs")
            yield from self._shown(account.account, account.sent_ns, account.withdrawals, "withdrawal")
            yield from self._entries(account.account, account.sent_ns, account.transactions)
        for shown in self._history.resources_shown:
            self.answers += 1
            yield from self._offers(shown.sent_ns, shown.resources)

    def _shown(self, account: str, at_ns: int, objects: Iterable[Any], where: str) -> Iterator[Finding]:
        for one in objects:
            name = str(one.get("id")) if isinstance(one, dict) else ""
            owner = self.account_of.get(name, account)
            if owner != account:
                message = f"{account} was shown {name} of {owner} in a {where} at {seconds(at_ns)}"
                evidence = {"account": account, "owner": owner, "object": name, "shown": one}
                yield Finding("isolation.foreign", message, at_ns, evidence)

    def _entries(self, account: str, at_ns: int, entries: Any) -> Iterator[Finding]:
        for raw in entries if isinstance(entries, list) else ():
            entry = entry_of(raw)
            owner = account if entry is None else self.account_of.get(entry.reference, account)
            earns = entry is not None and entry.type == EARNING and account in self._earners
            if entry is not None and owner != account and not earns:
                message = f"{account} was shown an entry of {entry.reference}, which is {owner}'s, at {seconds(at_ns)}"
                evidence = {"account": account, "owner": owner, "object": entry.reference, "shown": raw}
                yield Finding("isolation.foreign", message, at_ns, evidence)

    def _agent(self, one: MarketExchange) -> Iterator[Finding]:
        agent = one.data.get("agent")
        if one.operation != Operation.AGENT_UPDATE or not isinstance(agent, dict):
            return
        shown = f"agent:{agent.get('id')}"
        if one.account.startswith("agent:") and shown != one.account:
            message = f"{one.account} was shown {shown} as itself at {seconds(one.sent_ns)}"
            yield Finding("isolation.foreign", message, one.sent_ns, {"account": one.account, "owner": shown})

    def _offers(self, at_ns: int, offers: Any) -> Iterator[Finding]:
        for one in offers if isinstance(offers, list) else ():
            if not isinstance(one, dict):
                continue
            fields = [name for name, value in one.items() if name in OF_OWNERS or str(value) in self._owners]
            if fields and one.get("model") not in self._owners:
                message = f"what is offered says whose it is, at {seconds(at_ns)}: {', '.join(fields)}"
                yield Finding("isolation.owner-shown", message, at_ns, {"shown": one})
                return

    def _asked(self, one: MarketExchange) -> Iterator[Finding]:
        """Find an answer to who asked for another's object by its id that is not that to an id that is none."""
        owner = self.account_of.get(one.object_id) if one.object_id else None
        right = NOT_FOUND.get(Operation(one.operation))
        if owner is None or right is None or owner == one.account:
            return
        self.asked_for_foreign += 1
        evidence = {"account": one.account, "owner": owner, "object": one.object_id, "status": one.status}
        asked = f"{one.account} asked for {one.object_id} of {owner} at {seconds(one.sent_ns)}"
        if granted(one):
            if not jobs_in(one):
                yield Finding("isolation.foreign", f"{asked}, and it was granted", one.sent_ns, evidence)
        elif one.status in TELLS and not self._is_right(one, right):
            message = f"{asked}, and got {one.status} {message_of(one)!r}: for an id that is none it is 404 {right!r}"
            yield Finding("isolation.refusal", message, one.sent_ns, evidence)

    def _is_right(self, one: MarketExchange, right: str) -> bool:
        """Return whether a refusal is that of an id which is none; without envelopes there is no message."""
        return one.status == HTTPStatus.NOT_FOUND and (not self._has_messages or message_of(one) == right)
