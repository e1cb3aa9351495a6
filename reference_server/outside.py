"""The part of the composition root that is outside of a server's process: its disk, what is shared, who is asked."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.adapters.files.disk import SYSTEM_DISK
from reference_server.ports import LinkBounds, SharedBounds, SharedDown
from reference_server.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.adapters.redis.link import RedisLink, Script
    from reference_server.operations.api import Api
    from reference_server.ports import Clock, Entropy, RateLimiter
    from reference_server.settings import Settings


def share(
    api: Api,
    entropy: Entropy,
    clock: Clock,
    *,
    fresh: bool,
    bounds: LinkBounds = LinkBounds(),  # noqa: B008 - frozen
) -> None:
    """Share nonces, and the rate limit where the settings say so, through Redis.

    `fresh` says that none of the machines that the API knows can have had a nonce accepted anywhere yet.
    """
    # Importing the client takes a third of a second, which no server without Redis should wait for.
    from reference_server.adapters.redis import limiter as redis_limiter  # noqa: PLC0415 - see above
    from reference_server.adapters.redis import nonces as redis_nonces  # noqa: PLC0415 - see above

    settings = api.settings
    link = _link(settings, (*redis_nonces.SCRIPTS, *redis_limiter.SCRIPTS), bounds)
    nonces = redis_nonces.RedisNonces(link, settings, entropy, clock, fresh=fresh)
    api.state.extra_metrics.append(nonces.figures)
    api.share(nonces, _limiter(api, link), (link.run, nonces.run))


def share_state(api: Api, entropy: Entropy, clock: Clock, bounds: SharedBounds) -> None:
    """Share all state through Redis, nonces with it, and the rate limit where the settings say so."""
    from reference_server.adapters.redis import journal as redis_journal  # noqa: PLC0415 - as in `share`
    from reference_server.adapters.redis import limiter as redis_limiter  # noqa: PLC0415 - as in `share`
    from reference_server.adapters.redis import nonces as redis_nonces  # noqa: PLC0415 - as in `share`

    settings = api.settings
    link = _link(settings, (*redis_nonces.SCRIPTS, *redis_journal.SCRIPTS, *redis_limiter.SCRIPTS), bounds.link)
    digest = api.state.signer.fingerprint(settings.api_token)
    later = api.state.tables.later
    journal = redis_journal.RedisJournal(link, settings, entropy, clock, digest, later, bounds=bounds)
    api.state.extra_metrics.append(journal.nonces.figures)
    api.share_state(journal, _limiter(api, link), (link.run, journal.nonces.run, journal.alike.run))


async def check_alike(api: Api, entropy: Entropy, clock: Clock) -> None:
    """Look whether the instances that share the state already are set up like this one. Raises SettingsError.

    A Redis that is down is waited for later, while serving; an instance set up otherwise is refused the state then.
    What only those had that have ended is waited for: it is gone in a moment.
    """
    from reference_server.adapters.redis import alike  # noqa: PLC0415 - as in `share`
    from reference_server.adapters.redis import journal as redis_journal  # noqa: PLC0415 - as in `share`
    from reference_server.adapters.redis import nonces as redis_nonces  # noqa: PLC0415 - as in `share`

    link = _link(api.settings, (*redis_nonces.SCRIPTS, *redis_journal.SCRIPTS), LinkBounds())
    digest = api.state.signer.fingerprint(api.settings.api_token)
    later = api.state.tables.later
    journal = redis_journal.RedisJournal(link, api.settings, entropy, clock, digest, later)
    problem = ""
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        try:
            await alike.until_alike(journal.status)
        except alike.SharedMismatch as error:
            problem = str(error)
        except SharedDown:
            pass
        nursery.cancel_scope.cancel()
    if problem:
        raise SettingsError(f"HATCHFARM_SHARED_STATE: {problem}")


def _link(settings: Settings, scripts: Sequence[Script], bounds: LinkBounds) -> RedisLink:
    from reference_server.adapters.redis.link import RedisLink  # noqa: PLC0415 - as in `share`

    host, _, port = settings.redis_addr.rpartition(":")
    return RedisLink(host.strip("[]"), int(port), settings.redis_password, scripts, bounds)


def _limiter(api: Api, link: RedisLink) -> RateLimiter | None:
    from reference_server.adapters.redis.limiter import RedisLimiter  # noqa: PLC0415 - as in `share`

    if not api.settings.redis_rate_limit_enabled:
        return None
    limiter = RedisLimiter(link, api.settings)
    api.state.extra_metrics.append(limiter.figures)
    return limiter


class Outside(msgspec.Struct, frozen=True):
    """What a server's process reaches: the machine's own, unless it is in a world that has none of it.

    `share` takes the API, its entropy and clock, and whether no nonce of its machines can have been accepted yet;
    `share_state` the API, its entropy and clock, and bounds.
    """

    disk: Any = SYSTEM_DISK
    """A `Disk`."""
    share: Callable[[Api, Entropy, Clock, bool], None] = lambda api, entropy, clock, fresh: share(
        api, entropy, clock, fresh=fresh
    )
    share_state: Callable[[Api, Entropy, Clock, SharedBounds], None] = share_state
    make_transport: Callable[[], Any] = lambda: None
    """Makes the `httpx.AsyncBaseTransport` by which it asks who people and agents are; None for the network's own."""


SYSTEM = Outside()
