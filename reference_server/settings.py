"""Every setting: one environment variable each, typed, read once (contract §11)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.login_settings import LOGIN_SETTINGS, login_problem
from reference_server.market_settings import MARKET_SETTINGS
from reference_server.proxy_settings import PROXY_SETTINGS
from reference_server.setting_rows import Setting, any_text, flag, real, whole, whole_number
from reference_server.wire.slips import is_one_slip

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "0.3.0"
"""The API version this server answers for."""
TOKEN_MIN_CHARACTERS = 8
"""Of the owners' token. It signs policies too, so whoever sees one signed can try tokens without asking the server."""
_ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
"""An origin as a browser sends it (RFC 6454, section 6.2)."""
SKEW_SECONDS = 90
"""How far a heartbeat's timestamp may be off (contract §4, check 5)."""


MISSPELT_FROM_LETTERS = 6
"""Of shorter names, such as `HOST`, others are a letter away that mean something else."""


class SettingsError(Exception):
    """A variable whose value cannot be used.

    The message names the variable, and what is allowed; and the value, unless it may hold a secret.
    """


class Settings(msgspec.Struct, frozen=True):
    """The settings of one server, typed. Durations in seconds."""

    api_token: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    state_file: str = ""
    journal_bytes: int = 0
    worker_status_file: str = ".worker_status_state.json"
    tls_cert_file: str = ""
    tls_key_file: str = ""
    signing_key_file: str = ""
    allowed_origins: tuple[str, ...] = ("http://localhost:3000",)
    metrics_public: bool = False
    require_https: bool = False
    trust_proxy_headers: bool = False
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    stale_seconds: int = 60
    auth_failure_window_seconds: int = 300
    auth_failure_threshold: int = 10
    nonce_ttl_seconds: int = 300
    certificate_life_seconds: int = 900
    rate_limit_refill_per_second: float = 5.0
    rate_limit_burst: int = 20
    audit_events_per_stream: int = 5000
    shared_state: str = ""
    redis_addr: str = ""
    redis_password: str = ""
    redis_nonce_fallback: bool = False
    redis_rate_limit_enabled: bool = False
    redis_rate_limit_max_requests: int = 20
    redis_rate_limit_window_seconds: int = 1
    redis_rate_limit_fallback: bool = True
    header_timeout_seconds: float = 10.0
    body_timeout_seconds: float = 30.0
    idle_timeout_seconds: float = 75.0
    waiting_bytes_max: int = 64 * 1024 * 1024
    unproven_connections_per_address: int = 4096
    shutdown_grace_seconds: float = 10.0
    agent_registration: str = "open"
    price_cpu_hour: Decimal = Decimal("0.010000")
    price_memory_gb_hour: Decimal = Decimal("0.001000")
    price_gpu_hour: Decimal = Decimal("0.500000")
    job_queue_timeout_seconds: int = 3_600
    platform_fee_basis_points: int = 0
    wallet_dev_credit_usdt: Decimal = Decimal(0)
    withdrawal_cooldown_seconds: int = 86_400
    withdrawals_per_hour: int = 10
    withdrawal_daily_limit_usdt: Decimal = Decimal(10_000)
    withdrawal_daily_limit_btc: Decimal = Decimal(1)
    payout_simulated_seconds: float = 1.0
    payout_simulated_failures: float = 0.0
    forum_posts_per_hour: int = 30
    public_url: str = ""
    session_ttl_seconds: int = 43_200
    google_client_id: str = ""
    google_client_secret: str = ""
    google_issuer: str = "https://accounts.google.com"
    google_authorization_url: str = "https://accounts.google.com/o/oauth2/v2/auth"
    google_exchange_url: str = "https://oauth2.googleapis.com/token"
    google_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    apple_client_id: str = ""
    apple_team_id: str = ""
    apple_key_id: str = ""
    apple_private_key_file: str = ""
    apple_issuer: str = "https://appleid.apple.com"
    apple_authorization_url: str = "https://appleid.apple.com/auth/authorize"
    apple_exchange_url: str = "https://appleid.apple.com/auth/token"
    apple_jwks_url: str = "https://appleid.apple.com/auth/keys"
    github_client_id: str = ""
    github_client_secret: str = ""
    github_issuer: str = "https://github.com/login/oauth"
    github_authorization_url: str = "https://github.com/login/oauth/authorize"
    github_exchange_url: str = "https://github.com/login/oauth/access_token"
    github_api_url: str = "https://api.github.com"
    moltbook_base_url: str = ""
    moltbook_app_key: str = ""
    skew_seconds: int = SKEW_SECONDS
    version: str = VERSION

    def __repr__(self) -> str:
        """Hide the token."""
        return f"Settings({self.host}:{self.port})"


def _address(text: str) -> str:
    match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", text)
    if match is None:
        raise ValueError
    whole_number(1, 65535)(match[1])
    return text


def _shared(text: str) -> str:
    return {"redis": "redis"}[text.lower()]


def _token(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text and len(text) >= TOKEN_MIN_CHARACTERS):
        raise ValueError
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError
    return origins


DAY_SECONDS = 86_400
SETTINGS: tuple[Setting, ...] = (
    Setting(
        "HATCHFARM_API_TOKEN",
        "api_token",
        _token,
        f"at least {TOKEN_MIN_CHARACTERS} characters of printable ASCII, without spaces",
        "the owners' bearer token; made anew at each start, and told once, when missing",
        may_hold_a_secret=True,
    ),
    Setting("HOST", "host", any_text, "an address of this machine", "where to listen"),
    whole("PORT", "port", 0, 65535, "port to listen on; 0 picks a free one"),
    Setting(
        "HATCHFARM_STATE_FILE",
        "state_file",
        any_text,
        "a file in a folder that the server may write to",
        "keeps all state durably: a snapshot there, and a journal beside it",
    ),
    whole(
        "HATCHFARM_JOURNAL_BYTES",
        "journal_bytes",
        0,
        1 << 40,
        "size from which a new snapshot takes the journal's place; 0: 16 MiB, or the last snapshot's if that is larger",
    ),
    Setting(
        "WORKER_STATUS_STATE_FILE",
        "worker_status_file",
        any_text,
        "a file in a folder that the server may write to, or empty",
        "legacy: when workers were last heard from, for a server without a state file; empty is off",
        may_be_empty=True,
    ),
    Setting("TLS_CERT_FILE", "tls_cert_file", any_text, "a PEM file", "certificate chain; turns on TLS and HTTP/2"),
    Setting("TLS_KEY_FILE", "tls_key_file", any_text, "a PEM file", "the chain's private key"),
    Setting(
        "MACHINE_CERT_SIGNING_KEY_FILE",
        "signing_key_file",
        any_text,
        "a PEM file with an Ed25519 key",
        "signs machine certificates; made when missing, and kept beside the state file if there is one",
    ),
    Setting(
        "ALLOWED_ORIGINS",
        "allowed_origins",
        _origins,
        "origins, separated by commas, as browsers send them: http(s)://host or http(s)://host:port in lower case, "
        "without wildcard, path, password or null, for any page could then act with an owner's login",
        "browser origins that may call (CORS)",
        may_hold_a_secret=True,
    ),
    flag("METRICS_PUBLIC", "metrics_public", "let anyone read the metrics"),
    flag("REQUIRE_HTTPS", "require_https", "refuse plain HTTP with 426, health apart"),
    flag(
        "TRUST_PROXY_HEADERS",
        "trust_proxy_headers",
        "believe X-Forwarded-Proto: from TRUSTED_PROXIES, or from anybody where none are named",
    ),
    *PROXY_SETTINGS,
    whole("WORKER_STATUS_STALE_SECONDS", "stale_seconds", 1, DAY_SECONDS, "silence after which a worker is stale"),
    whole(
        "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS",
        "auth_failure_window_seconds",
        1,
        DAY_SECONDS,
        "how long an auth failure counts as recent",
    ),
    whole(
        "WORKER_AUTH_FAIL_ALERT_THRESHOLD",
        "auth_failure_threshold",
        1,
        1_000_000_000,
        "recent auth failures from which the alert is on",
    ),
    whole(
        "HEARTBEAT_NONCE_TTL_SECONDS",
        "nonce_ttl_seconds",
        2 * SKEW_SECONDS,
        DAY_SECONDS,
        "how long a nonce is remembered, at least",
    ),
    whole(
        "MACHINE_CERT_TTL_SECONDS",
        "certificate_life_seconds",
        1,
        DAY_SECONDS,
        "how long a machine certificate lives; other than the contract's 900 for tests of expiry only",
    ),
    real(
        "RATE_LIMIT_REFILL_PER_SECOND",
        "rate_limit_refill_per_second",
        0.001,
        1e9,
        "requests a second a client address may make",
    ),
    whole("RATE_LIMIT_BURST", "rate_limit_burst", 1, 1_000_000_000, "requests it may make at once"),
    whole("AUDIT_EVENTS_PER_STREAM", "audit_events_per_stream", 1, 1_000_000, "events kept in each audit stream"),
    Setting(
        "HATCHFARM_SHARED_STATE",
        "shared_state",
        _shared,
        "redis",
        "lets several instances act as one: shares all state through the Redis at REDIS_ADDR",
    ),
    Setting(
        "REDIS_ADDR",
        "redis_addr",
        _address,
        "host:port of a Redis; the password goes into REDIS_PASSWORD",
        "shares nonces among instances",
        may_hold_a_secret=True,
    ),
    Setting("REDIS_PASSWORD", "redis_password", any_text, "its password", "opens that Redis", may_hold_a_secret=True),
    flag("REDIS_NONCE_FALLBACK", "redis_nonce_fallback", "while Redis is down, accept by this instance's own memory"),
    flag("REDIS_RATE_LIMIT_ENABLED", "redis_rate_limit_enabled", "share the rate limit through Redis, too"),
    whole(
        "REDIS_RATE_LIMIT_MAX_REQUESTS",
        "redis_rate_limit_max_requests",
        1,
        100_000,
        "requests a client address may make in any window, over all instances",
    ),
    whole("REDIS_RATE_LIMIT_WINDOW_SECONDS", "redis_rate_limit_window_seconds", 1, 3600, "length of that window"),
    flag(
        "REDIS_RATE_LIMIT_FALLBACK",
        "redis_rate_limit_fallback",
        "while Redis is down, limit by this instance's own buckets; else answer 503",
    ),
    real("HTTP_HEADER_TIMEOUT_SECONDS", "header_timeout_seconds", 0.05, 3600, "deadline for a request's headers"),
    real("HTTP_BODY_TIMEOUT_SECONDS", "body_timeout_seconds", 0.05, 3600, "deadline for a request's body"),
    real("HTTP_IDLE_TIMEOUT_SECONDS", "idle_timeout_seconds", 0.05, 3600, "how long a connection may rest"),
    whole(
        "HTTP_WAITING_BYTES",
        "waiting_bytes_max",
        4 * 1024 * 1024,
        1 << 40,
        "bytes that may wait in all connections together, of half-sent requests and unread answers; past it those that "
        "have waited longest, and have proven nothing, are closed",
    ),
    whole(
        "HTTP_UNPROVEN_CONNECTIONS_PER_ADDRESS",
        "unproven_connections_per_address",
        1,
        1_000_000,
        "connections of a client address on which nobody has proven anything yet; past it the oldest is closed",
    ),
    real("SHUTDOWN_GRACE_SECONDS", "shutdown_grace_seconds", 0.05, 3600, "how long shutting down may take"),
    *MARKET_SETTINGS,
    *LOGIN_SETTINGS,
)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. An empty variable counts as unset, but for those where it means off.

    Raises:
        SettingsError: with one message for people, at the first variable that does not parse.
    """
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = environ.get(setting.variable, "")
        if text or (setting.may_be_empty and setting.variable in environ):
            try:
                values[setting.field] = setting.parse(text)
            except (ValueError, KeyError):
                shown = "the value given (hidden)" if setting.may_hold_a_secret else repr(text)
                raise SettingsError(f"{setting.variable}: {shown} is not {setting.allowed}") from None
    settings = Settings(**values)
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        raise SettingsError("TLS_CERT_FILE and TLS_KEY_FILE go together: set both, or neither")
    if settings.redis_rate_limit_enabled and not settings.redis_addr:
        raise SettingsError("REDIS_RATE_LIMIT_ENABLED: needs a Redis: set REDIS_ADDR too, or unset this")
    if settings.proxy_protocol and not settings.trusted_proxies:
        raise SettingsError(
            "PROXY_PROTOCOL: needs TRUSTED_PROXIES, for whoever may send it may name any address as its own"
        )
    if settings.proxy_protocol and settings.require_https and not settings.tls_cert_file:
        raise SettingsError(
            "REQUIRE_HTTPS: with PROXY_PROTOCOL needs TLS_CERT_FILE, because that header does not say whether a client "
            "came by HTTPS, and X-Forwarded-Proto would be the client's own word: all would be refused"
        )
    if settings.shared_state:
        _check_shared(settings)
    if problem := login_problem(settings):
        raise SettingsError(problem)
    return settings


def misspelt_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that are no settings, each with the unset setting that it is one slip of the hand away from."""
    known = [setting.variable for setting in SETTINGS]
    unset = [name for name in known if name not in environ and len(name) >= MISSPELT_FROM_LETTERS]
    meant = {name: [one for one in unset if is_one_slip(name, one)] for name in sorted(environ.keys() - known)}
    return {name: found[0] for name, found in meant.items() if found}


def _check_shared(settings: Settings) -> None:
    """Refuse what does not go with sharing all state. Raises SettingsError."""
    needed = {
        "REDIS_ADDR": (settings.redis_addr, "it is what the state is shared through"),
        "HATCHFARM_API_TOKEN": (settings.api_token, "all instances must have the same"),
        "MACHINE_CERT_SIGNING_KEY_FILE": (settings.signing_key_file, "all instances must sign with the same key"),
    }
    for variable, (value, reason) in needed.items():
        if not value:
            raise SettingsError(f"HATCHFARM_SHARED_STATE: needs {variable}, for {reason}: set it too, or unset this")
    if settings.state_file:
        raise SettingsError(
            "HATCHFARM_SHARED_STATE: goes without HATCHFARM_STATE_FILE, because two places could disagree about what "
            "is true: unset one of them"
        )
    if settings.redis_nonce_fallback:
        raise SettingsError(
            "HATCHFARM_SHARED_STATE: goes without REDIS_NONCE_FALLBACK, because an instance on its own cannot know "
            "what was revoked elsewhere: unset one of them"
        )
