"""The same for the simulator: whatever a target, a trace, a HAR or a file of somebody else's may hold."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer
from simulator.client.checking import parse_metrics
from simulator.client.raw import Answers
from simulator.contract.reading import retry_after_ns
from simulator.errors import TraceError
from simulator.fleet.grants import GrantError, Registration, read_grant
from simulator.history import evidence
from simulator.report.text import markdown
from simulator.scenario.kinds import parse_duration, parse_offset
from simulator.scenario.loading import ScenarioError, parse_scenario
from simulator.scenario.thresholds import ThresholdError, parse_threshold
from simulator.traces import format as trace_format
from simulator.traces.choosing import Chosen, choose
from simulator.traces.har_import import from_har
from simulator.traces.messages import escape, references, resolve, split_answer, split_request
from simulator.traces.redaction import Secrets
from simulator.traces.resign import Resigner
from simulator.traces.rewriting import redacted_lines
from simulator.worlds.players.auditing import _reading
from tests.growth.entries_server import JSONS, TEXTS, quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.growth.entries_server import Entry, Work

TOKEN = "0123456789abcdef" * 3
WORKER = "wrk_0123456789abcdef"
ANSWERS: dict[str, Callable[[int], bytes]] = {
    "a head without end": lambda n: b"HTTP/1.1 200 OK\r\nx: " + b"a" * n,
    "many headers": lambda n: b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n",
    "spaces before the length": lambda n: b"HTTP/1.1 200 OK\r\ncontent-length:" + b" " * n + b"1\r\n\r\nx",
    "spaces behind the length": lambda n: b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b" " * n + b"x\r\n\r\nx",
    "interim answers": lambda n: b"HTTP/1.1 100 X\r\n\r\n" * (n // 18) + b"HTTP/1.1 204 X\r\n\r\n",
    "interim answers without end": lambda n: b"HTTP/1.1 100 X\r\n\r\n" * (n // 18),
    "a body": lambda n: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % n + b"a" * n,
    "a body of no length": lambda n: b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * n,
    "small chunks": lambda n: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (n // 6) + b"0\r\n\r\n"
    ),
    "a chunk's line without end": lambda n: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9 + b"1;" + b"a" * n
    ),
    "trailers": lambda n: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n"
    ),
    "many answers": lambda n: b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx" * (n // 39),
    "no answer": lambda n: b"SSH" * (n // 3),
    "line ends": lambda n: b"\r\n" * (n // 2),
}


def _answers() -> dict[str, Entry]:
    def pieces(n: int, answer: Callable[[int], bytes], piece_bytes: int) -> list[bytes]:
        data = answer(n)
        return [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]

    def read(n: int, answer: Callable[[int], bytes], piece_bytes: int) -> Work:
        parts, reader = pieces(n, answer, piece_bytes), AnswerReader()

        def work() -> None:
            for part in parts:
                if reader.feed(part) is not None:
                    return

        return partial(quietly, work, GarbageError)

    def cut(n: int, answer: Callable[[int], bytes], piece_bytes: int) -> Work:
        parts, answers = pieces(n, answer, piece_bytes), Answers(lambda: 0)

        def work() -> None:
            for part in parts:
                answers.feed(part)
            answers.end()

        return work

    ways: dict[str, Callable[..., Work]] = {"an answer": read, "raw answers": cut}
    return {
        f"{what}, {name}, {words}": partial(way, answer=answer, piece_bytes=piece_bytes)
        for what, way in ways.items()
        for name, answer in ANSWERS.items()
        for words, piece_bytes in (("in one piece", 1 << 20), ("byte by byte", 1), ("in sevens", 7))
    }


METRICS: dict[str, Callable[[int], str]] = {
    "samples": lambda n: "".join(f"hatchfarm_a{at} 1\n" for at in range(n // 16)),
    "labels": lambda n: "hatchfarm_a{" + ",".join(f'a{at}="b"' for at in range(n // 9)) + "} 1\n",
    "a label's value": lambda n: 'hatchfarm_a{a="' + "b" * n + '"} 1\n',
    "escapes in a value": lambda n: 'hatchfarm_a{a="' + '\\"' * (n // 2) + '"} 1\n',
    "a value without end": lambda n: 'hatchfarm_a{a="' + '\\"' * (n // 2) + "\n",
    "braces": lambda n: "hatchfarm_a" + "{" * n + "\n",
    "commas": lambda n: "hatchfarm_a{" + "," * n + "} 1\n",
    "a name": lambda n: "hatchfarm_" + "a" * n + " 1\n",
    "spaces": lambda n: "hatchfarm_a" + " " * n + "1\n",
    "comments": lambda n: "# HELP a b\n" * (n // 11),
    "help": lambda n: "# HELP hatchfarm_a " + "\\n" * (n // 2) + "\n",
    "digits": lambda n: "hatchfarm_a " + "9" * n + "\n",
}


def _shown() -> dict[str, Entry]:
    def audit(text: str) -> Work:
        answer = HttpAnswer(200, b"HTTP/1.1 200 OK", text.encode(), keep=True)
        return partial(_reading, "ada", 0, 1, answer, 0, "", 500)

    def events(n: int) -> str:
        event = {"id": "aud_1", "metadata": {"a": [1, {"b": 2}]}}
        return json.dumps({"data": {"events": [event] * min(500, n // 50), "total": 1, "heads": {}}})

    def nested(n: int) -> str:
        return '{"data":{"events":[{"a":' + "[" * (n // 2) + "]" * (n // 2) + '}],"total":1}}'

    lists = {"events": events, "nested events": nested, **JSONS}
    return {
        **{
            f"a metrics page of {name}": lambda n, text=text: partial(
                quietly, partial(parse_metrics, text(n)), ValueError
            )  # type: ignore[misc]
            for name, text in METRICS.items()
        },
        **{f"an audit list of {name}": lambda n, text=text: audit(text(n)) for name, text in lists.items()},  # type: ignore[misc]
        **{
            f"a registration's {field} of {name}": lambda n, text=text, field=field: partial(  # type: ignore[misc]
                quietly,
                partial(read_grant, Registration, {"machine": {"id": WORKER}, "machine_token": "x", field: text(n)}),
                GrantError,
            )
            for field in ("machine_token", "machine_certificate")
            for name, text in {"places": lambda n: "at `" * (n // 4), **TEXTS}.items()
        },
        **{
            f"{function.__name__} of {name}": lambda n, text=text, function=function: partial(
                function, text(n).encode()
            )  # type: ignore[misc]
            for function in (evidence.redacted, evidence.as_evidence, retry_after_ns, split_request, split_answer)
            for name, text in {
                "authorizations": lambda n: "Authorization: Bearer " * (n // 22),
                "lines": lambda n: "\r\n" * (n // 2),
                "retries": lambda n: "\r\nretry-after:" * (n // 14),
                **TEXTS,
            }.items()
        },
        **{
            f"{function.__name__} of {name}": lambda n, text=text, function=function: partial(  # type: ignore[misc]
                quietly, partial(function, text(n)), ValueError
            )
            for function in (markdown, parse_duration, parse_offset, references, escape)
            for name, text in {
                "dollars": lambda n: "${a" * (n // 3),
                "dots": lambda n: "${" + "a." * (n // 2),
                **TEXTS,
            }.items()
        },
    }


def entry(request: dict[str, Any] | None = None, response: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return an entry of a HAR."""
    return {
        "startedDateTime": "2026-09-21T14:13:20Z",
        "request": {"method": "GET", "url": "http://h/x", "headers": [], **(request or {})},
        "response": {"status": 200, "headers": [], "content": {"text": "{}"}, **(response or {})},
        **more,
    }


def registration(at: int) -> dict[str, Any]:
    """Return an entry in which a machine was registered."""
    data = {
        "machine": {"id": f"wrk_{at:016x}", "owner_id": "ada"},
        "machine_token": hashlib.sha256(b"%d" % at).hexdigest()[:48],
    }
    return entry(
        {"method": "POST", "url": "http://h/api/v1/machines/register", "postData": {"text": '{"owner_id":"ada"}'}},
        {"content": {"text": json.dumps({"data": data})}},
    )


def _with_header(name: str, value: str, *, answer: bool = False) -> dict[str, Any]:
    headers = {"headers": [{"name": name, "value": value}]}
    return entry(None, headers) if answer else entry(headers)


IN_AN_ENTRY: dict[str, Callable[[str], dict[str, Any]]] = {
    "a url": lambda text: entry({"url": "http://h/" + text}),
    "a host": lambda text: entry({"url": "http://" + text}),
    "a time": lambda text: entry(startedDateTime=text),
    "a body": lambda text: entry({"postData": {"text": text}}),
    "a Cookie": partial(_with_header, "Cookie"),
    "another header": partial(_with_header, "X-Other"),
    "a Set-Cookie": partial(_with_header, "Set-Cookie", answer=True),
}
SOME_TEXTS = {name: TEXTS[name] for name in ("slashes", "spaces", "letters", "equals", "backslashes", "no utf-8")}
HARS: dict[str, Callable[[int], list[Any]]] = {
    "entries": lambda n: [entry() for _ in range(n // 50)],
    "registrations": lambda n: [registration(at) for at in range(n // 20)],
    "servers": lambda n: [entry({"url": f"http://h{at}/"}) for at in range(n // 50)],
    "headers": lambda n: [entry({"headers": [{"name": f"x{at}", "value": "y"} for at in range(n // 20)]})],
    "secrets in a run": lambda n: [registration(1), entry(None, {"content": {"text": f"{TOKEN}" * (n // 48)}}),
                                   entry(None, {"content": {"text": json.dumps({"data": {}, "token": TOKEN})}})],
    "the start of a secret": lambda n: [registration(1), entry(None, {"content": {"text": "000000" * (n // 6)}})],
    "keys never closed": lambda n: [entry(None, {"content": {"text": '"token":"' * (n // 9)}})],
    "signatures": lambda n: [entry({"method": "POST", "postData": {"text": '"signature":"' * (n // 13)}})],
    "nonces": lambda n: [entry({"method": "POST", "postData": {"text": f'{{"nonce":"{at // 2}"}}'}})
                         for at in range(n // 20)],
    "a signature": lambda n: [entry({"method": "POST", "postData": {"text": '"signature":"' + '\\"' * (n // 2)}})],
    **{
        f"{what} of {name}": lambda n, text=text, make=make: [make(text(n))]  # type: ignore[misc]
        for what, make in IN_AN_ENTRY.items()
        for name, text in SOME_TEXTS.items()
    },
}  # fmt: skip


CHOICES = {
    "all": Chosen(),
    "honest traffic": Chosen(attacks=("honest",)),
    "an owner's part": Chosen(principals=("ada",)),
    "a machine's part": Chosen(principals=(f"wrk_{1:016x}", "machine.1")),
    "the end": Chosen(from_ns=1),
}


def _har(n: int, entries: Callable[[int], list[Any]]) -> Work:
    data = json.dumps({"log": {"entries": entries(n)}}).encode()
    return partial(quietly, lambda: list(from_har(data, "h", redact=True).lines), TraceError)


def _bare(n: int, text: Callable[[int], str]) -> Work:
    data = text(n).encode()
    return partial(quietly, lambda: list(from_har(data, "h", redact=True).lines), TraceError)


def _lines(n: int, entries: Callable[[int], list[Any]]) -> list[bytes]:
    data = json.dumps({"log": {"entries": entries(n)}}).encode()
    return [trace_format.encode_line(line) for line in from_har(data, "h", redact=False).lines]


def _trace(n: int, entries: Callable[[int], list[Any]]) -> Work:
    """Read a trace, take its secrets out, and build its requests anew."""
    written = _lines(n, entries)

    def work() -> None:
        read = trace_format._read_lines(iter(written))
        list(redacted_lines(read))
        resigner = Resigner(read.header, read.exchanges, "owner", "h:1", "new")
        for exchange in read.exchanges:
            resigner.gives(exchange)
            resigner.needs(exchange)
            resigner.rebuild(exchange)

    return partial(quietly, work, TraceError)


def _part(n: int, entries: Callable[[int], list[Any]], chosen: Chosen) -> Work:
    read = trace_format._read_lines(iter(_lines(n, entries)))
    return partial(quietly, lambda: choose(read, chosen), TraceError)


def _line(n: int, text: Callable[[int], str]) -> Work:
    written = text(n).encode()
    return partial(quietly, lambda: trace_format._read_lines(iter([written])), TraceError)


def _hide(text: str) -> Work:
    secrets = Secrets()
    secrets.add("machine.1.token", TOKEN)
    secrets.add("machine.2.token", "a" * 48)
    secrets.add("short", "secret.word")
    return lambda: [secrets.hide(text), secrets.hide_credential(text), resolve(text, lambda _: None)]


def _traces() -> dict[str, Entry]:
    traced = ("entries", "registrations", "headers", "secrets in a run", "a signature", "a url of letters")
    return {
        **{f"a HAR with {name}": partial(_har, entries=entries) for name, entries in HARS.items()},
        **{f"a HAR of {name}": partial(_bare, text=text) for name, text in JSONS.items()},
        **{f"a trace with {name}": partial(_trace, entries=HARS[name]) for name in traced},
        **{
            f"{part_of} of a trace with {name}": partial(_part, entries=HARS[name], chosen=chosen)
            for name in ("registrations", "nonces", "a url of letters")
            for part_of, chosen in CHOICES.items()
        },
        **{f"a trace of {name}": partial(_line, text=text) for name, text in JSONS.items()},
        **{
            f"hiding secrets in {name}": lambda n, text=text: _hide(text(n))  # type: ignore[misc]
            for name, text in {
                "secrets": lambda n: TOKEN * (n // 48),
                "halves": lambda n: (TOKEN[:24] + "zz") * (n // 26),
                "dollars": lambda n: "${" * (n // 2),
                "words": lambda n: "secret.word" * (n // 11),
                **TEXTS,
            }.items()
        },
    }


def _scenarios() -> dict[str, Entry]:
    start = 'version = 1\nname = "x"\nseed = 1\nduration = "9s"\n[fleet]\nmachines = 1\n'
    texts: dict[str, Callable[[int], str]] = {
        "wrong attacks": lambda n: start + '[[attacks]]\nname="x"\nstart="1s"\nduration="1s"\n' * (n // 40),
        "settings": lambda n: start + "[server.settings]\n" + "".join(f"A{at} = 1\n" for at in range(n // 8)),
        "thresholds": lambda n: (
            start + "[thresholds]\n" + "".join(f'"m{at}" = ["count==0"]\n' for at in range(n // 20))
        ),
        "a long name": lambda n: start.replace('"x"', f'"{"a" * n}"'),
        "an unknown key": lambda n: f"{'a' * n} = 1\n{start}",
        "spaces before a key": lambda n: start + "[x" + " " * n + "\n",
        "spaces": lambda n: start + " " * n,
    }
    return {
        **{
            f"a scenario of {name}": lambda n, text=text: partial(
                quietly, partial(parse_scenario, text(n)), ScenarioError
            )  # type: ignore[misc]
            for name, text in texts.items()
        },
        **{
            f"a threshold of {name}": lambda n, text=text: partial(  # type: ignore[misc]
                quietly, partial(parse_threshold, "heartbeat.accepted", text(n)), ThresholdError
            )
            for name, text in {
                "spaces behind": lambda n: "count==0" + " " * n + "x",
                "spaces inside": lambda n: "count" + " " * n + "==" + " " * n,
                **TEXTS,
            }.items()
        },
    }


def entries() -> dict[str, Entry]:
    """Return every entry by its name."""
    return {**_answers(), **_shown(), **_traces(), **_scenarios()}
