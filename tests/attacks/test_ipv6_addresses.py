"""Addresses within one IPv6 /64: found only where they may be used, and used for real in a network of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import IPv6Address
from pathlib import Path
from shutil import which

import pytest

from simulator.client import target as targets
from simulator.client.target import parse_target, peers_of, source_number
from simulator.history.rows import PEERS_SOURCE
from simulator.limits import PEERS_MAX

ROOT = Path(__file__).parent.parent.parent
NAMESPACES = (["unshare", "--net"], ["unshare", "--net", "--map-root-user"])
"""How root makes a network namespace, and how others do where they may."""


def kernel_list(*addresses: str) -> str:
    """Write addresses as the kernel lists them: 32 hexadecimal digits, and columns nobody reads."""
    return "".join(f"{int(IPv6Address(one)):032x} 01 40 00 80       lo\n" for one in addresses)


LIST = kernel_list("::1", "fd00::1", "fd00::2", "fd00::3", "fd01::1", "fe80::1", "fe80::2", "fe80::3", "fe80::4")


@pytest.fixture
def bindable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Addresses that cannot be bound; all others can."""
    refused: set[str] = set()
    monkeypatch.setattr(targets, "can_bind", lambda address: address not in refused)
    return refused


@pytest.mark.parametrize(
    ("url", "peers"),
    [
        ("http://[::1]:8080", ("fd00::1", "fd00::2", "fd00::3")),
        ("http://[fd01::1]:8080", ("fd00::1", "fd00::2", "fd00::3")),
        ("http://[fd00::2]:8080", ("fd00::1", "fd00::3")),
        ("http://[fd09::9]:8080", ()),
        ("http://127.0.0.1:8080", ()),
    ],
    ids=["loopback", "another network", "one of them", "a target elsewhere", "IPv4"],
)
def test_peers_are_the_largest_network_beside_a_target_on_this_machine(
    url: str, peers: tuple[str, ...], bindable: set[str]
) -> None:
    assert peers_of(parse_target(url, "token"), LIST) == peers
    bindable.update(peers[:1])
    assert peers_of(parse_target(url, "token"), LIST) == peers[1:]


def test_no_more_peers_are_taken_than_are_needed(bindable: set[str]) -> None:
    assert not bindable
    many = kernel_list("::1", *(f"fd00::{number:x}" for number in range(1, 400)))
    assert len(peers_of(parse_target("http://[::1]:1", "token"), many)) == PEERS_MAX


def test_peers_are_one_client_in_the_history() -> None:
    assert source_number("fd00::1") == source_number("fd00::2") == PEERS_SOURCE
    assert source_number("127.16.0.1") != PEERS_SOURCE != source_number(None)


def namespace_command() -> list[str]:
    """Return what runs a program in a network namespace of its own. Skips the test where nothing does."""
    problem = ""
    for program in ("unshare", "ip"):
        if which(program) is None:
            pytest.skip(f"{program} is not installed")
    for command in NAMESPACES:
        tried = subprocess.run([*command, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return command
        problem = tried.stderr.strip()
    pytest.skip(f"no network namespace can be made here: {problem}")


def test_one_bucket_for_a_network_and_many_for_a_server_that_counts_addresses() -> None:
    """For real: a server and thirty addresses on the loopback interface of a network namespace."""
    command = [*namespace_command(), sys.executable, "-m", "tests.attacks.network_of_addresses"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    few, right, wrong = (results[name] for name in ("few", "right", "wrong"))
    assert (few["peers"], few["served"]) == (1, 0)
    assert "fd00::2/64" in few["not_tried"]
    assert (right["peers"], right["claims"], right["sources"]) == (30, {"one-bucket": [True]}, [PEERS_SOURCE])
    assert (right["not_tried"], right["wrong"]) == ("", 0)
    assert 20 <= right["served"] < 60
    assert (wrong["claims"], wrong["served"]) == ({"one-bucket": [False]}, 60)
