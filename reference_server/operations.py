"""The whole API as one table, and the one way every transport takes through it (contract §1-§3, §6)."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from reference_server.core import consents, heartbeats, machines, policies, views
from reference_server.core.calls import Call
from reference_server.core.heartbeats import NONCES_UNAVAILABLE, Verified
from reference_server.core.rate_limit import client_key
from reference_server.core.state import Frozen, State
from reference_server.limits import TEXT_MAX_CHARACTERS
from reference_server.wire.exposition import CONTENT_TYPE, Figures, expose
from reference_server.wire.replies import INVALID_REQUEST, JSON_HEADERS, UNAUTHORIZED, failure
from reference_server.wire.signing import matches
from reference_server.wire.values import Headers, Instant, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.ports import Beside, Entropy, Journal, NonceStore, RateLimiter, Reservation, SharedJournal
    from reference_server.settings import Settings
    from reference_server.wire.signing import CertificateSigner

HTTPS_REQUIRED = failure(426, "https required", (("upgrade", "TLS/1.2, HTTP/1.1"), ("connection", "upgrade")))
NOT_FOUND = failure(404, "not found")
PERSISTENCE_FAILED = failure(500, "state persistence failed")
SHARED_STATE_UNAVAILABLE = failure(503, "shared state unavailable")
LIMITER_UNAVAILABLE = failure(503, "rate limiter unavailable")
BODY_TOO_LARGE = failure(413, "request body too large")
SINGLE_HEADERS = frozenset({"authorization", "x-owner-id", "x-machine-token", "x-machine-certificate-id"})
"""Headers that say who calls; sent twice, nobody can know who does."""
PREFIXES = ("/api/v1", "/v1")
CORS_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Machine-Certificate-Id, X-Machine-Token, X-Owner-ID"


class Principal(Enum):
    """Who may call an operation. A machine proves itself inside its operation, in the order the contract gives."""

    ANYONE = 1
    OWNER = 2
    MACHINE = 3


class Operation(msgspec.Struct, frozen=True):
    """One row of the API. `path` has `{id}` for a variable; `rooted` paths stand outside the versioned prefixes.

    `shows_state` is false for what says nothing of the state, and so never waits for it to be durable.
    """

    method: str
    path: str
    principal: Principal
    decide: Callable[[State, Call], Reply | Verified]
    rooted: bool = False
    shows_state: bool = True


class Undecided(msgspec.Struct, frozen=True):
    """A request that something outside comes before: its client's rate limit is counted, or the state is shared there.

    `decide` may be called again after it has refused to change anything, or has given a heartbeat.
    """

    client: str
    decide: Callable[[Instant], Reply | Verified]


class Held(Reply, frozen=True):
    """An answer that is not to be sent yet: `Settler` waits for what it depends on, then gives the one to send.

    As it stands it is the refusal that it becomes when nothing comes of what it waits for. `decided` is the answer if
    all goes well, or a heartbeat whose nonce is to be reserved outside first, or what is to be admitted before that.
    `request_headers` say how to dress the answer; None leaves that to the express lane.
    """

    decided: Reply | Verified | Undecided = INVALID_REQUEST
    request_headers: dict[str, str] | None = None


def heartbeat(state: State, call: Call) -> Reply | Verified:
    """`POST /workers/{id}/heartbeat`."""
    token = call.headers.get("x-machine-token", "")
    certificate_id = call.headers.get("x-machine-certificate-id", "")
    return heartbeats.heartbeat(state, call.now, call.ids[0], token, certificate_id, call.request.body)


def metrics(state: State, call: Call) -> Reply:
    """`GET /metrics`, for owners unless the settings make it public."""
    if not state.settings.metrics_public and not is_owner(state, call.headers):
        return UNAUTHORIZED
    monotonic_ns = call.now.monotonic_ns
    summary = state.fleet.summary(monotonic_ns)
    failures = state.failures
    recent = failures.recent(monotonic_ns)
    figures = Figures(
        uptime_seconds=(monotonic_ns - state.started.monotonic_ns) / 1e9,
        workers=summary.total,
        workers_stale=summary.stale,
        workers_unknown=summary.unknown,
        failures=failures.total,
        failures_recent=recent,
        failures_by_reason=failures.by_reason,
        failures_unattributed=failures.unattributed,
        alert_stale_workers=summary.stale > 0,
        alert_auth_failures=recent >= state.settings.auth_failure_threshold,
        nonces=len(state.nonces),
        rate_limit_buckets=len(state.buckets),
        rate_limited=state.rate_limited,
        heartbeat_answers=state.heartbeat_answers,
        more=[figure for figures in state.more_figures for figure in figures()],
    )
    return Reply(200, expose(figures), (("content-type", CONTENT_TYPE),))


OPERATIONS: tuple[Operation, ...] = (
    Operation("POST", "/machines/register", Principal.OWNER, machines.register),
    Operation("POST", "/machines/{id}/certificate", Principal.OWNER, machines.rotate_certificate),
    Operation("POST", "/policies", Principal.OWNER, policies.create_policy),
    Operation("POST", "/policies/{id}/activate", Principal.OWNER, policies.activate_policy),
    Operation("POST", "/consents", Principal.OWNER, consents.create_consent),
    Operation("POST", "/consents/{id}/revoke", Principal.OWNER, consents.revoke_consent),
    Operation("GET", "/workers/{id}/policy", Principal.MACHINE, views.worker_policy),
    Operation("GET", "/workers/{id}/status", Principal.OWNER, views.worker_status),
    Operation("GET", "/workers/summary", Principal.OWNER, views.workers_summary),
    Operation("GET", "/workers/statuses", Principal.OWNER, views.workers_statuses),
    Operation("GET", "/audit/events", Principal.OWNER, views.audit_events),
    Operation("POST", "/workers/{id}/heartbeat", Principal.MACHINE, heartbeat),
    Operation("GET", "/status", Principal.ANYONE, views.status, shows_state=False),
    Operation("GET", "/metrics", Principal.ANYONE, metrics),
    Operation("GET", "/health", Principal.ANYONE, views.health, rooted=True, shows_state=False),
    Operation("GET", "/metrics", Principal.ANYONE, metrics, rooted=True),
    Operation("GET", "/.well-known/hatchfarm-keys", Principal.ANYONE, views.keys, rooted=True, shows_state=False),
)
STATELESS_PATHS = frozenset(
    prefix + operation.path
    for operation in OPERATIONS
    for prefix in (("",) if operation.rooted else PREFIXES)
    if not operation.shows_state
)


def is_owner(state: State, headers: dict[str, str]) -> bool:
    """Say whether the request carries the owners' bearer token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return scheme == "Bearer" and matches(state.api_token, token)


def _as_utf8(value: str) -> str:
    """Read a header's value, whose bytes transports show as Latin-1 (RFC 9110 §5.5), as the UTF-8 that clients mean."""
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except ValueError:
        return value


class _Routes:
    """Paths to operations: exact ones by dictionary, ones with a variable by their parts around it."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Operation]] = {}
        self._around: dict[tuple[str, str], dict[str, Operation]] = {}
        for operation in OPERATIONS:
            for prefix in ("",) if operation.rooted else PREFIXES:
                before, variable, after = (prefix + operation.path).partition("{id}")
                if variable:
                    self._around.setdefault((before, after), {})[operation.method] = operation
                else:
                    self._exact.setdefault(before, {})[operation.method] = operation

    def find(self, path: str) -> tuple[dict[str, Operation], tuple[str, ...]]:
        """Give a path's operations by method, and its variable's value. Nothing is decoded: ids need no escapes."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, ()
        parts = path.split("/")
        for at in range(2, len(parts)):
            around = ("/".join(parts[:at]) + "/", "".join("/" + part for part in parts[at + 1 :]))
            by_method = self._around.get(around)
            if by_method is not None and parts[at]:
                return by_method, (parts[at],)
        return {}, ()


_ROUTES = _Routes()


def _hold(decided: Reply | Verified | Undecided, request_headers: dict[str, str] | None) -> Held:
    match decided:
        case Undecided():
            refusal = LIMITER_UNAVAILABLE
        case Verified():
            refusal = NONCES_UNAVAILABLE
        case _:
            refusal = PERSISTENCE_FAILED
    return Held(refusal.status, refusal.body, refusal.headers, decided, request_headers)


class Api:
    """The API over one state. `handle` serves any request; `handle_heartbeat` is its express entry."""

    def __init__(
        self,
        settings: Settings,
        entropy: Entropy,
        signer: CertificateSigner,
        started: Instant,
    ) -> None:
        self.state = State(settings, entropy, signer, started)
        self.settings = settings
        self.committing = False
        """Changes are on their way to the journal: what shows them has to wait for it."""
        self.unusable = False
        """The state holds what could not be made durable, and is not shown until another has taken its place."""
        self.nonces: NonceStore | None = None
        self.limiter: RateLimiter | None = None
        self.journal: Journal | None = None
        self.shared: SharedJournal | None = None
        self.beside: tuple[Beside, ...] = ()
        self._origins = frozenset(settings.allowed_origins)

    def share(self, nonces: NonceStore, limiter: RateLimiter | None = None, beside: tuple[Beside, ...] = ()) -> None:
        """Keep nonces, and rate limits if there is a limiter, outside. Each of `beside` runs as long as it serves."""
        self.state.nonces_outside = True
        self.nonces = nonces
        self.limiter = limiter
        self.beside = beside

    def share_state(
        self, journal: SharedJournal, limiter: RateLimiter | None = None, beside: tuple[Beside, ...] = ()
    ) -> None:
        """Decide everything on a state that other instances have too, through their journal; `share` for the rest."""
        self.state.nonces_outside = True
        self.shared = journal
        self.limiter = limiter
        self.beside = beside

    def empty_state(self) -> State:
        """Make a state to be filled with what is durable; it shares what never is, like rate limits."""
        old = self.state
        state = State(self.settings, old.entropy, old.signer, old.started)
        state.nonces_outside = old.nonces_outside
        state.buckets, state.rate_limited = old.buckets, old.rate_limited
        state.heartbeat_answers, state.more_figures = old.heartbeat_answers, old.more_figures
        return state

    @property
    def _behind(self) -> bool:
        return bool(self.state.changes) or self.committing

    def handle(self, request: Request, now: Instant) -> Reply:
        """Answer any request: guards, routing, then the operation's own decision. Never raises for any input.

        Gives a `Held` where the answer has to wait, which is never so while all state is in memory.
        """
        headers = dict(request.headers)
        if request.method == "OPTIONS":
            return self._finish(Reply(200, b"", JSON_HEADERS), headers)
        if self.limiter is not None:
            return _hold(Undecided(client_key(request.client), partial(self._guarded, request, headers)), headers)
        refusal = self._limit(client_key(request.client), now)
        if refusal is not None:
            return self._finish(refusal, headers)
        if self.shared is not None and request.path not in STATELESS_PATHS:
            return _hold(Undecided(client_key(request.client), partial(self._guarded, request, headers)), headers)
        outcome = self._guarded(request, headers, now)
        if isinstance(outcome, Reply) and not (self._behind and request.path not in STATELESS_PATHS):
            return self._finish(outcome, headers)
        return _hold(outcome, headers)

    def handle_heartbeat(
        self,
        worker_id: str,
        token: str,
        certificate_id: str,
        body: bytes,
        client: str,
        now: Instant,
    ) -> Reply:
        """Answer a plain heartbeat over http: no `Origin`, proxy or duplicate headers, body within bounds.

        The transport adds `x-request-id` and `vary` itself, as `handle` does. The answer may be `Held`, as there.
        """
        if self.limiter is not None:
            decide = partial(self._heartbeat, worker_id, token, certificate_id, body)
            return _hold(Undecided(client_key(client), decide), None)
        refusal = self._limit(client_key(client), now)
        if refusal is not None:
            return refusal
        if self.shared is not None:
            decide = partial(self._heartbeat, worker_id, token, certificate_id, body)
            return _hold(Undecided(client_key(client), decide), None)
        outcome = self._heartbeat(worker_id, token, certificate_id, body, now)
        if isinstance(outcome, Reply) and not (self.state.changes or self.committing):
            return outcome
        return _hold(outcome, None)

    def _heartbeat(
        self, worker_id: str, token: str, certificate_id: str, body: bytes, now: Instant
    ) -> Reply | Verified:
        if self.settings.require_https:
            return HTTPS_REQUIRED
        if self.unusable:
            return PERSISTENCE_FAILED if self.shared is None else heartbeats.unavailable(self.state)
        try:
            return heartbeats.heartbeat(self.state, now, worker_id, token, certificate_id, body)
        except Frozen:
            return PERSISTENCE_FAILED

    def accept(self, verified: Verified, reservation: Reservation, now: Instant) -> Reply:
        """Decide a heartbeat whose nonce was reserved outside."""
        if self.state.workers.get(verified.worker.id) is not verified.worker:
            return PERSISTENCE_FAILED  # it was verified in a state that has been undone meanwhile
        try:
            return heartbeats.accept(self.state, now, verified, reservation)
        except Frozen:
            return PERSISTENCE_FAILED

    def admit(self, request: Undecided, wait_ns: int | None, now: Instant) -> Reply | Verified | Undecided:
        """Decide a request that was counted outside: it may pass, has to wait, or nobody could tell (None).

        Where the state is shared too, what may pass stays undecided.
        """
        if wait_ns is not None:
            refusal = self._limited(wait_ns)
        elif self.settings.redis_rate_limit_fallback:
            refusal = self._limit(request.client, now)
        else:
            refusal = LIMITER_UNAVAILABLE
        if refusal is not None:
            return refusal
        return request.decide(now) if self.shared is None else request

    def dress(self, held: Held, reply: Reply) -> Reply:
        """Give a held answer what every answer carries, now that it is known."""
        return reply if held.request_headers is None else self._finish(reply, held.request_headers)

    def refuse(self, reply: Reply) -> Reply:
        """Dress an answer that a transport gives by itself, to a request that never became one."""
        return self._finish(reply, {})

    def _guarded(self, request: Request, headers: dict[str, str], now: Instant) -> Reply | Verified:
        if self.settings.require_https and not self._secure(request, headers) and request.path != "/health":
            return HTTPS_REQUIRED
        by_method, ids = _ROUTES.find(request.path)
        if not by_method:
            return NOT_FOUND
        operation = by_method.get(request.method)
        if operation is None:
            return failure(405, "method not allowed", (("allow", ", ".join(sorted({*by_method, "OPTIONS"}))),))
        if len(headers) != len(request.headers):
            names = [name for name, _ in request.headers if name in SINGLE_HEADERS]
            if len(names) != len(set(names)):
                return INVALID_REQUEST
        if request.body_too_large:
            return BODY_TOO_LARGE
        owner_id = _as_utf8(headers.get("x-owner-id", ""))
        if operation.principal is Principal.OWNER:
            if not is_owner(self.state, headers):
                return UNAUTHORIZED
            if len(owner_id) > TEXT_MAX_CHARACTERS:
                return machines.INVALID_OWNER_ID  # it may end up in audit events, and those are bounded
        if self.unusable and operation.shows_state:
            return self._refuse(operation)
        try:
            return operation.decide(self.state, Call(request, now, ids, headers, owner_id))
        except Frozen:
            return PERSISTENCE_FAILED

    def _refuse(self, operation: Operation) -> Reply:
        """Refuse what shows a state that is not to be shown now."""
        if self.shared is None:
            return PERSISTENCE_FAILED
        return heartbeats.unavailable(self.state) if operation.decide is heartbeat else SHARED_STATE_UNAVAILABLE

    def _limit(self, client: str, now: Instant) -> Reply | None:
        return self._limited(self.state.buckets.take(client, now.monotonic_ns))

    def _limited(self, wait_ns: int) -> Reply | None:
        if wait_ns == 0:
            return None
        self.state.rate_limited += 1
        retry_after_seconds = -(-wait_ns // 1_000_000_000)
        return failure(429, "rate limit exceeded", (("retry-after", str(retry_after_seconds)),))

    def _secure(self, request: Request, headers: dict[str, str]) -> bool:
        if request.scheme == "https":
            return True
        forwarded = headers.get("x-forwarded-proto", "").strip().lower()
        return self.settings.trust_proxy_headers and forwarded == "https"

    def _finish(self, reply: Reply, headers: dict[str, str]) -> Reply:
        """Put on what every answer carries: request id, `vary`, and CORS where the origin may call."""
        content_type, *others = reply.headers
        common: Headers = (content_type, ("x-request-id", self.state.entropy.hex(16)), ("vary", "Origin"), *others)
        if headers.get("origin") in self._origins:
            common += (("access-control-allow-origin", headers["origin"]),)
            if "access-control-request-method" in headers:
                common += (
                    ("access-control-allow-methods", "DELETE, GET, OPTIONS, POST, PUT"),
                    ("access-control-allow-headers", CORS_HEADERS),
                    ("access-control-max-age", "600"),
                )
        return Reply(reply.status, reply.body, common)
