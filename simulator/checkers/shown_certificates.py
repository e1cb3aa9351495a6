"""Whether certificates bear the signature of a key that their server publishes (contract §3)."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.signing import verify_certificate
from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.possible import find_restarts
from simulator.checkers.verdict import Finding
from simulator.limits import CERTIFICATES_VERIFIED_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.history.records import CertificateShown, KeyReading
    from simulator.history.rows import History

OK = HTTPStatus.OK
LIFE_STEP_SECONDS = 1.0
"""A server may show either end in whole seconds."""


def check_certificates(history: History, facts: Facts) -> Iterator[Finding]:
    """Find certificates that no published key has signed, certificates issued twice, and keys that are not shown."""
    readings = sorted(history.key_readings, key=lambda one: one.sent_ns)
    shown = [one for one in readings if one.status == OK and one.keys]
    if readings and not shown:
        first = readings[0]
        seen = f"HTTP {first.status}" if first.status != OK else "no Ed25519 key"
        message = f"GET /.well-known/hatchfarm-keys answered {seen}: nobody can check the server's certificates"
        yield Finding("contents.keys", message, first.sent_ns, {"status": first.status})
    began_anew = bool(restarts_of(history) or find_restarts(history, facts))
    if not began_anew:
        yield from _changed(shown)
    issued = list(history.certificates_shown)
    step = -(-len(issued) // CERTIFICATES_VERIFIED_MAX) or 1
    wrong = [one for one in issued[::step] if not _signed(one, shown, began_anew=began_anew)]
    if wrong:
        more = f" ({len(wrong):,} of {len(issued[::step]):,} that were looked at)" if len(wrong) > 1 else ""
        one = wrong[0]
        message = f"certificate {one.certificate_id} of {one.machine_id} was signed by no key that is published{more}"
        yield Finding("contents.signature", message, one.sent_ns, _evidence(one, len(wrong)))
    yield from _wrong_lifetimes(issued, facts)
    times = Counter(one.certificate_id for one in issued)
    twice = [one for one in issued if times[one.certificate_id] > 1]
    if twice:
        one = twice[-1]
        message = f"certificate {one.certificate_id} was issued {times[one.certificate_id]} times"
        yield Finding("contents.id-again", message, one.sent_ns, _evidence(one, len(twice)))


def _wrong_lifetimes(issued: list[CertificateShown], facts: Facts) -> Iterator[Finding]:
    """Find certificates that do not live as long as they must; what is no time is judged where it was seen."""
    wrong: list[tuple[CertificateShown, float]] = []
    for one in issued:
        issued_ns, expires_ns = parse_timestamp(one.issued_at), parse_timestamp(one.expires_at)
        if issued_ns is not None and expires_ns is not None:
            seconds = (expires_ns - issued_ns) / SECOND_NS
            if all(abs(seconds - right) > LIFE_STEP_SECONDS for right in facts.certificate_seconds):
                wrong.append((one, seconds))
    if wrong:
        one, seconds = wrong[0]
        more = f" ({len(wrong):,} such certificates)" if len(wrong) > 1 else ""
        allowed = " or ".join(f"{right:g}" for right in facts.certificate_seconds)
        message = f"certificate {one.certificate_id} lives {seconds:g} s, not {allowed} s{more}"
        yield Finding("contents.lifetime", message, one.sent_ns, _evidence(one, len(wrong)))


def _signed(one: CertificateShown, readings: list[KeyReading], *, began_anew: bool) -> bool:
    """Return whether a key has signed it that was published before and after; true where those are not the same.

    What a server published that `began_anew` says nothing about certificates on its one side alone.
    """
    before = [reading for reading in readings if reading.answered_ns <= one.sent_ns][-1:]
    after = [reading for reading in readings if reading.sent_ns >= one.answered_ns][:1]
    if began_anew and not (before and after):
        return True
    sets = {frozenset(reading.keys) for reading in (*before, *after)}
    return len(sets) != 1 or any(_verifies(key, one) for key in sets.pop())


def _verifies(key: str, one: CertificateShown) -> bool:
    try:
        return verify_certificate({"x": key}, msgspec.structs.asdict(one))
    except ValueError:  # a key, or a signature, of another form
        return False


def _changed(shown: list[KeyReading]) -> Iterator[Finding]:
    """Find keys that changed under a server that did not start anew."""
    for before, after in pairwise(shown):
        if set(before.keys) != set(after.keys):
            message = "the published keys changed, though the server did not start anew"
            yield Finding("contents.keys-changed", message, after.sent_ns, {"before": before.keys, "after": after.keys})
            return


def _evidence(one: CertificateShown, count: int) -> dict[str, object]:
    fields = msgspec.structs.asdict(one)
    campaign = fields.pop("campaign")
    return {**fields, "count": count, **({"campaign": campaign} if campaign else {})}
