from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite(
    "tests.http.http2_client",
    "tests.http.processes",
    "tests.http.serving",
    "tests.http.twins",
)

from tests.http.certificates import make_pair  # noqa: E402 - what it imports has asserts to rewrite first

if TYPE_CHECKING:
    from tests.http.certificates import Pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for `localhost` with its key."""
    return make_pair(tmp_path_factory.mktemp("tls"))
