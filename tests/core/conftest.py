from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.core.control_plane_comparison", "tests.core.server_under_test")

from tests.core.server_under_test import Server  # noqa: E402 - its asserts are to be rewritten first


@pytest.fixture
def server() -> Server:
    """A fresh API with default settings and no rate limit to speak of."""
    return Server()
