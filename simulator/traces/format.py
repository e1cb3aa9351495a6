"""The trace file: NDJSON, one header line and then one line an exchange. The JSON Schema is made from these types.

Texts hold references in `${...}`: `${length}` in a header is the length of the body, `${dollar}{` is a literal `${`,
and in a redacted trace every secret is one: `${machine.3.token}`, a piece of it `${machine.3.token[0:47]}`, the first
text that is nearly it `${machine.3.token~1}`, a signature with an owner's token `${signature}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from simulator.contract.answers import Answer, Operation
from simulator.errors import TraceError
from simulator.limits import TRACE_EXCHANGES_MAX, TRACE_LINE_MAX_BYTES
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = "hatchfarm-trace"
VERSION = 2
READ = (1, VERSION)
"""Versions that are read. In the first, raw requests had the length that their body had then."""
OPERATIONS = {operation.name.lower(): operation for operation in Operation}
ANSWERS = {answer.name.lower(): answer for answer in Answer}


Nanoseconds = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
"""A moment within a century and a half of the start, which every reader's 64-bit integers hold."""


class _TraceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Principal(_TraceRecord, frozen=True, kw_only=True):
    """A machine whose registration the trace holds, by the ids it had then."""

    name: Annotated[str, Meta(description="What references call it, like `machine.3`.")]
    worker_id: str
    owner_id: str


class Header(_TraceRecord, frozen=True, kw_only=True, tag_field="line", tag="header"):
    """The first line: what the exchanges came from."""

    format: Literal["hatchfarm-trace"] = "hatchfarm-trace"
    version: Annotated[int, Meta(description="The version of this format; this one is 2.")] = VERSION
    scenario: Annotated[str, Meta(description="What was run; for an imported HAR its file's name.")]
    seed: int
    target: Annotated[str, Meta(description="What it was run against.")]
    authority: Annotated[str, Meta(description="Host and port as the `Host` headers have them.")]
    started_at: Annotated[str, Meta(description="Wall time at the start of the run, RFC 3339 in UTC.")]
    started_unix_ns: Annotated[int, Meta(ge=0, le=1 << 62, description="The same in nanoseconds since 1970.")]
    exchanges: Annotated[int, Meta(ge=0, description="How many lines follow.")]
    left_out: Annotated[int, Meta(ge=0, description="Exchanges after these that found the recorder full.")] = 0
    redacted: Annotated[bool, Meta(description="Whether every secret is a reference. Without, mind who reads this.")]
    attacks: Annotated[tuple[str, ...], Meta(description="The attack of each campaign, the first being number 1.")] = ()
    server_settings: Annotated[dict[str, str], Meta(description="The settings of the run's own server.")] = {}
    machines: tuple[Principal, ...] = ()
    secrets: Annotated[dict[str, str], Meta(description="What references stand for; empty when redacted.")] = {}


class Cut(_TraceRecord, frozen=True, kw_only=True):
    """A pause while a request was written."""

    at_bytes: Annotated[int, Meta(ge=0, description="After so many bytes of the request as it was sent.")]
    pause_s: Annotated[float, Meta(ge=0)]


class HttpRequest(_TraceRecord, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """A whole, well-formed HTTP/1.1 request with a body of UTF-8 text."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str


class RawRequest(_TraceRecord, frozen=True, kw_only=True, tag_field="kind", tag="raw"):
    """The bytes of any other request, and how they were written."""

    base64: Annotated[
        str,
        Meta(description="The bytes, references and all; of a whole request `${length}` is the length of its body."),
    ]
    cuts: tuple[Cut, ...] = ()
    then: Annotated[
        Literal["answer", "read", "half-close", "reset", "read-slowly"],
        Meta(
            description="What followed: one answer was waited for, or on a connection of its own all answers were read "
            "until the server closed, the sending side was closed, the connection was reset, or it was read slowly."
        ),
    ] = "answer"
    patience_s: Annotated[float, Meta(ge=0, description="How long it was read; 0 where one answer ends it.")] = 0.0
    read_bytes_per_s: Annotated[int, Meta(ge=0)] = 0
    slow_s: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="For how long it was read slowly, and freely after; without it, to the end."),
    ] = None
    reset_after_bytes: Annotated[int, Meta(ge=0, description="How much of the answers came before it was reset.")] = 0


class Response(_TraceRecord, frozen=True, kw_only=True):
    """What came back. The body is text, or base64 where it is not UTF-8."""

    status: Annotated[int, Meta(ge=0, le=999)]
    headers: tuple[tuple[str, str], ...]
    body: str
    base64: bool = False


class Signature(_TraceRecord, frozen=True, kw_only=True):
    """A signature the recorder understood, so that it can be made again: HMAC-SHA256 over `over` joined by `|`."""

    value: Annotated[str, Meta(description="The JSON text it is in the request's body.")]
    key: Annotated[str, Meta(description="The reference of its key, like `${machine.3.token}`.")]
    over: tuple[str, ...]
    form: Annotated[
        str,
        Meta(description="How it is written: `{base64}`, or another encoding, or the first so many `{base64:20}`."),
    ] = "{base64}"


class Exchange(_TraceRecord, frozen=True, kw_only=True, tag_field="line", tag="exchange"):
    """One request and its answer. `_ns` are nanoseconds from the start of the run, negative before it."""

    sequence: Annotated[int, Meta(ge=1, description="Counts from 1 in the order of sending, without gaps.")]
    planned_ns: Nanoseconds
    sent_ns: Nanoseconds
    answered_ns: Annotated[Nanoseconds | None, Meta(description="null when no whole answer came.")]
    at: Annotated[str, Meta(description="Wall time of sending, RFC 3339 in UTC.")]
    source: Annotated[str, Meta(description="The address it was sent from; empty where all shared one.")]
    attack: Annotated[str | None, Meta(description="The attack that sent it; null for honest traffic.")]
    campaign: Annotated[int, Meta(ge=0, description="The campaign's number; 0 for honest traffic.")]
    machine: Annotated[int | None, Meta(description="The machine it was about; null for none that is known.")]
    operation: Annotated[str, Meta(extra_json_schema={"enum": list(OPERATIONS)})]
    expected: Annotated[
        str,
        Meta(
            description="What is right; `lost` where a HAR does not tell.",
            extra_json_schema={"enum": list(ANSWERS)},
        ),
    ]
    got: Annotated[str, Meta(description="What it got.", extra_json_schema={"enum": list(ANSWERS)})]
    request: HttpRequest | RawRequest
    response: Response | None
    signature: Signature | None = None

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"there is no operation {self.operation!r}")
        for answer in (self.expected, self.got):
            if answer not in ANSWERS:
                raise ValueError(f"there is no answer {answer!r}")


class Trace(msgspec.Struct, frozen=True):
    """A whole trace in memory."""

    header: Header
    exchanges: tuple[Exchange, ...]


_LINE: msgspec.json.Decoder[Header | Exchange] = msgspec.json.Decoder(Header | Exchange)


def trace_schema() -> dict[str, Any]:
    """Return the JSON Schema of one line of a trace."""
    schema = msgspec.json.schema(Header | Exchange)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "HatchFarm trace line", **schema}


def encode_line(line: Header | Exchange) -> bytes:
    """Write one line, with its end."""
    return msgspec.json.encode(line) + b"\n"


def read_trace(path: Path, line_max_bytes: int = TRACE_LINE_MAX_BYTES) -> Trace:
    """Read a whole trace. Raises TraceError, which names the line."""
    try:
        with path.open("rb") as file:
            return _read_lines(_lines(file, line_max_bytes))
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror})") from None
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None


def _read_lines(lines: Iterator[bytes]) -> Trace:
    header = _read_header(next(lines, b""))
    if header.exchanges > TRACE_EXCHANGES_MAX:
        raise TraceError(f"line 1: {header.exchanges:,} exchanges are more than this program reads")
    exchanges: list[Exchange] = []
    for number, line in enumerate(lines, 2):
        if len(exchanges) == header.exchanges:
            raise TraceError(f"line {number}: more than the {plural(header.exchanges, 'exchange')} the header tells of")
        exchanges.append(_read_exchange(line, number, header))
    missing = header.exchanges - len(exchanges)
    if missing:
        raise TraceError(
            f"line {len(exchanges) + 2}: ends here, and {missing:,} of {plural(header.exchanges, 'exchange')} missing"
        )
    return Trace(header, tuple(exchanges))


def _lines(file: Any, line_max_bytes: int) -> Iterator[bytes]:
    number = 0
    while line := cast("bytes", file.readline(line_max_bytes + 1)):
        number += 1
        if len(line) > line_max_bytes:
            raise TraceError(f"line {number}: longer than {line_max_bytes:,} bytes, which no exchange is")
        yield line


def _read_header(line: bytes) -> Header:
    if not line.strip():
        raise TraceError("line 1: empty: a trace begins with its header")
    try:
        plain = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TraceError(f"line 1: not JSON ({error}): a trace begins with its header") from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise TraceError(f'line 1: not the header of a trace, which says "format":"{FORMAT}"')
    if plain.get("version") not in READ:
        raise TraceError(f"line 1: version {plain.get('version')!r}: this program reads versions 1 to {VERSION}")
    header = _read(line, 1)
    if not isinstance(header, Header):
        raise TraceError("line 1: an exchange: a trace begins with its header")
    return header


def _read_exchange(line: bytes, number: int, header: Header) -> Exchange:
    exchange = _read(line, number)
    if not isinstance(exchange, Exchange):
        raise TraceError(f"line {number}: another header: a trace has one, at its beginning")
    if exchange.sequence != number - 1:
        raise TraceError(f"line {number}: sequence {exchange.sequence} where {number - 1} belongs: lines are missing")
    if exchange.campaign > len(header.attacks):
        raise TraceError(f"line {number}: campaign {exchange.campaign} is none of the header's {len(header.attacks)}")
    return exchange


def _read(line: bytes, number: int) -> Header | Exchange:
    try:
        return _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TraceError(f"line {number}: {error}") from None
