"""What judging a run needs besides its history, as `run.json`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.checkers.facts import Facts  # noqa: TC001 - decoding needs the annotations
from simulator.checkers.server_log import LogSearch  # noqa: TC001 - decoding needs the annotations
from simulator.contract.profiles import Profile
from simulator.errors import BundleError
from simulator.limits import BUNDLE_RECORD_MAX_BYTES
from simulator.platform.machine_facts import MachineFacts  # noqa: TC001 - as above
from simulator.platform.program import NAME
from simulator.scenario.overriding import Change  # noqa: TC001 - as above
from simulator.scenario.thresholds import parse_threshold

if TYPE_CHECKING:
    from pathlib import Path

FILE = "run.json"
FORMAT = 1


class EndedEarly(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a run ended before its time: a threshold, what was measured of it, and when."""

    metric: str
    threshold: str
    at_ns: int
    measured: str

    def __str__(self) -> str:
        seconds = self.at_ns / SECOND_NS
        return (
            f"after {seconds:.1f} s {self.metric} was {self.measured}, and the run was to end unless {self.threshold}"
        )


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run but for its history: enough to come to its verdict again without the server, the scenario or the network.

    Times are nanoseconds from the start of the run, but for `started_at`, which is ISO 8601. `scenario_file` is the
    path as it was given, `attacks` names the campaigns' attacks in order, `given_target` says whether the target was
    given or a server of the run's own, and `options` are the flags that spread it over processes. `memory_max_bytes` is
    the largest peak resident set of such a server, None where there is none or the system does not tell.
    """

    format: int = FORMAT
    scenario: str
    description: str
    scenario_file: str
    seed: int
    machines: int
    thresholds: dict[str, tuple[str, ...]]
    attacks: tuple[str, ...]
    facts: Facts
    target: str
    given_target: bool
    started_at: str
    elapsed_ns: int
    connected_max: int
    interrupted: str | None
    warnings: tuple[str, ...]
    options: tuple[str, ...] = ()
    memory_max_bytes: int | None = None
    profile: Profile = Profile.HARDENED
    """By which it is judged; the contract as a whole, as all were before there were two measures."""
    ended_early: EndedEarly | None = None
    host: MachineFacts | None = None
    """What the run was made on, and by which version; nothing in bundles of before."""
    log: LogSearch | None = None
    """What was found in the logs of the servers that the run had started; None where nobody looked."""
    changes: tuple[Change, ...] = ()
    """What flags and variables put in place of the scenario's values, without what may be secret."""
    program: str = NAME
    """How the program was called, as a shell reads it, for the line that reproduces the run."""


def write_record(record: RunRecord, folder: Path) -> None:
    """Write `run.json`. Raises OSError."""
    plain = msgspec.to_builtins(record)
    # JSON knows no NaN and no infinity, but a server may have shown one before the run.
    plain["facts"]["baseline"] = {name: _written(value) for name, value in record.facts.baseline.items()}
    # As ASCII: the name of a scenario's file need not be UTF-8.
    (folder / FILE).write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n", encoding="ascii")


def read_record(folder: Path) -> RunRecord:
    """Read `run.json`. Raises BundleError."""
    path = folder / FILE
    try:
        if path.stat().st_size > BUNDLE_RECORD_MAX_BYTES:
            raise BundleError(
                f"{FILE} is larger than {BUNDLE_RECORD_MAX_BYTES:,} bytes: it is not one of this program's"
            )
        plain = msgspec.convert(json.loads(path.read_bytes()), dict[str, Any])
        if plain.get("format") != FORMAT:
            raise BundleError(f"{FILE} is of format {plain.get('format')!r}, this version reads {FORMAT}")
        plain["facts"]["baseline"] = {name: float(value) for name, value in plain["facts"]["baseline"].items()}
        record = msgspec.convert(plain, RunRecord)
        for metric, expressions in record.thresholds.items():
            for expression in expressions:
                parse_threshold(metric, expression)  # it raises, as a ValueError, for one that cannot be judged
    except OSError as error:
        raise BundleError(f"{FILE} cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{FILE} is no record of a run ({error})") from None
    return record


def _written(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
