"""Who takes part in what was recorded, and every secret that went over the wire. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.history import HONEST, NO_MACHINE
from simulator.traces.format import Principal
from simulator.traces.messages import references, split_answer
from simulator.traces.redaction import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from simulator.traces.tape import Taken

OTHER_MIN = 6
"""A shorter text where a secret is expected is a word like `none`."""
OWNER_TOKEN = "owner.token"  # noqa: S105 - the name of a reference
_CREDENTIAL_HEADER = re.compile(
    rb"\r\n(authorization|proxy-authorization|x-machine-token|x-moltbook-identity|x-api-key|cookie):[ \t]*([^\r\n]*)",
    re.IGNORECASE,
)
_COOKIE_SET = re.compile(rb"\r\nset-cookie:[^=;\r\n]+=([^;\r\n]*)", re.IGNORECASE)
_GIVEN = re.compile(
    rb'"(?:machine_token|api_key|token|session|session_token|access_token|refresh_token|id_token|client_secret)"'
    rb'\s*:\s*"([^"\\]{1,4096})"'
)
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
        """Give the owners' token; empty when it is not known."""
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


def credentials_of(request: bytes) -> list[str]:
    """Give what stands in a request's head where credentials belong."""
    found = []
    for name, value in _headers_of(request):
        if name == b"cookie":
            pairs = (part.partition(b"=") for part in value.split(b";"))
            found += [_text(content) for cookie, equals, content in pairs if cookie.strip() and equals]
        else:
            found.append(_text(_without_scheme(value)))
    return found


def next_free(names: Iterable[str]) -> int:
    """Give a machine number above all that are taken, for machines that the run did not number."""
    taken = [int(name.split(".")[1]) for name in names if re.fullmatch(r"machine\.[0-9]+\.token", name)]
    return max(taken, default=-1) + 1


def data_of(body: bytes | str) -> dict[str, Any]:
    """Give an enveloped answer's data; empty when it has none."""
    try:
        data = msgspec.json.decode(body)["data"]
    except (msgspec.DecodeError, UnicodeError, KeyError, TypeError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _headers_of(request: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.strip()) for name, value in _CREDENTIAL_HEADER.findall(request)]


def _without_scheme(value: bytes) -> bytes:
    for scheme in _SCHEMES:
        if value.lower().startswith(scheme):
            return value[len(scheme) :].strip()
    return value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
