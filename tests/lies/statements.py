"""Each statement of the wire contract that a client can see: what proves it, and a lie about it that is found.

A lie is one of `LIES`, a fault planted in a server, or an attack in front of a server that grants everything.
"""

from __future__ import annotations

from typing import NamedTuple

PLANTED, GRANTED = "planted: ", "granted: "


class Statement(NamedTuple):
    """What the contract says in a section, the rules that prove it, and lies of which each breaks one of them."""

    section: str
    says: str
    rules: tuple[str, ...]
    lies: tuple[str, ...]


def stated(section: str, says: str, rules: str, *lies: str) -> Statement:
    """Write a statement; rules are separated by spaces, those without a kind are a checker's."""
    return Statement(section, says, tuple(one if "/" in one else f"checker/{one}" for one in rules.split()), lies)


def attacked(section: str, says: str, *attacks: str) -> Statement:
    """Write a statement that attacks prove."""
    return Statement(
        section, says, tuple(f"attack/{name}" for name in attacks), tuple(GRANTED + name for name in attacks)
    )


STATEMENTS = (
    # 1. conventions
    attacked("1", "every undeclared method is 405 on every route, under /api/v1 and /v1", "owner.verbs"),
    stated("1", "success is enveloped", "contents.envelope", "a bare success"),
    stated(
        "1",
        "failure is enveloped, 404 too",
        "contents.refusal-envelope",
        "plain-text 404",
        "a refusal that says success",
    ),
    stated(
        "1",
        "answers are JSON",
        "contents.content-type contents.refusal-content-type",
        "JSON shown as HTML",
        "refusals shown as text",
    ),
    stated(
        "1",
        "405 comes with Allow",
        "contents.allow attack/owner.verbs",
        "no method allowed",
        PLANTED + "405 without Allow",
    ),
    attacked("1", "request JSON is strict", "json.strict"),
    attacked("1", "a body over 1 MiB is 413", "json.huge"),
    stated("1", "times are RFC 3339 in UTC", "contents.time-form", "a local time"),
    attacked("1", "other forms of times are refused", "skew.forms"),
    stated("1", "ids have their prefix and digits", "contents.id-form", "ids in capitals"),
    stated("1", "a machine's token is 48 hex digits", "contents.token-form", "a token that can be guessed"),
    stated("1", "an id is given once", "contents.id-again", "registrations swapped"),
    stated(
        "1",
        "every answer has a request id of its own",
        "contents.request-id",
        "no request id",
        "the same request id every time",
        "a request id of capitals",
    ),
    stated(
        "1",
        "lists repeat limit and offset, and have a total",
        "contents.page-echo contents.page-total contents.page-size",
        "an audit page of another offset",
        "an audit page that says another total",
        "a longer page than asked for",
    ),
    attacked("1", "limits are clamped, and odd ones refused", "page.extremes"),
    stated("1", "no answer may be read by any origin", "contents.cors", "anybody may read"),
    stated("2", "what proves who calls is in no answer", "contents.secret", "the owners' token in every answer"),
    stated("1", "answers vary by origin", "contents.vary", "nothing varies"),
    # 2. who is calling
    attacked("2", "owners' routes need the bearer", "owner.no-auth"),
    stated("2", "so do the metrics", "attack/metrics.read", PLANTED + "any bearer token accepted"),
    attacked("2", "another owner in the body than in the header is 403", "owner.header-mismatch"),
    attacked("2", "owners act on what is theirs alone", "owner.idor", "owner.unknown-id"),
    attacked("2", "a header that is there twice is 400", "owner.duplicate-header"),
    stated(
        "2",
        "denied actions are audited for whom they were tried on",
        "audit.missing",
        PLANTED + "denials not audited for the one they were tried on",
    ),
    stated(
        "2",
        "how long a comparison takes tells nothing of a secret",
        "attack/credential.guess",
        GRANTED + "credential.guess",
    ),
    # 3. control plane
    stated("3", "what is made is answered 201, all else 200", "contents.status", "200 in place of 201"),
    stated(
        "3",
        "a registration shows machine, token and certificate",
        "contents.other contents.echo",
        "a machine of another owner",
        "a machine of another name",
    ),
    stated(
        "3",
        "what is shown was made when it was asked for",
        "contents.times",
        "a machine made an hour ago",
        "a consent from tomorrow on",
        "a certificate issued in an hour",
    ),
    stated("3", "a certificate names its machine", "contents.other", "another machine's certificate"),
    stated("3", "a certificate lives 15 minutes", "contents.lifetime", "a certificate for a day"),
    stated(
        "3",
        "a certificate is signed by a published key",
        "contents.signature contents.fields",
        "a certificate signed at random",
        "a renewed certificate signed at random",
        "no signature",
        "keys of another server",
    ),
    stated(
        "3", "the keys are published, and stay", "contents.keys contents.keys-changed", "no keys", "keys that change"
    ),
    stated(
        "3",
        "only the newest certificate is valid",
        "credentials.rotated-out attack/certificate.rotated-out answers.attack-accepted",
        GRANTED + "certificate.rotated-out",
        PLANTED + "any certificate id accepted",
    ),
    stated("3", "a certificate ends", "credentials.expired", PLANTED + "certificates never expire"),
    attacked(
        "3",
        "a rotation needs the machine's token and owner",
        "rotate.no-token",
        "rotate.wrong-owner",
        "rotate.wrong-token",
    ),
    stated(
        "3",
        "a new policy is a draft, with the rules and signature that were sent",
        "contents.state contents.echo",
        "a draft that is active",
        "a policy with other rules",
        "a policy with another signature",
    ),
    stated(
        "3",
        "a policy has a version from 1 on",
        "contents.fields contents.version",
        "a policy of a version before",
        "the same version again",
    ),
    stated("3", "an activation is of the policy that was named", "contents.echo", "an activation of another policy"),
    stated(
        "3", "a consent is of the worker and policy that were named", "contents.other", "a consent for another machine"
    ),
    stated("3", "a new consent is not revoked", "contents.state", "a consent that is revoked already"),
    attacked("3", "consents need an own worker and an active own policy", "consent.foreign"),
    attacked("3", "what was revoked is not consented to again", "consent.after-revoke"),
    attacked("3", "a machine's policy is that of the newest consent that is not revoked", "consent.newest"),
    stated(
        "3",
        "a second revoke changes nothing",
        "attack/revoke.twice",
        PLANTED + "a second revoke moves the time of the first",
    ),
    stated(
        "3",
        "a machine fetches the policy that it was consented to, as it was signed",
        "contents.policy-changed contents.policy-other contents.other",
        "rules that were never signed",
        "a policy that nobody consented to",
        "a policy for another machine",
    ),
    stated(
        "3",
        "owners are shown each of their machines, in order",
        "contents.status-missing contents.page-order",
        "a machine that is not shown",
        "statuses in another order",
    ),
    stated("3", "and none of others", "contents.status-foreign", "another owner's machine"),
    stated(
        "3",
        "with the age of its last heartbeat, and when it was",
        "contents.status-age",
        "statuses from an hour ago",
        "last heartbeats by another clock than their ages",
    ),
    stated("3", "its staleness", "contents.status-stale", "fresh machines shown as stale"),
    stated("3", "and its policy", "contents.status-policy", "a machine under another policy"),
    stated(
        "3",
        "summaries count them",
        "contents.summary",
        "more machines than there are",
        "a summary that does not add up",
    ),
    stated(
        "3",
        "a list of events has what was done, once",
        "audit.missing audit.duplicate",
        "one heartbeat's event left out",
        "an event told twice",
    ),
    stated(
        "3",
        "events have the time at which it was done",
        "contents.event-times",
        "events stamped an hour ahead",
        "events stamped an hour ahead, with the old hashes",
    ),
    stated("3", "?type= filters", "contents.page-filter", "events that the filter leaves out"),
    stated(
        "3",
        "events are chained",
        "audit.chain audit.hash",
        PLANTED + "chain does not link",
        "events stamped an hour ahead, with the old hashes",
    ),
    stated("3", "heads are the last events", "audit.head", PLANTED + "head one event behind"),
    stated("3", "lists are oldest first", "audit.order", PLANTED + "newest events first"),
    stated(
        "3",
        "nobody's noise evicts another's events",
        "audit.evicted audit.missing",
        PLANTED + "events evicted by a neighbour",
    ),
    stated(
        "3", "a refused request makes no owner", "audit.unexplained", PLANTED + "whoever is refused becomes an owner"
    ),
    attacked("3", "texts are shown escaped", "audit.inject"),
    stated(
        "3",
        "the health page has status, time and version",
        "contents.health contents.bare",
        "a health page without a version",
        "a health page that is a list",
    ),
    stated("3", "HEAD is GET without a body", "contents.unasked", "HEAD with a body"),
    # 4. the heartbeat
    stated(
        "4",
        "an acceptance names the machine that asked",
        "contents.other contents.fields",
        "an acceptance that names another machine",
        "acceptances swapped between machines",
        "an acceptance without a machine",
    ),
    stated("4", "success accepts", "contents.accepted answers.took-effect", "success that accepted nothing"),
    stated("4", "an honest heartbeat is accepted", "answers.took-effect", "honest heartbeats refused"),
    stated("4", "refusals have their own words", "contents.refusal-text", "one refusal for another"),
    stated("4", "what must be refused is", "answers.wrong answers.attack-accepted", "acceptances that were refusals"),
    attacked("4", "nonces and metrics have bounds", "nonce.oversized", "nonce.delimiter"),
    attacked("4", "a timestamp is within 90 s", "skew.behind", "skew.ahead", "skew.edge"),
    attacked("4", "a token is its machine's own", "credential.wrong-token", "credential.unknown-worker"),
    attacked("4", "a certificate is its machine's own", "certificate.forged", "certificate.foreign"),
    attacked("4", "a signature is right to the last bit", "signature.forged", "signature.encoding"),
    stated(
        "4",
        "a nonce is accepted once",
        "replay.accepted-twice attack/replay.exact attack/replay.concurrent",
        GRANTED + "replay.exact",
        GRANTED + "replay.concurrent",
        PLANTED + "nonces kept for a second",
    ),
    attacked("4", "on the victim's own connection too", "replay.own-connection"),
    attacked("4", "with other metrics, or by another machine", "replay.tampered-metrics", "replay.cross-worker"),
    stated("4", "a forger burns no nonce", "attack/nonce.burn", PLANTED + "nonce burnt by a bad signature"),
    stated("4", "a replay is known after a restart", "durability.nonce", PLANTED + "forgets nonces over a restart"),
    stated("4", "without Redis nothing is accepted unseen", "nonces.open", PLANTED + "fails open without Redis"),
    stated("4", "a flush of Redis is noticed", "nonces.open", PLANTED + "a flush goes unnoticed"),
    stated("4", "nothing is accepted after a revoke", "revocation.accepted-after", PLANTED + "revoke lost"),
    attacked("4", "policy fetches are refused alike", "policy-fetch.bogus"),
    stated(
        "4",
        "reasons are counted, by a closed set",
        "alerts.by-reason attack/metrics.inject",
        PLANTED + "a replay counted for another reason",
        GRANTED + "metrics.inject",
    ),
    # 5. signatures and rules
    attacked("5", "policies are signed in their canonical form", "policy.canonical"),
    attacked("5", "rules are allowed by name and bounds", "policy.rules"),
    # 6. defences
    stated("6", "no client is refused that has tokens", "limits.too-few", "too many, until some day"),
    stated(
        "6",
        "429 says so, and when to try again",
        "contents.retry-after contents.refusal-text",
        "too many, until some day",
        "too many, said in other words",
    ),
    stated("6", "and none gets through more", "limits.too-many", PLANTED + "one bucket a connection"),
    attacked("6", "a client is no one that it forwards for", "limit.spoofed-ip"),
    stated(
        "6",
        "each request gets one answer",
        "contents.unasked",
        "a second answer behind the first",
        "bytes behind an answer",
    ),
    stated("6", "its length is told once", "contents.framing", "two lengths"),
    attacked(
        "6",
        "ambiguous framing is 400",
        "http.cl-te",
        "http.two-cl",
        "http.bad-length",
        "http.bare-lf",
        "http.obs-fold",
        "http.space-colon",
        "http.nul",
    ),
    attacked("6", "large heads are 431", "http.large-headers"),
    attacked("6", "slow requests are closed by a deadline", "http.slowloris", "http.slow-body"),
    # 7. durability
    stated(
        "7",
        "what was acknowledged survives",
        "durability.machine durability.heartbeat",
        PLANTED + "answers before it has written",
    ),
    stated(
        "7", "what was refused changes nothing", "durability.refused", PLANTED + "keeps what it refused for a full disk"
    ),
    # 8. agents, jobs, resources, forum, wallet
    attacked("8", "an agent's name is nobody else's, however it is spelt", "agent.names"),
    attacked("8", "a job has bounds, and a price above zero", "job.bodies"),
    # 10. metrics
    stated("10", "metrics are text format 0.0.4", "contents.metrics-content-type", "metrics shown as JSON"),
    stated(
        "10",
        "values agree with what was done",
        "alerts.unknown alerts.failures alerts.recent",
        "metrics that are partly old",
        "failures that were never counted",
    ),
    stated("10", "values of a scrape agree", "alerts.sum", "failures that were never counted"),
    stated(
        "10",
        "the stale alert is on when a worker is stale",
        "alerts.stale-gauge alerts.stale",
        PLANTED + "stale alert needs two",
    ),
    stated(
        "10",
        "the failure alert begins at its threshold",
        "alerts.auth-gauge",
        PLANTED + "alert above its threshold instead of at it",
    ),
)
