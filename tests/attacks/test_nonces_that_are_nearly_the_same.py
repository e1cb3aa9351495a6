"""Servers that take two nonces for one refuse genuine heartbeats, and are found out by it."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.attacks.nonce import NONCE_MAX_CHARACTERS, alike
from simulator.contract.answers import Answer
from tests.attacks.planting import planted
from tests.attacks.playing import World

NAMED = ("core.nonces", "nonce_key", "hash((worker_serial, nonce))")


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("hash((0, nonce))", 1),
        ("hash((worker_serial, nonce.lower()))", 1),
        ("hash((worker_serial, nonce.strip()))", 1),
        ("hash((worker_serial, nonce[:64]))", 1),
        ("hash((worker_serial, nonce[:127]))", 1),
    ],
)
def test_a_server_that_takes_two_nonces_for_one_is_found(name: str, refused: int) -> None:
    with planted((*NAMED, name)):
        performance = World().play("nonce.burn")
    assert [(one.expect.answer, one.status) for one in performance.wrong] == [(Answer.ACCEPTED, 401)] * refused


def test_a_server_that_tells_them_apart_is_not_accused() -> None:
    assert not World().play("nonce.burn").wrong


def test_they_are_all_different_and_allowed_and_hold_what_they_are_known_by() -> None:
    named = list(alike(np.random.default_rng(1)))
    assert len({text for _, text in named}) == len({nonce for nonce, _ in named}) == len(named)
    assert max(len(text) for _, text in named) == NONCE_MAX_CHARACTERS
    assert all(nonce.hex() in text for nonce, text in named)
