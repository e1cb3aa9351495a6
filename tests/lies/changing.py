"""How somebody in front of a correct server changes its answers."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.contract.parsed_request import ParsedRequest
    from tests.lies.world import Lie, LyingWorld

HOUR = re.compile(rb"T([0-9]{2}):")
RANDOM_SIGNATURE = base64.b64encode(bytes(range(64))).decode()


class FoundLie(NamedTuple):
    """One lie: who tells it, and the rules of which each must be found broken. `shows` is part of the evidence."""

    lie: Lie
    rules: tuple[str, ...]
    shows: str = ""


def to(route: str, change: Callable[[bytes], bytes], *, every: int = 1, after: int = 0) -> Lie:
    """Change the answers to one route, by the name of `ParsedRequest`: one in `every`, past the first so many."""
    seen = [0]

    def lie(_world: LyingWorld, asked: ParsedRequest, answer: bytes) -> bytes:
        if asked.name.replace("/api/v1", "") != route:
            return answer
        seen[0] += 1
        return change(answer) if seen[0] > after and seen[0] % every == 0 else answer

    return lie


def with_body(answer: bytes, body: bytes) -> bytes:
    """Put another body into an answer, with its length."""
    head = answer.partition(b"\r\n\r\n")[0]
    return re.sub(rb"content-length: \d+", b"content-length: %d" % len(body), head) + b"\r\n\r\n" + body


def body(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change the body of an answer."""
    return lambda answer: with_body(answer, change(answer.partition(b"\r\n\r\n")[2]))


def data(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    """Change the data of a success in place; other answers stay."""

    def changed(content: bytes) -> bytes:
        decoded = msgspec.json.decode(content)
        if "data" not in decoded:
            return content
        change(decoded["data"])
        return msgspec.json.encode(decoded)

    return body(changed)


def put(value: Any, *path: str | int) -> Callable[[bytes], bytes]:
    """Put a value at a place in the data of a success."""

    def change(at: Any) -> None:
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value

    return data(change)


def drop(*path: str) -> Callable[[bytes], bytes]:
    """Take a field out of the data of a success."""

    def change(at: Any) -> None:
        for name in path[:-1]:
            at = at[name]
        at.pop(path[-1], None)

    return data(change)


def head(pattern: bytes, by: bytes) -> Callable[[bytes], bytes]:
    """Change the head of an answer."""

    def change(answer: bytes) -> bytes:
        first, end, rest = answer.partition(b"\r\n\r\n")
        return re.sub(pattern, by, first) + end + rest

    return change


def everywhere(change: Callable[[bytes], bytes], *, of: int = 0) -> Lie:
    """Change every answer, or every one of a status."""

    def lie(_world: LyingWorld, _asked: ParsedRequest, answer: bytes) -> bytes:
        return change(answer) if not of or answer.startswith(b"HTTP/1.1 %d" % of) else answer

    return lie


def hours_on(*names: str) -> Callable[[bytes], bytes]:
    """Have times of these names be an hour later."""
    pattern = re.compile(rb'("(?:%b)":"[0-9-]+)T([0-9]{2})' % "|".join(names).encode())
    return body(lambda content: pattern.sub(lambda found: b"%bT%02d" % (found[1], (int(found[2]) + 1) % 24), content))


def swapped(route: str) -> Lie:
    """Return each asker the answer that the one before it should have had."""
    last: list[bytes] = []

    def lie(_world: LyingWorld, asked: ParsedRequest, answer: bytes) -> bytes:
        if asked.name != route or not answer.startswith(b"HTTP/1.1 2"):
            return answer
        last.append(answer)
        return last[-2] if len(last) > 1 else answer

    return lie


def foreign_machine(world: LyingWorld, asked: ParsedRequest, answer: bytes) -> bytes:
    """Show an owner a machine of the other one."""
    if asked.path != "/workers/statuses":
        return answer
    other = world.machines[0 if asked.header(b"x-owner-id") == "ben" else 1]
    return put(other.worker_id, "workers", 0, "worker_id")(answer)


def repeated(_world: LyingWorld, asked: ParsedRequest, answer: bytes) -> bytes:
    """Repeat in the head what the request proved itself by."""
    shown = asked.header(b"authorization").encode()
    return head(rb"\Z", b"\r\nx-debug: " + shown)(answer) if shown else answer


def limited(*lines: bytes, error: str = "rate limit exceeded") -> Callable[[bytes], bytes]:
    """Refuse as too fast, with some more headers, whoever it is."""
    content = msgspec.json.encode({"success": False, "error": error})
    first = [b"HTTP/1.1 429 ", b"content-type: application/json", b"x-request-id: 00000000000000ab", b"vary: Origin"]
    whole = b"\r\n".join([*first, *lines, b"content-length: %d" % len(content)]) + b"\r\n\r\n" + content
    return lambda _: whole


def old_metrics(*names: str) -> Lie:
    """Show some metrics as they were at the first scrape."""
    first: dict[bytes, bytes] = {}

    def lie(_world: LyingWorld, asked: ParsedRequest, answer: bytes) -> bytes:
        if asked.path != "/metrics":
            return answer
        lines = answer.partition(b"\r\n\r\n")[2].split(b"\n")
        for line in lines:
            first.setdefault(line.split(b" ")[0], line)
        wanted = {name.encode() for name in names}
        page = [first[line.split(b" ")[0]] if line.split(b" ")[0] in wanted else line for line in lines]
        return with_body(answer, b"\n".join(page))

    return lie


def shift_events(events: list[dict[str, Any]]) -> None:
    """Stamp every event an hour ahead; a chain that is made anew hides it from whoever checks only that."""
    for event in events:
        event["created_at"] = HOUR.sub(
            lambda found: b"T%02d:" % ((int(found[1]) + 1) % 24), event["created_at"].encode()
        ).decode()


def rechained(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[bytes], bytes]:
    """Change the events of a list, if it has some, and make its hashes and heads right again."""
    from simulator.checkers.audit_chain import event_hash  # noqa: PLC0415 - what the liar knows of chains

    def changed(shown: Any) -> None:
        if not shown["events"]:
            return
        change(shown["events"])
        latest: dict[str, dict[str, Any]] = {}
        for event in shown["events"]:
            before = latest.get(event["stream"])
            event["sequence"] = before["sequence"] + 1 if before else 1
            event["previous_hash"] = before["hash"] if before else "0" * 64
            event["hash"] = event_hash(event)
            latest[event["stream"]] = event
        shown["heads"] = {name: {"sequence": one["sequence"], "hash": one["hash"]} for name, one in latest.items()}
        shown["total"] = len(shown["events"])

    return data(changed)


def filtered(change: Callable[[Any], object]) -> Lie:
    """Change audit lists that were asked for with a filter."""

    def lie(_world: LyingWorld, asked: ParsedRequest, answer: bytes) -> bytes:
        return data(change)(answer) if "type=" in asked.query else answer

    return lie


def wrong_hour(shown: Any) -> None:
    """Have every status of a list say that its machine has just been heard."""
    for one in shown["workers"]:
        one.update(age_seconds=3000, stale=True)


BEAT, REGISTER, ROTATE = "POST /workers/{id}/heartbeat", "POST /machines/register", "POST /machines/{id}/certificate"
POLICY, ACTIVATE, CONSENT = "POST /policies", "POST /policies/{id}/activate", "POST /consents"
FETCH, STATUSES, SUMMARY, AUDIT = (
    "GET /workers/{id}/policy", "GET /workers/statuses", "GET /workers/summary", "GET /audit/events",
)  # fmt: skip
KEYS, HEALTH = "GET /.well-known/hatchfarm-keys", "GET /health"
OTHER_KEY = b'"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"'
OTHER = "wrk_00000000000000aa"
