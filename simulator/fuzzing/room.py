"""Room for what was drawn: each attack can be tried once while nothing keeps its answers, or its victims, away.

Without it three runs in ten said nothing of one of their attacks at least: no victim was ready while it lasted, or its
one attempt met a fault. What was drawn stays where it is, and meets what it meets; attacks are tried again later, or
last longer, and the run is longer where it has no time for that. Nothing is drawn here.
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
"""How far after a fault an attempt begins, as one whose preparation gets a 503 proves nothing; and what it needs."""
ONBOARDING_MS = 500
"""For a machine to be onboarded, or to rotate its certificate, once its turn has come; and for two shots."""
OVER_MS = 500
"""By how much later a fault may be over: kills and pauses come when somebody waits for the disk or Redis."""
RECOVERS_MS = {"disk.full": 4500}
"""After faults of a kind, until a server that looks again ever less often has seen that they are over."""
BACK_OFF = 2.5
"""Of its interval, the longest that a machine stays away after two answers in a row that a fault kept."""
ROTATING = "certificate.rotated-out"
"""What has its victims do something at first, in their next turn."""
CAPTURING = ("replay.", ROTATING)
"""How the names of shots begin that need what a victim did before, and not its credentials alone."""
SHIFTED_MS = 1000
"""What begins so late before faults that are moved belongs to them, and is moved as well."""
LENGTHENED_MAX = 3
"""Times, as machines may be away in what a run was lengthened by: after a few, it stays as it is."""
AGAIN_MS = 200
"""How much longer than the way to its last attempt a campaign of several lasts."""


class Span(NamedTuple):
    """From a moment of a run to another, in milliseconds."""

    begin: int
    end: int


def has_lasting_certificates(document: Document) -> bool:
    """Return whether machines keep a certificate for long enough for attacks that keep clear of its end."""
    settings, fleet = document["server"]["settings"], document["fleet"]
    seconds = settings.get("MACHINE_CERT_TTL_SECONDS", LASTING_CERTIFICATES)
    kept_ms = min(1000 * seconds, _ms(fleet.get("certificate_rotation", f"{seconds}s")))
    return bool(kept_ms >= CERTIFICATE_MARGIN_NS // MILLISECOND_NS + _beat_ms(document))


def keep_certificates(document: Document) -> None:
    """Have certificates last where an attack keeps clear of their end; beside one that waits for it, leave it out."""
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
    """Have each attack be tried once while nothing is in its way, and the run last as long as that takes."""
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
    """Have shots last until a victim is ready, where the run as it is has time for that."""
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
    """Return the longest from one heartbeat of a machine to its next."""
    fleet = document["fleet"]
    return int(_ms(fleet["heartbeat_interval"]) * (1 + fleet.get("jitter", 0.1)))


def _back_ms(document: Document) -> int:
    """Return how long after a fault or an absence every machine has beaten again."""
    return int(BACK_OFF * max(1000, _beat_ms(document))) + ONBOARDING_MS


def _missing(document: Document) -> Iterator[int]:
    """Yield by how much a run would have to be longer: for attacks, and to see the fleet beat at all."""
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
    """Return when shots are answered, at victims who have been onboarded before."""
    away = [*_faults(document, ONBOARDING_MS), Span(0, _start_ms(document) + ONBOARDING_MS)]
    return _calm(document, away, ONBOARDING_MS)


def _for_captures(document: Document) -> list[Span]:
    """Return when shots are answered, at victims who have beaten before."""
    back_ms = _back_ms(document)
    away = [*_faults(document, back_ms), *_absences(document, back_ms)]
    away.append(Span(0, _start_ms(document) + _beat_ms(document) + ONBOARDING_MS))
    return _calm(document, away, ONBOARDING_MS)


def _faults(document: Document, after_ms: int) -> Iterator[Span]:
    """Yield when faults keep answers away, and for so long after: until the end after one that forgets."""
    for one in document.get("faults", ()):
        if one["kind"] == CLOCK_FAULT or one["kind"] in LATE_NETWORK_FAULTS:
            continue
        begin = _ms(one["at"])
        over = begin + _ms(one.get("duration", "0s")) + OVER_MS + RECOVERS_MS.get(one["kind"], 0) + after_ms
        yield Span(begin, _ms(document["duration"]) if one["kind"] in FORGETTING else over)


def _start_ms(document: Document) -> int:
    """Return when all machines have started."""
    return _ms(document["fleet"]["stages"][0]["duration"])


def _absences(document: Document, after_ms: int) -> Iterator[Span]:
    """Yield when machines are away, and for so long after: between two stages, and in their silence."""
    fleet = document["fleet"]
    if min(one["target"] for one in fleet["stages"]) < fleet["machines"]:
        yield Span(_start_ms(document), sum(_ms(one["duration"]) for one in fleet["stages"]) + after_ms)
    for one in fleet.get("silence", ()):
        yield Span(_ms(one["at"]), _ms(one["at"]) + _ms(one["duration"]) + after_ms)


def _calm(document: Document, away: Iterable[Span], need_ms: int) -> list[Span]:
    """Return when something may begin that needs so long, so that nothing is in its way."""
    calm, free = [], 0
    end = _ms(document["duration"])
    for one in [*sorted(away), Span(end, end)]:
        if free + need_ms <= one.begin:
            calm.append(Span(free, one.begin - need_ms))
        free = max(free, one.end)
    return calm


# --- what is changed


def _lengthen(document: Document, by_ms: int) -> None:
    """Have a run be longer: before what forgets, as nothing can be known after it, or else at its end."""
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
            _repeat(attack, by_ms)  # before it, and where it was to be
    document["duration"] = f"{end + by_ms}ms"


def _add(document: Document, key: str, by_ms: int) -> None:
    document[key] = f"{_ms(document[key]) + by_ms}ms"


def _shoot_until(attack: Document, calm: Sequence[Span], turn_ms: int) -> None:
    """Have shots last until two are sure to find a victim, who has had its turn meanwhile, and an answer."""
    start, end = _ms(attack["start"]), _ms(attack["start"]) + _ms(attack["duration"])
    two = int(2000 / attack["rate"])
    until = next((max(start + turn_ms, one.begin) + two for one in calm if start + turn_ms <= one.end), 0)
    if until > end:
        attack["duration"] = f"{until - start}ms"


def _try_again(attack: Document, calm: Sequence[Span]) -> None:
    """Have a script be tried once more where its first attempt meets a fault."""
    start = _ms(attack["start"])
    if any(one.begin <= start <= one.end for one in calm):
        return
    again = next((one.begin for one in calm if one.begin > start), 0)
    if again:
        _repeat(attack, again - start)


def _repeat(attack: Document, after_ms: int) -> None:
    after_ms = max(after_ms, AGAIN_MS + 1)  # else it would come more than twice
    attack["rate"] = round(1000 / after_ms, 6)
    attack["duration"] = f"{after_ms + AGAIN_MS}ms"
