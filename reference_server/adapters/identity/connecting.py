"""From the settings to those who vouch for people and agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from joserfc.jwk import ECKey

from reference_server.adapters.identity.fetching import Fetcher
from reference_server.adapters.identity.github import GitHubProvider
from reference_server.adapters.identity.moltbook import Moltbook
from reference_server.adapters.identity.openid import OpenIdProvider, apple_secret
from reference_server.login_settings import APPLE, GITHUB, GOOGLE, login_providers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from reference_server.identity_ports import IdentityProvider, MoltbookIdentity
    from reference_server.ports import BackgroundTask, Clock
    from reference_server.settings import Settings


class Vouchers(NamedTuple):
    """Whoever is asked, and what has to run meanwhile."""

    providers: Mapping[str, IdentityProvider]
    moltbook: MoltbookIdentity | None
    run: BackgroundTask


def connect(settings: Settings, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> Vouchers:
    """Return those that the settings name, asked by a transport or else by sockets.

    Raises OSError or ValueError for an Apple key that cannot be used.
    """
    fetcher = Fetcher(transport=transport)
    configured = login_providers(settings)
    providers: dict[str, IdentityProvider] = {}
    if GOOGLE in configured:
        secret = settings.google_client_secret
        providers[GOOGLE] = OpenIdProvider(
            fetcher,
            clock,
            configured[GOOGLE],
            settings.google_exchange_url,
            settings.google_jwks_url,
            lambda _now: secret,
        )
    if APPLE in configured:
        key = _read_key(Path(settings.apple_private_key_file))
        make_secret = apple_secret(configured[APPLE], settings.apple_team_id, settings.apple_key_id, key)
        providers[APPLE] = OpenIdProvider(
            fetcher, clock, configured[APPLE], settings.apple_exchange_url, settings.apple_jwks_url, make_secret
        )
    if GITHUB in configured:
        providers[GITHUB] = GitHubProvider(
            fetcher,
            configured[GITHUB],
            settings.github_exchange_url,
            settings.github_api_url,
            settings.github_client_secret,
        )
    moltbook = None
    if settings.moltbook_base_url:
        moltbook = Moltbook(fetcher, clock, settings.moltbook_base_url, settings.moltbook_app_key)
    return Vouchers(providers, moltbook, fetcher.run)


def _read_key(path: Path) -> ECKey:
    key = ECKey.import_key(path.read_bytes())
    if key.curve_name != "P-256" or not key.is_private:
        raise ValueError("not a private key of P-256")
    return key
