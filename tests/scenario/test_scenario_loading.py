"""Loading as a whole: what a right file becomes, that every refusal names its line, and that nothing crashes it."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.scenario.kinds import Duration, Offset
from simulator.scenario.loading import ScenarioError, parse_scenario
from simulator.scenario.market_values import MarketOptions, OfferOptions
from simulator.scenario.schema import json_schema
from simulator.scenario.values import (
    AbortOptions,
    AttackOptions,
    ClockOptions,
    ClockStep,
    FaultOptions,
    FleetOptions,
    LoadOptions,
    Scenario,
    ServerOptions,
    SilenceOptions,
    Stage,
    TargetOptions,
)
from tests.support.tiers import examples

if TYPE_CHECKING:
    from simulator.scenario.server_problems import ServerSettings

NASTY_VALUES = (
    "nan", "inf", "-inf", "-0", "0", "-1", "1", "0.5", "1e308", "9" * 30, "0xff", "true", "false", '""', '"s"',
    '"0s"', '"1s"', '"-1s"', '"9h"', '"\\u0000"', '"mixed"', "[]", "[[]]", "[{}]", "{}", "{ a = 1 }", "[1]",
    '["count==0"]',
    "2024-01-01", "12:00:00", "1979-05-27T07:32:00Z",
)  # fmt: skip
SCHEMA = jsonschema.Draft202012Validator(json_schema())

quick = settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])


WHOLE = Scenario(
    version=1,
    name="whole",
    description="Every key of the format.",
    seed=3,
    duration_ns=Duration(60 * SECOND_NS),
    metrics_interval_ns=Duration(SECOND_NS // 2),
    server=ServerOptions(
        instances=1,
        redis=False,
        durable=True,
        tls=True,
        command=("./farm", "--port", "{port}", "--state={hatchfarm_state_file}"),
        env={"FARM_KEY": "{hatchfarm_api_token}", "FARM_DEBUG": True},
        health="/ready",
        settings={
            "WORKER_STATUS_STALE_SECONDS": 8,
            "METRICS_PUBLIC": True,
            "RATE_LIMIT_REFILL_PER_SECOND": 7.5,
        },
    ),
    target=TargetOptions(addresses="shared"),
    fleet=FleetOptions(
        machines=40,
        owners=4,
        heartbeat_interval_ns=Duration(2 * SECOND_NS),
        jitter=0.25,
        certificate_rotation_ns=Duration(90 * SECOND_NS),
        hardware="laptop",
        processes=2,
        stages=(
            Stage(duration_ns=Duration(5 * SECOND_NS), target=40),
            Stage(duration_ns=Duration(0), target=10),
        ),
        clocks=(
            ClockOptions(share=0.1, offset_ns=Offset(-45 * SECOND_NS), drift_ppm=-20.5),
            ClockOptions(
                share=0.2, step=ClockStep(at_ns=Duration(20 * SECOND_NS), by_ns=Offset(120 * SECOND_NS))
            ),
        ),
        silence=(
            SilenceOptions(
                share=0.5, at_ns=Duration(12 * SECOND_NS), duration_ns=Duration(3 * SECOND_NS)
            ),
        ),
    ),
    attacks=(
        AttackOptions(
            name="replay.exact",
            start_ns=Duration(SECOND_NS),
            duration_ns=Duration(9 * SECOND_NS),
            rate=2.5,
            share=1,
        ),
    ),
    faults=(
        FaultOptions(
            kind="server.pause", at_ns=Duration(3 * SECOND_NS), duration_ns=Duration(SECOND_NS // 2)
        ),
    ),
    load=(
        LoadOptions(
            user="owner-dashboard", rate=0.5, stages=(Stage(duration_ns=Duration(2 * SECOND_NS), target=7),)
        ),
    ),
    market=MarketOptions(
        agents=3,
        rate=0.5,
        jobs_per_minute=4,
        minutes=(1, 2),
        max_price_usdt="0.75",
        gpu_jobs=0.5,
        cancelled=0.2,
        withdrawals_per_minute=1.5,
        withdrawal_usdt="0.05",
        repeated=0.3,
        posts_per_minute=2,
        offer=OfferOptions(
            share=0.5,
            cpu_cores=4,
            memory_gb=16,
            gpus=2,
            gpu_model="a100",
            early=0.4,
            failing=0.1,
            claims_more=0.1,
            foreign=0.2,
            abandons=0.3,
            abandoned_for_ns=Duration(20 * SECOND_NS),
        ),
    ),
    thresholds={
        "heartbeat.response_time": ("p(99)<250ms", "max<1s"),
        "attacks.accepted": ("count==0",),
    },
    abort_on_fail=(AbortOptions(metric="heartbeat.rate", threshold="median>=1", delay_ns=Duration(10 * SECOND_NS)),),
)  # fmt: skip
"""What the file with every key of the format says."""


def test_every_key_of_a_right_file_arrives_with_its_unit(whole: str, known: ServerSettings) -> None:
    assert parse_scenario(whole, known) == WHOLE


def test_what_a_file_leaves_out_has_the_documented_default(small: str) -> None:
    scenario = parse_scenario(small)
    assert (scenario.seed, scenario.description, scenario.attacks, scenario.thresholds) == (1, "", (), {})
    assert scenario.metrics_interval_ns == SECOND_NS
    assert scenario.server == ServerOptions()
    fleet = scenario.fleet
    assert (fleet.owners, fleet.heartbeat_interval_ns, fleet.jitter) == (10, 5 * SECOND_NS, 0.1)
    assert (fleet.certificate_rotation_ns, fleet.hardware) == (720 * SECOND_NS, "mixed")
    assert (fleet.stages, fleet.clocks, fleet.silence) == ((), (), ())


def test_server_settings_become_environment_variables(whole: str) -> None:
    assert parse_scenario(whole).server.environ() == {
        "WORKER_STATUS_STALE_SECONDS": "8",
        "METRICS_PUBLIC": "true",
        "RATE_LIMIT_REFILL_PER_SECOND": "7.5",
    }


def places(text: str) -> dict[int, str]:
    """Name each key's place by its line, as messages name it. Written for `whole`: one key a line, nothing nested."""
    found, table, seen = {}, "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("[["):
            name = line.strip("[]")
            seen[name] = seen.get(name, -1) + 1
            table = f"{name}[{seen[name]}]."
        elif line.startswith("["):
            *above, last = line.strip("[]").rsplit(".", 1)
            table = "".join(f"{name}[{seen[name]}]." if name in seen else f"{name}." for name in above) + f"{last}."
        elif line:
            found[number] = table + line.partition(" = ")[0]
    return found


def test_a_wrong_type_is_refused_with_line_and_place_whatever_the_key(whole: str) -> None:
    lines = whole.splitlines()
    keys = places(whole)
    assert len(keys) > 35
    for number, place in keys.items():
        wrong = [*lines]
        wrong[number - 1] = f"{lines[number - 1].partition(' = ')[0]} = [[1]]"
        with pytest.raises(ScenarioError) as refusal:
            parse_scenario("\n".join(wrong))
        shown = str(refusal.value).replace('"', "")
        assert shown.startswith(f"line {number}: {place.replace(chr(34), '')}"), shown


def test_a_misspelt_key_is_refused_with_line_and_suggestion_whatever_the_key(whole: str) -> None:
    lines = whole.splitlines()
    for number, place in places(whole).items():
        if place.startswith(("server.settings", "server.env", "thresholds")):
            continue
        key = lines[number - 1].partition(" = ")[0]
        wrong = [*lines]
        wrong.insert(number, f"{key}x = 1")
        with pytest.raises(ScenarioError) as refusal:
            parse_scenario("\n".join(wrong))
        assert str(refusal.value) == f"line {number + 1}: {place}x: unknown key; did you mean {key!r}?"


@given(text=st.text() | st.text(st.sampled_from("[]{}=\"'.,#\n abc019-")))
@quick
def test_no_text_crashes_the_loader(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse_scenario(text)


@given(data=st.data())
@quick
def test_whatever_the_values_are_the_loader_takes_or_refuses_and_takes_no_more_than_the_schema(
    data: st.DataObject, whole: str, known: ServerSettings
) -> None:
    lines = whole.splitlines()
    keyed = [number for number, line in enumerate(lines) if " = " in line]
    for number in data.draw(st.lists(st.sampled_from(keyed), min_size=1, max_size=4)):
        key = lines[number].partition(" = ")[0]
        lines[number] = f"{key} = {data.draw(st.sampled_from(NASTY_VALUES))}"
    text = "\n".join(lines)
    try:
        parse_scenario(text, known)
    except ScenarioError as error:
        assert re.match(r"line [0-9]+: [a-z]", str(error))  # noqa: PT017 - a refusal is one of two right outcomes
    else:
        SCHEMA.validate(tomllib.loads(text))


@given(key=st.text(max_size=12) | st.sampled_from(["x` - at `$.y`", "x - at `$.y[...]`", "` - at `$.fleet"]))
@quick
def test_no_key_crashes_the_loader(key: str, small: str) -> None:
    quoted = "".join(f"\\U{ord(one):08x}" for one in key if not 0xD800 <= ord(one) < 0xE000)
    for text in (f'"{quoted}" = 1\n{small}', f'{small}"{quoted}" = 1\n', f'{small}[thresholds]\n"{quoted}" = 1\n'):
        with pytest.raises(ScenarioError):
            parse_scenario(text)
