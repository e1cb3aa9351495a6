"""Metrics: requests that would make new labels, and scrapes by those who may not read them (contract §4, §10)."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from simulator.attacks.acting import OK
from simulator.attacks.catalogue import random_hex
from simulator.attacks.parties import OwnerAttack, set_up_party
from simulator.attacks.routes import (
    API_METRICS,
    BEARER,
    HEARTBEAT,
    MACHINE_CERTIFICATE,
    MACHINE_TOKEN,
    METRICS,
    POLICY_FETCH,
    send,
    wrong_bearers,
)
from simulator.attacks.script import Claim, Expect, Send, granted, heartbeat_gets, refused
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message, owner_headers
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.script import Outcome, Script, ScriptContext

UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
BY_REASON = "hatchfarm_worker_auth_failures_by_reason_total"
MARK_DIGITS = 12
SHAPES = (
    '{}"',
    '{}"}} 1',
    '{}",reason="{}',
    "{}\nhatchfarm_{}_total 1",
    "{}\r\n# TYPE hatchfarm_{} counter",
    "{}\\",
    '{}{{reason="{}"}}',
    "{}_total",
    "wrk_{}",
    "hatchfarm_{}",
)
"""Texts that end a label, a sample or a line, or that look like names of their own; `{}` is a mark to find them by."""
IDS_A_SHAPE = 4
SERIES_SPARE = 20
"""Series that a server may have made meanwhile for labels of its own: fewer than the ids that are tried."""

Series = frozenset[tuple[str, tuple[tuple[str, str], ...]]]


def series_of(page: bytes) -> Series | None:
    """Return every series of a metrics page by its name and labels; None when the page does not parse."""
    try:
        families = list(text_string_to_metric_families(page.decode()))
    except ValueError:
        return None
    return frozenset((one.name, tuple(sorted(one.labels.items()))) for family in families for one in family.samples)


def read_figures(context: ScriptContext, client: int) -> Script[dict[str, float] | None]:
    """Read the metrics as an owner; return each sample by its name and labels. None where they are not shown."""
    message = http_message("GET", "/metrics", context.host, owner_headers(context.token))
    expect = granted(OK, "it carries the owners' token")
    outcome: Outcome = yield Send(message, expect, Operation.METRICS, client=client)
    if not outcome.right:
        return None
    try:
        families = list(text_string_to_metric_families(outcome.body.decode()))
    except ValueError:
        return None
    return {_name_of(one.name, one.labels): one.value for family in families for one in family.samples}


def _name_of(name: str, labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}" if pairs else name


def counted(rule: str, name: str, least: int, before: dict[str, float] | None, after: dict[str, float] | None) -> Claim:
    """Claim that a counter grew by so much at least between two readings: others may have made it grow, too."""
    if before is None or after is None:
        return Claim(rule, None, f"{name} could not be read")
    grown = after.get(name, 0.0) - before.get(name, 0.0)
    message = f"{name} grew by {grown:g}, where {least} were refused"
    return Claim(rule, grown >= least, message, {"metric": name, "grown": grown, "least": least})


class Inject(OwnerAttack):
    """Worker ids, tokens and fields made to become labels, or lines, of the metrics."""

    name = "metrics.inject"
    basis = Basis.PUBLISHED
    claim_bases = MappingProxyType({"closed-reasons": Basis.HARDENED, "no-growth": Basis.HARDENED})
    shape = "worker ids, credentials, nonces, timestamps and policy ids that end a label, a sample or a line"
    verdict = "401 invalid heartbeat auth and the like"
    effect = "one auth failure each, under one of the reasons there are; no new name, label or line"
    anchor = "contract §4: the set of reasons is closed; CWE-117"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        mark = random_hex(context.rng, MARK_DIGITS)
        before = yield from self._scrape(context, party, addresses)
        tried = 0
        for shape in SHAPES:
            for number in range(IDS_A_SHAPE):
                yield from self._tries(context, party, shape.replace("{}", f"{mark}{number}"), addresses)
                tried += 1
        after = yield from self._scrape(context, party, addresses)
        if before is None or after is None:
            return
        reasons = {dict(labels).get("reason") for name, labels in after if name == BY_REASON}
        strange = sorted(str(reason) for reason in reasons - set(REASONS.values()))
        yield Claim(
            "closed-reasons", not strange, f"{len(strange)} reasons are not of the contract", {"reasons": strange}
        )
        marked = [str(one) for one in after if mark in str(one)]
        yield Claim(
            "no-marks", not marked, f"{len(marked)} series hold what a request made up", {"series": marked[:10]}
        )
        gone, more = len(before - after), len([one for one in after - before if one[0] != BY_REASON])
        message = f"after {plural(tried, 'id')} that were made up {more:,} more series are shown, and {gone} no longer"
        yield Claim(
            "no-growth", not gone and more < SERIES_SPARE, message, {"gone": sorted(map(str, before - after))[:10]}
        )

    @staticmethod
    def _scrape(context: ScriptContext, party: Party, addresses: Addresses) -> Script[Series | None]:
        expect = granted(OK, "it carries the owners' token")
        outcome: Outcome = yield send(context, METRICS, party, expect, client=addresses.take())
        if not outcome.right:
            return None
        series = series_of(outcome.body)
        yield Claim("parses", series is not None, "the page is in the text format" if series else "the page is broken")
        return series

    @staticmethod
    def _tries(context: ScriptContext, party: Party, text: str, addresses: Addresses) -> Script[None]:
        """Try a text in every place that a reason could be made from."""
        plain = "".join(one for one in text if one.isprintable())
        credentials = {MACHINE_TOKEN: plain, MACHINE_CERTIFICATE: plain}
        for route, headers, answer in (
            (HEARTBEAT, credentials, Answer.INVALID_TOKEN),
            (HEARTBEAT, {}, Answer.MISSING_FIELDS),
            (POLICY_FETCH, credentials, Answer.POLICY_INVALID_TOKEN),
            (POLICY_FETCH, {}, Answer.POLICY_MISSING_HEADERS),
        ):
            expect = heartbeat_gets(answer, "no worker has that id")
            path = route.paths(context)[0].replace("{id}", quote(text, safe=""))
            yield send(
                context, route, party, expect, client=addresses.take(), path=path, headers=headers, known=False
            )  # fmt: skip
        fields = {"timestamp": text, "nonce": "n", "policy_id": "p", "metrics": {}, "signature": "s"}
        for body, answer in (
            (fields, Answer.INVALID_TIMESTAMP),
            ({**fields, "nonce": text + "|"}, Answer.MALFORMED_FIELDS),
            ({**fields, "policy_id": text + "\n"}, Answer.MALFORMED_FIELDS),
        ):
            expect = heartbeat_gets(answer, "a field of it is made up")
            payload = msgspec.json.encode(body)
            yield send(context, HEARTBEAT, party, expect, client=addresses.take(), payload=payload)


def metrics_are_public(context: ScriptContext, party: Party, addresses: Addresses) -> Script[bool]:
    """Ask for the metrics without a bearer: which of 200 and 401 is right depends on a setting that no route shows.

    Return whether they are, as the target answers only where the setting is not known.
    """
    statuses = {None: (UNAUTHORIZED, OK), True: (OK,), False: (UNAUTHORIZED,)}[context.metrics_public]
    expect = Expect(Answer.REFUSED, statuses, "", "metrics are public by METRICS_PUBLIC=true, and by nothing else")
    asked: Outcome = yield send(context, METRICS, party, expect, client=addresses.take(), headers={})
    return asked.status == OK if context.metrics_public is None else context.metrics_public


class Read(OwnerAttack):
    """Scrapes without the owners' token."""

    name = "metrics.read"
    basis = Basis.PUBLISHED
    shape = "a scrape of every metrics path without a bearer, with a wrong one and with a machine's token"
    verdict = "401 unauthorized"
    effect = "nothing is shown"
    anchor = "contract §10; OWASP API8:2023"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt. Metrics may be public by a setting: then there is nothing to try."""
        party = yield from set_up_party(context, addresses)
        if (yield from metrics_are_public(context, party, addresses)):
            yield Claim("public", None, "the target's metrics are public (METRICS_PUBLIC=true)")
            return
        expect = refused(UNAUTHORIZED, "unauthorized", "it carries no token of the owners")
        for route in (METRICS, *(() if Feature.API_METRICS in context.lacks else (API_METRICS,))):
            for path in route.paths(context):
                yield send(context, route, party, expect, client=addresses.take(), path=path, headers={})
                for bearer in wrong_bearers(context, party):
                    headers = {BEARER: bearer}
                    yield send(context, route, party, expect, client=addresses.take(), path=path, headers=headers)
        asked_by_query = f"/metrics?access_token={context.token}"
        yield send(context, METRICS, party, expect, client=addresses.take(), path=asked_by_query, headers={})
        yield send(context, METRICS, party, granted(OK, "it carries the owners' token"), client=addresses.take())
