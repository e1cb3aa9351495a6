"""The checks of one answer by itself: its head, its envelope and its fields."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from simulator.contract.envelopes import check_bare, check_refusal, check_success
from simulator.contract.heads import HeadMemory, check_head
from simulator.contract.lists import check_page
from simulator.contract.market_objects import MarketReader
from simulator.contract.parsed_request import ParsedRequest, Violation, parse_request

if TYPE_CHECKING:
    from simulator.contract.objects import Certified, Showing

SECRET_HEADERS = (b"authorization", b"x-machine-token", b"x-moltbook-identity")
SECRET_MIN_BYTES = 16
"""The length from which a value counts as a secret: those of the contract are longer, and a short text may be anywhere
by chance."""
OK, REDIRECT, BAD_REQUEST = HTTPStatus.OK, 300, HTTPStatus.BAD_REQUEST


class AnswerCheck(NamedTuple):
    """The violations of one answer, and the values in it that are judged together with other answers.

    The first `heads` violations in `odd` are about the answer's head.
    """

    asked: ParsedRequest | None
    odd: list[Violation]
    heads: int
    showings: list[Showing]
    certificates: list[Certified]


def check_unattributed(status: int, head: bytes, body: bytes) -> list[Violation]:
    """Return the violations of an answer whose request is unknown: those of its head, and of a refusal's body."""
    odd = list(check_head(None, status, head))
    return odd + list(check_refusal(None, status, body)) if status >= BAD_REQUEST else odd


def repeated_secrets(asked: ParsedRequest, head: bytes, body: bytes) -> list[Violation]:
    """Return a violation if an answer repeats a credential of its request: answers may be logged, cached or shown."""
    for name in SECRET_HEADERS:
        secret = asked.header(name).rpartition(" ")[2].encode("latin-1")
        if len(secret) >= SECRET_MIN_BYTES and (secret in body or secret in head):
            return [Violation("secret", f"it repeats the {name.decode()} of its request")]
    return []


def check_answer(request: bytes, status: int, head: bytes, body: bytes, memory: HeadMemory) -> AnswerCheck:
    """Check an answer against its request and the contract. `memory` is that of the client of the earlier answers."""
    asked = parse_request(request)
    odd = list(memory.judge(asked, status, head))
    heads = len(odd)
    if asked is not None:
        odd += repeated_secrets(asked, head, body)
    if asked is not None and asked.method == "HEAD":
        if body:
            odd.append(Violation("unasked", "an answer to HEAD with a body"))
        return AnswerCheck(asked, odd, heads, [], [])
    if status >= BAD_REQUEST:
        return AnswerCheck(asked, [*odd, *check_refusal(asked, status, body)], heads, [], [])
    if asked is None or asked.method == "OPTIONS" or not OK <= status < REDIRECT:
        return AnswerCheck(asked, odd, heads, [], [])
    if asked.rooted or asked.path == "/metrics":
        return AnswerCheck(asked, [*odd, *check_bare(asked, body)], heads, [], [])
    data, wrong = check_success(body)
    odd += wrong
    if wrong:
        return AnswerCheck(asked, odd, heads, [], [])
    reader = MarketReader(asked)
    reader.read(status, data)
    odd += [*reader.odd, *check_page(asked, data)]
    return AnswerCheck(asked, odd, heads, reader.showings, reader.certificates)
