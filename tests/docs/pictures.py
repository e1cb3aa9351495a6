"""`python -m tests.docs.pictures` makes the two pictures of the README anew: what a run prints, and its report.

The run is in virtual time, so that the same commit prints the same.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.support.chromium import chromium
from tests.support.pages import ROOT

TERMINAL, REPORT = ROOT / "docs/assets/run.svg", ROOT / "docs/assets/report.png"
COLUMNS = 100
COMMAND = ("hatchfarm", "run", "scenarios/quickstart.toml")
RUN_SECONDS = 900
WIDE, HIGH = 1280, 860
COLOURS = 64
"""What the picture of a report needs: a palette makes it a fifth as large."""
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""Where rich's pictures would load a font from; the reader's own does."""
_LIVE = re.compile(r"\x1b\[\?25l.*\x1b\[\?25h(?:\x1b\[\d*[AK])*\n?", re.DOTALL)
"""What a run shows while it lasts, and then takes back."""
_OF_THIS_MACHINE = re.compile(r"^(?:Results|Report|Bundle|Reproduce with): ", re.MULTILINE)


def terminal_picture(printed: str) -> str:
    """Return what a command has printed as a terminal shows it, as SVG that loads nothing."""
    kept = _LIVE.sub("", printed)
    lines = [line for line in kept.splitlines() if not _OF_THIS_MACHINE.match(line)]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join([f"$ {' '.join(COMMAND)}", *lines])))
    svg = console.export_svg(title=" ".join(COMMAND), code_format=_FONTS.sub("", CONSOLE_SVG_FORMAT), unique_id="run")
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def report_picture(report: Path, profile: Path) -> bytes:
    """Return the head of a report as a browser shows it, as PNG."""
    with chromium(profile) as browser:
        shot = browser.visit(report, WIDE, picture=True).picture
    whole = Image.open(io.BytesIO(shot)).convert("RGB")  # as wide as the page, less its scroll bar
    picture = whole.crop((0, 0, whole.width, HIGH)).quantize(COLOURS)
    made = io.BytesIO()
    picture.save(made, "PNG", optimize=True)
    return made.getvalue()


def main() -> None:
    """Run the quickstart, and picture it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        command = [str(Path(sys.executable).with_name(COMMAND[0])), *COMMAND[1:], "--virtual", "--out", made]
        environ = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=RUN_SECONDS
        )
        TERMINAL.write_text(terminal_picture(done.stdout), encoding="utf-8")
        REPORT.write_bytes(report_picture(folder / "quickstart/latest/report.html", folder / "profile"))


if __name__ == "__main__":
    main()
