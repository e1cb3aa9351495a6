"""The settings of logins and of whoever vouches for people and agents (contract: Logins, §11)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from reference_server.setting_rows import Setting, any_text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reference_server.settings import Settings

GOOGLE, APPLE, GITHUB = "google", "apple", "github"
_DAYS_30_SECONDS = 30 * 86_400
_ORIGIN = re.compile(r"(https?)://([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_USUAL_PORTS = {"https": "443", "http": "80"}


class LoginProvider(msgspec.Struct, frozen=True):
    """A provider that people can log in with, as far as decisions know it.

    `openid` ones give ID tokens; `form_post` ones have the browser send a form when it comes back.
    """

    name: str
    client_id: str
    issuer: str
    authorization_url: str
    scope: str
    openid: bool
    form_post: bool


def login_providers(settings: Settings) -> Mapping[str, LoginProvider]:
    """Return the providers that the settings name, by name."""
    google = LoginProvider(
        GOOGLE, settings.google_client_id, settings.google_issuer, settings.google_authorization_url, "openid email",
        openid=True, form_post=False,
    )  # fmt: skip
    apple = LoginProvider(
        APPLE, settings.apple_client_id, settings.apple_issuer, settings.apple_authorization_url, "openid email",
        openid=True, form_post=True,
    )  # fmt: skip
    github = LoginProvider(
        GITHUB, settings.github_client_id, settings.github_issuer, settings.github_authorization_url, "user:email",
        openid=False, form_post=False,
    )  # fmt: skip
    return {provider.name: provider for provider in (google, apple, github) if provider.client_id}


def login_problem(settings: Settings) -> str:
    """Return what is wrong with the settings of logins together; nothing when they are right."""
    together = (
        {"GOOGLE_CLIENT_ID": settings.google_client_id, "GOOGLE_CLIENT_SECRET": settings.google_client_secret},
        {"GITHUB_CLIENT_ID": settings.github_client_id, "GITHUB_CLIENT_SECRET": settings.github_client_secret},
        {
            "APPLE_CLIENT_ID": settings.apple_client_id,
            "APPLE_TEAM_ID": settings.apple_team_id,
            "APPLE_KEY_ID": settings.apple_key_id,
            "APPLE_PRIVATE_KEY_FILE": settings.apple_private_key_file,
        },
    )
    for group in together:
        missing = [name for name, value in group.items() if not value]
        if missing and len(missing) < len(group):
            return f"{' and '.join(group)} go together: set {' and '.join(missing)} too, or none of them"
    if login_providers(settings) and not settings.public_url:
        return "PUBLIC_URL: is needed for logins, for providers send browsers back there: set it too"
    return ""


def _origin(text: str) -> str:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError
    usual = match[3] in {None, _USUAL_PORTS[match[1]]}
    return f"{match[1]}://{match[2]}" if usual else text  # as a browser writes it in `Origin`


def _url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    match = _ORIGIN.fullmatch(f"{scheme}://{host}")
    if match is None or _PATH.fullmatch(slash + path) is None or (match[1] == "http" and match[2] not in _LOOPBACK):
        raise ValueError
    return text


def _id(variable: str, field: str, purpose: str) -> Setting:
    return Setting(variable, field, any_text, "what the provider gave", purpose)


def _secret(variable: str, field: str, purpose: str) -> Setting:
    return Setting(variable, field, any_text, "what the provider gave", purpose, may_hold_a_secret=True)


def _link(variable: str, field: str, purpose: str) -> Setting:
    allowed = "an https URL without a query, or an http one of this machine"
    return Setting(variable, field, _url, allowed, purpose, may_hold_a_secret=True)


LOGIN_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "PUBLIC_URL",
        "public_url",
        _origin,
        "an origin, in lower case and without a path, as https://api.example.com",
        "where browsers reach this server: providers send them back there",
        may_hold_a_secret=True,
    ),
    whole("SESSION_TTL_SECONDS", "session_ttl_seconds", 60, _DAYS_30_SECONDS, "how long somebody stays logged in"),
    _id("GOOGLE_CLIENT_ID", "google_client_id", "turns on logins with Google"),
    _secret("GOOGLE_CLIENT_SECRET", "google_client_secret", "proves this server to Google"),
    _link("GOOGLE_ISSUER", "google_issuer", "who has to have issued Google's ID tokens"),
    _link("GOOGLE_AUTHORIZATION_URL", "google_authorization_url", "where people log in with Google"),
    _link("GOOGLE_TOKEN_URL", "google_exchange_url", "where Google redeems codes"),
    _link("GOOGLE_JWKS_URL", "google_jwks_url", "where Google's keys are"),
    _id("APPLE_CLIENT_ID", "apple_client_id", "turns on logins with Apple: the Services ID"),
    _id("APPLE_TEAM_ID", "apple_team_id", "the team that the Services ID belongs to"),
    _id("APPLE_KEY_ID", "apple_key_id", "names the key that signs this server's secret for Apple"),
    Setting("APPLE_PRIVATE_KEY_FILE", "apple_private_key_file", any_text, "a PEM file with a P-256 key", "that key"),
    _link("APPLE_ISSUER", "apple_issuer", "who has to have issued Apple's ID tokens"),
    _link("APPLE_AUTHORIZATION_URL", "apple_authorization_url", "where people log in with Apple"),
    _link("APPLE_TOKEN_URL", "apple_exchange_url", "where Apple redeems codes"),
    _link("APPLE_JWKS_URL", "apple_jwks_url", "where Apple's keys are"),
    _id("GITHUB_CLIENT_ID", "github_client_id", "turns on logins with GitHub"),
    _secret("GITHUB_CLIENT_SECRET", "github_client_secret", "proves this server to GitHub"),
    _link("GITHUB_ISSUER", "github_issuer", "what GitHub calls itself where it says who answers"),
    _link("GITHUB_AUTHORIZATION_URL", "github_authorization_url", "where people log in with GitHub"),
    _link("GITHUB_TOKEN_URL", "github_exchange_url", "where GitHub redeems codes"),
    _link("GITHUB_API_URL", "github_api_url", "where GitHub says who somebody is"),
    _link(
        "MOLTBOOK_BASE_URL",
        "moltbook_base_url",
        "where Moltbook identities of agents are verified, as https://www.moltbook.com; empty: nowhere",
    ),
    _secret("MOLTBOOK_APP_KEY", "moltbook_app_key", "proves this server to Moltbook"),
)
