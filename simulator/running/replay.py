"""One replay from trace to verdict: starting the server if needed, playing, judging and showing the result."""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import trio
from rich.markup import escape
from rich.table import Table

from reference_server.wire.signing import sign_text
from simulator.bundle.writing import write_bundle
from simulator.client.aim import Aim
from simulator.client.checking import check_target, read_metrics
from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import SCRAPER_ADDRESS, Target, TargetError, parse_target
from simulator.contract.answers import Answer
from simulator.contract.profiles import profile_of
from simulator.deployment.server_process import ServerError, own_server
from simulator.deployment.server_watch import ServerWatch
from simulator.errors import TraceError
from simulator.history.rows import History
from simulator.judging.replay_record import (
    ReplayRecord,
    judge_replay,
    numbers,
    played_of,
    replay_name,
    run_record,
    write_replay,
)
from simulator.platform.ending import Ending
from simulator.platform.interruptions import signals_held, stop_signals
from simulator.platform.output_files import OutputError, folder_of, see_writable
from simulator.platform.program import NAME
from simulator.platform.wording import plural
from simulator.report.text import printed
from simulator.running.doctor import check_open_files
from simulator.running.leaving import leave_and_show
from simulator.traces.choosing import choose, only
from simulator.traces.comparison import Played, compare
from simulator.traces.format import Exchange, Trace, read_trace
from simulator.traces.messages import references, unescape
from simulator.traces.principals import OWNER_TOKEN
from simulator.traces.resign import Resigner
from simulator.worlds.live.replaying import Player

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from simulator.contract.profiles import Profile
    from simulator.history.records import Death
    from simulator.platform.interruptions import HeldSignal
    from simulator.report.files import WriteResult

PROGRESS_SECONDS = 5.0
OWN_SERVER = "its own server"
SUFFIX_DIGITS = 8
USER_ERRORS = (TraceError, TargetError, ServerError, OutputError)
"""The errors of `execute` with a message for users."""


class ReplayRequest(msgspec.Struct, frozen=True):
    """What to replay, and how. `target` is a URL, or None for a server of the replay's own.

    `entropy` is a string of hexadecimal digits that make the owners' names unique to this replay. `server_settings`
    are the variables that the replay's own server takes from the trace alone, never from this environment.
    """

    path: Path
    out: Path
    target: str | None
    token: str
    verbatim: bool
    entropy: str
    server_settings: frozenset[str] = frozenset()
    only: tuple[str, ...] = ()
    """The exchanges to play, with those that they depend on; empty for all."""
    profile: Profile | None = None
    """The profile asked for; None for the default."""
    aim: Aim = Aim()
    """What the user stated about the target."""
    program: str = NAME
    """The command that called the program, quoted for a shell."""


class _ReplayState(msgspec.Struct):
    started_at: datetime
    target: str
    played: list[Played] = []
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    lasting: list[bool] = []
    took_s: float = 0.0
    interrupted: str | None = None
    deaths: list[Death] = []
    started_ns: int = 0
    """When the replay began, by the monotonic clock."""
    memory_max_bytes: int | None = None
    warnings: list[str] = []
    ending: Ending = msgspec.field(default_factory=Ending)


def execute(request: ReplayRequest, console: Console) -> int:
    """Replay the trace, report, and return the exit code. Raises USER_ERRORS if the replay cannot begin."""
    trace = read_trace(request.path)
    if not trace.exchanges:
        raise TraceError(f"{request.path}: holds no exchanges: there is nothing to replay")
    if request.only:
        trace = choose(trace, only(request.only)).trace
    files = check_open_files(len({exchange.source for exchange in trace.exchanges}))
    if not files.right:
        raise TraceError(f"{files.name}: {files.found}; {files.hint}")
    see_writable(request.out / replay_name(trace))
    with signals_held() as held:
        outcome = trio.run(_run, request, trace, console, held)
        return _report(request, trace, outcome, console)


def _report(request: ReplayRequest, trace: Trace, outcome: _ReplayState, console: Console) -> int:
    record = _record(request, trace, outcome)
    verdict = judge_replay(trace, record)
    folder = folder_of(request.out, verdict.scenario, outcome.started_at)

    def write() -> WriteResult:
        facts = run_record(trace, record)
        return write_bundle(folder, verdict, facts, History(), "", others=lambda _: write_replay(folder, trace, record))

    return leave_and_show(
        console,
        request.out,
        folder,
        verdict,
        write,
        lambda: _show_comparison(console, trace.exchanges, played_of(trace, record)),
    )


async def _run(request: ReplayRequest, trace: Trace, console: Console, held: HeldSignal) -> _ReplayState:
    """Play the trace, with its signal handling, to its end or to a signal; return the state of the replay."""
    outcome = _ReplayState(datetime.now(UTC), request.target or OWN_SERVER)  # noqa: TID251 - when this replay was
    first, last = trace.exchanges[0].sent_ns, trace.exchanges[-1].sent_ns
    how = "verbatim" if request.verbatim else "re-signed"
    console.print(
        f"[bold]{escape(printed(trace.header.scenario))}[/]: {plural(len(trace.exchanges), 'exchange')} "
        f"over {(last - first) / 1e9:.0f}s, {how}"
    )
    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with trio.open_nursery() as nursery:
            work = trio.CancelScope()
            if held.number is not None:
                outcome.interrupted = held.name
                work.cancel()
            nursery.start_soon(_watch_signals, signals, outcome, work)
            with work:
                await _work(request, trace, outcome, console)
            nursery.cancel_scope.cancel()
    return outcome


async def _watch_signals(signals: AsyncIterator[int], outcome: _ReplayState, work: trio.CancelScope) -> None:
    """End the replay at the first signal, and kill its own server without a grace period at the second."""
    async for number in signals:
        if work.cancel_called:
            outcome.ending.give_up()
        outcome.interrupted = outcome.interrupted or signal.Signals(number).name
        work.cancel()


async def _work(request: ReplayRequest, trace: Trace, outcome: _ReplayState, console: Console) -> None:
    """Play the trace against the target, or against a server started for it, and watch that server meanwhile."""
    outcome.started_ns = time.monotonic_ns()
    watch = ServerWatch(outcome)
    async with AsyncExitStack() as stack:
        url = request.target
        if url is None:
            server = await stack.enter_async_context(
                own_server(trace.header.server_settings, request.token, request.server_settings, ending=outcome.ending)
            )
            watch.add(server)
            url = server.url
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.until_death, nursery.cancel_scope)
                await _play(request, trace, url, outcome, console)
                await watch.look()
                nursery.cancel_scope.cancel()
        except* (*USER_ERRORS, LostError):
            if not await watch.died():
                raise
        finally:
            outcome.deaths = watch.deaths
            outcome.interrupted = outcome.interrupted or watch.why_down or None


async def _play(request: ReplayRequest, trace: Trace, url: str, outcome: _ReplayState, console: Console) -> None:
    """Play the trace against a running server, and read the server's metrics before and after."""
    header = trace.header
    target = parse_target(url, request.token, request.aim.access, request.aim.addresses)
    outcome.target = OWN_SERVER if request.target is None else target.url
    outcome.before = await check_target(target)
    outcome.warnings = _warnings(request, trace, target)
    for one in outcome.warnings:
        console.print(f"[yellow]warning:[/] {escape(printed(one))}")
    resigner = None
    if not request.verbatim:
        suffix = request.entropy[:SUFFIX_DIGITS]
        resigner = Resigner(header, trace.exchanges, request.token, target.authority, suffix)
    outcome.lasting = [_lasts(exchange, request.token) for exchange in trace.exchanges]
    player = Player(trace, target, resigner)
    outcome.played = player.played
    started = trio.current_time()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_show_progress, player, console)
            await player.play()
            nursery.cancel_scope.cancel()
    finally:
        outcome.took_s = trio.current_time() - started
    async with ControlConnection(target, SCRAPER_ADDRESS if target.own_addresses else None) as connection:
        outcome.after = await read_metrics(connection, target)


async def _show_progress(player: Player, console: Console) -> None:
    while True:
        await trio.sleep(PROGRESS_SECONDS)
        progress = player.progress
        console.print(
            f"{progress.done:,} of {plural(progress.total, 'exchange')}, {progress.as_recorded:,} as recorded, "
            f"{progress.under_way:,} under way",
            markup=False,
        )


def _warnings(request: ReplayRequest, trace: Trace, target: Target) -> list[str]:
    header = trace.header
    warnings = request.aim.access.warnings
    if header.left_out:
        warnings.append(
            f"the recorder was full, so the trace lacks {plural(header.left_out, 'later exchange')} of the run"
        )
    if request.verbatim and header.redacted:
        warnings.append(
            "the trace is redacted, so references go out in place of tokens and owners' signatures: what the refusals "
            "prove of the server's memory takes one recorded with its secrets"
        )
    if not target.own_addresses and any(exchange.source for exchange in trace.exchanges):
        warnings.append(
            "all exchanges leave from one address, so the target's per-IP limits count them as one client's"
        )
    if request.target is not None and header.server_settings:
        shown = ", ".join(f"{name}={value}" for name, value in header.server_settings.items())
        warnings.append(f"the trace was made on a server with {shown}: make sure the target's are the same")
    return warnings


def _lasts(exchange: Exchange, token: str) -> bool:
    """Return whether a request has an owner's signature in clear that is valid for a target with this `token`."""
    signature = exchange.signature
    if signature is None or references(signature.value):
        return False
    owners = any(reference.name == OWNER_TOKEN for reference in references(signature.key))
    text = "|".join(unescape(part) for part in signature.over)
    return owners and unescape(signature.value) == sign_text(token.encode(), text).decode()


def _record(request: ReplayRequest, trace: Trace, outcome: _ReplayState) -> ReplayRecord:
    missing = [Played(0, b"", Answer.LOST, problem="was not reached") for _ in trace.exchanges]
    return ReplayRecord(
        trace_file=str(beyond_link(request.path)),
        target=outcome.target,
        given_target=request.target is not None,
        verbatim=request.verbatim,
        only=tuple(request.only),
        started_at=outcome.started_at.isoformat(timespec="milliseconds"),
        took_s=outcome.took_s,
        interrupted=outcome.interrupted,
        warnings=tuple(outcome.warnings),
        before=numbers(outcome.before),
        after=numbers(outcome.after),
        played=tuple(msgspec.structs.replace(one, body=b"") for one in outcome.played or missing),
        deaths=tuple(outcome.deaths),
        lasting=tuple(outcome.lasting or [False] * len(trace.exchanges)),
        profile=profile_of(request.profile, given_target=request.target is not None),
        program=request.program,
    )


def beyond_link(path: Path) -> Path:
    """Return `path` with a symlinked folder, such as `latest`, resolved: the link changes with the next run."""
    folder = path.parent
    return folder.parent / folder.readlink() / path.name if folder.is_symlink() else path


def _show_comparison(console: Console, exchanges: tuple[Exchange, ...], played: Sequence[Played]) -> None:
    """Print the answers of each group of exchanges, as recorded and as replayed."""
    table = Table(title="Recorded and replayed", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "exchanges", "recorded", "replayed", "different"):
        table.add_column(column, overflow="fold", justify="right" if column in {"exchanges", "different"} else "left")
    for one in compare(exchanges, played):
        answers = [
            ", ".join(f"{n} {got}" for got, n in sorted(counts.items())) for counts in (one.recorded, one.replayed)
        ]
        table.add_row(escape(one.name), str(one.exchanges), *answers, str(one.different))
    console.print()
    console.print(table)
