"""The cookies of logins and sessions (contract: Logins; RFC 6265bis): their names, how they are set and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_server.settings import Settings

_HOST = "__Host-"
"""A browser takes a cookie of such a name from this host alone, over https: no other can put one in its place."""
LAX, CROSS_SITE = "Lax", "None"


def is_secure(settings: Settings) -> bool:
    """Return whether browsers reach this server over https."""
    return settings.public_url.startswith("https://")


def session_cookie(settings: Settings) -> str:
    """Name the cookie that holds a session's token."""
    return _name(settings, "hf_session")


def new_key_cookie(settings: Settings) -> str:
    """Name the cookie that brings a new key to the page that shows it, once."""
    return _name(settings, "hf_new_key")


def login_cookie(settings: Settings, provider: str) -> str:
    """Name the cookie that a login with a provider is bound to."""
    return _name(settings, f"hf_login_{provider}")


def _name(settings: Settings, name: str) -> str:
    return f"{_HOST}{name}" if is_secure(settings) else name


def set_cookie(settings: Settings, name: str, value: str, life_seconds: int, same_site: str = LAX) -> tuple[str, str]:
    """Return the header that sets a cookie for so long; 0 takes it away. No script can read it."""
    # A browser takes no cookie for requests from other sites that is not secure; over http it has to be a loopback one.
    secure = "; Secure" if is_secure(settings) or same_site == CROSS_SITE else ""
    return "set-cookie", f"{name}={value}; Path=/; Max-Age={life_seconds}; HttpOnly; SameSite={same_site}{secure}"


def read_cookie(headers: dict[str, str], name: str) -> str:
    """Return a cookie's value; nothing where it is not there, or is there twice: nobody knows then which is right."""
    pairs = (pair.strip(" \t").partition("=") for pair in headers.get("cookie", "").split(";"))
    values = [value for given, _, value in pairs if given == name]
    return values[0] if len(values) == 1 else ""
