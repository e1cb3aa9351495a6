"""Bounds of what instances share that no busy machine exceeds, for tests that prove anything else than those bounds."""

from __future__ import annotations

import msgspec

from reference_server.ports import LinkBounds, SharedBounds
from tests.support.waiting import PATIENCE_SECONDS

IN_TIME = LinkBounds()
"""As they are shipped: what is not answered in time is refused in time."""
SOON_ANEW = msgspec.structs.replace(IN_TIME, connect_seconds=0.5)
"""The same, but a connection to whose greeting nothing is answered is soon given up, and made anew."""
PATIENT_LINK = msgspec.structs.replace(
    IN_TIME, wait_seconds=PATIENCE_SECONDS, attempt_seconds=PATIENCE_SECONDS, connect_seconds=PATIENCE_SECONDS
)
"""Waits for every answer. One that is lost is never asked for again."""
ASKS_AGAIN = msgspec.structs.replace(PATIENT_LINK, attempt_seconds=0.5)
"""Asks again over a new connection where an answer stays away, as often as that takes."""
SHARED_IN_TIME = SharedBounds()
"""As they are shipped."""
SHARED_SOON_ANEW = SharedBounds(link=SOON_ANEW)
"""The same, over connections that are soon made anew."""
PATIENT = SharedBounds(
    link=PATIENT_LINK,
    wait_seconds=PATIENCE_SECONDS,
    answer_seconds=PATIENCE_SECONDS,
    lease_seconds=PATIENCE_SECONDS,
)
"""Nobody is given up on, and no lease is lost, because the machine is busy."""
SOON_LOST = msgspec.structs.replace(PATIENT, lease_seconds=SHARED_IN_TIME.lease_seconds)
"""Nobody is given up on, but a lease is lost as soon as it is shipped to be."""
