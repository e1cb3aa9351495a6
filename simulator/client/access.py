"""How a target is reached, beside its URL and token: headers of the way there, and whom TLS trusts and shows.

Processes that play parts of one run have it from their environment, as they have the token: no message holds a secret.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "HATCHFARM_TARGET_ACCESS"
"""Where processes of one run find it, as JSON."""
INSECURE_WARNING = (
    "the target's certificate was NOT CHECKED (--insecure): whoever is on the way may have answered in its place, and "
    "has read the owner token"
)


class AccessError(Exception):
    """A way to a target that cannot be gone; the message names the flag, and shows no secret."""


class TokenError(Exception):
    """A token that cannot be sent; the message does not show it."""


def check_token(token: str) -> None:
    """Refuse a token that no header can carry as it is. Raises TokenError."""
    if any(not "!" <= character <= "~" for character in token):
        raise TokenError("the owner token has a space, a line end or what is no printable ASCII: give it as it is")


class Access(msgspec.Struct, frozen=True):
    """What the way to a target takes.

    `headers` go with every request. `trusted` is PEM: the only authorities that TLS trusts, whatever this machine
    trusts without; `insecure` trusts anybody. `certificate` and `key` are files of what a client shows, as PEM.
    """

    headers: tuple[tuple[str, str], ...] = ()
    trusted: str = ""
    insecure: bool = False
    certificate: str = ""
    key: str = ""

    def __repr__(self) -> str:
        """Hide the values of headers."""
        return f"Access({', '.join(name for name, _ in self.headers)})"

    @property
    def warnings(self) -> list[str]:
        """Return what weakens whatever is found out like this."""
        return [INSECURE_WARNING] if self.insecure else []

    @property
    def of_tls(self) -> bool:
        """Return whether any of it says something about TLS."""
        return bool(self.trusted or self.insecure or self.certificate)

    def context(self) -> ssl.SSLContext:
        """Return the settings of TLS connections. Raises AccessError."""
        try:
            context = ssl.create_default_context(cadata=self.trusted or None)
        except ssl.SSLError as error:
            raise AccessError(f"--cacert: holds no certificate in PEM ({error.reason or 'nothing in it'})") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            try:
                context.load_cert_chain(self.certificate, self.key or None, password=_no_password)
            except ssl.SSLError as error:
                why = (error.reason or "no certificate and key in PEM").lower().replace("_", " ")
                raise AccessError(f"--cert {self.certificate}: cannot be used ({why}); --key names its key") from None
            except OSError as error:
                raise AccessError(f"--cert {self.certificate}: cannot be read ({error.strerror})") from None
        return context


def _no_password() -> str:
    """Return no password, where OpenSSL would ask the terminal for one."""
    raise AccessError("--key: the key is encrypted: give one that is not")


def environ_of(access: Access) -> dict[str, str]:
    """Return the variables by which another process reaches the target like this one."""
    return {VARIABLE: msgspec.json.encode(access).decode()}


def access_of(environ: Mapping[str, str]) -> Access:
    """Return what `environ_of` wrote; nothing special where nobody did. Raises AccessError."""
    text = environ.get(VARIABLE, "")
    try:
        return msgspec.json.decode(text, type=Access) if text else Access()
    except msgspec.DecodeError as error:
        raise AccessError(f"{VARIABLE} is not what `hatchfarm run` and `hatchfarm worker` write ({error})") from None
