"""RFC 3339 timestamps to and from Unix nanoseconds (contract §1): strict in, shortest form with `Z` out. Durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from reference_server.wire.units import SECOND_NS

_HOUR_NS = 3600 * SECOND_NS
_MINUTE_NS = 60 * SECOND_NS
OLDEST_NS, NEWEST_NS = -62_135_596_800 * SECOND_NS, 253_402_300_800 * SECOND_NS - 1
"""What can be written, years 1 to 9999; an offset may lead outside of it."""
_MINUTE_SECONDS = 60
_DAY_HOURS = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}")
"""Hours are bounded here: from Python 3.14 on `fromisoformat` reads 24:00:00 as the beginning of the next day."""
_SECOND_CHARACTERS = 19
_REST = re.compile(r"(?:\.([0-9]+))?(?:Z|([+-])([0-9]{2}):([0-5][0-9]))")
_FRACTION_DIGITS = 9


@lru_cache(maxsize=4096)
def _unix_second(text: str) -> int | None:
    """Unix seconds of `YYYY-MM-DDTHH:MM:SS`, or None where that is no moment. Fleets share few seconds."""
    if _SECOND.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment.replace(tzinfo=UTC) - _EPOCH).total_seconds())


def parse_timestamp(text: str) -> int | None:
    """Return a timestamp's Unix nanoseconds, or None where the form is not exactly RFC 3339's.

    Fractions past nanoseconds are cut off. Leap seconds, lower-case `t`/`z`, hour 24 and year 0 are refused.
    """
    seconds = _unix_second(text[:_SECOND_CHARACTERS])
    if seconds is None:
        return None
    rest = _REST.fullmatch(text, _SECOND_CHARACTERS)
    if rest is None:
        return None
    fraction, sign, hours, minutes = rest.groups()
    total = seconds * SECOND_NS
    if fraction is not None:
        total += int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
    if sign is not None:
        if int(hours) >= _DAY_HOURS:
            return None
        offset = (int(hours) * _MINUTE_SECONDS + int(minutes)) * _MINUTE_SECONDS * SECOND_NS
        total += -offset if sign == "+" else offset
    return total


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


@lru_cache(maxsize=1)
def format_timestamp(unix_ns: int) -> str:
    """Write Unix nanoseconds as RFC 3339 in UTC with `Z`, without trailing zeros in the fraction.

    The last one is kept: heartbeats that are decided together have one moment.
    """
    seconds, fraction = divmod(unix_ns, SECOND_NS)
    text = _second_text(seconds)
    if fraction % 10:
        return f"{text}.{fraction:09d}Z"
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"


def format_duration(nanoseconds: int) -> str:
    """Write a duration from zero on as `1h2m3.5s`, from its largest unit on, without trailing zeros in the fraction.

    Go's `time.ParseDuration` reads it; Go itself writes the same, but below a second, where it changes units.
    """
    hours, rest = divmod(nanoseconds, _HOUR_NS)
    minutes, rest = divmod(rest, _MINUTE_NS)
    seconds, fraction = divmod(rest, SECOND_NS)
    text = f"{seconds}.{fraction:09d}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
