"""`hatchfarm fuzz`: its flags, each with an environment variable."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from simulator.commands.failing import fail
from simulator.commands.options import RESULTS, OutOption, ProfileOption
from simulator.commands.target_flags import NO_TOKEN, TargetFlags, aimed
from simulator.limits import FUZZ_JOBS_MAX, FUZZ_SEEDS_MAX, SEED_MAX
from simulator.platform.interruptions import signals_held
from simulator.platform.output_files import folder_of, see_file_writable, see_writable, write_whole
from simulator.platform.program import this_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from simulator.contract.profiles import Profile
    from simulator.fuzzing.live import LivePlayer
    from simulator.fuzzing.searching import Search

SEEDS, LIVE_SEEDS = "1..200", "1..20"
MINUTE_SECONDS = 60.0
Seeds = Annotated[
    str | None,
    typer.Option(
        help=f"The first and the last seed, or one; {SEEDS} by default, live {LIVE_SEEDS}, with --minutes all for "
        "which there is time.",
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
    if not seeds:
        raise ValueError(f"{text!r}: the last seed is before the first")
    if seeds[-1] > SEED_MAX:
        raise ValueError(f"{text!r}: a seed is at most {SEED_MAX}")
    if seeds.stop - seeds.start > FUZZ_SEEDS_MAX:
        raise ValueError(f"{text!r}: more seeds than the {FUZZ_SEEDS_MAX:,} that one search tries")
    return seeds


@aimed()
def fuzz(
    *,
    seeds: Seeds = None,
    minutes: Minutes = None,
    jobs: Jobs = 1,
    out: OutOption = RESULTS,
    json: JsonFile = None,
    target: TargetFlags,
    profile: ProfileOption = None,
) -> None:
    """Play scenarios that are drawn from seeds until one fails, and make that one small.

    They play in virtual time, or with --target live against a deployment, one after the other. Every checker is on. In
    virtual time what was covered says what is drawn next: the same for the same seeds, however many play at once. A
    failure leaves its smallest scenario, a trace, a drawing of it and, of virtual time, a test that fails with the bug.

    Exit codes: 0 nothing was found, 1 a failure was, 2 usage error, 3 it ended before anything was known.
    """
    from simulator.fuzzing.searching import Search, players, search  # noqa: PLC0415 - slow to load, as is what follows
    from simulator.fuzzing.showing import ShownSearch  # noqa: PLC0415
    from simulator.platform.console import make_console  # noqa: PLC0415
    from simulator.platform.output_files import OutputError  # noqa: PLC0415

    live = _live_player(target, profile, jobs)
    try:
        by_default = (SEEDS if live is None else LIVE_SEEDS) if minutes is None else f"1..{FUZZ_SEEDS_MAX}"
        chosen = parse_seeds(by_default if seeds is None else seeds)
        see_writable(out / "fuzz", make=False)
        if json is not None:
            see_file_writable(json, "--json")
    except (ValueError, OutputError) as error:
        fail("fuzz", str(error))
    console, state = make_console(), Search(chosen)
    all_seeds = minutes is None or seeds is not None
    last = f" to {chosen[-1]}" if all_seeds else " and on"
    time_given = "" if minutes is None else f", no further round after {minutes:g} min"
    console.print(f"Seeds {chosen[0]}{last}{time_given}", markup=False)
    shown = ShownSearch(console, state, minutes, all_seeds=all_seeds)
    with signals_held() as held, shown.live:
        arguments = _time_left(minutes), lambda: held.number is not None, shown.look
        if live is None:
            with players(jobs) as play:
                search(state, play, *arguments)
        else:
            search(state, partial(map, live.play), *arguments, live.way())
    if live is not None and state.problem and not state.played:
        fail("fuzz", state.problem)
    _end(state, live, console, out, json)


def _live_player(target: TargetFlags, profile: Profile | None, jobs: int) -> LivePlayer | None:
    """Return who plays against a target; None where none is given."""
    from simulator.fuzzing.live import LivePlayer  # noqa: PLC0415 - as above

    if target.url is None:
        return None
    if not target.token:
        fail("fuzz", NO_TOKEN)
    if jobs > 1:
        fail("fuzz", "--jobs is for virtual time: what several play against one target at once nobody could judge")
    return LivePlayer(target.url, target.token, target.aim, profile)


def _end(state: Search, live: LivePlayer | None, console: Console, out: Path, json: Path | None) -> NoReturn:
    """Write and show what came of a search, and exit."""
    import msgspec  # noqa: PLC0415 - as above

    from simulator.fuzzing.leaving import leave  # noqa: PLC0415
    from simulator.fuzzing.showing import exit_code_of, show_end, summary_of  # noqa: PLC0415

    record, again = (None, "--virtual") if live is None else (live.record, live.flags)
    try:
        at = datetime.now(UTC)  # noqa: TID251 - when it was found
        files = [] if state.found is None else leave(state.found, folder_of(out, "fuzz", at), record)
        if json is not None:
            json.parent.mkdir(parents=True, exist_ok=True)
            write_whole(json, [msgspec.json.format(msgspec.json.encode(summary_of(state, files)), indent=2) + b"\n"])
    except OSError as error:
        where = error.filename or out
        fail("fuzz", f"results cannot be written to {where} ({error.strerror}): give another --out or --json")
    show_end(console, state, files, again, this_program())
    raise typer.Exit(exit_code_of(state))


def _time_left(minutes: float | None) -> Callable[[], bool]:
    """Return what says whether there is time for another round."""
    if minutes is None:
        return lambda: True
    ends_at = time.monotonic() + minutes * MINUTE_SECONDS
    return lambda: time.monotonic() < ends_at
