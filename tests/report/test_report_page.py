"""`report.html`: verdict first, then why, then all that led to it, and nothing a server says acts on the page."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from reference_server.wire.visible_text import visible
from simulator.attacks import CATALOGUE
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.history.records import AuditReading, Effect, Fault
from simulator.limits import ATTACKS_MAX, EVIDENCE_SHOWN_MAX_CHARACTERS
from simulator.report.page import report_page
from tests.report.pages import Page
from tests.report.runs import (
    HOSTILE,
    broken,
    campaign,
    failing,
    hostile,
    long_run,
    report_input,
    uneventful,
    unknown,
    with_verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord

MIB = 1 << 20
ALLOWED = {
    "html", "head", "meta", "link", "title", "style", "body", "header", "nav", "main", "section", "article", "footer",
    "h1", "h2", "h3", "h4", "p", "span", "strong", "code", "pre", "a", "ul", "li", "dl", "dt", "dd", "div", "table",
    "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption",
    "svg", "defs", "g", "path", "rect", "text", "use", "clippath",
}  # fmt: skip


def page_of(run: tuple[RunRecord, History]) -> Page:
    return Page(report_page(report_input(run)).decode())


@cache
def page_made_by(make: Callable[[], tuple[RunRecord, History]]) -> Page:
    """Return the page of a run that is always the same."""
    return page_of(make())


@pytest.mark.parametrize(
    ("make", "badge", "headline"),
    [
        (uneventful, "✔ PASS", "All 5 checks and all 2 thresholds held over 85 requests, 5 of them hostile."),
        (broken, "✘ FAIL", "4 of 7 checks and thresholds failed. alerts: "),
        (unknown, "? INCONCLUSIVE", "This run proves nothing either way. It was interrupted: SIGINT after 3.0s."),
    ],
)
def test_the_verdict_comes_first_then_why_then_the_rest(
    make: Callable[[], tuple[RunRecord, History]], badge: str, headline: str
) -> None:
    page = page_made_by(make)
    shown = [
        " ".join(one.text.split()) for one in page.elements if one.attributes.get("class") in ("badge", "headline")
    ]
    assert shown[0] == badge
    assert shown[1].startswith(headline)
    title = "What failed, and why" if make is broken else "What could not be known, and why"
    why = [] if make is uneventful else [title]
    assert page.texts("h2") == [
        *why, "Verdicts", "Requests", "Over time", "Attack matrix", "Reconciliation", "Generator health", "Settings",
    ]  # fmt: skip
    assert page.texts("title")[0] == f"{badge.split()[1]}: by-hand"
    assert "hatchfarm run scenarios/by-hand.toml --seed 7" in page.texts("pre")


def test_every_link_leads_to_a_section_there_is() -> None:
    for make in (uneventful, broken, unknown):
        page = page_made_by(make)
        targets = {one.attributes.get("id") for one in page.all("section")}
        assert {one.attributes["href"] for one in page.all("a")} == {f"#{target}" for target in targets}


def test_a_failure_shows_its_evidence_with_request_and_answer() -> None:
    page = page_made_by(broken)
    assert {"POST /x", "HTTP/1.1 200"} <= set(page.texts("pre"))
    listed = page.texts("li")
    assert any("hatchfarm_workers_stale_total was 1, possible was 0 to 0" in one for one in listed)
    assert any(one.startswith("replay.exact: what it claims at 12.000 s, about 03:04:17.678 UTC") for one in listed)


def test_statuses_are_told_by_words_and_marks_not_by_colour_alone() -> None:
    page = page_made_by(broken)
    shown = {" ".join(one.text.split()) for one in page.all("span") if "status" in (one.attributes.get("class") or "")}
    assert shown == {"✔ pass", "✘ fail"}


def test_plots_have_words_for_those_who_do_not_see_them() -> None:
    images = [one for one in page_made_by(broken).all("div") if one.attributes.get("role") == "img"]
    assert len(images) == 8
    assert all(one.attributes["aria-label"] for one in images)


def test_it_asks_for_nothing_and_forbids_asking() -> None:
    page = page_made_by(broken)
    policies = [one.attributes["content"] for one in page.all("meta") if "http-equiv" in one.attributes]
    assert policies == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    assert {one.attributes["href"] for one in page.all("link")} == {"data:,"}
    assert not re.search(r"(?:src|href|action|data|poster)=\"(?!#|data:,)", page.source)
    assert not re.search(r"url\((?!#)|@import|https?:", page.source)


def test_hostile_text_stays_text() -> None:
    """Whatever a server, a scenario or a target says: no element, no attribute, no comment comes of it."""
    page = page_made_by(hostile)
    assert {one.tag for one in page.elements} <= ALLOWED
    assert page.comments == []
    assert not [name for one in page.elements for name in one.attributes if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\ud800-\udfff\uffff]", page.source)
    assert visible(HOSTILE).splitlines()[0] in page.texts("h1")[0] + "\n" + "\n".join(page.texts("dd"))
    assert "{{ 7*7 }}" in page.source
    # Everything that the template itself has is still there, in its order.
    assert page.texts("h2")[:2] == ["What failed, and why", "Verdicts"]


def test_long_lists_are_folded() -> None:
    page = Page(
        report_page(with_verdicts(report_input(broken()), failing("alerts", 20, request="GET /", n=1))).decode()
    )
    assert "17 more" in page.texts("summary")
    folded = [one for one in page.all("li") if "details" in one.path and "article" in one.path]
    assert len(folded) == 17


def test_long_evidence_is_cut_and_the_page_stays_small() -> None:
    """Twenty findings of every checker, each with a megabyte of request and answer."""
    verdicts = [failing(f"checker-{number}", 20, request="<" * MIB, answer="&" * MIB) for number in range(12)]
    source = report_page(with_verdicts(report_input(broken()), *verdicts))
    assert len(source) < 8 * MIB
    assert f"({MIB - EVIDENCE_SHOWN_MAX_CHARACTERS:,} more characters)" in source.decode()


def test_ten_minutes_of_a_thousand_machines_are_less_than_three_megabytes() -> None:
    """With as many attacks as a scenario may have, and a fault every half minute."""
    run, history = long_run()
    rows = history.drain()
    hostile = rows["campaign"] != 0
    rows["campaign"][hostile] = 1 + np.arange(hostile.sum()) % ATTACKS_MAX
    history.extend(rows)
    history.campaigns[:] = [
        campaign(number, "replay.exact", attempts=6, completed=6) for number in range(1, ATTACKS_MAX + 1)
    ]
    history.faults.extend(
        Fault("server.kill", at * SECOND_NS, at * SECOND_NS, (at + 3) * SECOND_NS, (at + 3) * SECOND_NS)
        for at in range(10, 600, 30)
    )
    source = report_page(report_input((run, history)))
    assert source.count(b'class="campaign"') == ATTACKS_MAX
    assert len(source) < 3 * MIB


def test_the_attack_matrix_explains_each_attack() -> None:
    page = page_made_by(broken)
    attack = CATALOGUE["replay.exact"]
    assert any(attack.shape in one and attack.anchor in one for one in page.texts("p"))
    cells = {one.attributes.get("data-label"): " ".join(one.text.split()) for one in page.all("td")}
    assert {name: cells[name] for name in ("sent", "refused", "accepted", "wrong")} == {
        "sent": "6", "refused": "5", "accepted": "1", "wrong": "1",
    }  # fmt: skip


def test_metrics_are_reconciled_and_idle_ones_folded() -> None:
    page = page_made_by(broken)
    rows = page.texts("tr")
    assert "workers_total 2 2 never" in rows
    assert "workers_stale_total 0 0 1" in rows
    assert "auth failures: nonce_replayed 5 4 1" not in rows
    assert any(one.endswith("that were and had to be zero") for one in page.texts("summary"))


def test_audit_events_are_reconciled_where_lists_were_read_to_the_end() -> None:
    run, history = uneventful()
    history.effects.append(Effect(0, 1, "consent_created", "owner:ada", "con_1", ("ada", "bob"), "", sure=True))
    history.effects.append(Effect(0, 1, "consent_created", "owner:ada", "con_2", ("ada",), "", sure=False))
    assert "Audit" not in page_of((run, history)).texts("h3")
    events = [{"id": "e1", "type": "consent_created"}, {"id": "e2", "type": HOSTILE}]
    history.audit_readings.append(AuditReading("ada", 45 * SECOND_NS, 46 * SECOND_NS, 200, 0, 2, events))
    history.audit_readings.append(AuditReading("bob", 45 * SECOND_NS, 46 * SECOND_NS, 500, 0, -1))
    page = page_of((run, history))
    assert "Audit" in page.texts("h3")
    shown = {"consent_created 1 1 1 to 2", "worker_heartbeat 1 0 78", "worker_auth_failed 1 0 5"}
    assert shown <= set(page.texts("tr"))


def test_lists_that_no_longer_begin_at_the_first_event_are_not_held_against_all_that_was_done() -> None:
    run, history = uneventful()
    for machine in range(10):
        history.effects.append(
            Effect(0, 1, "machine_registered", "owner:ada", f"wrk_{machine}", ("ada",), "", sure=True)
        )
    events = [
        {
            "id": str(number),
            "type": "machine_registered",
            "stream": "notable",
            "sequence": number,
            "hash": "",
            "previous_hash": "",
        }
        for number in (9, 10)
    ]
    heads = {"notable": {"sequence": 10, "hash": ""}}
    history.audit_readings.append(AuditReading("ada", 45 * SECOND_NS, 46 * SECOND_NS, 200, 0, 2, events, heads))
    page = page_of((run, history))
    assert not any(one.startswith("machine_registered") for one in page.texts("tr"))
    assert "worker_heartbeat 1 0 78" in page.texts("tr")


def test_figures_of_every_kind_are_shown() -> None:
    odd = Verdict(
        "odd", Status.PASS, "", (), {"a": {"b": [1, None], "c": {}}, "d": 1.23456789, "e": "text", "f_s": 0.5}
    )
    page = Page(report_page(with_verdicts(report_input(uneventful()), odd)).decode())
    terms = dict(zip(page.texts("dt"), page.texts("dd"), strict=True))
    assert terms["a.b"] == "[1, null]"
    assert (terms["a.c"], terms["d"], terms["e"]) == ("{}", "1.23457", "text")


def test_a_run_whose_bounds_make_no_sense_is_still_reported() -> None:
    """The alerts checker has crashed on it, and says so."""
    run, history = uneventful()
    run.facts.baseline["hatchfarm_workers_total"] = float("nan")
    page = page_of((run, history))
    assert "alerts" in " ".join(page.texts("h3"))
    assert "Fleet freshness" not in page.source


def test_a_finding_without_evidence_is_shown_without_a_fold() -> None:
    bare = Verdict("alerts", Status.FAIL, "It failed.", (Finding("alerts.x", "at 1.000s it failed", 10**9),))
    page = Page(report_page(with_verdicts(report_input(uneventful()), bare)).decode())
    assert page.texts("li")[0] == "at 1.000s it failed at about 03:04:06.678 UTC"
    assert "details" not in [one.tag for one in page.elements if one.path[-2:] == ("ul", "li")]
