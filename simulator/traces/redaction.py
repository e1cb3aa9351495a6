"""Secrets out of texts: every secret, piece of one and near miss of one becomes a reference. No I/O.

A near miss gives a secret away almost as well as the secret does: one wrong digit leaves fifteen times forty-eight
guesses. So it becomes a numbered reference, from which a replay makes a near miss of the secret it then has.

A long secret is cut into blocks of six characters, and whatever shares one with a text is compared with it in place: of
thirty characters and more, four wrong ones always leave a block whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simulator.limits import REDACTION_CACHE_MAX
from simulator.traces.messages import SIGNATURE, Reference, escape

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK = 6
LONG = 30
"""From this length on a secret is found by its blocks. Shorter ones are few, and each is looked for."""
PIECE_MIN = 8
"""Four characters that are none of a word cut forty-eight into pieces of which one is longer than this."""
ANYWHERE_MIN = 8
"""A shorter secret is found only where it is a word of its own: `dev` is a part of too many."""
NEAR_SHARE, NEAR_MAX = 4, 4
"""How many wrong characters leave a short secret nearly itself: a quarter of it, four at most."""
REMEMBERED_MAX_CHARACTERS = 100
"""Shorter texts are header names and values, most of them again and again."""
_RUN = re.compile(r"[A-Za-z0-9_-]{6,}")
_SIGNATURE = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=")
_WRITTEN = re.compile(r"(\$\{[^{}]*\})")
_NOTHING = re.compile(r"(?!)")


class Secrets:
    """Every secret by its name, and what to write instead."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self._signatures: frozenset[str] = frozenset()
        self._blocks: dict[str, list[tuple[str, int]]] = {}
        self._few: list[str] = []
        self._few_pattern = _NOTHING
        self._near: dict[str, dict[str, int]] = {}
        self._runs: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def add(self, name: str, secret: str) -> None:
        """Take a secret under a name; the first name of a secret stays, and an empty one is none."""
        if not secret or secret in self.names or name in self.values:
            return
        self.names[secret] = name
        self.values[name] = secret
        self._forget()
        if len(secret) >= LONG and re.fullmatch(r"[A-Za-z0-9_-]+", secret):
            for at in range(0, len(secret) - BLOCK + 1, BLOCK):
                self._blocks.setdefault(secret[at : at + BLOCK].lower(), []).append((secret, at))
            return
        self._few = sorted([*self._few, secret], key=len, reverse=True)
        words = (
            re.escape(one) if len(one) >= ANYWHERE_MIN else rf"(?<![A-Za-z0-9_-]){re.escape(one)}(?![A-Za-z0-9_-])"
            for one in self._few
        )
        self._few_pattern = re.compile("|".join(words))  # backtracking: words without a loop

    def add_signatures(self, signatures: Iterable[str]) -> None:
        """Hide these signatures too: those made with a secret that people choose, as an owner's token.

        From one of them and its text such a token can be guessed at leisure. Machine tokens are 192 random bits.
        """
        self._signatures |= frozenset(signatures)
        self._forget()

    def _forget(self) -> None:
        self._runs.clear()
        self._texts.clear()

    def hide(self, text: str) -> str:
        """Write a text with references where secrets were, and escaped elsewhere."""
        if len(text) > REMEMBERED_MAX_CHARACTERS:
            return self._hide(text)
        hidden = self._texts.get(text)
        if hidden is None:
            if len(self._texts) >= REDACTION_CACHE_MAX:
                self._texts.clear()
            hidden = self._texts[text] = self._hide(text)
        return hidden

    def _hide(self, text: str) -> str:
        text = escape(text)
        if self._few:
            text = self._few_pattern.sub(lambda match: str(Reference(self.names[match.group()])), text)
        if self._signatures:
            text = _SIGNATURE.sub(lambda match: SIGNATURE if match.group() in self._signatures else match.group(), text)
        if "${" not in text:
            return self._hide_runs(text)
        parts = _WRITTEN.split(text)
        return "".join(part if index % 2 else self._hide_runs(part) for index, part in enumerate(parts))

    def hide_credential(self, text: str) -> str:
        """Hide what stands where a secret belongs: there it is compared whole, whatever characters it is made of."""
        hidden = self.hide(text)
        if hidden == text:
            for secret in self._few:
                if _nearly(text, secret):
                    return str(self._near_miss(self.names[secret], text))
        return hidden

    def _hide_runs(self, text: str) -> str:
        return _RUN.sub(lambda match: self._hide_run(match.group()), text)

    def _hide_run(self, run: str) -> str:
        hidden = self._runs.get(run)
        if hidden is None:
            if len(self._runs) >= REDACTION_CACHE_MAX:
                self._runs.clear()
            hidden = self._runs[run] = self._search(run)
        return hidden

    def _search(self, run: str) -> str:
        """Hide what is in a run of word characters, the most of a secret first, and look again at what is beside it."""
        found = self._found(run)
        taken = bytearray(len(run))
        chosen: dict[int, tuple[int, Reference]] = {}
        for _, start, end, reference in sorted(found, key=lambda one: -one[0]):
            if not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                chosen[start] = (end, reference)
        written = []
        at = 0
        for start, (end, reference) in sorted(chosen.items()):
            written += [self._search(run[at:start]) if at < start else "", str(reference)]
            at = end
        if not chosen:
            return run
        return "".join(written) + (self._search(run[at:]) if at < len(run) else "")

    def _found(self, run: str) -> list[tuple[int, int, int, Reference]]:
        """Find where in a run secrets may be: how much of one is there, from, to, and what to write there."""
        found = []
        tried = set()
        lower = run.lower()
        for at in range(len(run) - BLOCK + 1):
            for secret, block_at in self._blocks.get(lower[at : at + BLOCK], ()):
                place = (secret, at - block_at)
                if place not in tried:
                    tried.add(place)
                    one = self._compare(run, *place)
                    if one is not None:
                        found.append(one)
        few = None if found else self._best_of_few(run)
        return found if few is None else [few]

    def _compare(self, run: str, secret: str, offset: int) -> tuple[int, int, int, Reference] | None:
        """Compare a run with a secret that would begin at an offset in it: likeness, from, to, reference."""
        start, end = max(0, offset), min(len(run), offset + len(secret))
        inside, part = run[start:end], secret[start - offset : end - offset]
        name = self.names[secret]
        if inside == part:
            if len(part) == len(secret):
                return len(secret) * 2, start, end, Reference(name)
            if len(part) >= PIECE_MIN:
                return len(part) * 2, start, end, Reference(name, start=start - offset, end=end - offset)
            return None
        alike = sum(a == b for a, b in zip(inside.lower(), part.lower(), strict=True))
        if alike < PIECE_MIN or alike * 2 < len(part):
            return None
        return alike, start, end, self._near_miss(name, inside)

    def _best_of_few(self, run: str) -> tuple[int, int, int, Reference] | None:
        for secret in self._few:
            name = self.names[secret]
            if _nearly(run, secret):
                return len(run), 0, len(run), self._near_miss(name, run)
            if len(run) >= max(PIECE_MIN, len(secret) * 3 // 4) and run in secret:
                start = secret.index(run)
                return len(run), 0, len(run), Reference(name, start=start, end=start + len(run))
        return None

    def _near_miss(self, name: str, text: str) -> Reference:
        known = self._near.setdefault(name, {})
        return Reference(name, near=known.setdefault(text, len(known) + 1))


def _nearly(text: str, secret: str) -> bool:
    """Return whether two texts differ in few places, or by few characters that one has more at one place."""
    most = min(NEAR_MAX, len(secret) // NEAR_SHARE)
    if len(text) == len(secret):
        return sum(a != b for a, b in zip(text, secret, strict=True)) <= most
    shorter, longer = sorted((text, secret), key=len)
    same = next((at for at, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    return len(longer) - len(shorter) <= most and longer.endswith(shorter[same:])


def near_miss(secret: str, number: int) -> str:
    """Make the numbered near miss of a secret, from 1: one character is another hexadecimal digit, or one is more.

    The same number gives the same text, and different numbers below fifteen times the secret's length different ones.
    """
    turn, at = divmod(number - 1, len(secret))
    digits = "0123456789abcdef"
    old = digits.find(secret[at].lower())
    if turn >= len(digits) - 1:
        return f"{secret}{number:x}"
    return secret[:at] + digits[(old + 1 + turn) % len(digits)] + secret[at + 1 :]
