"""`hatchfarm replay` and `hatchfarm trace`: what users type, and what they are told when it is wrong."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex  # noqa: TID251 - the token of a replay's own server, and what makes its owners its own
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from simulator.commands.failing import exit_with, fail
from simulator.commands.options import RESULTS, OutOption, ProfileOption
from simulator.commands.target_flags import NO_TOKEN, TargetFlags, aimed
from simulator.platform.console import make_console
from simulator.platform.program import this_program
from simulator.platform.wording import plural
from simulator.traces.recording import Recording

trace_app = typer.Typer(
    help="Look at traces, take secrets out of them, and turn them to HAR and back.", no_args_is_help=True
)

TraceFile = Annotated[
    Path, typer.Argument(help="A trace that `hatchfarm run --record` wrote.", envvar="HATCHFARM_TRACE")
]
Output = Annotated[Path, typer.Option("--out", "-o", help="Where to write it.", envvar="HATCHFARM_TRACE_OUT")]
Record = Annotated[
    bool,
    typer.Option(
        "--record",
        help="Keep every exchange in a trace beside the verdict, without secrets.",
        envvar="HATCHFARM_RECORD",
    ),
]
WithSecrets = Annotated[
    bool,
    typer.Option(
        "--with-secrets",
        help="Record with tokens in clear, for a verbatim replay. Mind who can read the trace.",
        envvar="HATCHFARM_WITH_SECRETS",
    ),
]


def recording_of(*, record: bool, with_secrets: bool) -> Recording:
    """Return what `run` is to record by its two flags; secrets are for recordings only."""
    if with_secrets and not record:
        fail("run", "--with-secrets says how to record: give --record too")
    return Recording.SECRETS if with_secrets else Recording.REDACTED if record else Recording.NOTHING


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program's."""
    app.command()(replay)
    app.add_typer(trace_app, name="trace")


@aimed(judging=False)
def replay(
    trace: TraceFile,
    *,
    target: TargetFlags,
    verbatim: Annotated[
        bool,
        typer.Option(
            "--verbatim/--resign",
            help="Send the same bytes, all of which must be refused where they were signed; or build every request "
            "anew with the same intent for principals made on the target.",
            envvar="HATCHFARM_REPLAY_VERBATIM",
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Play only this attack, `honest` or `machine.3`, and what it builds on; may be given several times.",
            envvar="HATCHFARM_REPLAY_ONLY",
        ),
    ] = None,
    profile: ProfileOption = None,
    out: OutOption = RESULTS,
) -> None:
    """Send a trace again, at its recorded moments and from its addresses, and judge what the server did.

    Exit codes: 0 everything held, 1 an answer was wrong, or in a verbatim replay something signed was accepted, 2 usage
    error, broken trace or unreachable target, 3 the replay could not know.
    """
    from reference_server.about import setting_names  # noqa: PLC0415 - slow to load, as are numpy and trio
    from simulator.running.replay import USER_ERRORS, ReplayRequest, execute  # noqa: PLC0415

    if target.url is not None and not target.token:
        fail("replay", NO_TOKEN)
    own_token = target.token if target.url is not None else token_hex(24)
    request = ReplayRequest(
        trace, out, target.url, own_token, verbatim, token_hex(8), frozenset(setting_names()), tuple(only or ()),
        profile, target.aim, this_program(),
    )  # fmt: skip
    exit_with("replay", lambda: execute(request, make_console()), USER_ERRORS)


@trace_app.command("show")
def trace_show(trace: TraceFile) -> None:
    """Show what a trace holds: where it comes from, and what each attack and the honest traffic got."""
    from simulator.errors import TraceError  # noqa: PLC0415
    from simulator.report.text import printed  # noqa: PLC0415 - as above
    from simulator.traces.comparison import group_of  # noqa: PLC0415 - as above
    from simulator.traces.format import read_trace  # noqa: PLC0415

    try:
        read = read_trace(trace)
    except TraceError as error:
        fail("trace show", str(error))
    header = read.header
    console = make_console()
    secrets = "redacted" if header.redacted else "WITH SECRETS"
    console.print(
        printed(f"{header.scenario}, seed {header.seed}, against {header.target}, {header.started_at}"), markup=False
    )
    console.print(
        f"{plural(header.exchanges, 'exchange')} of {plural(len(header.machines), 'machine')}, {secrets}", markup=False
    )
    if header.left_out:
        console.print(f"the recorder was full, and left out {plural(header.left_out, 'later exchange')}", markup=False)
    counts = Counter((group_of(one), one.operation, one.got) for one in read.exchanges)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "operation", "got", "exchanges"):
        table.add_column(column, justify="right" if column == "exchanges" else "left")
    for (group, operation, got), number in sorted(counts.items()):
        table.add_row(escape(group), operation.replace("_", " "), got, f"{number:,}")
    console.print(table)


@trace_app.command("redact")
def trace_redact(trace: TraceFile, out: Output) -> None:
    """Write a trace without its secrets."""
    from simulator.errors import TraceError  # noqa: PLC0415 - as above
    from simulator.traces.format import read_trace  # noqa: PLC0415
    from simulator.traces.rewriting import redacted_lines  # noqa: PLC0415
    from simulator.traces.writing import write_lines  # noqa: PLC0415

    try:
        write_lines(out, redacted_lines(read_trace(trace)), private=False)
    except TraceError as error:
        fail("trace redact", str(error))
    except OSError as error:
        fail("trace redact", f"{out}: cannot be written ({error.strerror})")


@trace_app.command("filter")
def trace_filter(
    trace: TraceFile,
    out: Output,
    attack: Annotated[
        list[str] | None,
        typer.Option(help="An attack's exchanges, or `honest` traffic.", envvar="HATCHFARM_TRACE_ATTACK"),
    ] = None,
    machine: Annotated[
        list[int] | None, typer.Option(help="A machine's, by its number.", envvar="HATCHFARM_TRACE_MACHINE")
    ] = None,
    principal: Annotated[
        list[str] | None,
        typer.Option(
            help="Those that name an owner, a worker's id, or `machine.3`.", envvar="HATCHFARM_TRACE_PRINCIPAL"
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Sent at or after this, as 10s.", envvar="HATCHFARM_TRACE_FROM")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Sent before this, as 1m.", envvar="HATCHFARM_TRACE_TO")
    ] = None,
) -> None:
    """Write the part of a trace that is of an attack, machine, principal and time, and what it builds on.

    Each option but the times may be given several times. Times count from the start of the run.
    """
    from simulator.errors import TraceError  # noqa: PLC0415
    from simulator.scenario.kinds import parse_offset  # noqa: PLC0415 - as above
    from simulator.traces.choosing import Chosen, choose  # noqa: PLC0415
    from simulator.traces.format import read_trace  # noqa: PLC0415
    from simulator.traces.writing import write_lines  # noqa: PLC0415

    try:
        times = [None if text is None else int(parse_offset(text)) for text in (since, until)]
    except ValueError as error:
        fail("trace filter", str(error))
    chosen = Chosen(tuple(attack or ()), tuple(machine or ()), tuple(principal or ()), *times)
    if chosen == Chosen():
        fail("trace filter", "nothing to go by: give --attack, --machine, --principal, --from or --to")
    try:
        part = choose(read_trace(trace), chosen)
        header = part.trace.header
        write_lines(out, iter((header, *part.trace.exchanges)), private=not header.redacted)
    except TraceError as error:
        fail("trace filter", str(error))
    except OSError as error:
        fail("trace filter", f"{out}: cannot be written ({error.strerror})")
    built_on = header.exchanges - part.chosen
    typer.echo(f"{out}: exchanges: {part.chosen:,}, and what they build on: {built_on:,}")


@trace_app.command("export")
def trace_export(
    trace: TraceFile,
    har: Annotated[Path, typer.Option(help="Where to write the HAR.", envvar="HATCHFARM_HAR")],
) -> None:
    """Write a trace as HAR 1.2, as redacted as the trace is."""
    import msgspec  # noqa: PLC0415 - as above

    from simulator.errors import TraceError  # noqa: PLC0415
    from simulator.platform.output_files import write_whole  # noqa: PLC0415
    from simulator.traces.format import read_trace  # noqa: PLC0415
    from simulator.traces.har_export import to_har  # noqa: PLC0415

    try:
        read = read_trace(trace)
        data = msgspec.json.encode(to_har(read, version("hatchfarm-harness")))
        write_whole(har, [data + b"\n"], private=not read.header.redacted)
    except TraceError as error:
        fail("trace export", str(error))
    except OSError as error:
        fail("trace export", f"{har}: cannot be written ({error.strerror})")


@trace_app.command("import")
def trace_import(
    har: Annotated[Path, typer.Argument(help="A HAR file.", envvar="HATCHFARM_HAR")],
    out: Output,
    *,
    with_secrets: WithSecrets = False,
    host: Annotated[
        str,
        typer.Option(
            help="The server whose entries to take, as host or host:port; else the one that the API's went to.",
            envvar="HATCHFARM_HAR_HOST",
        ),
    ] = "",
    include: Annotated[
        list[str] | None,
        typer.Option(help="Take only paths like this, as '/api/*'.", envvar="HATCHFARM_HAR_INCLUDE"),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out paths like this.", envvar="HATCHFARM_HAR_EXCLUDE")
    ] = None,
) -> None:
    """Make a trace of a HAR, from this program, a browser or a proxy, and say what of it was left out and why."""
    from simulator.errors import TraceError  # noqa: PLC0415
    from simulator.limits import HAR_MAX_BYTES  # noqa: PLC0415 - as above
    from simulator.traces.format import Header  # noqa: PLC0415
    from simulator.traces.har_import import Choice, describe_counts, from_har  # noqa: PLC0415
    from simulator.traces.writing import write_lines  # noqa: PLC0415

    try:
        with har.open("rb") as file:
            data = file.read(HAR_MAX_BYTES + 1)
    except OSError as error:
        fail("trace import", f"{har}: cannot be read ({error.strerror})")
    if len(data) > HAR_MAX_BYTES:
        fail("trace import", f"{har}: larger than {HAR_MAX_BYTES:,} bytes: take it apart first")
    try:
        choice = Choice(host, tuple(include or ()), tuple(exclude or ()))
        imported = from_har(data, har.stem, redact=not with_secrets, choice=choice)
        lines = list(imported.lines)
        private = any(isinstance(line, Header) and not line.redacted for line in lines)
        write_lines(out, iter(lines), private=private)
    except TraceError as error:
        fail("trace import", f"{har}: {error}")
    except OSError as error:
        fail("trace import", f"{out}: cannot be written ({error.strerror})")
    of_server = f" of requests to {imported.server}" if imported.server else ""
    typer.echo(f"{out}: exchanges{of_server}: {imported.taken:,}")
    for what, counts in (("left out", imported.left_out), ("mended", imported.bent)):
        if counts:
            typer.echo(f"{what}: {describe_counts(counts)}")
