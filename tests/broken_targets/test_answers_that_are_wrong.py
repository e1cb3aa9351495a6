"""Targets that are half an API, or answer with success and the wrong shape, or with what must not go on into requests.

What breaks the contract is proven wrong, unless the run cannot begin with it; what it says is never taken further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.broken_targets import faults
from tests.broken_targets.proxy import Moment
from tests.broken_targets.runs import (
    FAIL,
    INCONCLUSIVE,
    LIGHT,
    PASS,
    ROTATING,
    UNUSABLE,
    Case,
    Ended,
    assert_ended_well,
    play_all,
)
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broken_targets.proxy import Asked, Fault

NOT_FOUND = faults.status(404, b'{"success":false,"error":"not found"}')
DEEP = b'{"success":true,"data":' + b"[" * 100_000
JUST_BEFORE, JUST_AFTER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def on(method: str, end: str) -> Callable[[Asked], bool]:
    """Mean one route."""
    return lambda asked: asked.method == method and asked.path.partition("?")[0].endswith(end)


ROUTES = {
    "health": on("GET", "/health"),
    "metrics": on("GET", "/metrics"),
    "summary": on("GET", "/workers/summary"),
    "audit list": on("GET", "/audit/events"),
    "policies": on("POST", "/policies"),
    "consents": on("POST", "/consents"),
    "register": on("POST", "/machines/register"),
    "policy fetch": on("GET", "/policy"),
    "certificate": on("POST", "/certificate"),
    "heartbeat": on("POST", "/heartbeat"),
}
BEFORE_A_RUN = {"metrics", "policies"}
"""Without these no run begins."""
MAY_PASS = (PASS, INCONCLUSIVE)


def put(value: Any, *path: str) -> Fault:
    """Put a value into the data of a right answer."""

    def change(data: Any) -> Any:
        at = data
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value
        return data

    return faults.data(change)


def missing() -> list[Case]:
    """404 on one route each."""
    made = []
    for name, meant in ROUTES.items():
        codes: tuple[int, ...] = (FAIL,)
        says = ("404",)
        if name in BEFORE_A_RUN:
            codes = (UNUSABLE,)
        elif name == "health":
            says = ("there is no /health",)
        elif name == "summary":
            codes, says = MAY_PASS, ("does not show after how many seconds",)
        elif name == "audit list":
            codes = (INCONCLUSIVE, FAIL)
        scenario = ROTATING if name == "certificate" else LIGHT
        made.append(Case(f"404 on {name}", NOT_FOUND, Moment.CHECK, codes, says, meant, scenario=scenario))
    return made


def shapes() -> list[Case]:
    """Success with a body of another shape than the contract's."""
    made = []
    wrong = {
        "a list": faults.body(lambda _: b"[]"),
        "null for data": faults.data(lambda _: None),
        "a list for data": faults.data(lambda data: [data]),
        "deep nesting": faults.body(lambda _: DEEP),
        "no UTF-8": faults.body(lambda _: b'{"success":true,"data":{"id":"\xff"}}'),
    }
    for name in ("summary", "audit list", "policies", "consents", "register", "policy fetch", "certificate"):
        codes = {"policies": (UNUSABLE,)}.get(name, (FAIL,))
        says = {
            "summary": "does not show after how many seconds",
            "policies": "POST /policies",
            "audit list": "what is no audit list",
        }.get(name, "its answer is not what the contract says")
        scenario = ROTATING if name == "certificate" else LIGHT
        chosen = wrong if SOAK or name == "register" else dict(list(wrong.items())[len(name) % 4 :][:2])
        made += [
            Case(f"{shape} from {name}", fault, Moment.CHECK, codes, (says,), ROUTES[name], scenario=scenario)
            for shape, fault in chosen.items()
        ]
    return made


ODD_TEXTS = {
    "a header in it": "x\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1",
    "a quote in it": 'a","b":"',
    "a slash in it": "../../v1/policies",
    "other letters": "wrk_é☃",
    "100,000 letters": "x" * 100_000,
    "a number for it": 10**30,
    "null for it": None,
    "an object for it": {},
}
ID_PLACES = {
    "the worker's id": (ROUTES["register"], ("machine", "id")),
    "the machine's token": (ROUTES["register"], ("machine_token",)),
    "the certificate's id": (ROUTES["register"], ("machine_certificate", "certificate_id")),
    "the consent's id": (ROUTES["consents"], ("id",)),
    "the fetched policy's id": (ROUTES["policy fetch"], ("policy", "id")),
    "the created policy's id": (ROUTES["policies"], ("id",)),
}


def texts() -> list[Case]:
    """Ids and tokens that would break the requests they go into."""
    made = []
    for number, (place, (meant, path)) in enumerate(ID_PLACES.items()):
        odd = list(ODD_TEXTS.items())
        if not SOAK:
            odd = [odd[0], odd[1 + number % (len(odd) - 1)]]
        codes, says = ((UNUSABLE,), "POST /policies") if meant is ROUTES["policies"] else ((FAIL,), "answer")
        made += [
            Case(f"{place} with {what}", put(value, *path), Moment.CHECK, codes, (says,), meant)
            for what, value in odd
            if (place, what) not in {("the machine's token", "a quote in it"), ("the machine's token", "a slash in it")}
        ]
    return made


def rules() -> list[Case]:
    """Policies whose rules a machine cannot obey, and such with a time zone that this machine does not know."""
    wrong = {
        "a list of time zones": {"timezone": ["UTC"]},
        "hours as text": {"allowed_hours": "0-8"},
        "hours past midnight": {"allowed_hours": [25]},
        "a percentage as text": {"max_cpu_percent": "fifty"},
        "a huge percentage": {"max_cpu_percent": 10**30},
        "a list for rules": [1],
        "null for rules": None,
    }
    unknown = {
        "a time zone on Mars": {"timezone": "Mars/Olympus"},
        "a path for a time zone": {"timezone": "../../../etc/passwd"},
        "NUL in a time zone": {"timezone": "a\0b"},
    }
    fetch = ROUTES["policy fetch"]
    return [
        *(
            Case(what, put(value, "policy", "rules"), Moment.CHECK, (FAIL,), ("policy fetch of worker",), fetch)
            for what, value in wrong.items()
        ),
        *(
            Case(what, put(value, "policy", "rules"), Moment.CHECK, (FAIL,), ("was shown with other rules",), fetch)
            for what, value in unknown.items()
        ),
    ]


def keeps() -> list[Case]:
    """Certificates of impossible lives."""

    def lived(issued_at: Any, expires_at: Any) -> Fault:
        def change(data: Any) -> Any:
            data["machine_certificate"].update(issued_at=issued_at, expires_at=expires_at)
            return data

        return faults.data(change)

    register = ROUTES["register"]
    return [
        Case(
            "a certificate that ends before it begins",
            lived(JUST_AFTER, JUST_BEFORE),
            Moment.CHECK,
            (FAIL,),
            ("a certificate that ends",),
            register,
        ),
        Case(
            "a certificate from yesterday to tomorrow",
            lived("yesterday", "tomorrow"),
            Moment.CHECK,
            (FAIL,),
            ("which are no times",),
            register,
        ),
        Case(
            "a certificate for ten thousand years",
            lived("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z"),
            Moment.CHECK,
            (FAIL,),
            ("signed by no key",),
            register,
        ),
        Case(
            "a renewed certificate that ends before it begins",
            faults.data(lambda data: {**data, "issued_at": JUST_AFTER, "expires_at": JUST_BEFORE}),
            Moment.CHECK,
            (FAIL,),
            ("an honest certificate of worker", "a certificate that ends"),
            ROUTES["certificate"],
            scenario=ROTATING,
        ),
        Case(
            "a certificate for a microsecond",
            lived(JUST_BEFORE, "2026-01-01T00:00:00.000001Z"),
            Moment.CHECK,
            (FAIL,),
            ("credentials",),
            register,
        ),
    ]


def sample(name: str, value: bytes) -> Fault:
    """Return one metric another value."""

    def change(page: bytes) -> bytes:
        lines = [line for line in page.split(b"\n") if not line.startswith(name.encode() + b" ")]
        return b"\n".join(lines) + b"%b %b\n" % (name.encode(), value)

    return faults.body(change)


def pages() -> list[Case]:
    """Metrics pages with impossible or malformed samples, from the start and later."""
    workers = "hatchfarm_workers_total"
    wrong: dict[str, tuple[Fault, str, str]] = {
        "NaN": (sample(workers, b"NaN"), "shows hatchfarm_workers_total as nan", "was nan"),
        "infinity": (sample(workers, b"+Inf"), "shows hatchfarm_workers_total as inf", "was inf"),
        "a negative count": (sample(workers, b"-3"), "shows hatchfarm_workers_total as -3", "was -3"),
        "1e300": (sample(workers, b"1e300"), "shows hatchfarm_workers_total as 1e+300", "possible was"),
        "a sample twice": (
            faults.body(lambda page: page + b"hatchfarm_workers_total 5\n"),
            "is there twice",
            "is there twice",
        ),
        "half a line": (
            faults.body(lambda page: page + b'hatchfarm_x{a="b\n'),
            "Prometheus text format",
            "Prometheus text format",
        ),
        "a spoilt label": (
            faults.body(lambda page: page + b'hatchfarm_x{a="b", ="d"\\} 1\n'),
            "Prometheus text format",
            "Prometheus text format",
        ),
        "5,000 samples": (
            faults.body(lambda page: page + b"".join(b'hatchfarm_x{a="%d"} 1\n' % n for n in range(5000))),
            "more than 2000 samples",
            "more than 2000 samples",
        ),
        "2 MiB": (
            faults.body(lambda page: page + b"# " + b"x" * (2 << 20) + b"\n"),
            "longer than 1 MiB",
            "longer than 1 MiB",
        ),
    }
    metrics = ROUTES["metrics"]
    made = [Case("an empty page", faults.body(lambda _: b""), Moment.CHECK, (FAIL,), ("are missing",), metrics)]
    for number, (what, (fault, at_check, later)) in enumerate(wrong.items()):
        made.append(Case(f"{what} in metrics", fault, Moment.CHECK, (UNUSABLE,), (at_check,), metrics))
        if SOAK or number % 2 == 0:
            made.append(Case(f"{what} in metrics later", fault, Moment.RUNNING, (FAIL,), (later,), metrics))
    return made


def lists() -> list[Case]:
    """Audit lists with events, heads and totals that are none."""
    wrong: dict[str, tuple[Fault, tuple[int, ...], str]] = {
        "text for events": (put("x", "events"), (FAIL,), "what is no audit list"),
        "numbers for events": (put([1, 2], "events"), (FAIL,), "what is no audit list"),
        "odd values in an event": (put([{"id": None, "type": 5, "sequence": 10**30}], "events"), (FAIL,), "audit"),
        "an event 900 levels deep": (
            faults.body(
                lambda page: page.replace(b'"metadata":{', b'"metadata":{"x":' + b"[" * 900 + b"]" * 900 + b",", 1)
            ),
            (FAIL,),
            "what is no audit list",
        ),
        "odd heads": (
            put({"routine": [], "notable": 5, "x": {"sequence": 10**30, "hash": "h"}}, "heads"),
            (FAIL,),
            "head",
        ),
        "a total past all numbers": (put(10**30, "total"), (*MAY_PASS, FAIL), ""),
    }
    return [
        Case(what, fault, Moment.CHECK, codes, (says,), ROUTES["audit list"])
        for what, (fault, codes, says) in wrong.items()
    ]


def others() -> list[Case]:
    """The rest."""
    summary, says = ROUTES["summary"], ("does not show after how many seconds",)
    return [
        *(
            Case(f"a staleness of {value!r}", put(value, "stale_threshold"), Moment.CHECK, codes, says, summary)
            for value, codes in ((1e300, MAY_PASS), (-1, MAY_PASS), (True, (FAIL,)), ("60s", (FAIL,)))
        ),
        Case(
            "a day to wait before a policy",
            faults.status(429, b"{}", b"Retry-After: 86400"),
            Moment.CHECK,
            (UNUSABLE,),
            ("POST /policies answered 429, to wait 86400 s",),
            ROUTES["policies"],
        ),
    ]


ALL = [*missing(), *shapes(), *texts(), *rules(), *keeps(), *pages(), *lists(), *others()]
CASES = {case.name: case if case.scenario == ROTATING else case._replace(scenario=LIGHT) for case in ALL}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended | BaseException]:
    """What came of every case."""
    return play_all(list(CASES.values()), tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", CASES)
def test_what_breaks_the_contract_is_named_and_goes_no_further(
    ended: dict[str, Ended | BaseException], name: str
) -> None:
    assert_ended_well(CASES[name], ended[name])
