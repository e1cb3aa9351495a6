"""Texts used in many messages: counts with nouns, formatted numbers, and suggestions for misspelt names. No I/O.

The contract's names of answers are in `simulator/checkers/wording.py`.
"""

from __future__ import annotations

import difflib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHELL_SIGNAL = 128
"""The number that shells add to a signal's number to get the exit code of a process that it ended."""
NEAR_ENOUGH = 0.6
"""The least similarity of a suggested name, from 0 to 1: two wrong letters in a name of five."""


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun, as `1 machine` or `12,000 machines`. `nouns` is the plural if it is irregular."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def four_digits(value: float) -> str:
    """Return a measured value to four digits, as `28,300`, `12.35` or `0.2836`."""
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"  # noqa: PLR2004 - four digits


def all_of(number: int, noun: str, nouns: str = "") -> str:
    """Return a count that stands for all of its kind, as `all 12 machines`, `the 1 machine` or `no machine`."""
    if not number:
        return f"no {noun}"
    return f"{'the' if number == 1 else 'all'} {plural(number, noun, nouns)}"


def sentence(text: str) -> str:
    """Return the text with its first letter capitalised."""
    return text[:1].upper() + text[1:]


def signal_of(exit_code: int) -> str:
    """Return the name of the signal that ended a process, from its own exit code or a shell's; empty if none did."""
    number = -exit_code if exit_code < 0 else exit_code - SHELL_SIGNAL
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def how_it_ended(exit_code: int) -> str:
    """Return how a process ended, as `exit code 3` or `killed by SIGSEGV`."""
    name = signal_of(exit_code)
    if not name:
        return f"exit code {exit_code}"
    return f"killed by {name}" if exit_code < 0 else f"exit code {exit_code}, which says: killed by {name}"


def nearest(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Return a hint for an unknown name: the most similar of `names`, else `otherwise`, else the list of `names`."""
    options = sorted(names)
    close = difflib.get_close_matches(name, options, 1, NEAR_ENOUGH)
    return f"did you mean {close[0]!r}?" if close else otherwise or f"one of {', '.join(options)}"
