"""From what was taken to a trace: requests and answers as text, secrets out, signatures explained."""

from __future__ import annotations

import base64
import math
import re
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.timestamps import format_timestamp
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE
from simulator.platform.output_files import write_whole
from simulator.platform.secret_names import SECRET_NAME
from simulator.traces.format import (
    Cut,
    Exchange,
    Header,
    HttpRequest,
    RawRequest,
    Response,
    Signature,
    encode_line,
)
from simulator.traces.messages import (
    SIGNATURE,
    HttpText,
    Reference,
    escape,
    is_plain,
    split_answer,
    split_request,
    to_bytes,
    to_text,
)
from simulator.traces.principals import OWNER_TOKEN, Principals, is_credential_header
from simulator.traces.signatures import Explained, Explainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from simulator.traces.tape import Taken

_TOKEN_HEADER = re.compile(r"(?i)x-machine-token")
_SCHEME = re.compile(r"(?i)((?:bearer|basic|dpop|token)[ \t]+)?(.*)", re.DOTALL)


class Origin(msgspec.Struct, frozen=True):
    """Where exchanges come from; the fields are those of a trace's header."""

    scenario: str
    seed: int
    target: str
    authority: str
    started_unix_ns: int = 0
    attacks: tuple[str, ...] = ()
    server_settings: dict[str, str] = {}
    left_out: int = 0
    imported: bool = False


class TraceWriter:
    """Turns exchanges into the lines of a trace. `redact` says whether secrets become references.

    `known` are secrets by name that are known beforehand.
    """

    def __init__(
        self,
        taken: Sequence[Taken],
        origin: Origin,
        owner_token: str,
        *,
        redact: bool,
        known: Mapping[str, str] | None = None,
    ) -> None:
        self._taken = taken
        self._origin = origin
        self._redact = redact
        self._principals = Principals(owner_token, known or {})
        self._principals.meet(taken, imported=origin.imported)
        self._explainer = Explainer(self._principals.tokens, self._principals.owner_token)

    def lines(self) -> Iterator[Header | Exchange]:
        """Yield the header, then every exchange."""
        origin, principals = self._origin, self._principals
        # Exchanges first: the signatures that are hidden everywhere are known once all were explained.
        explained = [self._explain(one) for one in self._taken]
        if self._redact:
            owners = (one.value for one in explained if one is not None and one.key == principals.owner_token)
            principals.secrets.add_signatures(owners)
        yield Header(
            scenario=origin.scenario,
            seed=origin.seed,
            target=origin.target,
            authority=origin.authority,
            started_at=format_timestamp(origin.started_unix_ns),
            started_unix_ns=origin.started_unix_ns,
            exchanges=len(self._taken),
            left_out=origin.left_out,
            redacted=self._redact,
            attacks=origin.attacks,
            server_settings={
                name: value
                for name, value in origin.server_settings.items()
                if not (self._redact and SECRET_NAME.search(name))
            },
            machines=tuple(principals.machines),
            secrets={} if self._redact else dict(principals.secrets.values),
        )
        for sequence, (one, signature) in enumerate(zip(self._taken, explained, strict=True), 1):
            yield self._exchange(sequence, one, signature)

    def _explain(self, one: Taken) -> Explained | None:
        text = to_text(one.request)
        head, _, body = text.partition("\r\n\r\n")
        first, *headers = head.split("\r\n")
        path = first.split(" ")[1] if first.count(" ") > 1 else ""
        sent = next((line.partition(":")[2].strip() for line in headers if _TOKEN_HEADER.match(line)), "")
        return self._explainer.explain(path, body, sent)

    def _exchange(self, sequence: int, one: Taken, explained: Explained | None) -> Exchange:
        origin = self._origin
        return Exchange(
            sequence=sequence,
            planned_ns=one.planned_ns,
            sent_ns=one.sent_ns,
            answered_ns=None if one.answered_ns == NEVER_NS else one.answered_ns,
            at=format_timestamp(origin.started_unix_ns + one.sent_ns),
            source=one.source,
            attack=None if one.campaign == HONEST else origin.attacks[one.campaign - 1],
            campaign=one.campaign,
            machine=None if one.machine == NO_MACHINE else one.machine,
            operation=one.operation.name.lower(),
            expected=one.expected.name.lower(),
            got=one.got.name.lower(),
            request=self._request(one, explained),
            response=None if one.answer is None else self._response(one.answer),
            signature=None if explained is None else self._signature(explained),
        )

    @property
    def _text(self) -> Callable[[str], str]:
        return self._principals.secrets.hide if self._redact else escape

    def _request(self, one: Taken, explained: Explained | None) -> HttpRequest | RawRequest:
        owners = self._redact and explained is not None and explained.key == self._principals.owner_token
        signature = self._text(explained.value) if owners and explained is not None else ""

        def without_signature(text: str) -> str:
            return text.replace(signature, SIGNATURE) if signature else text

        http = split_request(one.request)
        hidden = None if http is None else self._hidden(http)
        if one.wire is None and hidden is not None:
            body = without_signature(hidden.body)
            return HttpRequest(method=hidden.method, path=hidden.path, headers=hidden.headers, body=body)
        text = without_signature(self._odd(to_text(one.request)) if hidden is None else str(hidden))
        data = base64.b64encode(to_bytes(text)).decode()
        wire = one.wire
        if wire is None:
            return RawRequest(base64=data)
        cuts = []
        at_bytes = 0
        for part, pause_seconds in wire.parts:
            at_bytes += len(part)
            cuts.append(Cut(at_bytes=at_bytes, pause_s=pause_seconds))
        return RawRequest(
            base64=data,
            cuts=tuple(cuts),
            then=wire.then,
            patience_s=wire.patience_seconds,
            read_bytes_per_s=wire.read_bytes_per_second,
            slow_s=wire.slow_seconds if math.isfinite(wire.slow_seconds) else None,
            reset_after_bytes=wire.reset_after_bytes,
        )

    def _hidden(self, request: HttpText) -> HttpText:
        hidden = request.map(self._text)
        if not self._redact:
            return hidden
        headers = tuple(
            (name, self._credential(given[1]) if is_credential_header(name) and name.lower() != "cookie" else value)
            for (name, value), given in zip(hidden.headers, request.headers, strict=True)
        )
        return HttpText(hidden.method, hidden.path, headers, hidden.body)

    def _odd(self, text: str) -> str:
        """Hide what has to be hidden of a request that is not well formed, in all lines that look like headers."""
        if not self._redact:
            return self._text(text)
        return "\n".join(map(self._odd_line, text.split("\n")))

    def _odd_line(self, line: str) -> str:
        name, colon, value = line.partition(":")
        given = value.strip()
        if not (colon and given and is_credential_header(name.strip()) and name.strip().lower() != "cookie"):
            return self._text(line)
        before, _, after = value.partition(given)
        return f"{self._text(name)}:{before}{self._credential(given)}{after}"

    def _credential(self, value: str) -> str:
        match = _SCHEME.fullmatch(value)
        scheme, rest = (match[1] or "", match[2]) if match else ("", value)
        return scheme + self._principals.secrets.hide_credential(rest)

    def _response(self, answer: bytes) -> Response:
        status, headers, body = split_answer(answer)
        change = self._text
        text = change(to_text(body))
        plain = is_plain(text)
        return Response(
            status=status,
            headers=tuple((change(name), change(value)) for name, value in headers),
            body=text if plain else base64.b64encode(to_bytes(text)).decode(),
            base64=not plain,
        )

    def _signature(self, explained: Explained) -> Signature:
        secrets = self._principals.secrets
        name = secrets.names.get(explained.key)
        if name is not None:
            key = str(Reference(name))
        else:
            key = secrets.hide_credential(explained.key) if self._redact else escape(explained.key)
        return Signature(
            value=SIGNATURE if self._redact and name == OWNER_TOKEN else self._text(explained.value),
            key=key,
            over=tuple(self._text(part) for part in explained.over),
            form=explained.form,
        )


def write_trace(path: Path, taken: Sequence[Taken], origin: Origin, owner_token: str, *, redact: bool = True) -> None:
    """Write a trace whole or not at all; one with secrets for its owner's eyes only. Raises OSError."""
    write_lines(path, TraceWriter(taken, origin, owner_token, redact=redact).lines(), private=not redact)


def write_lines(path: Path, lines: Iterator[Header | Exchange], *, private: bool) -> None:
    """Write a trace's lines. Raises OSError."""
    write_whole(path, map(encode_line, lines), private=private)
