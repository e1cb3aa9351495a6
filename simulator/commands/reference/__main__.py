"""`python -m simulator.commands.reference FOLDER` writes the reference pages there: `docs/reference` of a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from simulator.commands.reference import reference_pages


def main(folder: Path) -> None:
    """Write every page, and take away what is none any more."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = reference_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
