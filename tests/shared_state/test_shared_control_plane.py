"""Whatever is asked of whichever of three instances, they answer as one plain model does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from tests.core.test_control_plane_against_its_model import ControlPlane
from tests.shared_state.shared_comparison import Loop, SharedComparison
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Return where the instances run."""
    loop = Loop()
    yield loop
    loop.end()


def test_three_instances_answer_as_one_server_does(loop: Loop) -> None:
    """They are asked in turn; instances are replaced, Redis restarts, the journal is compacted now and then."""

    class Shared(ControlPlane):
        def __init__(self) -> None:
            super().__init__()
            self.both = self.shared = SharedComparison(loop)
            self.model = self.both.model

        @rule(which=st.integers(0, 2))
        def replace_an_instance(self, which: int) -> None:
            self.shared.shared.replace(which)

        @rule()
        def restart_redis(self) -> None:
            self.shared.shared.restart_redis()

        def teardown(self) -> None:
            self.shared.shared.end()

    run_state_machine_as_test(
        Shared,
        settings=settings(
            max_examples=examples(6),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
