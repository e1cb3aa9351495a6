"""Who takes part in what was recorded, and every secret that went over the wire. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec

from simulator.history.rows import HONEST, NO_MACHINE
from simulator.traces.format import Principal
from simulator.traces.messages import references, split_answer
from simulator.traces.redaction import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from simulator.traces.tape import Taken

OTHER_MIN = 6
"""A shorter text where a secret is expected is a word like `none`."""
OWNER_TOKEN = "owner.token"  # noqa: S105 - the name of a reference
_AUTHORIZATIONS = {"authorization", "proxy-authorization", "x-moltbook-identity", "cookie", "authentication"}
_KEY_ENDINGS = (
    "token", "secret", "password", "apikey", "api-key", "access-key", "auth-key", "subscription-key", "functions-key",
    "private-key", "x-auth", "session", "session-id", "sessionid", "jwt", "assertion", "passphrase",
)  # fmt: skip
"""How the names of headers end in which programs carry keys: `X-Api-Key`, `X-Vault-Token`, `Api-Secret`."""
_COOKIE_SET = re.compile(rb"\r\nset-cookie:[^=;\r\n]+=([^;\r\n]*)", re.IGNORECASE)
_KEY_NAMES = (
    "machine_token|api_?key|token|session|session_?token|access_?token|refresh_?token|id_?token|client_?secret|"
    "password|passwd|passphrase|secret|secret_?key|private_?key"
)
_GIVEN = re.compile(  # backtracking: a name that must stand whole, bounded spaces, and a text that ends at its quote
    rf'"(?:{_KEY_NAMES})"\s{{0,9}}:\s{{0,9}}"([^"\\]{{1,4096}})"'.encode(), re.IGNORECASE
)
_KEY_FIELD = re.compile(rf"(?:{_KEY_NAMES}|key|auth|sig|pwd|code)", re.IGNORECASE)  # backtracking: no loop in it
_FIELD_MAX_BYTES = 8192
"""A form's or a URL's: in a longer text nobody's password stands."""
_API_KEY = re.compile(rb"\bhf[sk]_[A-Za-z0-9_-]{8,}")
_OWNERS_PATHS = re.compile(rb"POST [^ ]*/(?:machines/register|policies|consents)[ ?]")
_SCHEMES = (b"bearer ", b"basic ", b"dpop ", b"token ")
_SUCCESS = range(200, 300)


class Principals:
    """Everyone the exchanges tell of. `tokens` are machine tokens by worker id."""

    def __init__(self, owner_token: str, known: Mapping[str, str]) -> None:
        self.secrets = Secrets()
        self.tokens: dict[str, str] = {}
        self.machines: list[Principal] = []
        self._next_machine = 0
        self._others = 0
        self.secrets.add(OWNER_TOKEN, owner_token)
        for name, secret in known.items():
            self.secrets.add(name, secret)
        self._others = sum(name.startswith("secret.") for name in self.secrets.values)
        self._next_machine = next_free(self.secrets.values)

    @property
    def owner_token(self) -> str:
        """Return the owners' token; empty when it is not known."""
        return self.secrets.values.get(OWNER_TOKEN, "")

    def meet(self, taken: Sequence[Taken], *, imported: bool = False) -> None:
        """Learn from every exchange. An imported one does not say whose it was, nor what the owners' token is.

        Whatever a server gave out or let in is a secret, and so is whatever honest traffic carried. What attackers made
        up and the server refused is not.
        """
        if imported and not self.owner_token:
            self._find_owner_token(taken)
        for one in taken:
            if one.answer is not None:
                self._meet_answer(one)
        for one in taken:
            let_in = one.answer is not None and split_answer(one.answer)[0] in _SUCCESS
            if imported or one.campaign == HONEST or let_in:
                for credential in credentials_of(one.request):
                    self._add_other(credential)
                self._add_all(_API_KEY.findall(one.request))
            if imported:
                self._add_all(_GIVEN.findall(one.request))
                for credential in fields_of(one.request):
                    self._add_other(credential)

    def _find_owner_token(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            accepted = one.answer is not None and split_answer(one.answer)[0] in _SUCCESS
            if accepted and _OWNERS_PATHS.match(one.request):
                for name, value in _headers_of(one.request):
                    if name == b"authorization":
                        self.secrets.add(OWNER_TOKEN, _text(_without_scheme(value)))
                        return

    def _meet_answer(self, one: Taken) -> None:
        answer = one.answer or b""
        if b'"machine_token"' in answer:
            self._meet_machine(one, answer)
        self._add_all(_GIVEN.findall(answer))
        self._add_all(_API_KEY.findall(answer))
        self._add_all(_COOKIE_SET.findall(answer))
        for _, value in _headers_of(answer):
            self._add_other(_text(_without_scheme(value)))

    def _meet_machine(self, one: Taken, answer: bytes) -> None:
        data = data_of(split_answer(answer)[2])
        token, machine = data.get("machine_token"), data.get("machine")
        if not isinstance(token, str) or not token or not isinstance(machine, dict):
            return
        number = one.machine
        if number == NO_MACHINE or f"machine.{number}.token" in self.secrets.values:
            number = self._next_machine
        self._next_machine = max(self._next_machine, number + 1)
        self.secrets.add(f"machine.{number}.token", token)
        name = self.secrets.names[token].removesuffix(".token")
        worker_id, owner_id = str(machine.get("id", "")), str(machine.get("owner_id", ""))
        self.tokens[worker_id] = token
        self.machines.append(Principal(name=name, worker_id=worker_id, owner_id=owner_id))

    def _add_all(self, found: Iterable[bytes]) -> None:
        for secret in found:
            self._add_other(_text(secret))

    def _add_other(self, secret: str) -> None:
        if len(secret) >= OTHER_MIN and not references(self.secrets.hide_credential(secret)):
            self._others += 1
            self.secrets.add(f"secret.{self._others}", secret)


def is_credential_header(name: str) -> bool:
    """Return whether a header carries credentials, by what it is called."""
    name = name.lower()
    return name in _AUTHORIZATIONS or name.endswith(_KEY_ENDINGS)


def fields_of(request: bytes) -> list[str]:
    """Return what a request's query and form hold under names of keys, as it is written and as it is meant."""
    head, _, body = request.partition(b"\r\n\r\n")
    query = head.partition(b"\r\n")[0].partition(b"?")[2].partition(b" ")[0]
    found: list[str] = []
    for text in (query, body):
        if len(text) > _FIELD_MAX_BYTES:
            continue
        for field in text.split(b"&"):
            name, equals, value = field.partition(b"=")
            if equals and _KEY_FIELD.fullmatch(_text(name)):
                found += [_text(value), unquote_plus(_text(value), errors="surrogateescape")]
    return found


def credentials_of(request: bytes) -> list[str]:
    """Return what stands in a request's head where credentials belong."""
    found = []
    for name, value in _headers_of(request):
        if name == b"cookie":
            pairs = (part.partition(b"=") for part in value.split(b";"))
            found += [_text(content) for cookie, equals, content in pairs if cookie.strip() and equals]
        else:
            found.append(_text(_without_scheme(value)))
    return found


def next_free(names: Iterable[str]) -> int:
    """Return a machine number above all that are taken, for machines that the run did not number."""
    taken = [int(name.split(".")[1]) for name in names if re.fullmatch(r"machine\.[0-9]+\.token", name)]
    return max(taken, default=-1) + 1


def data_of(body: bytes | str) -> dict[str, Any]:
    """Return an enveloped answer's data; empty when it has none."""
    try:
        data = msgspec.json.decode(body)["data"]
    except (msgspec.DecodeError, UnicodeError, KeyError, TypeError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _headers_of(message: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    for line in message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and is_credential_header(name.decode("latin-1")):
            found.append((name.lower(), value.strip()))
    return found


def _without_scheme(value: bytes) -> bytes:
    for scheme in _SCHEMES:
        if value.lower().startswith(scheme):
            return value[len(scheme) :].strip()
    return value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
