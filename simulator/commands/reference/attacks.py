"""The page of the attacks, by family."""

from __future__ import annotations

from itertools import groupby

from simulator.attacks import CATALOGUE
from simulator.commands.reference.markdown import page, prose, sentence
from simulator.platform.wording import plural


def attacks_page() -> str:
    """Return the page: each attack, what it sends, and what must come of it."""
    blocks = []
    for family, names in groupby(sorted(CATALOGUE), key=lambda name: name.partition(".")[0]):
        blocks.append(f"## Family {family}")
        for name in names:
            attack = CATALOGUE[name]
            basis = f"rests on {attack.anchor} ({attack.basis.value}); severity {attack.severity:g} of 10"
            blocks += [
                f"### {name}",
                "\n".join(
                    (
                        f"- **sends** {prose(attack.shape)}",
                        f"- **a correct server answers** {prose(attack.verdict)}",
                        f"- **and leaves** {prose(attack.effect)}",
                        f"- {prose(basis)}",
                    )
                ),
            ]
            if attack.weakness:
                blocks.append(prose(sentence("a known weakness of the published protocol: reported, and never failed")))
    return page(
        "Attacks",
        f"The simulator has {plural(len(CATALOGUE), 'attack')}. A scenario names one in `[[attacks]]`, and a threshold "
        "one as `attack.NAME.accepted`; a finding's rule is `attack/NAME`. Severities are from 0 to 10, as CVSS 3 has "
        "them.",
        *blocks,
    )
