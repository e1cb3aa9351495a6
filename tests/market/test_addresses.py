"""Money goes to addresses of its own kind only, each known by one spelling."""

from __future__ import annotations

import string

import base58
import bech32m
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference_server.core.market.addresses import asset_of, normal_address
from reference_server.core.market.money import BTC, USDT

TRON = [
    "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
    "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
    "TLa2f6VPqDgRE67v1736s7bJ8Ray5wYjU7",
]
BITCOIN = [
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
    "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
    "BC1SW50QGDZ25J",
    "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
]
"""The genesis block's, wiki examples, and the valid ones of BIP 173 and BIP 350 for the main network."""
NEITHER = [
    "",
    "1",
    "T",
    "bc1",
    "TJRabPrwbZy45sbavfcjinPJC18kjpRTv9",  # its checksum is wrong
    "tjrabprwbzy45sbavfcjinpjc18kjprtv8",
    "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8 ",
    " TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
    "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8\n",
    "1TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",  # test network
    "2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc",  # test network
    "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",  # test network
    "1AGNa15ZQXAZUgFiqJ2i7Z2DPU2J6hW62j",  # its checksum is wrong
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",  # its checksum is wrong
    "bc1qW508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",  # both capitals and small letters
    "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",  # a character there is not
    "bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du",  # BIP 350: version 2 with bech32
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",  # BIP 350: version 1 with bech32
    "bc1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47",  # BIP 350: version 0 with bech32m
    "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",  # BIP 350: version 16 with bech32
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",  # BIP 350: version 0 with bech32m
    "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",  # BIP 350: no such version
    "bc1pw5dgrnzv",  # BIP 350: too short
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",  # BIP 350: too long
    "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",  # BIP 173: no such length for version 0
    "bc1gmk9yu",  # BIP 173: nothing in it
    "lnbc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "\u0661" * 34,
    "1" * 91,
]


@pytest.mark.parametrize("address", TRON)
def test_tron_addresses(address: str) -> None:
    assert normal_address(USDT, address) == address
    assert normal_address(BTC, address) is None
    assert asset_of(address) == USDT


@pytest.mark.parametrize("address", BITCOIN)
def test_bitcoin_addresses(address: str) -> None:
    """Capitals are another spelling of bech32 only."""
    spelling = address.lower() if address.lower().startswith("bc1") else address
    assert normal_address(BTC, address) == spelling
    assert normal_address(USDT, address) is None
    assert asset_of(address) == BTC


@pytest.mark.parametrize("address", NEITHER)
def test_what_is_no_address_of_either(address: str) -> None:
    assert asset_of(address) is None


@given(st.integers(0, 255), st.binary(min_size=0, max_size=24))
def test_base58check_is_taken_by_its_prefix_and_length(prefix: int, content: bytes) -> None:
    address = base58.b58encode_check(bytes([prefix]) + content).decode()
    right_length = len(content) == 20
    assert (normal_address(USDT, address) is not None) == (right_length and prefix == 0x41)
    assert (normal_address(BTC, address) is not None) == (right_length and prefix in {0, 5})


@given(
    st.sampled_from([*TRON, *BITCOIN[:3]]), st.integers(0, 40), st.sampled_from(string.ascii_letters + string.digits)
)
def test_one_wrong_character_of_base58_is_noticed(address: str, at: int, character: str) -> None:
    at %= len(address)
    assume(address[at] != character)
    assert asset_of(address[:at] + character + address[at + 1 :]) is None


@given(st.integers(0, 16), st.binary(min_size=2, max_size=40), st.data())
def test_one_wrong_character_of_bech32_is_noticed(version: int, program: bytes, data: st.DataObject) -> None:
    assume(version or len(program) in {20, 32})
    address = bech32m.encode("bc", version, program)
    assert normal_address(BTC, address.upper()) == normal_address(BTC, address) == address
    at = data.draw(st.integers(3, len(address) - 1))
    character = data.draw(st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l").filter(lambda one: one != address[at]))
    assert normal_address(BTC, address[:at] + character + address[at + 1 :]) is None
