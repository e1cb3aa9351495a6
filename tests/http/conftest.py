from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import make_pair

if TYPE_CHECKING:
    from tests.support.certificates import Pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for `localhost` with its key."""
    return make_pair(tmp_path_factory.mktemp("tls"))
