"""First answers by idempotency key: a repeated request gets the same answer and no further effect (contract: Wallet).

A key belongs to an account and a route. Only answers to granted requests are stored, for 24 hours.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.market.bounds import MARKET_BOUNDS, MarketBounds
from reference_server.core.market.conditions import DAY_NS
from reference_server.limits import IDEMPOTENCY_KEY_MAX_CHARACTERS
from reference_server.wire.replies import JSON_HEADERS, failure
from reference_server.wire.values import Instant, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_REQUIRED = failure(400, "idempotency key required")
KEY_REUSED = failure(422, "idempotency key reused")
REPLAYED_HEADER = ("idempotent-replayed", "true")
_VISIBLE = re.compile("[!-~]+")


class KeptAnswer(msgspec.Struct, frozen=True, gc=False):
    """The first answer to a key of an account on a route; `digest` is that of the body it answered."""

    account: str
    route: str
    key: str
    digest: bytes
    status: int
    body: bytes
    created: Instant


def valid_key(key: str) -> bool:
    """Return whether a text can be an idempotency key: 1 to 128 visible ASCII characters."""
    return len(key) <= IDEMPOTENCY_KEY_MAX_CHARACTERS and _VISIBLE.fullmatch(key) is not None


def digest_of(body: bytes) -> bytes:
    """Return a digest of a JSON value that does not depend on how the value is written.

    Numbers are compared exactly, as decimals; the order of an object's fields does not matter. Raises ValueError or
    RecursionError if the body is not JSON or has a number that is no decimal.
    """
    try:
        value = json.loads(body, parse_int=Decimal, parse_float=Decimal)
    except ArithmeticError as error:
        raise ValueError("a number past a decimal") from error
    return sha256("".join(_spell(value)).encode("utf-8", "surrogatepass")).digest()


def _spell(value: Any) -> Iterator[str]:
    """Yield the canonical spelling of a value. Texts are preceded by their length."""
    match value:
        case None | bool():
            yield f"{value};"
        case Decimal():
            yield _spell_number(value)
        case str():
            yield f"s{len(value)}:{value}"
        case list():
            yield f"l{len(value)}:"
            for item in value:
                yield from _spell(item)
        case dict():
            yield f"o{len(value)}:"
            for name in sorted(value):
                yield from _spell(name)
                yield from _spell(value[name])
        case _:
            raise ValueError("not a JSON value")


def _spell_number(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped or not isinstance(exponent, int):
        return "n0;"
    return f"n{'-' if sign else ''}{stripped}e{exponent + len(text) - len(stripped)};"


class KeptAnswers:
    """First answers, oldest first, bounded in number and bytes. When full, no more requests with keys are granted."""

    def __init__(self, bounds: MarketBounds = MARKET_BOUNDS) -> None:
        self._bounds = bounds
        self._answers: OrderedDict[tuple[str, str, str], KeptAnswer] = OrderedDict()
        self._bytes = 0
        self._of_account: dict[str, tuple[int, int]] = {}
        """The number and bytes of each account's answers."""

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[KeptAnswer]:
        return iter(self._answers.values())

    def find(self, account: str, route: str, key: str, digest: bytes, now: Instant) -> Reply | None:
        """Return the first answer to a key that was used before, 422 for another body, or None for a new key."""
        self._forget(now)
        kept = self._answers.get((account, route, key))
        if kept is None:
            return None
        if kept.digest != digest:
            return KEY_REUSED
        return Reply(kept.status, kept.body, (*JSON_HEADERS, REPLAYED_HEADER))

    def has_room(self, account: str, size: int, now: Instant) -> bool:
        """Return whether one more answer of `size` bytes fits, also within the share of the account."""
        self._forget(now)
        keys, kept = self._of_account.get(account, (0, 0))
        most = self._bounds
        if keys >= most.idempotency_keys_an_account_max or kept + size > most.idempotency_bytes_an_account_max:
            return False
        return len(self._answers) < most.idempotency_keys_max and self._bytes + size <= most.idempotency_bytes_max

    def keep(self, answer: KeptAnswer) -> None:
        """Store an answer, and forget expired ones: recovery stores answers without calling `find`."""
        self._forget(answer.created)
        place = answer.account, answer.route, answer.key
        before = self._answers.pop(place, None)
        if before is not None:
            self._count(before, -1)
        self._answers[place] = answer
        self._count(answer, 1)

    def _count(self, answer: KeptAnswer, sign: int) -> None:
        keys, kept = self._of_account.get(answer.account, (0, 0))
        self._bytes += sign * len(answer.body)
        self._of_account[answer.account] = keys + sign, kept + sign * len(answer.body)
        if keys + sign == 0:
            del self._of_account[answer.account]

    def _forget(self, now: Instant) -> None:
        while self._answers:
            oldest = next(iter(self._answers.values()))
            if now.monotonic_ns - oldest.created.monotonic_ns < DAY_NS:
                return
            del self._answers[oldest.account, oldest.route, oldest.key]
            self._count(oldest, -1)
