"""Jobs that are none: a server that takes one, whichever it is, is found."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from simulator.attacks.acting import ask
from simulator.attacks.agents.accounts import new_owner
from simulator.attacks.agents.job_bodies import RIGHT, wrong_jobs
from simulator.attacks.script import granted
from tests.attacks.planting import planted
from tests.attacks.playing import World
from tests.attacks.wrong_servers import accepted, broken

SETTINGS: dict[str, Any] = {"wallet_dev_credit_usdt": Decimal(2_000_000)}  # more than any job may cost
MONEY, JOBS, LEDGER = "core.market.money", "core.market.jobs", "core.market.ledger"
Edits = tuple[tuple[str, str, str, str], ...]
LESS_THAN_NOTHING: Edits = (
    (LEDGER, "Ledger.post", "units < 0 and account", "units < -1 << 60 and account"),
    (MONEY, "read_price", "units = parse_amount(msgspec.json.decode(raw, type=str), USDT)",
     ("text = msgspec.json.decode(raw, type=str)\n"
     "        units = parse_amount(text.lstrip('-'), USDT)\n"
     "        units = units and (-units if text.startswith('-') else units)")),
    (MONEY, "read_price", "units is not None and 0 < units <=", "units and units <="),
)  # fmt: skip
FAULTS: dict[str, Edits] = {
    "for less than nothing": LESS_THAN_NOTHING,
    "for any price": ((MONEY, "read_price", " <= JOB_PRICE_MAX_MICRO else", " else"),),
    "for a fraction of the least amount": ((MONEY, "read_price", "        if rest:\n            return None\n", ""),
        (MONEY, "read_price", "not _MILLIONTH <= value <=", "not 0 < value <="),
        (MONEY, "read_price", "and 0 < units <=", "and 0 <= units <=")),
    "of any length": ((JOBS, "read_job", "<= read.duration_minutes <= JOB_MINUTES_MAX", "<= read.duration_minutes"),),
    "with no GPU that is one": ((JOBS, "_read_need", "(gpu and count == 0) or", ""),),
    "with a model of no GPU": ((JOBS, "_read_need", "not (gpus and 0 < len(model)", "not (0 < len(model)"),),
    "of any size": ((JOBS, "_read_need", "JOB_CPU_CORES_MAX, up=True, least=JOB_LEAST_MICRO",
                     "JOB_CPU_CORES_MAX, up=True"),),
    "of any type": ((JOBS, "read_job", "or _TYPE.fullmatch(read.type) is None", ""),),
    "with any payload": ((JOBS, "read_job", " or len(payload) > JOB_PAYLOAD_MAX_BYTES", ""),),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_takes_a_job_is_found(fault: str) -> None:
    with planted(*FAULTS[fault]):
        performance = World(SETTINGS).play("job.bodies")
    assert accepted(performance)
    assert "nothing-made" in broken(performance)


def test_money_that_a_job_makes_is_found() -> None:
    with planted(*LESS_THAN_NOTHING):
        performance = World(SETTINGS).play("job.bodies")
    assert "nothing-moved" in broken(performance)


def test_each_body_is_wrong_in_one_thing() -> None:
    """What it is taken from is granted: else a server might refuse all of them for something that they share."""
    world = World(SETTINGS)
    account = new_owner(world.context)

    def posted(body: dict[str, Any]) -> int:
        return world.send(ask(world.context, "POST", "/jobs", account.headers, granted(201), body)).status

    assert posted(RIGHT) == 201
    wrong = [*wrong_jobs()]
    assert len({msgspec.json.encode(body) for body in wrong}) == len(wrong) > 60
    assert {posted(body) for body in wrong} == {400}
