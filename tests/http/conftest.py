from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference_server.http import serve
from reference_server.http.admission import Admission
from tests.support.certificates import make_pair

if TYPE_CHECKING:
    from tests.support.certificates import Pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for `localhost` with its key."""
    return make_pair(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def admissions(monkeypatch: pytest.MonkeyPatch) -> list[Admission]:
    """Tell of the admission of each server that is started."""
    made: list[Admission] = []

    def noting(*given: int) -> Admission:
        made.append(Admission(*given))
        return made[-1]

    monkeypatch.setattr(serve, "Admission", noting)
    return made
