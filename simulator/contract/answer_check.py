"""All that one answer can be held against by itself: its head, its envelope and its fields."""

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
"""A shorter text is no secret of the contract's, and may be anywhere."""
OK, REDIRECT, BAD_REQUEST = HTTPStatus.OK, 300, HTTPStatus.BAD_REQUEST


class AnswerCheck(NamedTuple):
    """What an answer should not have said, and what it showed that is judged together with others.

    `heads` of the first in `odd` are about its head.
    """

    asked: ParsedRequest | None
    odd: list[Violation]
    heads: int
    showings: list[Showing]
    certificates: list[Certified]


def check_unattributed(status: int, head: bytes, body: bytes) -> list[Violation]:
    """Return what is wrong with an answer to whatever request: what every head, and every refusal, must be."""
    odd = list(check_head(None, status, head))
    return odd + list(check_refusal(None, status, body)) if status >= BAD_REQUEST else odd


def repeated_secrets(asked: ParsedRequest, head: bytes, body: bytes) -> list[Violation]:
    """Return whether an answer repeats what its request proves itself by: it may be logged, cached or shown."""
    for name in SECRET_HEADERS:
        secret = asked.header(name).rpartition(" ")[2].encode("latin-1")
        if len(secret) >= SECRET_MIN_BYTES and (secret in body or secret in head):
            return [Violation("secret", f"it repeats the {name.decode()} of its request")]
    return []


def check_answer(request: bytes, status: int, head: bytes, body: bytes, memory: HeadMemory) -> AnswerCheck:
    """Hold an answer against its request and the contract. `memory` is that of whoever got the answers before."""
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
