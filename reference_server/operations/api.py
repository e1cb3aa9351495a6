"""The one way that every transport takes through the API (contract §1, §2, §6)."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from reference_server.core import heartbeats
from reference_server.core.bounds import STATE_BOUNDS, StateBounds
from reference_server.core.calls import Call
from reference_server.core.changes import Frozen
from reference_server.core.inquiry import Inquiry
from reference_server.core.rate_limit import client_key
from reference_server.core.state import State
from reference_server.core.tables import TABLES
from reference_server.core.trusted_proxies import TrustedProxies
from reference_server.operations.callers import CROSS_SITE, is_cross_site
from reference_server.operations.common_headers import CommonHeaders
from reference_server.operations.outcomes import (
    BODY_TOO_LARGE,
    DONE,
    HTTPS_REQUIRED,
    LIMITER_UNAVAILABLE,
    NOT_FOUND,
    PERSISTENCE_FAILED,
    SHARED_STATE_UNAVAILABLE,
    Admitted,
    Deferred,
    Outcome,
    Undecided,
    defer,
)
from reference_server.operations.routing import ROUTES, allowed_methods
from reference_server.operations.workers import heartbeat
from reference_server.wire.replies import INVALID_REQUEST, JSON_HEADERS, failure, rate_limited
from reference_server.wire.values import Instant, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reference_server.core.calls import Caller
    from reference_server.core.heartbeats import Refused, Verified
    from reference_server.core.table import Tables
    from reference_server.identity_ports import Answered, IdentityProvider, MoltbookIdentity
    from reference_server.operations.operation import Operation
    from reference_server.operations.outcomes import Chore, Resumed
    from reference_server.operations.routing import Routes
    from reference_server.ports import (
        BackgroundTask,
        Entropy,
        Journal,
        NonceStore,
        PayoutGateway,
        RateLimiter,
        Reservation,
        SharedJournal,
    )
    from reference_server.settings import Settings
    from reference_server.wire.signing import CertificateSigner


def _always(reply: Reply) -> Callable[[Instant], Reply]:
    return lambda _now: reply


class Api:
    """The API over one state. `handle` serves any request; `handle_heartbeat` is its express entry."""

    def __init__(
        self,
        settings: Settings,
        entropy: Entropy,
        signer: CertificateSigner,
        started: Instant,
        tables: Tables = TABLES,
        routes: Routes = ROUTES,
        bounds: StateBounds = STATE_BOUNDS,
    ) -> None:
        self.state = State(settings, entropy, signer, started, tables, bounds)
        self.settings = settings
        self.committing = False
        """Changes are on their way to the journal: what shows them has to wait for it."""
        self.unusable = False
        """The state holds what could not be made durable, and is not shown until another has taken its place."""
        self.nonces: NonceStore | None = None
        self.limiter: RateLimiter | None = None
        self.journal: Journal | None = None
        self.shared: SharedJournal | None = None
        self.providers: Mapping[str, IdentityProvider] = {}
        self.moltbook: MoltbookIdentity | None = None
        self.payouts: PayoutGateway | None = None
        self.background_tasks: tuple[BackgroundTask, ...] = ()
        self._routes = routes
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self._finish = CommonHeaders(entropy, settings.allowed_origins, routes.credentials).added_to

    def share(
        self, nonces: NonceStore, limiter: RateLimiter | None = None, background_tasks: tuple[BackgroundTask, ...] = ()
    ) -> None:
        """Keep nonces, and rate limits if there is a limiter, outside. Background tasks run as long as it serves."""
        self.state.nonces_outside = True
        self.nonces = nonces
        self.limiter = limiter
        self.background_tasks = background_tasks

    def share_state(
        self,
        journal: SharedJournal,
        limiter: RateLimiter | None = None,
        background_tasks: tuple[BackgroundTask, ...] = (),
    ) -> None:
        """Decide everything on a state that other instances have too, through their journal; `share` for the rest."""
        self.state.nonces_outside = True
        self.shared = journal
        self.limiter = limiter
        self.background_tasks = background_tasks

    def empty_state(self) -> State:
        """Make a state to be filled with what is durable; it shares what never is, like rate limits."""
        old = self.state
        state = State(self.settings, old.entropy, old.signer, old.started, old.tables, old.bounds)
        state.nonces_outside = old.nonces_outside
        state.buckets, state.rate_limited = old.buckets, old.rate_limited
        state.heartbeat_answers, state.extra_metrics = old.heartbeat_answers, old.extra_metrics
        state.auth_failures = old.auth_failures
        return state

    @property
    def _behind(self) -> bool:
        return bool(self.state.changes) or self.committing

    def handle(self, request: Request, now: Instant) -> Reply:
        """Answer any request: guards, routing, then the operation's own decision. Never raises for any input.

        Return a `Deferred` where the answer has to wait: for state outside this memory, or for somebody who is asked.
        """
        admitted = self.admit(request, now)
        return self.complete(admitted, request.body, now) if isinstance(admitted, Admitted) else admitted

    def admit(self, head: Request, now: Instant) -> Reply | Admitted:
        """Answer a request by its head alone where that suffices; else say what to do with its body.

        Takes the request's token of the rate limit, so each request comes here once. Where the limit is kept outside,
        `complete` asks for it. The reply may be `Deferred`. The body of `head` is not looked at.
        """
        headers = dict(head.headers)
        if head.method == "OPTIONS":
            return self._finish(Reply(HTTPStatus.OK, b"", JSON_HEADERS), headers)
        if self.proxies:
            head = self.proxies.see_through(head)
        client = client_key(head.client)
        if self.limiter is not None:
            outcome = self._route(head, headers)
            return outcome if isinstance(outcome, Admitted) else defer(Undecided(client, _always(outcome)), headers)
        refusal = self._limit(client, now)
        if refusal is not None:
            return self._finish(refusal, headers)
        outcome = self._route(head, headers)
        return outcome if isinstance(outcome, Admitted) else self._finish(outcome, headers)

    def complete(self, admitted: Admitted, body: bytes, now: Instant) -> Reply:
        """Answer a request that was admitted, with its whole body. May be `Deferred`."""
        operation, headers = admitted.operation, admitted.headers
        decide = partial(self._decide, admitted, body)
        if self.limiter is not None or (self.shared is not None and operation.shows_state):
            return defer(Undecided(client_key(admitted.request.client), decide), headers)
        outcome = decide(now)
        if isinstance(outcome, Reply) and not (self._behind and operation.shows_state):
            return self._finish(outcome, headers)
        return defer(outcome, headers)

    def handle_heartbeat(
        self,
        worker_id: str,
        token: str,
        certificate_id: str,
        body: bytes,
        client: str,
        now: Instant,
        secure: bool = False,  # noqa: FBT001, FBT002 - as arguments by name cost more
    ) -> Reply:
        """Answer a plain heartbeat: no `Origin` or duplicate headers, body within bounds. `secure`: it is over HTTPS.

        The transport adds `x-request-id` and `vary` itself, as `handle` does. The answer may be `Deferred`, as there.
        """
        address = client_key(client)
        verified = self.verify_heartbeat(worker_id, token, certificate_id, body, address, now, secure)
        return self.settle_heartbeat(verified, now)

    def verify_heartbeat(
        self,
        worker_id: str,
        token: str,
        certificate_id: str,
        body: bytes,
        address: str,
        now: Instant,
        secure: bool,  # noqa: FBT001 - as arguments by name cost more
    ) -> Reply | Verified | Refused:
        """Count a plain heartbeat for an address (`client_key`), and verify it; many may be before one is settled."""
        if self.limiter is None:
            refusal = self._limit(address, now)
            if refusal is not None:
                return refusal
        if self.limiter is not None or self.shared is not None:
            decide = partial(self._heartbeat, worker_id, token, certificate_id, body, secure=secure)
            return defer(Undecided(address, decide), None)
        if self.settings.require_https and not secure:
            return HTTPS_REQUIRED
        if self.unusable:
            return PERSISTENCE_FAILED
        return heartbeats.verify(self.state, now, worker_id, token, certificate_id, body)

    def settle_heartbeat(self, verified: Reply | Verified | Refused, now: Instant) -> Reply:
        """Decide what came of verifying a plain heartbeat at the same moment. May be `Deferred`."""
        if isinstance(verified, Reply):
            return verified
        try:
            outcome = heartbeats.settle(self.state, now, verified)
        except Frozen:
            outcome = PERSISTENCE_FAILED
        if isinstance(outcome, Reply) and not (self.state.changes or self.committing):
            return outcome
        return defer(outcome, None)

    def _heartbeat(
        self, worker_id: str, token: str, certificate_id: str, body: bytes, now: Instant, *, secure: bool
    ) -> Reply | Verified:
        if self.settings.require_https and not secure:
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

    def admit_counted(self, request: Undecided, wait_ns: int | None, now: Instant) -> Outcome:
        """Decide a request that was counted outside: it may pass, has to wait, or it is not known (None).

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

    def add_common_headers(self, deferred: Deferred, reply: Reply) -> Reply:
        """Return a deferred answer with what every answer carries, now that it is known."""
        return reply if deferred.request_headers is None else self._finish(reply, deferred.request_headers)

    def refuse(self, reply: Reply, client: str, now: Instant) -> Reply:
        """Answer, as a transport itself found right, what never became a request. It takes a token; may be `Deferred`.

        `client` is the address that it came from.
        """
        if self.limiter is not None:
            return defer(Undecided(client_key(client), _always(reply)), {})
        return self._finish(self._limit(client_key(client), now) or reply, {})

    def is_exhausted(self, client: str, now: Instant) -> bool:
        """Return whether the next request of a client would be over its rate limit; `client_key` names it.

        Where the limit is kept outside, nobody is.
        """
        return self.limiter is None and self.state.buckets.is_exhausted(client, now.monotonic_ns)

    def give_up(self, admitted: Admitted, reply: Reply) -> Reply:
        """Answer a request that was admitted, and whose body is too long or never complete. May be `Deferred`."""
        if self.limiter is not None:
            return defer(Undecided(client_key(admitted.request.client), _always(reply)), admitted.headers)
        return self._finish(reply, admitted.headers)

    def fail(self, reply: Reply) -> Reply:
        """Add the common headers to an answer to a request that was counted already, and then met a fault of ours."""
        return self._finish(reply, {})

    def _route(self, head: Request, headers: dict[str, str]) -> Reply | Admitted:
        """Find a request's operation, or refuse it by its head: these need no body, and no state but the token."""
        if self.settings.require_https and not self._secure(head, headers) and head.path != "/health":
            return HTTPS_REQUIRED
        by_method, ids = self._routes.find(head.path)
        if not by_method:
            return NOT_FOUND
        operation = by_method.get("GET" if head.method == "HEAD" else head.method)
        if operation is None:
            return failure(
                HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", (("allow", allowed_methods(by_method)),)
            )
        if len(headers) != len(head.headers):
            names = [name for name, _ in head.headers if name in self._routes.single_headers]
            if len(names) != len(set(names)):
                return INVALID_REQUEST
            cookies = [value for name, value in head.headers if name == "cookie"]
            if cookies:
                headers["cookie"] = "; ".join(cookies)  # browsers send each by itself over HTTP/2 (RFC 9113 §8.2.3)
        if head.body_too_large:
            return BODY_TOO_LARGE
        caller = operation.principal.admit(self.state, headers)
        if isinstance(caller, Reply):
            return caller
        if is_cross_site(self.state, caller, head.method, headers):
            return CROSS_SITE
        return Admitted(head, operation, ids, headers, caller)

    def _decide(self, admitted: Admitted, body: bytes, now: Instant) -> Reply | Verified | Inquiry:
        operation = admitted.operation
        if self.unusable and operation.shows_state:
            return self._refuse(operation)
        try:
            caller: Caller | Reply | Inquiry = admitted.caller
            if operation.principal.prove is not None:
                caller = operation.principal.prove(self.state, now, admitted.caller, admitted.headers)
            return self._decide_for(caller, admitted, body, now)
        except Frozen:
            return PERSISTENCE_FAILED

    def _decide_for(
        self, caller: Caller | Reply | Inquiry, admitted: Admitted, body: bytes, now: Instant
    ) -> Reply | Verified | Inquiry:
        """Decide what a caller asks, who may be refused, or whom somebody outside has to vouch for first."""
        if isinstance(caller, Reply):
            return caller
        if isinstance(caller, Inquiry):
            prove = caller.decide

            def decide(state: State, now: Instant, answer: Answered) -> Reply | Verified | Inquiry:
                return self._decide_for(prove(state, now, answer), admitted, body, now)

            return Inquiry(caller.question, decide)
        operation = admitted.operation
        read = operation.body_of(body)
        if read is None:
            return INVALID_REQUEST
        call = Call(admitted.request, read, now, admitted.ids, admitted.headers, caller, operation.query)
        return operation.decide(self.state, call)

    def resume(self, resumed: Resumed, now: Instant) -> Reply | Inquiry:
        """Decide a request whose inquiry was answered."""
        if self.unusable:
            return PERSISTENCE_FAILED if self.shared is None else SHARED_STATE_UNAVAILABLE
        try:
            outcome: Reply | Inquiry = resumed.inquiry.decide(self.state, now, resumed.answer)
        except Frozen:
            return PERSISTENCE_FAILED
        return outcome

    def do(self, chore: Chore, now: Instant) -> Reply:
        """Do what the server decides by itself."""
        if self.unusable:
            return PERSISTENCE_FAILED if self.shared is None else SHARED_STATE_UNAVAILABLE
        try:
            chore.decide(self.state, now)
        except Frozen:
            return PERSISTENCE_FAILED
        return DONE

    def _refuse(self, operation: Operation) -> Reply:
        """Refuse what shows a state that is not to be shown now."""
        if self.shared is None:
            return PERSISTENCE_FAILED
        return heartbeats.unavailable(self.state) if operation.decide is heartbeat else SHARED_STATE_UNAVAILABLE

    def _limit(self, client: str, now: Instant) -> Reply | None:
        wait_ns = self.state.buckets.take(client, now.monotonic_ns)
        return self._limited(wait_ns) if wait_ns else None

    def _limited(self, wait_ns: int) -> Reply | None:
        if wait_ns == 0:
            return None
        self.state.rate_limited += 1
        return rate_limited(wait_ns)

    def _secure(self, request: Request, headers: dict[str, str]) -> bool:
        if request.scheme == "https":
            return True
        return self.believes_https(headers.get("x-forwarded-proto", ""), proxied=request.proxied)

    def believes_https(self, forwarded_proto: str, *, proxied: bool) -> bool:
        """Return whether a plain request counts as one over HTTPS for its `X-Forwarded-Proto`.

        `proxied` says that a trusted proxy brought it: where proxies are named, nobody else is believed.
        """
        believed = self.settings.trust_proxy_headers and (proxied or not self.proxies)
        return believed and forwarded_proto.strip().lower() == "https"
