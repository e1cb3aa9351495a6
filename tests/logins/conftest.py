"""A site that people log in to, served as long as a test runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.logins.browsing import Browser, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def served(*sites: Site) -> AsyncIterator[None]:
    """Serve sites."""
    async with trio.open_nursery() as nursery:
        for site in sites:
            await nursery.start(site.resolver.run)
        yield
        for site in sites:
            await site.resolver.stop()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    one = Site()
    async with served(one):
        yield one


@pytest.fixture
async def browser(site: Site) -> Browser:
    return Browser(site)
