"""Drawing a run's current state as lines that fill a terminal's width and never exceed it. Colour has no meaning."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from reference_server.wire.units import SECOND_NS
from simulator.report.text import printed
from simulator.view.wording import (
    FAILS,
    HOLDS,
    LATER,
    NOT_NOW,
    PLAYING,
    UNKNOWN,
    attack_texts,
    happening_text,
    held_up_text,
    market_texts,
    milliseconds,
    threshold_word,
    time_text,
    waits_for,
)
from simulator.worlds.progress import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulator.view.state import ThresholdNow, ViewState

LABEL_COLUMNS = 12
MARGIN = "  "
TWO_COLUMNS = 110
"""The least width, in columns, at which thresholds are drawn beside the figures instead of below them."""
WORD_COLUMNS = 8
"""The width of a threshold's status word."""
SPARK_MIN_COLUMNS = 12
"""The least width of the curve beside the rate; with less room the curve gets a line of its own."""
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
BAR, ASCII_BAR = ("█", "░"), ("#", ".")
"""The characters of the progress bar: elapsed and remaining."""
WORD_COLOURS = {HOLDS: "green", NOT_NOW: "yellow", FAILS: "red bold", UNKNOWN: "yellow", LATER: "dim"}
HAPPENING_COLOURS = {Kind.FAULT: "magenta", Kind.ALERT: "yellow", Kind.ATTACK: "cyan"}
"""In the order of importance: if not all happenings fit, the first kinds are shown."""
NOW_MAX = 6
"""How many happenings under way are named: a catalogue of attacks plays dozens at once."""
PROBLEM_LINES = 2
FIGURES_MIN_LINES = 12
"""Lines reserved for everything but thresholds, even on a low terminal."""


def draw(state: ViewState, width: int, height: int, *, ascii_only: bool = False) -> list[Text]:
    """Return at most `height` lines of at most `width` columns each."""
    width = max(width, 1)
    head = _head(state, width, ascii_only=ascii_only)
    if width >= TWO_COLUMNS:
        left_width = width // 2 - len(MARGIN)
        right_width = width - left_width - 2 * len(MARGIN)
        left = _figures(state, left_width, ascii_only=ascii_only)
        right = _thresholds(state, right_width, max(1, height - len(head)))
        body = [
            _padded(one or Text(), left_width + 2 * len(MARGIN)).append_text(other or Text())
            for one, other in zip_longest(left, right)
        ]
    else:
        body = _figures(state, width, ascii_only=ascii_only)
        room = height - len(head) - min(len(body), FIGURES_MIN_LINES)
        body += _thresholds(state, width, room)
    return [*head, *body][: max(1, height)]


def _head(state: ViewState, width: int, *, ascii_only: bool) -> list[Text]:
    clock = f"{time_text(state.elapsed_ns)} of {time_text(state.duration_ns)}"
    if state.times_as_fast is not None:
        clock = f"{clock} virtual, {state.times_as_fast:,.0f} times as fast"
    share = min(1.0, state.elapsed_ns / state.duration_ns) if state.duration_ns else 0.0
    percent = f" {share:4.0%}"
    columns = max(0, width - len(percent))
    done = round(share * columns)
    full, empty = ASCII_BAR if ascii_only else BAR
    bar = Text().append(full * done, "green").append(empty * (columns - done), "dim").append(percent)
    name = _shown(state.name)
    if len(name) + len(clock) + len(MARGIN) <= width:
        first = [Text().append(name, "bold").append(" " * (width - len(name) - len(clock)) + clock)]
    else:
        first = [*_folded(Text(name, "bold"), width), *_folded(Text(clock), width)]
    return [*first, _cut(bar, width)]


def _figures(state: ViewState, width: int, *, ascii_only: bool) -> list[Text]:
    rate = Text(f"{state.rate:,.0f} accepted a second")
    spark_columns = width - LABEL_COLUMNS - len(rate) - len(MARGIN)
    if spark_columns < SPARK_MIN_COLUMNS:
        spark_columns = width - LABEL_COLUMNS
    spark = sparkline(state.rates, -(-state.duration_ns // SECOND_NS), max(0, spark_columns), ascii_only=ascii_only)
    hostile = "red bold" if state.attacks_accepted else ""
    rows: list[tuple[str, list[Text]]] = [
        ("phase", [Text(str(state.phase), "bold")]),
        ("waits for", _plain(waits_for(state)) or ([Text("nothing")] if state.phase in PLAYING else [])),
        ("machines", [Text(f"{state.machines_connected:,} of {state.machines_wanted:,}")]),
        ("rate", [rate, *([Text(spark, "blue")] if spark else [])]),
        ("response", [Text(f"p50 {milliseconds(state.p50_ms)}"), Text(f"p99 {milliseconds(state.p99_ms)}")]),
        ("heartbeats", _plain((f"{state.accepted:,} accepted", f"{state.refused:,} refused", f"{state.lost:,} lost"))),
        ("held up", [Text(one, "yellow") for one in held_up_text(state)]),
        ("attacks", [Text(one, hostile if one.endswith(" accepted") else "") for one in attack_texts(state)]),
        ("market", _plain(market_texts(state))),
        ("now", _now(state)),
    ]
    lines = [line for label, parts in rows if parts for line in _row(label, parts, width)]
    if state.last_problem:
        lines += _row("problem", [Text(_shown(state.last_problem), "yellow")], width)[:PROBLEM_LINES]
    return lines


def _now(state: ViewState) -> list[Text]:
    order = list(HAPPENING_COLOURS)
    found = sorted(state.under_way, key=lambda one: order.index(one.kind))
    texts = [
        Text(
            f"{happening_text(one)}, {max(0, state.elapsed_ns - one.began_ns) // SECOND_NS} s",
            HAPPENING_COLOURS[one.kind],
        )
        for one in found[:NOW_MAX]
    ]
    return texts + ([Text(f"and {len(found) - NOW_MAX:,} more")] if len(found) > NOW_MAX else [])


def _shown(text: str) -> str:
    """Replace characters that control a terminal or are not one column wide: the text may come from the server."""
    return "".join(one if cell_len(one) == 1 else "?" for one in printed(text))


def _plain(texts: Iterable[str]) -> list[Text]:
    return [Text(one) for one in texts]


def _row(label: str, parts: list[Text], width: int) -> list[Text]:
    """Return a label followed by its parts, wrapped to as many lines as needed."""
    columns = max(1, width - LABEL_COLUMNS)
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + len(MARGIN) + len(part) <= columns:
            lines[-1] = lines[-1].append(MARGIN).append_text(part)
        else:
            lines += _folded(part, columns)
    return _beside(label.ljust(LABEL_COLUMNS), "dim", lines, width)


def _beside(label: str, style: str, lines: list[Text], width: int) -> list[Text]:
    """Return the lines, the first with a label before it and the others indented by the label's width."""
    heads = [label, *[" " * len(label)] * (len(lines) - 1)]
    return [_cut(Text().append(head, style).append_text(line), width) for head, line in zip(heads, lines, strict=True)]


def _thresholds(state: ViewState, width: int, room: int) -> list[Text]:
    """Return one line for each threshold, or two on a narrow terminal; if not all fit, failing ones come first."""
    if not state.thresholds or room <= 0:
        return []
    at_ns = state.thresholds_at_ns
    title = "thresholds" if at_ns is None else f"thresholds at {time_text(at_ns)}"
    names = [f"{one.metric}: {one.expression}" for one in state.thresholds]
    columns = max(map(len, names))
    shown = [_threshold(one, columns, width) for one in state.thresholds]
    if 1 + sum(map(len, shown)) <= room:
        return [_cut(Text(title, "dim"), width), *(line for lines in shown for line in lines)]
    order = sorted(range(len(shown)), key=lambda at: _urgency(state.thresholds[at]))
    lines: list[Text] = []
    left_out = len(shown)
    for at in order:
        if 2 + len(lines) + len(shown[at]) > room:
            break
        lines += shown[at]
        left_out -= 1
    more = Text(f"{MARGIN}and {left_out:,} more", "dim")
    return [_cut(one, width) for one in (Text(title, "dim"), *lines, more)][:room]


def _urgency(one: ThresholdNow) -> int:
    word = threshold_word(one)
    return {FAILS: 0, NOT_NOW: 1, UNKNOWN: 2, HOLDS: 3, LATER: 4}[word]


def _threshold(one: ThresholdNow, columns: int, width: int) -> list[Text]:
    colour = WORD_COLOURS[threshold_word(one)]
    word = threshold_word(one).ljust(WORD_COLUMNS)
    name, measured = f"{one.metric}: {one.expression}", _shown(one.measured)
    if WORD_COLUMNS + columns + len(MARGIN) + len(measured) <= width:
        return [Text().append(word, colour).append(name.ljust(columns) + MARGIN + measured if measured else name)]
    lines = _folded(Text(name), max(1, width - WORD_COLUMNS))
    if measured:
        lines += _folded(Text(measured), max(1, width - WORD_COLUMNS))
    return _beside(word, colour, lines, width)


def sparkline(rates: Sequence[int], duration_seconds: int, columns: int, *, ascii_only: bool = False) -> str:
    """Return a curve of `rates`, one value per second of the run so far, scaled to the highest column.

    `columns` stand for the whole `duration_seconds`, so the curve grows with the run. Each column is a mean over its
    seconds; an incomplete column is not drawn.
    """
    bars = ASCII_BARS if ascii_only else BARS
    means: list[float] = []
    for column in range(columns):
        start = column * duration_seconds // columns
        end = max(start + 1, (column + 1) * duration_seconds // columns)
        if end > len(rates):
            break
        means.append(sum(rates[start:end]) / (end - start))
    highest = max(means, default=0) or 1
    return "".join(bars[min(len(bars) - 1, int(mean / highest * len(bars)))] for mean in means)


def _folded(text: Text, columns: int) -> list[Text]:
    """Break a text of one style between words, a word that is too long between its parts, and a long part anywhere."""
    lines: list[str] = []
    rest = text.plain
    while len(rest) > columns:
        space = rest.rfind(" ", 1, columns + 1)
        part = max(rest.rfind(one, 1, columns) for one in "._/") + 1
        at = space if space > 0 else part or columns
        lines.append(rest[:at])
        rest = rest[at + (space > 0) :]
    return [Text(line, text.style) for line in (*lines, rest)]


def _cut(text: Text, width: int) -> Text:
    return text if len(text) <= width else text[:width]


def _padded(text: Text, width: int) -> Text:
    return text.copy().append(" " * max(0, width - len(text)))
