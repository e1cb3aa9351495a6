"""A site with money in it, and two people who are signed in there."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.logins.browsing import Browser, Site
from tests.logins.conftest import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MONEY: dict[str, Any] = {"wallet_dev_credit_usdt": Decimal(100), "withdrawal_cooldown_seconds": 0}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    one = Site(**MONEY)
    async with served(one):
        yield one


@pytest.fixture
async def ada(site: Site) -> Browser:
    browser = Browser(site)
    await browser.log_in("google", "ada", "ada@example.com")
    return browser


@pytest.fixture
async def ben(site: Site) -> Browser:
    browser = Browser(site)
    await browser.log_in("github", "ben", "ben@example.com")
    return browser
