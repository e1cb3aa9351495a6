"""The composition root: settings to adapters to core to http. `asgi` is the API for any ASGI server."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import trio

from reference_server.adapters import bounded_log
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.files.disk import SYSTEM_DISK
from reference_server.adapters.files.private_files import exposure, write_new
from reference_server.adapters.files.state_files import StateFiles
from reference_server.adapters.files.worker_status_file import WorkerStatusWriter, read_worker_status
from reference_server.adapters.huge_pages import HugePages
from reference_server.adapters.payouts import SimulatedPayouts, fails_by_its_id
from reference_server.adapters.stepped_clock import SteppedClock
from reference_server.core.machines import show_certificate
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.core.tables import TABLES
from reference_server.http.listening import ListenError
from reference_server.http.serve import serve_until_signal, stop_signals
from reference_server.limits import CONNECTIONS_MAX, FILES_KEPT, OPEN_FILES_ENOUGH
from reference_server.open_files import raise_open_files
from reference_server.operations.api import Api
from reference_server.operations.routing import ROUTES
from reference_server.outside import SYSTEM, check_alike
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.resolving import Resolver
from reference_server.ports import JournalError, SharedBounds
from reference_server.settings import Settings, SettingsError, load_settings, misspelt_settings
from reference_server.vouching import ask_outside
from reference_server.wire.signing import CertificateSigner, verify_certificate
from reference_server.wire.state_file import StateFileError
from reference_server.wire.timestamps import NEWEST_NS, format_timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from quart_trio import QuartTrio

    from reference_server.adapters.files.disk import Disk
    from reference_server.core.table import Tables
    from reference_server.operations.routing import Routes
    from reference_server.outside import Outside
    from reference_server.ports import Clock, Entropy
    from reference_server.wire.schema1 import StatusRecord
    from reference_server.wire.values import Instant

USAGE_ERROR = 2
SIGNING_KEY_ENDING = ".signing-key"
_log = logging.getLogger("hatchfarm")


def make_signer(settings: Settings, entropy: Entropy, disk: Disk = SYSTEM_DISK) -> CertificateSigner:
    """Read the signing key, or make one. Raises SettingsError, naming the file."""
    if settings.signing_key_file:
        return _read_signer("MACHINE_CERT_SIGNING_KEY_FILE", Path(settings.signing_key_file), disk)
    made = CertificateSigner.from_seed(bytes.fromhex(entropy.hex(64)))
    if not settings.state_file:
        return made
    # Certificates are kept in the state, so what they are checked with has to last as long.
    state_file = disk.resolve(Path(settings.state_file))
    path = state_file.with_name(state_file.name + SIGNING_KEY_ENDING)
    begun = path.with_name(path.name + ".tmp")
    try:
        disk.unlink(begun, missing_ok=True)  # left by a start that was cut off
        if disk.exists(path):
            return _read_signer("HATCHFARM_STATE_FILE", path, disk)
        write_new(begun, made.pem(), disk)
        disk.rename(begun, path)  # whole, or not there
        disk.sync_folder(path.parent)
    except OSError as error:
        raise SettingsError(
            f"HATCHFARM_STATE_FILE: {settings.state_file}: cannot write beside it ({error.strerror}): name a file in a "
            "folder that this server may use"
        ) from None
    return made


def _read_signer(variable: str, path: Path, disk: Disk) -> CertificateSigner:
    try:
        signer = CertificateSigner.from_pem(disk.read(path))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{variable}: cannot use {path} ({error}): make one with `openssl genpkey -algorithm ed25519`",
        ) from None
    _require_private(variable, path, disk)
    return signer


def _require_private(variable: str, path: Path, disk: Disk = SYSTEM_DISK) -> None:
    """Refuse a file with a secret that others can get at. Raises SettingsError."""
    problem = exposure(path, disk)
    if problem:
        raise SettingsError(f"{variable}: {problem}; then make it anew, for it may be known")


def _leave_token(token: str, entropy: Entropy) -> str:
    """Return what to show of this run's owner token: itself to whoever sits at the terminal, else where it is left.

    Standard error that is no terminal is a log, which others read and which is kept: so it is in a file that only
    they can read. Raises SettingsError.
    """
    if sys.stderr.isatty():
        return token
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = Path(folder) / f"hatchfarm-owner-token-{entropy.hex(16)}"
    try:
        write_new(path, token.encode() + b"\n")
    except OSError as error:
        raise SettingsError(
            f"HATCHFARM_API_TOKEN: is not set, and the token made for this run cannot be left in {path} "
            f"({error.strerror}): set it"
        ) from None
    atexit.register(path.unlink, missing_ok=True)
    return f"in {path}, until the server stops"


async def _show_token(shown: str, *, task_status: trio.TaskStatus[None]) -> None:
    """Show it once the server listens: to one that cannot, it would be of no use."""
    sys.stderr.write(f"Owner token of this run: {shown}\n")
    task_status.started()


def make_api(
    environ: Mapping[str, str],
    entropy: Entropy,
    clock: Clock,
    tables: Tables = TABLES,
    routes: Routes = ROUTES,
    bounds: SharedBounds = SharedBounds(),  # noqa: B008 - frozen
    outside: Outside = SYSTEM,
) -> Api:
    """Build the API from the environment, with these tables and routes. Raises SettingsError.

    Without a token in the environment one is made, warned about, and shown once, by a background task (`_show_token`).
    """
    settings = load_settings(environ)
    shown = ""
    if not settings.api_token:
        token = entropy.hex(48)
        settings = msgspec.structs.replace(settings, api_token=token)
        _log.warning("HATCHFARM_API_TOKEN is not set: this run's owner token is lost when the server stops")
        shown = _leave_token(token, entropy)
    if settings.tls_key_file:
        _require_private("TLS_KEY_FILE", Path(settings.tls_key_file))
    api = Api(settings, entropy, make_signer(settings, entropy, outside.disk), clock.now(), tables, routes)
    failures = settings.payout_simulated_failures
    api.payouts = SimulatedPayouts(clock, settings.payout_simulated_seconds, partial(fails_by_its_id, failures))
    if settings.state_file:
        _keep(api, entropy, clock, outside.disk)
    if settings.shared_state:
        outside.share_state(api, entropy, clock, bounds)
    elif settings.redis_addr:
        outside.share(api, entropy, clock, not api.state.workers)
    if not (settings.state_file or settings.shared_state):
        api.state.orphan_statuses = _legacy_statuses(settings)
        if settings.worker_status_file:
            api.background_tasks = (*api.background_tasks, WorkerStatusWriter(settings.worker_status_file, api).run)
    ask_outside(api, clock, outside.make_transport)
    if shown:
        api.background_tasks = (*api.background_tasks, partial(_show_token, shown))
    return api


def _keep(api: Api, entropy: Entropy, clock: Clock, disk: Disk) -> None:
    """Fill the API's state with what is durable, and keep it so from here on."""
    settings, state = api.settings, api.state
    state.nonces_outside = bool(settings.redis_addr)
    gc.disable()  # what is made here all stays
    journal: StateFiles | None = None
    try:
        journal = StateFiles(settings.state_file, entropy, settings.journal_bytes, disk)
        recovered = recover(state, journal, clock.now())
        if not recovered.found:
            state.orphan_statuses = _legacy_statuses(settings)
        journal.start()
        if recovered.fresh:
            # It names a segment of its own, for what is in the present one may be in it already.
            journal.begin_snapshot(snapshot(state, clock.now(), journal.next_segment))()
            journal.rotate()
            journal.publish()
        journal.leave_first_segment()
    except (StateFileError, JournalError) as error:
        if journal is not None:
            journal.close()
        raise SettingsError(f"HATCHFARM_STATE_FILE: {settings.state_file}: {error}") from None
    finally:
        gc.enable()
    if recovered.warning:
        _log.warning("%s: %s", settings.state_file, recovered.warning)
    _warn_of_what_lasts(api, clock.now())
    state.changes = []
    api.journal = journal


def _warn_of_what_lasts(api: Api, now: Instant) -> None:
    """Warn of what in the state does not go with this server's key and clock."""
    state, path = api.state, api.settings.state_file
    newest = max(state.workers.values(), key=lambda worker: worker.certificate.issued_ns, default=None)
    if newest is not None and not verify_certificate(state.signer.jwk, show_certificate(newest.id, newest.certificate)):
        _log.warning("%s: the certificates in it were signed with another key: only new ones can be verified", path)
    until_ns = state.nonces.horizon_ns
    if until_ns > now.wall_ns + state.skew_ns:
        _log.warning(
            "%s: heartbeats stamped up to %s are refused, for it tells of some: see that this machine's clock is right",
            path,
            format_timestamp(min(until_ns, NEWEST_NS)),
        )


def _legacy_statuses(settings: Settings) -> dict[str, StatusRecord]:
    """Read the legacy worker-status file, if there is one. Raises SettingsError."""
    try:
        return read_worker_status(settings.worker_status_file) if settings.worker_status_file else {}
    except StateFileError as error:
        raise SettingsError(f"WORKER_STATUS_STATE_FILE: {settings.worker_status_file}: {error}") from None


def serve(
    environ: Mapping[str, str],
    *,
    express_lane: bool = True,
    until_stdin_closes: bool = False,
    clock_ahead: Path | None = None,
) -> int:
    """Run the server until SIGINT, SIGTERM or SIGHUP; `hatchfarm serve` is this. Returns the exit code.

    With `until_stdin_closes` the end of standard input stops it too, so that it cannot outlive whoever started it.
    `clock_ahead` is a file that steps its clock (`SteppedClock`).
    """
    clock: Clock = SystemClock()
    if clock_ahead is not None:
        clock = SteppedClock(clock, clock_ahead)
        try:
            clock.now()
        except (OSError, ValueError) as error:
            return _fail(f"--clock-ahead: {clock_ahead} holds no number of nanoseconds ({error})")
    bounded_log.install(sys.stderr.write, clock)
    entropy = SystemEntropy()
    open_files = raise_open_files()
    if open_files < OPEN_FILES_ENOUGH:
        _log.warning("Only %d files may be open, one for each connection: raise the limit (LimitNOFILE=)", open_files)
    for name, meant in misspelt_settings(environ).items():
        _log.warning("%r is no setting; did you mean %r?", name, meant)
    try:
        with _ended_in_order():
            api = make_api(environ, entropy, clock)
        if api.settings.shared_state:
            trio.run(check_alike, api, entropy, clock)
    except SettingsError as error:
        return _fail(str(error))
    problem = ""
    connections_max = max(1, min(CONNECTIONS_MAX, open_files - FILES_KEPT))
    try:
        serve_alone(
            api,
            partial(
                serve_until_signal,
                api,
                clock,
                entropy,
                express_lane=express_lane,
                connections_max=connections_max,
                until_stdin_closes=until_stdin_closes,
            ),
        )
    except* ListenError as group:
        problem = str(_first(group))
    return _fail(problem) if problem else 0


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """End the process in order at SIGTERM and SIGHUP before `serve_until_signal` handles them: state may load long.

    Their default is to kill the process, which would leave the file of an owner token behind.
    """

    def end(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in stop_signals() if number != signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_alone(api: Api, serve: Callable[[], Awaitable[None]]) -> None:
    """Have an API served, by `serve_until_signal`, in a process that does nothing else. Raises what that raises."""
    api.background_tasks = (*api.background_tasks, HugePages().run)
    trio.run(serve)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(message: str) -> int:
    sys.stderr.write(f"hatchfarm serve: {message}\n")
    return USAGE_ERROR


class _LazyAsgi:
    """The ASGI application, built from the environment when a server first calls it rather than when imported."""

    def __init__(self) -> None:
        self._app: QuartTrio | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            from reference_server.http.quart_app import create_app, run_in_lifespan  # noqa: PLC0415 - slow to load

            clock = SystemClock()
            api = make_api(os.environ, SystemEntropy(), clock)
            resolver = Resolver(api, clock)
            self._app = create_app(Answerer(api, clock, resolver), api.settings)
            run_in_lifespan(self._app, resolver)
        await self._app(scope, receive, send)


asgi = _LazyAsgi()
