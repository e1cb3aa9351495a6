from __future__ import annotations

import pytest

from tests.core.server_under_test import Server


@pytest.fixture
def server() -> Server:
    """A fresh API with default settings and no rate limit to speak of."""
    return Server()
