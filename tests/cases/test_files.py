"""Every input that once went wrong, and what is said of it: scenarios are validated, HARs imported.

The inputs are kept as they were found; one without a row fails. What comes of them live is in `test_live_cases.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.cases.behind import INPUTS
from tests.cases.test_live_cases import MODES, PROXIES, REPLAYS, RUNS

if TYPE_CHECKING:
    from tests.cli.conftest import Hatchfarm

CUT = "the run ends before it does, and cuts it"
LATE = "6: beware: fleet.machines: the run ends before all are up: without `stages` they start over 5 s"
VALIDATED: dict[str, tuple[int, tuple[str, ...]]] = {
    "attack_past.toml": (0, (LATE, f"10: beware: attacks[0]: {CUT}")),
    "bogus-long.toml": (0, ()),
    "bom.toml": (0, (LATE,)),
    "burst.toml": (0, ()),
    "co.toml": (0, ()),
    "cond.toml": (0, ()),
    "desc_uni.toml": (0, (LATE,)),
    "healthy-20.toml": (0, ()),
    "lim.toml": (0, ()),
    "no-auth.toml": (0, ()),
    "ok.toml": (0, (LATE,)),
    "pipeline.toml": (0, ()),
    "race.toml": (0, ()),
    "silence_past.toml": (0, (LATE, f"9: beware: fleet.silence[0]: {CUT}")),
    "silent-small.toml": (0, ()),
    "stage_trunc.toml": (0, (f"7: beware: fleet.stages[0]: {CUT}",)),
    "tgt.toml": (0, ()),
    "thr22.toml": (
        2,
        ("11: thresholds.\"heartbeat.accepted\": 'count<1e999' checks nothing: it holds whatever happens",),
    ),
    "thr_empty.toml": (
        2,
        ('11: thresholds."heartbeat.accepted": an empty list checks nothing: add an expression, or remove it',),
    ),
}
"""Exit code of `validate`, and what it says, after the file's name and before that it is right."""
LOST = "mended: 1 an answer without a status of one: taken for lost"
IMPORTED: dict[str, tuple[str, ...]] = {
    "b64resp_bad.har": ("127.0.0.1:8080: 1", "mended: 1 an answer's body of wrong base64: kept without it"),
    "cdn.har": ("127.0.0.1:8080: 1", "left out: 1 of another server"),
    "dataurl.har": ("127.0.0.1:8080: 1", "left out: 1 no request to a server (data: URL)"),
    "ext.har": ("127.0.0.1:8080: 1", "left out: 1 no request to a server (chrome-extension: URL)"),
    "har-refused-heartbeat.har": ("127.0.0.1:18600: 12",),
    "hdr_null.har": ("127.0.0.1:8080: 1",),
    "localhost_mix.har": ("127.0.0.1:8080: 2",),
    "noresp.har": ("127.0.0.1:8080: 2", LOST),
    "port80.har": ("127.0.0.1:80: 2",),
    "sec_one.har": ("127.0.0.1:8080: 1",),
    "status_neg.har": ("127.0.0.1:8080: 1", LOST),
    "status_null.har": ("127.0.0.1:8080: 2", LOST),
    "tz_nocolon.har": ("127.0.0.1:8080: 1",),
    "ws.har": ("127.0.0.1:8080: 1", "left out: 1 a websocket"),
}
"""What `trace import` says of exchanges, and of what it left out or mended."""
NOT_IMPORTED = {"params.har": "nothing to import of 1 entry: 1 a JSON body of which only `params` are given"}


def test_every_input_has_a_row() -> None:
    programs = {"faulty.py.txt": MODES, "proxy.py.txt": PROXIES}
    assert {one.name for one in INPUTS.iterdir()} == {*VALIDATED, *IMPORTED, *NOT_IMPORTED, *programs}
    assert {one.file for one in RUNS} == set(VALIDATED)
    assert set(REPLAYS) == set(IMPORTED)
    assert set(MODES) == set(re.findall(r"[a-z]+(?:-[a-z0-9]+)+(?= \()", (INPUTS / "faulty.py.txt").read_text("utf-8")))


@pytest.mark.parametrize("name", VALIDATED)
def test_a_scenario_is_called_right_or_wrong_with_the_line(hatchfarm: Hatchfarm, name: str) -> None:
    code, lines = VALIDATED[name]
    path = str(INPUTS / name)
    done = hatchfarm.invoke("validate", path)
    output = [f"{path}:{line}" for line in lines]
    assert (done.code, done.lines, done.err.splitlines()) == (
        (0, [*output, f"{path}: right"], []) if code == 0 else (2, [], output)
    )


@pytest.mark.parametrize("name", IMPORTED)
def test_a_har_is_imported_with_what_was_left_out_and_no_secret_of_it(hatchfarm: Hatchfarm, name: str) -> None:
    first, *more = IMPORTED[name]
    done = hatchfarm.invoke("trace", "import", str(INPUTS / name), "-o", "x.ndjson")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"x.ndjson: exchanges of requests to {first}", *more]
    trace = (hatchfarm.folder / "x.ndjson").read_text(encoding="utf-8")
    for secret in ("SECRET", "U0VDUkVU", "dev-token", "Bearer colleague"):
        assert secret not in trace


@pytest.mark.parametrize("name", NOT_IMPORTED)
def test_a_har_of_which_nothing_can_be_sent_is_refused_with_the_reason(hatchfarm: Hatchfarm, name: str) -> None:
    path = str(INPUTS / name)
    done = hatchfarm.invoke("trace", "import", path, "-o", "x.ndjson")
    assert (done.code, done.err) == (2, f"hatchfarm trace import: {path}: {NOT_IMPORTED[name]}\n")
    assert not (hatchfarm.folder / "x.ndjson").exists()
