"""A new attack is one file and one line of the catalogue: this one is written here, and gone when the test is over."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any

from simulator.attacks import CATALOGUE
from tests.broken_targets.runs import FAIL, run_against, scenario
from tests.simulator.conftest import serving

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FILE = '''"""Asking for a fleet's summary without saying who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.acting import ask
from simulator.attacks.script import Claim, ScriptAttack, refused
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext


class Nameless(ScriptAttack):
    """A summary for nobody."""

    name = "summary.nameless"
    basis = Basis.PUBLISHED
    shape = "a summary asked for without a token"
    verdict = "401 unauthorized"
    effect = "none"
    anchor = "contract §3"
    severity = 5.3
    status = 401

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        outcome = yield ask(context, "GET", "/workers/summary", {}, refused(self.status, "", "nobody asks"))
        yield Claim("refused", outcome.right if outcome.known else None, f"it got HTTP {outcome.status}")
'''


def load(path: Path) -> Any:
    """Import a file that is in no package."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_a_new_attack_is_played_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is right withstands it; what expects another answer than the right one is seen to fail."""
    path = tmp_path / "nameless.py"
    path.write_text(FILE, encoding="utf-8")
    attack = load(path).Nameless
    monkeypatch.setitem(CATALOGUE, attack.name, attack)  # the one line

    demanding = type("Demanding", (attack,), {"name": "summary.demanding", "status": 404})
    monkeypatch.setitem(CATALOGUE, "summary.demanding", demanding)
    text = scenario(((attack.name, 4), ("summary.demanding", 4)))
    async with serving() as (_, target):
        ended = await run_against(target.url, tmp_path / "run", text)
    assert ended.verdict is not None
    attacks = {one["attack"]: one for one in ended.verdict["attacks"]}
    assert (attacks[attack.name]["status"], attacks[attack.name]["wrong"]) == ("pass", 0)
    assert attacks[attack.name]["refused"] > 0
    assert attacks["summary.demanding"]["status"] == "fail"
    assert "summary.demanding: a hostile request: expected 404, got 401 unauthorized" in ended.output
    assert ended.code == FAIL
