"""While a shared rate limit cannot be asked, and nobody passes, who floods gets no more of the server than others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference_server.limits import LANE_ANSWERS_AT_ONCE
from tests.http.lane_by_hand import Lane, statuses
from tests.http.test_http_limits_outside import HEALTH, Limited
from tests.http.twins import written

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOODER, OTHER = "192.0.2.1", "192.0.2.2"


class Flooded:
    """A lane whose limiter cannot tell; what waits for it is counted by the clients that it is asked for."""

    def __init__(self) -> None:
        limited = Limited(redis_rate_limit_fallback=False)
        limited.limiter.gate.set()
        limited.limiter.says = [None] * 1000
        self.limited, self.lane = limited, Lane(api=limited.api)

    async def play(self) -> Sequence[str]:
        """Play rounds until nothing more comes to the limiter, have it asked once, and return for whom it was."""
        for _ in range(3):
            await self.lane.play()
        resolver = self.lane.lane._resolver
        await resolver._resolve(resolver._take())
        return self.limited.limiter.batches[-1]


@pytest.mark.parametrize("pipelined", [written(HEALTH), b""], ids=["requests", "heartbeats"])
async def test_a_flood_that_a_limiter_does_not_decide_has_one_question_at_a_time(pipelined: bytes) -> None:
    flooded = Flooded()
    flooder = flooded.lane.connect(FLOODER)
    flooder.send((pipelined or flooded.limited.beat("a")) * 50)
    assert await flooded.play() == [FLOODER] * LANE_ANSWERS_AT_ONCE
    assert statuses(flooder) == [503] * LANE_ANSWERS_AT_ONCE
    other = flooded.lane.connect(OTHER)
    for _ in range(3):
        other.send(written(HEALTH))
        assert sorted(await flooded.play()) == [FLOODER, OTHER]
        assert statuses(other) == [503]
        assert statuses(flooder) == [503]
    flooded.lane.close()


async def test_whom_a_limiter_lets_pass_again_is_served_as_before() -> None:
    flooded = Flooded()
    client = flooded.lane.connect(FLOODER)
    client.send(written(HEALTH))
    await flooded.play()
    assert statuses(client) == [503]
    flooded.limited.limiter.says = []
    client.send(written(HEALTH) * (1 + LANE_ANSWERS_AT_ONCE))
    assert await flooded.play() == [FLOODER]
    assert await flooded.play() == [FLOODER] * LANE_ANSWERS_AT_ONCE
    assert statuses(client) == [200] * (1 + LANE_ANSWERS_AT_ONCE)
    flooded.lane.close()
