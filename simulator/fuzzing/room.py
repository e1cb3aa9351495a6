"""Making room for the drawn attacks: each is tried at least once while no fault or absence is in its way.

Without that, three runs in ten proved nothing about at least one of their attacks: no victim was ready while the attack
lasted, or its one attempt met a fault. What was drawn stays where it is; attacks are tried again later or last longer,
and the run is lengthened if it has no time for that. Nothing here is random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reference_server.wire.units import MILLISECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import CERTIFICATE_MARGIN_NS, ShotAttack
from simulator.fuzzing.ingredients import EXPIRES, FORGETTING, LASTING_CERTIFICATES
from simulator.scenario.kinds import parse_duration
from simulator.scenario.values import CLOCK_FAULT, LATE_NETWORK_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from simulator.fuzzing.documents import Document

SCRIPT_MS, SCRIPT_ROOM_MS = 2000, 4000
"""How long after a fault an attempt of a script begins, because one whose preparation gets a 503 proves nothing, and
the time that an attempt needs."""
ONBOARDING_MS = 500
"""Time for a machine to be onboarded or to rotate its certificate, once it is due; and for two shots."""
OVER_MS = 500
"""How much later than planned a fault may end: kills and pauses wait until a request waits for the disk or Redis."""
RECOVERS_MS = {"disk.full": 4500}
"""By kind of fault, the time after its end until the server has noticed the end: it retries at growing intervals."""
BACK_OFF = 2.5
"""The longest that a machine stays away after a fault cost it two answers in a row, in heartbeat intervals."""
ROTATING = "certificate.rotated-out"
"""The attack whose victims must first do something, at their next heartbeat."""
CAPTURING = ("replay.", ROTATING)
"""Prefixes of the names of shots that need an earlier request of the victim, and not just its credentials."""
SHIFTED_MS = 1000
"""An attack that begins at most this long before the moved faults belongs to them, and is moved as well."""
LENGTHENED_MAX = 3
"""The most times that a run is lengthened: machines may be away in the added time, too."""
AGAIN_MS = 200
"""How much longer a campaign of several attempts lasts than the time until its last attempt."""


class Span(NamedTuple):
    """A period of a run, in milliseconds from its start."""

    begin: int
    end: int


def has_lasting_certificates(document: Document) -> bool:
    """Return whether machines keep a certificate long enough for attacks that must not meet its expiry."""
    settings, fleet = document["server"]["settings"], document["fleet"]
    seconds = settings.get("MACHINE_CERT_TTL_SECONDS", LASTING_CERTIFICATES)
    kept_ms = min(1000 * seconds, _ms(fleet.get("certificate_rotation", f"{seconds}s")))
    return bool(kept_ms >= CERTIFICATE_MARGIN_NS // MILLISECOND_NS + _beat_ms(document))


def keep_certificates(document: Document) -> None:
    """Make certificates last if an attack must not meet their expiry; leave it out if another attack waits for that."""
    attacks = document["attacks"]
    careful = [one for one in attacks if keeps_clear_of_expiry(one["name"])]
    if not careful or has_lasting_certificates(document):
        return
    if any(one["name"] == EXPIRES for one in attacks):
        document["attacks"] = [one for one in attacks if one not in careful]
        return
    settings, fleet = document["server"]["settings"], document["fleet"]
    if "MACHINE_CERT_TTL_SECONDS" in settings:
        settings["MACHINE_CERT_TTL_SECONDS"] = LASTING_CERTIFICATES
    if not has_lasting_certificates(document):
        fleet["certificate_rotation"] = f"{CERTIFICATE_MARGIN_NS // MILLISECOND_NS + 2 * _beat_ms(document)}ms"


def keeps_clear_of_expiry(name: str) -> bool:
    """Return whether an attack's shots need a certificate that lasts for a while."""
    return name.startswith(("replay.", "signature.")) and issubclass(CATALOGUE[name], ShotAttack)


def make_room(document: Document) -> None:
    """Change attacks so that each is tried once with nothing in its way, and lengthen the run if it needs more time."""
    for _ in range(LENGTHENED_MAX):
        missing = list(_missing(document))
        if not missing:
            break
        _lengthen(document, max(missing))
    meet_victims(document)
    calm = _for_scripts(document)
    for attack in document["attacks"]:
        if not _is_shot(attack):
            _try_again(attack, calm)


def meet_victims(document: Document) -> None:
    """Make shots last until a victim is ready, if the run is long enough for that."""
    captures, shots = _for_captures(document), _for_shots(document)
    turn_ms = _beat_ms(document) + ONBOARDING_MS
    for attack in filter(_is_shot, document["attacks"]):
        calm = captures if attack["name"].startswith(CAPTURING) else shots
        _shoot_until(attack, calm, turn_ms if attack["name"] == ROTATING else 0)


def _is_shot(attack: Document) -> bool:
    return issubclass(CATALOGUE[attack["name"]], ShotAttack)


# --- when nothing is in the way


def _ms(duration: str) -> int:
    return parse_duration(duration) // MILLISECOND_NS


def _beat_ms(document: Document) -> int:
    """Return the longest time between two heartbeats of a machine."""
    fleet = document["fleet"]
    return int(_ms(fleet["heartbeat_interval"]) * (1 + fleet.get("jitter", 0.1)))


def _back_ms(document: Document) -> int:
    """Return the time after a fault or an absence by which every machine has sent a heartbeat again."""
    return int(BACK_OFF * max(1000, _beat_ms(document))) + ONBOARDING_MS


def _missing(document: Document) -> Iterator[int]:
    """Yield the times by which a run is too short: for its attacks, and to see any heartbeats of the fleet."""
    shots = [*filter(_is_shot, document["attacks"])]
    if len(shots) < len(document["attacks"]) and not _for_scripts(document):
        yield SCRIPT_MS + SCRIPT_ROOM_MS
    if shots and not _for_shots(document):
        yield 2 * ONBOARDING_MS
    hidden = "faults" in document and "silence" in document["fleet"]
    if (hidden or any(one["name"].startswith(CAPTURING) for one in shots)) and not _for_captures(document):
        yield _back_ms(document) + ONBOARDING_MS


def _for_scripts(document: Document) -> list[Span]:
    return _calm(document, _faults(document, SCRIPT_MS), SCRIPT_ROOM_MS)


def _for_shots(document: Document) -> list[Span]:
    """Return the periods in which shots are answered and their victims have been onboarded."""
    away = [*_faults(document, ONBOARDING_MS), Span(0, _start_ms(document) + ONBOARDING_MS)]
    return _calm(document, away, ONBOARDING_MS)


def _for_captures(document: Document) -> list[Span]:
    """Return the periods in which shots are answered and their victims have sent heartbeats."""
    back_ms = _back_ms(document)
    away = [*_faults(document, back_ms), *_absences(document, back_ms)]
    away.append(Span(0, _start_ms(document) + _beat_ms(document) + ONBOARDING_MS))
    return _calm(document, away, ONBOARDING_MS)


def _faults(document: Document, after_ms: int) -> Iterator[Span]:
    """Yield the periods without answers because of faults, each longer by `after_ms`; `FORGETTING` lasts to the end."""
    for one in document.get("faults", ()):
        if one["kind"] == CLOCK_FAULT or one["kind"] in LATE_NETWORK_FAULTS:
            continue
        begin = _ms(one["at"])
        over = begin + _ms(one.get("duration", "0s")) + OVER_MS + RECOVERS_MS.get(one["kind"], 0) + after_ms
        yield Span(begin, _ms(document["duration"]) if one["kind"] in FORGETTING else over)


def _start_ms(document: Document) -> int:
    """Return the time by which all machines have started."""
    return _ms(document["fleet"]["stages"][0]["duration"])


def _absences(document: Document, after_ms: int) -> Iterator[Span]:
    """Yield the periods in which machines are away, by stages or silence, each longer by `after_ms`."""
    fleet = document["fleet"]
    if min(one["target"] for one in fleet["stages"]) < fleet["machines"]:
        yield Span(_start_ms(document), sum(_ms(one["duration"]) for one in fleet["stages"]) + after_ms)
    for one in fleet.get("silence", ()):
        yield Span(_ms(one["at"]), _ms(one["at"]) + _ms(one["duration"]) + after_ms)


def _calm(document: Document, away: Iterable[Span], need_ms: int) -> list[Span]:
    """Return the periods in which something that takes `need_ms` may begin without meeting any of `away`."""
    calm, free = [], 0
    end = _ms(document["duration"])
    for one in [*sorted(away), Span(end, end)]:
        if free + need_ms <= one.begin:
            calm.append(Span(free, one.begin - need_ms))
        free = max(free, one.end)
    return calm


# --- what is changed


def _lengthen(document: Document, by_ms: int) -> None:
    """Lengthen a run: before the first `FORGETTING` fault, after which nothing can be proven, or else at its end."""
    faults: Sequence[Document] = document.get("faults", ())
    end = _ms(document["duration"])
    first = min((_ms(one["at"]) for one in faults if one["kind"] in FORGETTING), default=end)
    for one in faults:
        if one["kind"] == CLOCK_FAULT:
            _add(one, "duration", by_ms)
        elif _ms(one["at"]) >= first:
            _add(one, "at", by_ms)
    for attack in document["attacks"]:
        start = _ms(attack["start"])
        if _is_shot(attack):
            if start + _ms(attack["duration"]) > first:
                _add(attack, "start" if start >= first - SHIFTED_MS else "duration", by_ms)
        elif start + SCRIPT_ROOM_MS > first:
            _repeat(attack, by_ms)  # once before the fault, and once where it was drawn
    document["duration"] = f"{end + by_ms}ms"


def _add(document: Document, key: str, by_ms: int) -> None:
    document[key] = f"{_ms(document[key]) + by_ms}ms"


def _shoot_until(attack: Document, calm: Sequence[Span], turn_ms: int) -> None:
    """Make shots last until two of them surely find an answer and a victim that has had `turn_ms` for its next turn."""
    start, end = _ms(attack["start"]), _ms(attack["start"]) + _ms(attack["duration"])
    two = int(2000 / attack["rate"])
    until = next((max(start + turn_ms, one.begin) + two for one in calm if start + turn_ms <= one.end), 0)
    if until > end:
        attack["duration"] = f"{until - start}ms"


def _try_again(attack: Document, calm: Sequence[Span]) -> None:
    """Repeat a script once if its first attempt meets a fault."""
    start = _ms(attack["start"])
    if any(one.begin <= start <= one.end for one in calm):
        return
    again = next((one.begin for one in calm if one.begin > start), 0)
    if again:
        _repeat(attack, again - start)


def _repeat(attack: Document, after_ms: int) -> None:
    after_ms = max(after_ms, AGAIN_MS + 1)  # a shorter interval would give more than two attempts
    attack["rate"] = round(1000 / after_ms, 6)
    attack["duration"] = f"{after_ms + AGAIN_MS}ms"
