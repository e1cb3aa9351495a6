from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire import timestamps
from reference_server.wire.timestamps import format_duration, format_timestamp, parse_timestamp

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "timestamps.json").read_text(encoding="utf-8"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_NS = int((datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 10**9
LAST_NS = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds()) * 10**9 + 10**9 - 1


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: repr(vector["input"]))
def test_vector(vector: dict[str, Any]) -> None:
    """Exactly the forms the vectors accept are accepted, and mean the same moment."""
    parsed = parse_timestamp(vector["input"])
    if vector["valid"]:
        assert parsed is not None
        assert format_timestamp(parsed) == vector["utc"]
    else:
        assert parsed is None


def test_hour_24_is_refused_whatever_datetime_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.14 on it is the beginning of the next day."""

    class Later(datetime):
        @classmethod
        def fromisoformat(cls, text: str, /) -> Later:
            day, midnight, _ = text.partition("T24:00:00")
            return super().fromisoformat(day) + timedelta(days=1) if midnight else super().fromisoformat(text)

    monkeypatch.setattr(timestamps, "datetime", Later)
    assert parse_timestamp("2026-09-21T24:00:00Z") is None
    assert parse_timestamp("2026-09-21T23:59:59Z") is not None


@given(st.integers(FIRST_NS, LAST_NS))
def test_what_is_written_reads_back_to_the_nanosecond(unix_ns: int) -> None:
    text = format_timestamp(unix_ns)
    assert parse_timestamp(text) == unix_ns
    assert text.endswith("Z")
    assert "." not in text or not text.endswith("0Z")


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the zone is drawn beside it
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.text("0123456789", max_size=12),
)
def test_offsets_and_fractions_mean_what_datetime_says(moment: datetime, offset_minutes: int, fraction: str) -> None:
    moment = moment.replace(microsecond=0)
    sign = "-" if offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(offset_minutes), 60)
    point = f".{fraction}" if fraction else ""
    text = f"{moment.isoformat()}{point}{sign}{hours:02}:{minutes:02}"
    elapsed = moment.replace(tzinfo=UTC) - timedelta(minutes=offset_minutes) - EPOCH
    expected = (elapsed.days * 86400 + elapsed.seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))
    assert parse_timestamp(text) == expected


@given(st.sampled_from([vector["input"] for vector in VECTORS if vector["valid"]]), st.data())
def test_one_changed_character_never_reads_as_another_form(text: str, data: st.DataObject) -> None:
    """Whatever is still accepted after an edit is one of the two shapes, in ASCII digits."""
    at = data.draw(st.integers(0, len(text)))
    edit = data.draw(st.sampled_from(["", " ", "0", "9", "-", "+", ":", ".", "T", "t", "Z", "z", "٣", "\n", "\x00"]))
    changed = text[:at] + edit + text[at + data.draw(st.integers(0, 1)) :]
    if parse_timestamp(changed) is not None:
        assert changed.isascii()
        assert changed.strip() == changed
        assert datetime.fromisoformat(_nine_digits_to_six(changed)).tzinfo is not None


def _nine_digits_to_six(text: str) -> str:
    """Cut a fraction to the microseconds that datetime can hold."""
    head, point, rest = text.partition(".")
    if not point:
        return text
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0]
    return f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"


@given(st.text(max_size=40))
def test_no_text_makes_it_raise(text: str) -> None:
    parse_timestamp(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "0.000000001s"),
        (350_000_000, "0.35s"),
        (10**9, "1s"),
        (59_999_999_999, "59.999999999s"),
        (60 * 10**9, "1m0s"),
        (3600 * 10**9, "1h0m0s"),
        (3723_500_000_000, "1h2m3.5s"),
        (100 * 3600 * 10**9 + 10 * 10**9, "100h0m10s"),
    ],
)
def test_a_duration_is_written_from_its_largest_unit_on(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(0, 10**18))
def test_a_duration_adds_up(nanoseconds: int) -> None:
    parts = re.findall(r"([0-9]+(?:\.[0-9]{1,9})?)([hms])", format_duration(nanoseconds))
    units = {"h": 3600, "m": 60, "s": 1}
    assert "".join(number + unit for number, unit in parts) == format_duration(nanoseconds)
    assert sum(Decimal(number) * units[unit] for number, unit in parts) * 10**9 == nanoseconds
