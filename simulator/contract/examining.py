"""All that one answer can be held against by itself: its head, its envelope and its fields."""

from __future__ import annotations

from typing import NamedTuple

from simulator.contract.asking import Asked, Odd, read_request
from simulator.contract.envelopes import check_bare, check_refusal, check_success
from simulator.contract.heads import HeadMemory, check_head
from simulator.contract.lists import check_page
from simulator.contract.objects import Certified, Reader, Showing

OK, REDIRECT, BAD_REQUEST = 200, 300, 400


class Examined(NamedTuple):
    """What an answer should not have said, and what it showed that is judged together with others.

    `heads` of the first in `odd` are about its head.
    """

    asked: Asked | None
    odd: list[Odd]
    heads: int
    showings: list[Showing]
    certificates: list[Certified]


def check_unattributed(status: int, head: bytes, body: bytes) -> list[Odd]:
    """Return what is wrong with an answer to whatever request: what every head, and every refusal, must be."""
    odd = list(check_head(None, status, head))
    return odd + list(check_refusal(None, status, body)) if status >= BAD_REQUEST else odd


def examine(request: bytes, status: int, head: bytes, body: bytes, memory: HeadMemory) -> Examined:
    """Hold an answer against its request and the contract. `memory` is that of whoever got the answers before."""
    asked = read_request(request)
    odd = list(memory.judge(asked, status, head))
    heads = len(odd)
    if asked is not None and asked.method == "HEAD":
        if body:
            odd.append(Odd("unasked", "an answer to HEAD with a body"))
        return Examined(asked, odd, heads, [], [])
    if status >= BAD_REQUEST:
        return Examined(asked, [*odd, *check_refusal(asked, status, body)], heads, [], [])
    if asked is None or asked.method == "OPTIONS" or not OK <= status < REDIRECT:
        return Examined(asked, odd, heads, [], [])
    if asked.rooted or asked.path == "/metrics":
        return Examined(asked, [*odd, *check_bare(asked, body)], heads, [], [])
    data, wrong = check_success(body)
    odd += wrong
    if wrong:
        return Examined(asked, odd, heads, [], [])
    reader = Reader(asked)
    reader.read(status, data)
    odd += [*reader.odd, *check_page(asked, data)]
    return Examined(asked, odd, heads, reader.showings, reader.certificates)
