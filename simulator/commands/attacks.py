"""`hatchfarm attack`: what the attacks are, for people and for programs."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from simulator.commands.failing import fail
from simulator.platform.console import make_console
from simulator.platform.wording import nearest

attack_app = typer.Typer(help="Explain the attacks.", no_args_is_help=True)


@attack_app.command("list")
def attack_list(
    *,
    family: Annotated[
        str | None,
        typer.Option(help="Only one family: what stands before the dot, as `replay`.", envvar="HATCHFARM_FAMILY"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="As a JSON list, with all that `show` says.", envvar="HATCHFARM_JSON")
    ] = False,
) -> None:
    """List the attacks by family: what a correct server answers, and how bad another answer is (0 to 10)."""
    from simulator.attacks import CATALOGUE  # noqa: PLC0415 - slow to load

    families = {name: name.partition(".")[0] for name in sorted(CATALOGUE)}
    if family is not None and family not in families.values():
        fail("attack list", f"unknown family {family!r}; {nearest(family, {*families.values()})}")
    chosen = [name for name, its in families.items() if family in {None, its}]
    if as_json:
        typer.echo(json.dumps([_described(name) for name in chosen], indent=2))
        return
    table = Table("attack", "severity", "a correct server answers", box=None, padding=(0, 2, 0, 0))
    before = ""
    for name in chosen:
        if before not in {"", families[name]}:
            table.add_row()
        before = families[name]
        table.add_row(name, f"{CATALOGUE[name].severity:4.1f}", escape(CATALOGUE[name].verdict))
    make_console().print(table)


@attack_app.command("show")
def attack_show(name: Annotated[str, typer.Argument(help="An attack's name.", envvar="HATCHFARM_ATTACK")]) -> None:
    """Explain one attack: its shape, what a correct server answers, what it leaves behind, where that is written."""
    from simulator.attacks import CATALOGUE  # noqa: PLC0415 - as above

    if name not in CATALOGUE:
        fail("attack show", f"unknown attack {name!r}; {nearest(name, CATALOGUE, LISTED)}")
    one = _described(name)
    typer.echo(f"{name}\n  shape    {one['shape']}\n  verdict  {one['verdict']}\n  effect   {one['effect']}")
    played = (
        "several steps, mostly on machines of its own" if one["scripted"] else "single heartbeats, as fast as asked"
    )
    note = "; a known weakness of the published protocol, reported and never failed" if one["weakness"] else ""
    typer.echo(f"  anchor   {one['anchor']}\n  basis    {one['basis']}")
    typer.echo(f"  severity {one['severity']:g} of 10{note}\n  played   {played}")


LISTED = "`hatchfarm attack list` names them all"


def _described(name: str) -> dict[str, str | float | bool]:
    """Return all that is known of an attack."""
    from simulator.attacks import CATALOGUE  # noqa: PLC0415 - as above
    from simulator.attacks.script import ScriptAttack  # noqa: PLC0415

    attack = CATALOGUE[name]
    return {
        "name": name,
        "family": name.partition(".")[0],
        "severity": attack.severity,
        "shape": attack.shape,
        "verdict": attack.verdict,
        "effect": attack.effect,
        "anchor": attack.anchor,
        "basis": attack.basis.value,
        "weakness": bool(attack.weakness),
        "scripted": issubclass(attack, ScriptAttack),
    }
