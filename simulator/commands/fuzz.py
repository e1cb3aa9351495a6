"""`hatchfarm fuzz`: its flags, each with an environment variable."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.commands.failing import fail
from simulator.commands.options import RESULTS, OutOption
from simulator.limits import FUZZ_JOBS_MAX, FUZZ_SEEDS_MAX, SEED_MAX
from simulator.platform.interruptions import signals_held
from simulator.platform.output_files import folder_of, see_writable, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = "1..200"
MINUTE_SECONDS = 60.0
Seeds = Annotated[
    str | None,
    typer.Option(
        help=f"The first and the last seed, or one; {SEEDS} by default, with --minutes all for which there is time.",
        envvar="HATCHFARM_FUZZ_SEEDS",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Begin no further round of seeds after so long.", envvar="HATCHFARM_FUZZ_MINUTES", min=0.01, max=10_080
    ),
]
Jobs = Annotated[
    int,
    typer.Option(help="Processes that play at once.", envvar="HATCHFARM_FUZZ_JOBS", min=1, max=FUZZ_JOBS_MAX),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the summary to this file.", envvar="HATCHFARM_FUZZ_JSON")
]


def parse_seeds(text: str) -> range:
    """Read a range of seeds like `1..200`, or one seed. Raises ValueError, saying how one is written."""
    first, dots, last = text.partition("..")
    if not (first.isascii() and first.isdigit() and (last.isascii() and last.isdigit() if dots else True)):
        raise ValueError(f"{text!r} is no range of seeds: write it like '1..200' or '17'")
    seeds = range(int(first), int(last if dots else first) + 1)
    if not seeds or seeds[-1] > SEED_MAX or seeds.stop - seeds.start > FUZZ_SEEDS_MAX:
        raise ValueError(f"{text!r}: the last seed is not before the first, and at most {FUZZ_SEEDS_MAX:,} are tried")
    return seeds


def fuzz(
    *, seeds: Seeds = None, minutes: Minutes = None, jobs: Jobs = 1, out: OutOption = RESULTS, json: JsonFile = None
) -> None:
    """Play scenarios that are drawn from seeds in virtual time, until one fails, and make that one small.

    Every checker is on, and what was covered says what is drawn next: the same for the same seeds, however many play
    at once. A failure leaves its smallest scenario, a trace, a drawing of it and a test that fails with the bug.

    Exit codes: 0 nothing was found, 1 a failure was, 2 usage error, 3 it ended before anything was known.
    """
    import msgspec  # noqa: PLC0415 - slow to load, as is what follows

    from simulator.fuzzing.leaving import leave  # noqa: PLC0415
    from simulator.fuzzing.searching import Search, players, search  # noqa: PLC0415
    from simulator.fuzzing.showing import ShownSearch, exit_code_of, show_end, summary_of  # noqa: PLC0415
    from simulator.platform.console import make_console  # noqa: PLC0415
    from simulator.platform.output_files import OutputError  # noqa: PLC0415

    try:
        by_default = SEEDS if minutes is None else f"1..{FUZZ_SEEDS_MAX}"
        chosen = parse_seeds(by_default if seeds is None else seeds)
        see_writable(out / "fuzz")
    except (ValueError, OutputError) as error:
        fail("fuzz", str(error))
    console, state = make_console(), Search(chosen)
    console.print(f"Seeds {chosen[0]} to {chosen[-1]}", markup=False)
    shown = ShownSearch(console, state)
    with signals_held() as held, shown.live, players(jobs) as play:
        search(state, play, _time_left(minutes), lambda: held.number is not None, shown.look)
    try:
        at = datetime.now(UTC)  # noqa: TID251 - when it was found
        files = [] if state.found is None else leave(state.found, folder_of(out, "fuzz", at))
        if json is not None:
            json.parent.mkdir(parents=True, exist_ok=True)
            write_whole(json, [msgspec.json.format(msgspec.json.encode(summary_of(state, files)), indent=2) + b"\n"])
    except OSError as error:
        fail("fuzz", f"results cannot be written ({error.strerror}): give another --out or --json")
    show_end(console, state, files)
    raise typer.Exit(exit_code_of(state))


def _time_left(minutes: float | None) -> Callable[[], bool]:
    """Return what says whether there is time for another round."""
    if minutes is None:
        return lambda: True
    ends_at = time.monotonic() + minutes * MINUTE_SECONDS
    return lambda: time.monotonic() < ends_at
