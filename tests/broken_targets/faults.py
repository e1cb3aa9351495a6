"""What can be wrong with an answer: each misbehaviour answers one request instead of the real server."""

from __future__ import annotations

import socket
import struct
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broken_targets.proxy import Fault, Talk

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
BOUNDLESS_PART = b"x" * 65_536
HTML = b"<!doctype html><html><body><h1>Something went wrong</h1></body></html>"


async def hang(_talk: Talk) -> bool:
    """Never answer."""
    return await trio.sleep_forever()


async def dribble(talk: Talk) -> bool:
    """Answer a byte a second."""
    for byte in await talk.real():
        await talk.stream.send_all(bytes([byte]))
        await trio.sleep(1)
    return True


async def close_at_once(_talk: Talk) -> bool:
    """Hang up."""
    return False


async def die(talk: Talk) -> bool:
    """End as a killed process does: all connections and the listening socket at once."""
    talk.die()
    return await trio.sleep_forever()


async def close_midway(talk: Talk) -> bool:
    """Send half an answer and hang up."""
    answer = await talk.real()
    await talk.stream.send_all(answer[: len(answer) // 2])
    return False


async def reset(talk: Talk) -> bool:
    """Send half an answer and reset the connection."""
    answer = await talk.real()
    await talk.stream.send_all(answer[: len(answer) // 2])
    talk.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    return False


def says(*pieces: bytes, keep: bool = False, then_hold: bool = False) -> Fault:
    """Always send the same bytes."""

    async def fault(talk: Talk) -> bool:
        for piece in pieces:
            await talk.stream.send_all(piece)
        if then_hold:
            await trio.sleep_forever()
        return keep

    return fault


def endless(start: bytes, part: bytes) -> Fault:
    """Begin an answer that never ends, as fast as it is read."""

    async def fault(talk: Talk) -> bool:
        await talk.stream.send_all(start)
        while True:
            await talk.stream.send_all(part)

    return fault


def status(code: int, body: bytes = HTML, *headers: bytes) -> Fault:
    """Answer everything with one status, and with the headers that every answer carries."""
    kind = b"text/html" if body == HTML else b"application/json"
    lines = b"".join(line + b"\r\n" for line in (b"Content-Type: " + kind, b"Vary: Origin", *headers))
    numbers = count(1)

    async def fault(talk: Talk) -> bool:
        head = b"HTTP/1.1 %d Status\r\nX-Request-ID: %016x\r\n%b" % (code, next(numbers), lines)
        await talk.stream.send_all(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        return True

    return fault


def late(seconds: float) -> Fault:
    """Return the right answer, too late."""

    async def fault(talk: Talk) -> bool:
        answer = await talk.real()
        await trio.sleep(seconds)
        await talk.stream.send_all(answer)
        return True

    return fault


async def old_http(talk: Talk) -> bool:
    """Return the right answer as HTTP/1.0 did: without a length, ended by closing."""
    head, _, body = (await talk.real()).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n")[1:] if not line.lower().startswith(b"content-length:")]
    code = head.split(b" ", 2)[1]
    await talk.stream.send_all(b"\r\n".join([b"HTTP/1.0 " + code + b" OK", *lines]) + b"\r\n\r\n" + body)
    return False


def length_off_by(difference: int) -> Fault:
    """Say another length than the body has."""

    async def fault(talk: Talk) -> bool:
        head, _, body = (await talk.real()).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        lines.append(b"Content-Length: %d" % max(0, len(body) + difference))
        await talk.stream.send_all(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        return True

    return fault


def body(change: Callable[[bytes], bytes]) -> Fault:
    """Change the body of the right answer."""

    async def fault(talk: Talk) -> bool:
        head, _, content = (await talk.real()).partition(b"\r\n\r\n")
        changed = change(content)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        lines.append(b"content-length: %d" % len(changed))
        await talk.stream.send_all(b"\r\n".join(lines) + b"\r\n\r\n" + changed)
        return True

    return fault


def data(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """Change the data of an enveloped success."""

    def changed(content: bytes) -> bytes:
        answer = msgspec.json.decode(content)
        if "data" not in answer:
            return content
        return msgspec.json.encode({**answer, "data": change(answer["data"])})

    return body(changed)
