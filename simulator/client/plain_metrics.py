"""Reading a metrics page of the usual shape, as nearly all are: the library reads any, and takes ten times as long."""

from __future__ import annotations

import re

_COMMENT = re.compile(
    r"# (?:HELP hatchfarm_[a-z0-9_]+ [^\"\\\x00-\x1f]+|TYPE hatchfarm_[a-z0-9_]+(?:_total counter| gauge))"
)
_SAMPLE = re.compile(
    r"(hatchfarm_[a-z0-9_]+(?:\{[a-z][a-z_]*=\"[A-Za-z0-9_.:/-]*\"\})?)"
    r" ([0-9]{1,15}(?:\.[0-9]{1,17})?(?:e[+-]?[0-9]{1,2})?)"
)


def plain_samples(text: str) -> list[tuple[str, float]] | None:
    """Return a page's samples, each by its name with its label; None where the library has to tell what it says."""
    samples = []
    for line in text.split("\n"):
        found = _SAMPLE.fullmatch(line)
        if found is not None:
            samples.append((found[1], float(found[2])))
        elif line and not _COMMENT.fullmatch(line):
            return None
    return samples
