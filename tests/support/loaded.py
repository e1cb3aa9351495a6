"""All that forked programs would each load for themselves, loaded once by the process that they are forked from.

What there is then is frozen: no collection of theirs goes over it, so none of it is copied for that.
"""

from __future__ import annotations

import gc
from importlib import import_module

PROGRAMS = (
    "reference_server.about",
    "reference_server.app",
    "simulator.bundle.verify",
    "simulator.bundle.writing",
    "simulator.commands.cli",
    "simulator.running.run",
    "simulator.scenario.loading",
    "simulator.scenario.remarks",
    "tests.planted_bugs.faulty_server",
)
LATE = ("encodings.idna", "numpy.ma", "numpy.random", "rich._emoji_codes", "typer._adapters")
"""What libraries load when they are first used: pydantic behind the last of these takes more than all of the others."""

for name in (*PROGRAMS, *LATE):
    import_module(name)
gc.collect()
gc.freeze()
