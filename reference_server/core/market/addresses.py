"""Payment addresses: their validation and their normal spelling (contract: Wallet)."""

from __future__ import annotations

import re

from base58 import b58decode_check
from bech32m import DecodeError, decode

from reference_server.core.market.money import BTC, USDT
from reference_server.limits import ADDRESS_MAX_CHARACTERS

_BASE58 = re.compile("[1-9A-HJ-NP-Za-km-z]+")
_PAYLOAD_BYTES = 21
"""A prefix of one byte, and a hash of twenty."""
_TRON_PREFIX = 0x41
_P2PKH_PREFIX, _P2SH_PREFIX = 0x00, 0x05
_MAINNET = "bc"


def normal_address(asset: str, address: str) -> str | None:
    """Return an address in its normal spelling, or None if the asset cannot be sent to it.

    TRC-20: base58check with prefix 0x41. Bitcoin's main network: base58check P2PKH and P2SH, bech32 for version 0
    (BIP 173), bech32m from version 1 on (BIP 350); the latter two may be in capitals, and are normalised to lower case.
    """
    if not 0 < len(address) <= ADDRESS_MAX_CHARACTERS:
        return None
    if asset == USDT:
        return address if _prefix(address) == _TRON_PREFIX else None
    if asset == BTC and address[: len(_MAINNET) + 1].lower() == f"{_MAINNET}1":
        return _segwit(address)
    return address if asset == BTC and _prefix(address) in {_P2PKH_PREFIX, _P2SH_PREFIX} else None


def asset_of(address: str) -> str | None:
    """Return the asset that can be sent to an address, or None if it is no valid address."""
    return next((asset for asset in (USDT, BTC) if normal_address(asset, address) is not None), None)


def _prefix(address: str) -> int | None:
    """Return the version byte of a base58check address, or None if it is none. Each address has one spelling only."""
    if _BASE58.fullmatch(address) is None:
        return None
    try:
        payload = b58decode_check(address)
    except ValueError:
        return None
    return payload[0] if len(payload) == _PAYLOAD_BYTES else None


def _segwit(address: str) -> str | None:
    try:
        decode(_MAINNET, address)
    except DecodeError:
        return None
    return address.lower()
