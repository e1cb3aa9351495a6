"""A sequence diagram of a trace, as text: one column for each sender and one for the server, time downwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.limits import SEQUENCE_ROWS_MAX
from simulator.platform.wording import plural
from simulator.traces.format import Exchange, HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPEAKERS_MAX = 8
"""Columns of a drawing for senders: later senders share the last one."""
OTHERS, OWNERS, SERVER = "others", "owners", "server"
WIDTH = 18
TIME = 12
ERROR_MAX_CHARACTERS = 100


class _Arrow(NamedTuple):
    """The request or the answer of an exchange."""

    at_ns: int
    speaker: str
    is_answer: bool
    label: str


def draw_sequence(exchanges: Iterable[Exchange], title: str) -> str:
    """Return the drawing of a trace's first `SEQUENCE_ROWS_MAX` exchanges."""
    given = list(exchanges)
    shown = given[:SEQUENCE_ROWS_MAX]
    speakers = _speakers(shown)
    names = list(dict.fromkeys(speakers))
    columns = names if len(names) <= SPEAKERS_MAX else [*names[: SPEAKERS_MAX - 1], OTHERS]
    arrows = sorted(
        (arrow for one, speaker in zip(shown, speakers, strict=True) for arrow in _arrows(one, speaker)),
        key=lambda arrow: arrow.at_ns,
    )
    lines = [title, "", " " * TIME + "".join(name[: WIDTH - 1].ljust(WIDTH) for name in columns) + SERVER]
    lines += [_line(arrow, columns) for arrow in arrows]
    if len(given) > len(shown):
        lines += ["", f"and {plural(len(given) - len(shown), 'exchange')} more: the trace has them all"]
    return "\n".join(lines) + "\n"


def _speakers(exchanges: Iterable[Exchange]) -> list[str]:
    """Return the sender of each exchange: an attack, a machine, an agent by its id in findings, or the owners."""
    agents: dict[str, str] = {}
    speakers = []
    for one in exchanges:
        if one.attack is not None:
            speaker = one.attack
        elif one.machine is not None:
            speaker = f"machine {one.machine}"
        else:
            speaker = agents.get(_bearer(one), OWNERS)
            key = _given(one, "api_key")
            if key:
                speaker = agents[f"Bearer {key}"] = _given(one, "agent", "id") or speaker
        speakers.append(speaker)
    return speakers


def _bearer(one: Exchange) -> str:
    headers = one.request.headers if isinstance(one.request, HttpRequest) else ()
    return next((value for name, value in headers if name.lower() == "authorization"), "")


def _given(one: Exchange, *keys: str) -> str:
    """Return the string at `keys` in the `data` of the answer; empty if there is none."""
    try:
        value: Any = msgspec.json.decode(one.response.body if one.response is not None else "")["data"]
        for key in keys:
            value = value[key]
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


def _arrows(one: Exchange, speaker: str) -> Iterable[_Arrow]:
    request = one.request
    what = f"{request.method} {request.path}" if isinstance(request, HttpRequest) else "raw bytes"
    yield _Arrow(one.sent_ns, speaker, is_answer=False, label=f"#{one.sequence} {what}")
    if one.answered_ns is None:
        return
    status = "" if one.response is None else f"{one.response.status} "
    error = "" if one.response is None or one.response.status < 400 else _error_of(one.response.body)  # noqa: PLR2004 - a refusal
    wrong = "" if one.got == one.expected else f"   <== {one.expected} is right"
    label = f"#{one.sequence} {status}{one.got}{error}{wrong}"
    yield _Arrow(one.answered_ns, speaker, is_answer=True, label=label)


def _error_of(body: str) -> str:
    """Return the error message of a refusal, with a colon before it; empty if there is none."""
    try:
        error = msgspec.json.decode(body)["error"]
        return f": {error['message'] if isinstance(error, dict) else error}"[:ERROR_MAX_CHARACTERS]
    except (msgspec.DecodeError, KeyError, TypeError, IndexError):
        return ""


def _line(arrow: _Arrow, columns: Sequence[str]) -> str:
    place = columns.index(arrow.speaker if arrow.speaker in columns else OTHERS)
    before = ("│".ljust(WIDTH)) * place
    between = WIDTH * (len(columns) - place) - 1
    shaft = "".join("┼" if (index + 1) % WIDTH == 0 else "─" for index in range(between))
    drawn = f"│◀{shaft[1:]}┤" if arrow.is_answer else f"├{shaft[:-1]}▶│"
    return f"{arrow.at_ns / SECOND_NS:9.4f} s {before}{drawn}  {arrow.label}"
