"""The cookies of logins and sessions (contract: Logins; RFC 6265bis): their names, how they are set and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_server.settings import Settings

_HOST = "__Host-"
"""Browsers accept cookies with this prefix only from this host and over https, so no other host can replace them."""
LAX, CROSS_SITE = "Lax", "None"


def is_secure(settings: Settings) -> bool:
    """Return whether browsers reach this server over https."""
    return settings.public_url.startswith("https://")


def session_cookie(settings: Settings) -> str:
    """Return the name of the cookie with a session's token."""
    return _name(settings, "hf_session")


def new_key_cookie(settings: Settings) -> str:
    """Return the name of the cookie that carries a new key to the page that shows it once."""
    return _name(settings, "hf_new_key")


def login_cookie(settings: Settings, provider: str) -> str:
    """Return the name of the cookie to which a login with a provider is bound."""
    return _name(settings, f"hf_login_{provider}")


def _name(settings: Settings, name: str) -> str:
    return f"{_HOST}{name}" if is_secure(settings) else name


def set_cookie(settings: Settings, name: str, value: str, life_seconds: int, same_site: str = LAX) -> tuple[str, str]:
    """Return the header that sets a cookie for `life_seconds`, or deletes it for 0. Scripts cannot read it."""
    # Browsers accept SameSite=None cookies only if they are Secure; over plain http, the host must be a loopback one.
    secure = "; Secure" if is_secure(settings) or same_site == CROSS_SITE else ""
    return "set-cookie", f"{name}={value}; Path=/; Max-Age={life_seconds}; HttpOnly; SameSite={same_site}{secure}"


def read_cookie(headers: dict[str, str], name: str) -> str:
    """Return a cookie's value, or an empty text if it is missing or sent twice, as it is unknown which is right."""
    pairs = (pair.strip(" \t").partition("=") for pair in headers.get("cookie", "").split(";"))
    values = [value for given, _, value in pairs if given == name]
    return values[0] if len(values) == 1 else ""
