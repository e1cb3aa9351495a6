"""Trace files: what is written is read again, what is broken is refused with its line, and no secret is in them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.attacks.script import Expect, Wire
from simulator.commands.cli import app
from simulator.contract.answers import Answer
from simulator.errors import TraceError
from simulator.limits import TRACE_LINE_MAX_BYTES
from simulator.traces.format import Exchange, Header, HttpRequest, RawRequest, encode_line, read_trace, trace_schema
from simulator.traces.resign import recorded_bytes
from simulator.traces.rewriting import as_wire, redacted_lines
from simulator.traces.writing import TraceWriter, write_trace
from tests.support.invoking import invoke
from tests.traces.recorded import OWNER_TOKEN, Recording, missed, nearest, small_recording

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHED = Path(__file__).parent.parent.parent / "simulator" / "traces" / "trace.schema.json"
NEAR = 4


@pytest.fixture
def recording() -> Recording:
    return small_recording()


def write(path: Path, recording: Recording, *, redact: bool = True) -> Path:
    write_trace(path, recording.taken, recording.origin(), OWNER_TOKEN, redact=redact)
    return path


@pytest.mark.parametrize("redact", [True, False])
def test_what_is_written_is_read_again(tmp_path: Path, recording: Recording, *, redact: bool) -> None:
    trace = read_trace(write(tmp_path / "t.ndjson", recording, redact=redact))
    assert trace == recording.trace(redact=redact)
    assert [one.got for one in trace.exchanges] == [one.got.name.lower() for one in recording.taken]
    assert trace.exchanges[0].at == "2026-09-21T14:13:19.923456789Z"
    assert list(tmp_path.iterdir()) == [tmp_path / "t.ndjson"]


def test_a_trace_with_secrets_gives_every_request_to_the_byte(recording: Recording) -> None:
    recording.take(b"GET /${x} HTTP/1.1\r\nA: ${length}\r\n\r\n", None, got=Answer.LOST)
    recording.take(b"\xff\x00\r\n ${owner.token}", b"HTTP/1.1 400 X\r\n\r\n\xfe", got=Answer.REFUSED)
    trace = recording.trace(redact=False)
    assert [recorded_bytes(one) for one in trace.exchanges] == [one.request for one in recording.taken]


def test_no_secret_and_no_near_miss_is_in_a_redacted_trace(tmp_path: Path, recording: Recording) -> None:
    token = recording.token(0)
    recording.take(f"GET /?a={token} HTTP/1.1\r\nX-{token}: {token.upper()}\r\n\r\n".encode(), None)
    recording.take(f"\xff{token[:20]}\0{token} {missed(token)}".encode("latin-1"), None)
    text = write(tmp_path / "t.ndjson", recording).read_text(encoding="utf-8")
    raw = "".join(
        recorded_bytes(one).decode("latin-1")
        for one in read_trace(tmp_path / "t.ndjson").exchanges
        if isinstance(one.request, RawRequest)
    )
    for secret in (OWNER_TOKEN, recording.token(0), recording.token(1)):
        assert nearest(text + raw, secret) > NEAR
    assert "${machine.0.token~" in text


def test_owners_signatures_are_not_in_a_redacted_trace_and_machines_are(tmp_path: Path, recording: Recording) -> None:
    """An owner's token may be a word, and a signature with its text lets it be guessed at leisure."""
    text = write(tmp_path / "t.ndjson", recording).read_text(encoding="utf-8")
    signatures = [
        json.loads(one.request.split(b"\r\n\r\n")[1]).get("signature")
        for one in recording.taken
        if b"signature" in one.request
    ]
    assert [signature in text for signature in signatures] == [False, False, False, True, True, True, True, True]


def test_redacting_later_gives_what_redacting_at_once_gives(recording: Recording) -> None:
    assert list(redacted_lines(recording.trace(redact=False))) == recording.lines(redact=True)
    assert list(redacted_lines(recording.trace())) == recording.lines()


def test_a_trace_with_secrets_is_for_its_owners_eyes_only(tmp_path: Path, recording: Recording) -> None:
    (tmp_path / "t.ndjson").write_text("someone's old file, readable by all")
    mode = stat.S_IMODE(write(tmp_path / "t.ndjson", recording, redact=False).stat().st_mode)
    assert mode == 0o600


def test_a_servers_settings_are_kept_but_for_its_passwords(recording: Recording) -> None:
    settings = {"RATE_LIMIT_BURST": "7", "REDIS_PASSWORD": "a", "MOLTBOOK_APP_KEY": "b"}
    kept = []
    for redact in (True, False):
        origin = recording.origin(server_settings=settings)
        header = next(TraceWriter(recording.taken, origin, OWNER_TOKEN, redact=redact).lines())
        assert isinstance(header, Header)
        kept.append(header.server_settings)
    assert kept == [{"RATE_LIMIT_BURST": "7"}, settings]


def test_credentials_that_honest_traffic_carried_or_a_server_gave_out_are_secrets_whosever_they_are() -> None:
    recording = small_recording()
    session, key, guess = "hfs_" + "s" * 30, "hfk_" + "k" * 30, "made-up-by-an-attacker"
    recording.take(
        f"GET / HTTP/1.1\r\nAuthorization: Bearer {session}\r\nCookie: a=cookie-value; b=c\r\n\r\n".encode(), None
    )
    answer = f'HTTP/1.1 201 X\r\nSet-Cookie: s=another-cookie; Path=/\r\n\r\n{{"data":{{"api_key":"{key}"}}}}'
    recording.take(b"GET / HTTP/1.1\r\n\r\n", answer.encode())
    refused = b"HTTP/1.1 401 X\r\n\r\n"
    recording.take(f"GET / HTTP/1.1\r\nX-Machine-Token: {guess}\r\n\r\n".encode(), refused, campaign=2)
    text = b"".join(map(encode_line, recording.lines())).decode()
    assert [secret in text for secret in (session, key, "cookie-value", "another-cookie", guess)] == [False] * 4 + [
        True
    ]


def test_every_line_is_valid_by_the_schema_and_the_schema_is_published(recording: Recording) -> None:
    recording.take(b"\xff", None, got=Answer.LOST)
    schema = trace_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    checked = jsonschema.Draft202012Validator(schema)
    for line in recording.lines():
        checked.validate(json.loads(encode_line(line)))
    result = invoke(app, ["schema", "trace"])
    assert (result.exit_code, result.stdout) == (0, PUBLISHED.read_text(encoding="utf-8"))


def edited(change: Callable[[list[dict[str, Any]]], object]) -> bytes:
    lines = [json.loads(encode_line(line)) for line in small_recording().lines()]
    change(lines)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "line 1: empty: a trace begins with its header"),
    "not JSON": (b"{nonsense\n", "line 1: not JSON"),
    "something else": (b'{"log":{}}\n', 'line 1: not the header of a trace, which says "format":"hatchfarm-trace"'),
    "a later version": (
        edited(lambda lines: lines[0].update(version=7, novelty=True)),
        "line 1: version 7: this program reads versions 1 to 2",
    ),
    "a header without a seed": (
        edited(lambda lines: lines[0].pop("seed")),
        "line 1: Object missing required field `seed`",
    ),
    "an unknown field": (
        edited(lambda lines: lines[4].update(colour=1)),
        "line 5: Object contains unknown field `colour`",
    ),
    "a wrong type": (
        edited(lambda lines: lines[3].update(sent_ns="soon")),
        "line 4: Expected `int`, got `str` - at `$.sent_ns`",
    ),
    "an unknown operation": (
        edited(lambda lines: lines[3].update(operation="sing")),
        "line 4: there is no operation 'sing'",
    ),
    "an unknown answer": (edited(lambda lines: lines[3].update(got="gold")), "line 4: there is no answer 'gold'"),
    "an unknown campaign": (
        edited(lambda lines: lines[3].update(campaign=4)),
        "line 4: campaign 4 is none of the header's 3",
    ),
    "a missing line": (edited(lambda lines: lines.pop(3)), "line 4: sequence 4 where 3 belongs: lines are missing"),
    "a missing end": (edited(lambda lines: lines.pop()), "line 12: ends here, and 1 of 11 exchanges missing"),
    "a line too many": (edited(lambda lines: lines.append(lines[-1])), "line 13: more than the 11 exchanges"),
    "two headers": (edited(lambda lines: lines.insert(1, lines[0])), "line 2: another header: a trace has one"),
    "a line cut off": (edited(lambda _: None)[:-100], "line 12: Input data was truncated"),
    "not UTF-8": (edited(lambda _: None).replace(b"cpu_percent", b"cpu\xffpercent"), "line 2: "),
    "too many exchanges": (
        edited(lambda lines: lines[0].update(exchanges=10**9)),
        "line 1: 1,000,000,000 exchanges are more",
    ),
    "a nest too deep": (edited(lambda _: None) + b"[" * 100_000, "line 13: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_trace_is_refused_with_its_line_and_what_is_wrong(name: str, tmp_path: Path) -> None:
    data, message = BROKEN[name]
    path = tmp_path / "broken.ndjson"
    path.write_bytes(data)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(refused.value).startswith(f"{path}: {message}")


def test_a_trace_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot be read \(No such file or directory\)"):
        read_trace(tmp_path / "none")


def test_a_line_without_end_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.ndjson"
    path.write_bytes(edited(lambda _: None) + b" " * 100_001)
    with pytest.raises(TraceError, match="line 13: longer than 100,000 bytes, which no exchange is"):
        read_trace(path, 100_000)
    assert TRACE_LINE_MAX_BYTES > 20 << 20


WHOLE = edited(lambda _: None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE)), st.integers(0, 60), st.binary(max_size=20))
def test_whatever_happens_to_a_file_it_is_read_or_refused(tmp_path: Path, at: int, gone: int, put: bytes) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(WHOLE[:at] + put + WHOLE[at + gone :])
    try:
        trace = read_trace(path)
    except TraceError:
        return
    assert len(trace.exchanges) == trace.header.exchanges


def test_a_request_that_is_not_well_formed_is_kept_as_bytes(recording: Recording) -> None:
    recording.take(b"GET / HTTP/1.1\r\nA : b\r\n\r\n", None)
    last = recording.trace().exchanges[-1]
    assert isinstance(last.request, RawRequest)
    assert isinstance(recording.trace().exchanges[0].request, HttpRequest)
    assert msgspec.json.decode(encode_line(last), type=Exchange) == last


@pytest.mark.parametrize(
    "wire",
    [
        Wire(((b"x", 0.0),), Expect(Answer.ACCEPTED, ()), "reset", reset_after_bytes=9),
        Wire(((b"x", 0.5), (b"y", 0.0)), Expect(Answer.ACCEPTED, ()), "half-close", 2.5),
        Wire(((b"x", 0.0),), Expect(Answer.ACCEPTED, ()), "read-slowly", 3.0, 7),
        Wire(((b"x", 0.0),), Expect(Answer.ACCEPTED, ()), "read-slowly", 3.0, 7, slow_seconds=1.5),
    ],
    ids=lambda wire: wire.then,
)
def test_how_a_request_was_written_and_its_answer_read_is_what_it_was(wire: Wire) -> None:
    recording = Recording()
    recording.take(b"xy"[: len(wire.parts)], None, wire=wire)
    request = recording.trace().exchanges[0].request
    assert isinstance(request, RawRequest)
    assert msgspec.json.decode(msgspec.json.encode(request), type=RawRequest) == request
    assert as_wire(request, b"xy"[: len(wire.parts)]) == wire
