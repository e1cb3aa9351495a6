"""What holds up who has got into an account: how often and how much it may withdraw, and to which addresses."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import OK, answered, ask, require
from simulator.attacks.agents.accounts import (
    BTC,
    COOLDOWN_PATIENCE_NS,
    FORBIDDEN,
    RETRY_MARGIN_NS,
    TOO_OFTEN,
    UNIT,
    AccountAttack,
    bitcoin_address,
    cooled_address,
    funded,
    new_owner,
    read_balance,
    register_agent,
    shown,
    transactions,
    withdrawal,
)
from simulator.attacks.agents.wallet import ACCEPTED, POOR, TOO_MANY, references
from simulator.attacks.script import (
    Claim,
    Expect,
    NotTriedError,
    Outcome,
    Pause,
    PrerequisiteError,
    Together,
    granted,
    refused,
)
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.contract.reading import retry_after_ns
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext, Send

PER_HOUR_MAX = 40
"""More withdrawals than this at once would be load, not attack: a limit that is higher is not reached."""
BEYOND = 6
"""How many more than the limit are asked for."""
FIRST_USES = 8
HELD_UP = "address in cooldown"
ROUNDED_NS = SECOND_NS
"""By how much sooner than told a cooldown may be over: what it still takes is told in whole seconds, rounded up."""


class Velocity(AccountAttack):
    """Many small withdrawals in the place of one that is too large."""

    name = "wallet.velocity"
    shape = (
        "more withdrawals at once than an hour allows, one more, and amounts that pass a day's limit alone and in parts"
    )
    verdict = "429 withdrawal limit exceeded past either limit"
    effect = "never more withdrawals in an hour than the limit"
    anchor = "OWASP API6:2023; contract: Wallet"
    severity = 7.5
    needs = frozenset({Feature.WALLET})

    def obstacle(self, context: ScriptContext) -> str:
        """Return why not: a limit is so high that to reach it would be load, not attack."""
        per_hour = context.defences.withdrawals_per_hour
        return f"{per_hour:,} withdrawals an hour are allowed, out of reach" if per_hour > PER_HOUR_MAX else ""

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        per_hour, count = context.defences.withdrawals_per_hour, context.defences.withdrawals_per_hour + BEYOND
        account = new_owner(context)
        balance = yield from funded(context, account, addresses.take(), count * UNIT)
        address = yield from cooled_address(context, account, addresses)
        limit = Decimal(context.defences.withdrawal_daily_usdt)
        over = refused(TOO_MANY, TOO_OFTEN, f"{shown(limit)} USDT a day is all that an account may withdraw")
        yield withdrawal(context, account, shown(limit + UNIT), address, over, client=addresses.take())
        why = f"{per_hour} withdrawals an hour are all that an account may make"
        some = Expect(Answer.MAY_BE_REFUSED, (ACCEPTED, TOO_MANY), "", why)
        sends: list[Send] = [
            withdrawal(context, account, shown(UNIT), address, some, client=addresses.take(count)) for _ in range(count)
        ]
        outcomes: list[Outcome] = yield Together(tuple(sends))
        paid = sum(one.status == ACCEPTED for one in outcomes)
        known = all(one.known for one in outcomes) and not any(b"rate limit exceeded" in one.body for one in outcomes)
        message = f"of {count} withdrawals at once {paid} were accepted, where {per_hour} an hour are allowed"
        evidence = {"accepted": paid, "allowed": per_hour, "balance": str(balance.available)}
        yield Claim("never-more", paid <= per_hour, message, evidence)
        yield Claim("never-fewer", paid >= per_hour if known else None, message, evidence)
        if paid >= per_hour:
            once_more = refused(TOO_MANY, TOO_OFTEN, why)
            yield withdrawal(context, account, shown(UNIT), address, once_more, client=addresses.take())
        made = references((yield from transactions(context, account, addresses.take())), "withdrawal")
        message = f"the account's entries show {plural(len(made), 'withdrawal')}"
        yield Claim("one-effect", len(made) == paid if known else None, message, {"references": sorted(made)})
        yield from self._by_day(context, limit, addresses)

    @staticmethod
    def _by_day(context: ScriptContext, limit: Decimal, addresses: Addresses) -> Script[None]:
        """Take a little of a day's limit, then ask for all of it: refused before anybody looks whether it is there."""
        account = new_owner(context)
        yield from funded(context, account, addresses.take())
        address = yield from cooled_address(context, account, addresses)
        little = Expect(Answer.ACCEPTED, (ACCEPTED,), "", "it is within every limit")
        outcome: Outcome = yield withdrawal(context, account, shown(UNIT), address, little, client=addresses.take())
        if outcome.right:
            over = refused(TOO_MANY, TOO_OFTEN, "with what was withdrawn before it is past a day's limit")
            yield withdrawal(context, account, shown(limit), address, over, client=addresses.take())


class Cooldown(AccountAttack):
    """An address that nobody had used before: now, in either spelling, many times at once, and by another account."""

    name = "wallet.cooldown"
    shape = (
        "a new address, again at once and in capitals, many times at once, once it is known, and by another account; "
        "addresses that an agent says are its wallet"
    )
    verdict = "403 address in cooldown, with Retry-After, until it is over"
    effect = "nothing is sent; one cooldown for all spellings of an address, which no try begins anew"
    anchor = "OWASP API6:2023; BIP 173; contract: Wallet"
    severity = 7.5
    needs = frozenset({Feature.WALLET})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt, which moves nothing: no account has bitcoins."""
        account = new_owner(context)
        before = yield from read_balance(context, account, addresses.take(), BTC)
        if before.available:
            raise NotTriedError(f"a new account has {before.available} {BTC}, which would be sent to nobody")
        address = bitcoin_address(context)
        first = yield from self._first_use(context, account, address, addresses)
        waits = [retry_after_ns(first.head)]
        agent, wallets = yield from self._with_wallets(context, addresses)
        until_ns = context.now() + waits[0]
        tries: list[Outcome] = []
        for _ in range(2):
            tries.append((yield self._try_again(context, account, address, addresses)))
            if tries[-1].status == FORBIDDEN:
                waits.append(retry_after_ns(tries[-1].head))
        message = f"each refusal says to wait: {', '.join(f'{one // SECOND_NS} s' for one in waits)}"
        yield Claim("retry-after", min(waits) > 0, message)
        yield Claim("not-begun-anew", all(one <= waits[0] for one in waits), message)
        other = bitcoin_address(context)  # the first one's capitals are tried when its cooldown is over
        tries.append((yield self._try_again(context, account, other, addresses)))
        tries.append((yield self._try_again(context, account, other.upper(), addresses)))
        if wallets:  # the other one is used for the first time when its cooldown is over
            tries.append((yield self._try_again(context, agent, wallets[0], addresses)))
        held, free = _held_up(tries, first.sent_ns + waits[0])
        yield Claim("held-up", held, f"of {len(tries)} more uses within its cooldown {free} were not held up")
        others: list[Outcome] = yield Together(
            tuple(
                self._try_again(context, account, new, addresses, FIRST_USES)
                for new in [bitcoin_address(context)] * FIRST_USES
            )
        )
        held, free = _held_up(others, min(one.sent_ns for one in others) + waits[0])
        yield Claim("never-at-once", held, f"of {FIRST_USES} first uses at once {free} were not held up")
        if 0 < waits[0] <= COOLDOWN_PATIENCE_NS:
            yield Pause(until_ns + RETRY_MARGIN_NS)
            over = refused(
                POOR, "insufficient balance", "its cooldown is over, in whatever spelling, and nothing is there"
            )
            for spelling in (address.upper(), address):
                yield withdrawal(context, account, "0.00000001", spelling, over, asset=BTC, client=addresses.take())
            for wallet in wallets:
                spelling = wallet.upper()
                yield withdrawal(context, agent, "0.00000001", spelling, over, asset=BTC, client=addresses.take())
            why = "this account has not waited for the address"
            new = refused(FORBIDDEN, HELD_UP, why)
            yield withdrawal(
                context, new_owner(context), "0.00000001", address, new, asset=BTC, client=addresses.take()
            )
        after = yield from read_balance(context, account, addresses.take(), BTC)
        yield Claim("nothing-moved", after == before, f"the account has {after.available} {BTC}")

    @staticmethod
    def _with_wallets(context: ScriptContext, addresses: Addresses) -> Script[tuple[Account, list[str]]]:
        """Register an agent that says where its wallet is, and say another; none where strangers may not register."""
        wallets = [bitcoin_address(context), bitcoin_address(context)]
        if Feature.AGENTS in context.lacks:
            return new_owner(context), []
        try:
            agent = yield from register_agent(context, addresses.take(), wallet_address=wallets[0])
        except NotTriedError:
            return new_owner(context), []
        own = granted(OK, "it is its own")
        body = {"wallet_address": wallets[1]}
        send = ask(context, "PUT", "/agents/me", agent.headers, own, body, client=addresses.take())
        yield from require(send, "say where a wallet is")
        return agent, wallets

    @staticmethod
    def _try_again(
        context: ScriptContext, account: Account, address: str, addresses: Addresses, at_once: int = 1
    ) -> Send:
        """Use an address that cools down, unless the answer takes so long that it no longer does: see `_held_up`."""
        expect = Expect(Answer.REFUSED, (FORBIDDEN, POOR), "", "it is held up, or its cooldown is over already")
        client = addresses.take(at_once)
        return withdrawal(context, account, "0.00000001", address, expect, asset=BTC, client=client)

    @staticmethod
    def _first_use(context: ScriptContext, account: Account, address: str, addresses: Addresses) -> Script[Outcome]:
        """Use an address for the first time. Raises NotTriedError where there is no cooldown, and PrerequisiteError."""
        expect = Expect(Answer.REFUSED, (FORBIDDEN, POOR), "", "it is new, and nothing is there")
        outcome: Outcome = yield withdrawal(
            context, account, "0.00000001", address, expect, asset=BTC, client=addresses.take()
        )
        if outcome.status == POOR:
            raise NotTriedError("an address has no cooldown here (WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS is 0)")
        if not outcome.right:
            raise PrerequisiteError(f"use an address: {answered(outcome)}")
        return outcome


def _held_up(tries: list[Outcome], over_ns: int) -> tuple[bool | None, int]:
    """Return whether uses of an address were all held up, and how many were not.

    None where one was not that was answered so late that its cooldown, which is over at `over_ns`, may have been over.
    """
    free = [one for one in tries if one.known and not (one.status == FORBIDDEN and HELD_UP.encode() in one.body)]
    if any(one.answered_ns < over_ns - ROUNDED_NS or one.status != POOR for one in free):
        return False, len(free)
    return (None if free else True), len(free)
