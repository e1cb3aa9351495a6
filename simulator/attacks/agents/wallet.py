"""Money that is spent twice, made out of spellings, or sent where nobody can have it (contract: Wallet)."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import base58
import bech32m
import msgspec

from simulator.attacks.acting import ask, part_of, require
from simulator.attacks.agents.accounts import (
    BTC,
    NOT_FOUND,
    UNIT,
    AccountAttack,
    Balance,
    bitcoin_address,
    cooled_address,
    funded,
    new_name,
    new_owner,
    read_amount,
    read_balance,
    register_agent,
    shown,
    transactions,
    tron_address,
    withdrawal,
)
from simulator.attacks.catalogue import random_hex
from simulator.attacks.script import Claim, Expect, NotTriedError, Outcome, Together, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext, Send

ACCEPTED, BAD_REQUEST, TOO_MANY = HTTPStatus.ACCEPTED, HTTPStatus.BAD_REQUEST, HTTPStatus.TOO_MANY_REQUESTS
POOR, CONFLICT, REUSED = HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY
SPENDERS = 64
COPIES = 8
KEYS = 3
"""How many keys of one account a withdrawal is made under."""
REPLAYED = b"\r\nidempotent-replayed: true"
OLD_CHECKSUM = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd"
"""An address of version 1 with the checksum of version 0, which BIP 350 gives as invalid."""
_OWN = granted(ACCEPTED, "it is its own money")


def references(entries: Sequence[dict[str, Any]], kind: str) -> set[str]:
    """Return what transactions of a type refer to."""
    return {str(one.get("reference")) for one in entries if one.get("type") == kind}


class DoubleSpend(AccountAttack):
    """All that an account has, many times at once."""

    name = "wallet.double-spend"
    shape = (
        f"{SPENDERS} withdrawals of all that an account has, at once, each under a key and from an address of its own"
    )
    verdict = f"202 to one, 402 insufficient balance to the other {SPENDERS - 1}"
    effect = "one withdrawal; the account's entries add up to what it has, and it never had less than nothing"
    anchor = "OWASP API6:2023; CWE-367; contract: Wallet"
    severity = 9.6
    needs = frozenset({Feature.WALLET})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        account = new_owner(context)
        before = yield from funded(context, account, addresses.take())
        address = yield from cooled_address(context, account, addresses)
        amount = shown(before.available)
        one_of = Expect(Answer.MAY_BE_REFUSED, (ACCEPTED, POOR), "", "there is enough for one of them, whichever")
        sends = (
            withdrawal(context, account, amount, address, one_of, client=addresses.take(SPENDERS))
            for _ in range(SPENDERS)
        )
        outcomes: list[Outcome] = yield Together(tuple(sends))
        paid = sum(one.status == ACCEPTED for one in outcomes)
        if all(one.status == TOO_MANY for one in outcomes):
            raise NotTriedError(f"to withdraw {amount} USDT, all that the account has, is past a limit")
        known = all(one.known for one in outcomes)
        message = f"of {SPENDERS} withdrawals of all that an account has {paid} were accepted"
        evidence = {"amount": amount, "accepted": paid, "answered": sum(one.known for one in outcomes)}
        yield Claim("one-withdrawal", paid == 1 if known or paid > 1 else None, message, evidence)
        yield from _adds_up(context, account, before, paid if known else None, addresses)


def _adds_up(
    context: ScriptContext, account: Account, before: Balance, paid: int | None, addresses: Addresses
) -> Script[None]:
    """Claim that a balance is what its entries say, and that none of them went below zero."""
    after = yield from read_balance(context, account, addresses.take())
    entries = yield from transactions(context, account, addresses.take())
    known = references(entries, "withdrawal")
    if paid is not None:
        message = f"{plural(paid, 'withdrawal')} was accepted, and the account's entries show {len(known)}"
        yield Claim("one-effect", len(known) == paid, message, {"references": sorted(known)})
    lows = [one for one in entries if read_amount(one.get("balance_after")) < 0]
    message = f"{plural(len(lows), 'entry', 'entries')} of the account went below zero"
    yield Claim("never-negative", not lows, message, {"entries": lows[:10]})
    available = [read_amount(one.get("amount")) for one in entries if one.get("account") == "available"]
    returned = sum(
        read_amount(one.get("amount"))
        for one in entries
        if one.get("account") == "available" and one.get("type") == "withdrawal_returned"
    )
    # What comes back may have done so between the reading of the balance and that of the entries.
    fits = sum(available) in {after.available, after.available + returned}
    message = f"its entries add up to {sum(available)}, and {after.available} is available"
    evidence = {"before": str(before.available), "after": str(after.available), "entries": str(sum(available))}
    yield Claim("adds-up", fits, message, evidence)


class Idempotency(AccountAttack):
    """One key for one payment: again, for another, at once, by another account, and after a refusal."""

    name = "wallet.idempotency"
    shape = (
        "a key with the same body, written otherwise, with other bodies, at once, by another account; none; bad ones"
    )
    verdict = "the first answer again; 422 for another body; 409 while it is decided; 400 without one"
    effect = "one withdrawal for each key and account"
    anchor = "OWASP API6:2023; contract: Wallet"
    severity = 8.6
    needs = frozenset({Feature.WALLET})

    def obstacle(self, context: ScriptContext) -> str:
        """Return why not: an hour allows too few withdrawals for all that is tried."""
        per_hour = context.defences.withdrawals_per_hour
        few = f"{plural(per_hour, 'withdrawal')} an hour may be made, and it makes {KEYS}"
        return few if per_hour < KEYS else ""

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        account = new_owner(context)
        yield from funded(context, account, addresses.take(), 8 * UNIT)
        address = yield from cooled_address(context, account, addresses)
        for key in ("", "k" * 129, "two words", "schlüssel"):
            none = refused(
                BAD_REQUEST, "idempotency key required", "without a key of 1 to 128 visible ASCII characters"
            )
            yield withdrawal(context, account, shown(UNIT), address, none, key=key, client=addresses.take())
        key = random_hex(context.rng, 32)
        first = withdrawal(context, account, shown(UNIT), address, _OWN, key=key, client=addresses.take())
        outcome = yield from require(first, "a withdrawal to send again")
        yield from self._again(context, account, key, address, outcome, addresses)
        other = refused(REUSED, "idempotency key reused", "the key is that of another withdrawal")
        for amount, where in ((shown(2 * UNIT), address), (shown(UNIT), tron_address(context))):
            yield withdrawal(context, account, amount, where, other, key=key, client=addresses.take())
        raced = yield from self._at_once(context, account, address, addresses)
        key = random_hex(context.rng, 32)
        poor = refused(POOR, "insufficient balance", "there is not so much")
        much = (yield from read_balance(context, account, addresses.take())).available + UNIT
        yield withdrawal(context, account, shown(much), address, poor, key=key, client=addresses.take())
        kept = granted(ACCEPTED, "what was refused uses no key up")
        retried: Outcome = yield withdrawal(
            context, account, shown(UNIT), address, kept, key=key, client=addresses.take()
        )
        entries = yield from transactions(context, account, addresses.take())
        made = references(entries, "withdrawal")
        granted_to = KEYS - (retried.status != ACCEPTED)
        message = f"under {KEYS} keys, {granted_to} of them granted, {plural(len(made), 'withdrawal')} came about"
        held = len(made) == granted_to if raced and retried.known else None
        yield Claim("one-effect", held, message, {"references": sorted(made)})
        yield from self._of_another(context, key, address, made, addresses)

    @staticmethod
    def _again(
        context: ScriptContext, account: Account, key: str, address: str, first: Outcome, addresses: Addresses
    ) -> Script[None]:
        """Send the same again, and the same value in another spelling."""
        headers = {**account.headers, "Idempotency-Key": key}
        spelled = f'{{ "address": "{address}", "amount":"{shown(UNIT)}" ,"asset":"USDT-TRC20"}}'
        for body in ({"asset": "USDT-TRC20", "amount": shown(UNIT), "address": address}, msgspec.Raw(spelled.encode())):
            same = granted(ACCEPTED, "it is the same withdrawal again, which gets the first answer again")
            again: Outcome = yield ask(
                context, "POST", "/wallet/withdraw", headers, same, body, client=addresses.take()
            )
            if again.right:
                alike = again.data() == first.data() and REPLAYED in again.head.lower()
                message = "the same key and body got another answer, or one that does not say that it is a replay"
                yield Claim("same-answer", alike, message, {"first": first.data(), "again": again.data()})

    @staticmethod
    def _at_once(context: ScriptContext, account: Account, address: str, addresses: Addresses) -> Script[bool]:
        """Send one key and body many times at once; return whether each was answered."""
        key = random_hex(context.rng, 32)
        may = Expect(Answer.MAY_BE_REFUSED, (ACCEPTED, CONFLICT), "", "it is the first, its replay, or comes too early")
        copies: list[Send] = [
            withdrawal(context, account, shown(UNIT), address, may, key=key, client=addresses.take(COPIES))
            for _ in range(COPIES)
        ]
        outcomes: list[Outcome] = yield Together(tuple(copies))
        made = {str(part_of(one, "withdrawal").get("id")) for one in outcomes if one.status == ACCEPTED}
        known = all(one.known for one in outcomes)
        message = f"one key and body, sent {COPIES} times at once, made {plural(len(made), 'withdrawal')}"
        yield Claim(
            "one-of-copies", len(made) == 1 if known or len(made) > 1 else None, message, {"made": sorted(made)}
        )
        return known and len(made) == 1

    @staticmethod
    def _of_another(
        context: ScriptContext, key: str, address: str, made: set[str], addresses: Addresses
    ) -> Script[None]:
        """Use another account's key: it is another key, and shows nothing of whose it was."""
        other = new_owner(context)
        yield from funded(context, other, addresses.take())
        yield from cooled_address(context, other, addresses, address)
        own = granted(ACCEPTED, "a key is its account's alone")
        outcome: Outcome = yield withdrawal(context, other, shown(UNIT), address, own, key=key, client=addresses.take())
        if outcome.right:
            given = str(part_of(outcome, "withdrawal").get("id"))
            message = "another account's key got that account's answer"
            yield Claim("own-keys", given not in made, message, {"withdrawal": given})
        if made:
            yield from _read_by_another(context, other, min(made), addresses)


def _read_by_another(context: ScriptContext, other: Account, withdrawal_id: str, addresses: Addresses) -> Script[None]:
    """Read a withdrawal by its id as another account, to which it is like one that nobody made."""
    gone = refused(NOT_FOUND, "", "the withdrawal is another's, or nobody's")
    outcomes: list[Outcome] = []
    for reached in (withdrawal_id, f"wdr_{random_hex(context.rng, 16)}"):
        path = f"/wallet/withdrawals/{reached}"
        outcomes.append((yield ask(context, "GET", path, other.headers, gone, client=addresses.take())))
    if all(one.right for one in outcomes):
        alike = outcomes[0].body == outcomes[1].body
        yield Claim("untold", alike, "it can be told whether a withdrawal's id is another's or nobody's")


def wrong_amounts() -> Iterator[Any]:
    """Return amounts that no withdrawal can have, each as it stands in a body."""
    yield from (
        "-1.000000",
        "-0.000001",
        "0",
        "0.000000",
        "-0",
        "+1",
        " 1",
        "1 ",
        "",
        "1,5",
        "1_0",
        "0x10",
        "½",
        "\u0661",
    )
    yield from ("1e3", "1E3", "1e-3", "NaN", "Infinity", "-Infinity", "01", ".5", "1.", "1.0000001", "0.0000001")
    yield from ("9223372036854775808", "18446744073709551616", "1" + "0" * 40, "9" * 400)
    yield from (1, -1, 0, 0.1, 1.5, 2**63, msgspec.Raw(b"1e3"), msgspec.Raw(b"1e400"), msgspec.Raw(b"-0"))
    yield from (None, True, [], ["1"], {"value": "1"}, msgspec.Raw(b"NaN"), msgspec.Raw(b"1_000"))


class MovesNothing(AccountAttack):
    """Requests of which none can be granted: the account has as much afterwards as before."""

    verdict = "400"
    effect = "nothing is moved, and no address begins to cool down"

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        account = new_owner(context)
        before = yield from read_balance(context, account, addresses.take())
        yield from self.attempts(context, account, addresses)
        after = yield from read_balance(context, account, addresses.take())
        message = f"the account had {before.available} before and {after.available} after what must be refused"
        yield Claim("nothing-moved", after == before, message)

    def attempts(self, context: ScriptContext, account: Account, addresses: Addresses) -> Script[None]:
        """Try what must be refused."""
        raise NotImplementedError


class Amounts(MovesNothing):
    """Amounts that are none: signs, exponents, floats, too many digits, other types."""

    name = "wallet.amounts"
    shape = "withdrawals of less than nothing, of nothing, of NaN, 2^63, 1e3, too many decimals, floats and other types"
    verdict = "400 invalid amount, or invalid request for what is no JSON or no such type"
    anchor = "OWASP API6:2023; CWE-681; contract: Wallet"
    severity = 8.6
    needs = frozenset({Feature.WALLET})

    def attempts(self, context: ScriptContext, account: Account, addresses: Addresses) -> Script[None]:
        """Try every wrong amount, of either asset."""
        expect = refused(BAD_REQUEST, "invalid ", "an amount is a decimal string above zero, with the asset's decimals")
        address = tron_address(context)
        for amount in wrong_amounts():
            yield withdrawal(context, account, amount, address, expect, client=addresses.take())
        for amount in ("0.000000001", "-1", "1e8"):
            where = bitcoin_address(context)
            yield withdrawal(context, account, amount, where, expect, asset=BTC, client=addresses.take())


def wrong_addresses(context: ScriptContext) -> Iterator[tuple[str, Any]]:
    """Return assets, and addresses that none of them can be sent to."""
    rng, tron, bitcoin = context.rng, tron_address(context), bitcoin_address(context)
    payload = rng.bytes(20)
    last = "2" if tron[-1] != "2" else "3"
    yield "USDT-TRC20", tron[:-1] + last  # a wrong checksum
    yield "USDT-TRC20", tron[:5] + tron[6] + tron[5] + tron[7:] if tron[5] != tron[6] else tron[1:]
    yield "USDT-TRC20", tron.lower()
    yield "USDT-TRC20", f" {tron}"
    yield "USDT-TRC20", f"{tron}\n"
    yield "USDT-TRC20", "0x" + payload.hex()  # another chain
    yield "USDT-TRC20", base58.b58encode_check(b"\x00" + payload).decode()
    yield "USDT-TRC20", base58.b58encode_check(b"\x41" + payload[:19]).decode()
    yield "USDT-TRC20", base58.b58encode_check(b"\x41" + payload + b"\x00").decode()
    yield "USDT-TRC20", base58.b58encode(b"\x41" + payload).decode()  # no checksum
    yield "USDT-TRC20", bitcoin
    for other in ("", "1" * 200, None, 41, ["T"]):
        yield "USDT-TRC20", other
    yield BTC, tron
    yield BTC, bech32m.encode("tb", 0, payload)  # the test network
    yield BTC, base58.b58encode_check(b"\x6f" + payload).decode()
    yield BTC, bitcoin[:-1] + ("q" if bitcoin[-1] != "q" else "p")
    yield BTC, bitcoin[:6] + bitcoin[6:].upper()  # in two cases
    yield BTC, OLD_CHECKSUM
    yield "ETH", "0x" + payload.hex()


def _nobodys(context: ScriptContext) -> tuple[str, ...]:
    """Return addresses to which no asset can be sent."""
    payload, bitcoin = context.rng.bytes(20), bitcoin_address(context)
    return (
        base58.b58encode(b"\x41" + payload).decode(),
        f" {tron_address(context)}",
        "0x" + payload.hex(),
        str(bech32m.encode("tb", 0, payload)),
        bitcoin[:6] + bitcoin[6:].upper(),
    )


class Address(MovesNothing):
    """Addresses that nobody can have, or that another chain has."""

    name = "wallet.address"
    shape = (
        "withdrawals to addresses with wrong checksums, of other chains and networks, of wrong lengths, in two cases; "
        "such addresses as an agent's wallet"
    )
    verdict = "400 invalid address; 400 invalid asset; 400 invalid request for another type"
    anchor = "BIP 173, BIP 350; contract: Wallet"
    severity = 7.5
    needs = frozenset({Feature.WALLET})

    def attempts(self, context: ScriptContext, account: Account, addresses: Addresses) -> Script[None]:
        """Try every wrong address."""
        expect = refused(BAD_REQUEST, "invalid ", "money sent there would be lost")
        for asset, address in wrong_addresses(context):
            yield withdrawal(context, account, shown(UNIT), address, expect, asset=asset, client=addresses.take())
        if Feature.AGENTS in context.lacks:
            return
        with suppress(NotTriedError):  # strangers may not register
            agent = yield from register_agent(context, addresses.take())
            for address in _nobodys(context):
                body = {"wallet_address": address}
                yield ask(context, "PUT", "/agents/me", agent.headers, expect, body, client=addresses.take())
                named = {"name": new_name(context), **body}
                yield ask(context, "POST", "/agents/register", {}, expect, named, client=addresses.take())
