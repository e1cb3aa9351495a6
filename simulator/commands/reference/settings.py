"""The page of the server's settings."""

from __future__ import annotations

from reference_server.about import settings_by_subject
from simulator.commands.reference.markdown import code, page, prose, sentence, table


def settings_page() -> str:
    """Return the page, a table for each subject."""
    blocks = []
    for subject, rows in settings_by_subject().items():
        cells = [
            (code(one.variable), code(one.default), prose(one.allowed), prose(sentence(one.purpose))) for one in rows
        ]
        blocks += [f"## {subject}", table(("variable", "default", "what it may be", "what it is for"), cells)]
    return page(
        "Settings of the server",
        "The reference server reads its settings from environment variables, once, when it starts. One that does not "
        "parse is refused with a message; a secret is never shown. `hatchfarm serve --help` lists them, too.",
        *blocks,
    )
