"""What the terminal shows: whether it is one, and the verdict with the worst first."""

from __future__ import annotations

import io
import re

import msgspec
import pytest
from rich.console import Console

from simulator.checkers.verdict import EXIT_CODES, Finding, Status, Verdict
from simulator.judging.verdict_file import AttackSummary, RunVerdict
from simulator.platform.console import make_console
from simulator.report.wording import headline
from simulator.running.terminal import show_verdict

PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.INCONCLUSIVE


class Screen(io.StringIO):
    """Standard output that is a terminal, or is none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take away what this process's own terminal says about itself."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return monkeypatch


COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3|4|9|10)[0-9](?:;[0-9]+)*m")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_only_a_terminal_has_escapes_and_no_color_takes_its_colours_alone(
    bare: pytest.MonkeyPatch,
    terminal: bool,  # noqa: FBT001 - a column of the table
    no_color: str,
) -> None:
    screen = Screen(terminal=terminal)
    bare.setattr("sys.stdout", screen)
    bare.setenv("NO_COLOR", no_color)
    console = make_console()
    console.print("[red bold]x[/]")
    assert ("\x1b" in screen.getvalue()) is terminal
    assert bool(COLOUR.search(screen.getvalue())) is (terminal and not no_color)
    assert console.is_terminal is terminal


def run_verdict(
    status: Status,
    checkers: list[Verdict],
    thresholds: list[Verdict] | None = None,
    warnings: list[str] | None = None,
    interrupted: str | None = None,
) -> RunVerdict:
    return RunVerdict(
        scenario="farm",
        description="",
        seed=1,
        target="its own server",
        started_at="2024-01-01T00:00:00.000+00:00",
        duration_s=1.0,
        interrupted=interrupted,
        status=status,
        exit_code=EXIT_CODES[status],
        checkers=checkers,
        thresholds=thresholds or [],
        requests={"total": 10, "heartbeats_accepted": 6, "attacks": 3, "lost": 1},
        latency_s={"p50": 0.0015, "p99": 0.25},
        warnings=warnings or [],
        reproduce="hatchfarm run farm.toml --seed 1",
    )


def shown(verdict: RunVerdict, width: int = 1000) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, soft_wrap=True)
    show_verdict(console, verdict)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_failures_come_first_with_at_most_three_findings_each() -> None:
    findings = tuple(Finding("rule", f"evidence {number}", number) for number in range(5))
    lines = shown(
        run_verdict(
            FAIL,
            [Verdict("alerts", PASS, "fine"), Verdict("replay", FAIL, "two of them", findings)],
            [Verdict("a: count==0", FAIL, "4", findings[:1]), Verdict("b: count==0", UNKNOWN, "not measured")],
        )
    )
    assert lines[1:7] == [
        "FAILED replay: two of them",
        "  - evidence 0",
        "  - evidence 1",
        "  - evidence 2",
        "  - and 2 more in verdict.json",
        "FAILED a: count==0: 4",
    ]
    assert lines[7:] == [
        "  - evidence 0",
        "Checkers",
        "fail  replay  two of them",
        "pass  alerts  fine",
        "Thresholds",
        "fail          a: count==0  4",
        "inconclusive  b: count==0  not measured",
        "10 requests, 6 heartbeats accepted, 3 hostile, 1 lost; response time p50 1.5 ms, p99 250.0 ms",
        "FAIL farm",
    ]


@pytest.mark.parametrize("status", EXIT_CODES)
def test_the_last_line_is_the_verdict_after_warnings_and_interruption(status: Status) -> None:
    lines = shown(run_verdict(status, [Verdict("x", status, "y")], warnings=["one", "two"], interrupted="SIGINT"))
    assert lines[-4:] == ["warning: one", "warning: two", "Interrupted: SIGINT", f"{status.value.upper()} farm"]


def test_what_could_not_be_known_is_named_beside_the_verdict() -> None:
    unknown = [Verdict(f"u{number}", UNKNOWN, "why") for number in range(7)]
    lines = shown(run_verdict(UNKNOWN, [Verdict("alerts", PASS, "fine"), *unknown[:3]], unknown[3:]))
    assert lines[-4:] == [
        "NOT KNOWN u0: why",
        "NOT KNOWN u1: why",
        "NOT KNOWN u2: why",
        "INCONCLUSIVE farm: nobody could know of u0, u1, u2, u3, u4 and 2 more",
    ]


def test_a_threshold_that_only_follows_from_a_checker_repeats_and_adds_nothing() -> None:
    checker = Verdict("alerts", UNKNOWN, "say it: with --target-setting.")
    follows = Verdict("alerts.errors: count==0", UNKNOWN, f"0, but alerts is inconclusive: {checker.summary}")
    lines = shown(run_verdict(UNKNOWN, [checker], [follows]))
    assert "inconclusive  alerts.errors: count==0  0, but alerts is inconclusive" in lines
    assert lines[-2:] == [f"NOT KNOWN alerts: {checker.summary}", "INCONCLUSIVE farm: nobody could know of alerts"]


def test_off_a_terminal_no_line_ends_in_spaces(bare: pytest.MonkeyPatch) -> None:
    """Those by which tables fill their lines are cut, and nothing else."""
    screen = Screen(terminal=False)
    bare.setattr("sys.stdout", screen)
    show_verdict(make_console(), run_verdict(PASS, [Verdict("a", PASS, "long"), Verdict("bcd", PASS, "z  z")]))
    lines = screen.getvalue().splitlines()
    assert [line for line in lines if line.endswith(" ")] == []
    assert {"Checkers", "pass  a    long", "pass  bcd  z  z"} <= {*lines}


def test_what_had_nothing_to_check_comes_last_and_attacks_not_tried_are_named_in_the_verdict() -> None:
    checkers = [Verdict("revocation", Status.NOT_APPLICABLE, "Nothing was revoked."), Verdict("alerts", PASS, "fine")]
    attack = AttackSummary(
        1, "tls.spoofed-proto", Status.NOT_TRIED, 0, 0, 0, 0, 0, "it needs a server of the run's own"
    )
    others = [msgspec.structs.replace(attack, campaign=number, attack=f"a.{number}") for number in range(2, 8)]
    verdict = msgspec.structs.replace(run_verdict(PASS, checkers), attacks=[attack, *others])
    lines = shown(verdict)
    assert lines[2:4] == ["pass  alerts      fine", "n/a   revocation  Nothing was revoked."]
    assert lines[-1] == "PASS farm; 7 not tried: tls.spoofed-proto, a.2, a.3, a.4, a.5 and 2 more"
    assert headline(msgspec.structs.replace(verdict, attacks=[attack])) == (
        "The 1 check held over 10 requests, 3 of them hostile; 1 had nothing to check; 1 not tried: tls.spoofed-proto."
    )


def test_findings_that_were_too_many_to_keep_are_counted() -> None:
    findings = tuple(Finding("rule", f"evidence {number}", number) for number in range(5))
    lines = shown(run_verdict(FAIL, [Verdict("replay", FAIL, "many", findings, {}, 1_000_000)]))
    assert lines[5] == "  - and 999,997 more, 2 of them in verdict.json: the rest was too many to keep"


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    odd = "[red]not red[/] [/nothing]"
    lines = shown(
        run_verdict(FAIL, [Verdict("x", FAIL, odd, (Finding("r", odd, 0),))], warnings=[odd], interrupted=odd)
    )
    assert sum(odd in line for line in lines) == 5


def test_on_a_narrow_terminal_nothing_is_cut_off() -> None:
    text = "\n".join(shown(run_verdict(PASS, [], [Verdict("Q" * 60, PASS, "Z" * 60)]), width=40))
    assert (text.count("Q"), text.count("Z"), text.count("…")) == (60, 60, 0)
