"""The heads of plain heartbeats, read at a glance: by one pattern, as all machines send nearly the same.

What it reads, `parse_head` reads alike; whatever it does not read takes a `Conversation`, which decides what it is.
"""

from __future__ import annotations

import re

import msgspec

from reference_server.limits import AUTHORITY_MAX_BYTES, LANE_BODY_MAX_BYTES, LANE_HEAD_MAX_BYTES

_PLAIN = re.compile(  # backtracking: each line is read in one way only, by its name and up to its end
    rb"POST /(?:api/)?v1/workers/([0-9A-Za-z_.~-]++)/heartbeat HTTP/1\.1\r\n(?:"
    rb"(?(2)(?!)|[Hh]ost:[\t ]?((?:[0-9A-Za-z.-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]*+)?+)\r\n)|"
    rb"(?(3)(?!)|[Cc]ontent-[Ll]ength:[\t ]?([0-9]{1,5}+)\r\n)|"
    rb"(?(4)(?!)|[Xx]-[Mm]achine-[Tt]oken:[\t ]?([!-~]*+)\r\n)|"
    rb"(?(5)(?!)|[Xx]-[Mm]achine-[Cc]ertificate-[Ii][Dd]:[\t ]?([!-~]*+)\r\n)|"
    rb"(?:[Uu]ser-[Aa]gent|[Aa]ccept(?:-[Ee]ncoding)?+|[Cc]ontent-[Tt]ype):[\t -~]*+\r\n|"
    rb"(?(6)(?!)|[Xx]-[Ff]orwarded-[Ff]or:([\t -~]*+)\r\n)|"
    rb"(?(7)(?!)|[Xx]-[Ff]orwarded-[Pp]roto:([\t -~]*+)\r\n)|"
    rb"[Cc]onnection:[\t ]?[Kk]eep-[Aa]live\r\n|"
    rb"(?!(?i:host|content-length|x-machine-token|x-machine-certificate-id|x-forwarded-for|x-forwarded-proto|"
    rb"transfer-encoding|connection|proxy-connection|expect|origin|authorization|x-owner-id|x-moltbook-identity):)"
    rb"[0-9A-Za-z-]++:[\t -~]*+\r\n"
    rb"){2,32}\r\n"
)
"""Its groups are the worker, and the headers that may be there once only. The last lines are any header that
asks for nothing of what answers a machine: they name all that do, or that may be there once only."""


class PlainHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a plain heartbeat. `end` is where it ends in the bytes that it was read from."""

    worker_id: str
    token: str
    certificate_id: str
    body_bytes: int
    end: int
    forwarded_for: str
    forwarded_proto: str


def plain_head(data: bytes, start: int = 0) -> PlainHead | None:
    """Read the head that begins there; None unless it is all there, and a plain heartbeat's."""
    found = _PLAIN.match(data, start, start + LANE_HEAD_MAX_BYTES)
    if found is None:
        return None
    worker_id, host, length, token, certificate_id, forwarded_for, forwarded_proto = found.groups()
    if host is None or length is None or len(host) > AUTHORITY_MAX_BYTES:
        return None
    body_bytes = int(length)
    if body_bytes > LANE_BODY_MAX_BYTES:
        return None
    return PlainHead(
        worker_id.decode(),
        "" if token is None else token.decode(),
        "" if certificate_id is None else certificate_id.decode(),
        body_bytes,
        found.end(),
        "" if forwarded_for is None else forwarded_for.decode(),
        "" if forwarded_proto is None else forwarded_proto.decode(),
    )
