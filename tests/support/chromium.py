"""Chromium as a reader of pages: what it logs, what it asks the network for, how wide a page becomes; and as its user.

It is driven through DevTools over a pipe, so that nothing listens and nothing has to be waited for but answers.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")
"""The events by which Chromium tells what it dislikes about a page: errors, warnings, policy violations, oddities."""
WAIT = """(condition, milliseconds) => new Promise((resolve, reject) => {
  const look = () => { const value = condition(); if (value) { watcher.disconnect(); resolve(value); } };
  const watcher = new MutationObserver(look);
  watcher.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
  setTimeout(() => { watcher.disconnect(); reject(Error(document.body.innerText)); }, milliseconds);
  look();
})"""
PLACE = """(element => {
  const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
  const hit = document.elementFromPoint(x, y);
  if (!hit) { element.scrollIntoView({block: "center"}); }
  return [x, y, element.contains(hit)];
})"""
"""The middle of an element, and whether a click there meets it: others may cover it."""
PRESS_SECONDS = 60.0
FIRST_FREE = 10
"""File descriptors below are spoken for: Chromium reads commands from 3 and writes answers to 4."""


@dataclass
class Visit:
    """What came of opening a page."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    picture: bytes = b""


class Browser:
    """One running Chromium."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session = ""
        self._events: list[dict[str, Any]] = []

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return a command's result; events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self._commands, text) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])
            self._events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._answers, 1 << 16)
            assert more, "Chromium ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _until(self, method: str) -> None:
        while not any(event.get("method") == method for event in self._events):
            self._events.append(self._receive())

    def _open(self, page: Path | str, width: int, *, dark: bool) -> str:
        """Load a page in a tab of its own, which is the current one until it is closed; gives the tab."""
        self._session, self._events = "", []
        target = str(self._send("Target.createTarget", url="about:blank")["targetId"])
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "Security"):
            self._send(f"{domain}.enable")
        self.set_screen(width, dark=dark)
        self.go(page)
        return target

    def _close(self, target: str) -> None:
        self._session = ""
        self._send("Target.closeTarget", targetId=target)

    @contextmanager
    def tab(self, page: Path | str, width: int) -> Iterator[None]:
        """Open a page and keep it open, to be used with the methods below."""
        target = self._open(page, width, dark=False)
        try:
            yield
        finally:
            self._close(target)

    def set_screen(self, width: int, *, dark: bool = False) -> None:
        """Make the open page so wide, in CSS pixels, for who prefers light or dark."""
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def set_scripts(self, *, run: bool) -> None:
        """Set whether scripts run in the pages that are opened from now on in this tab."""
        self._send("Emulation.setScriptExecutionDisabled", value=not run)

    def go(self, page: Path | str) -> None:
        """Load another page in the open tab. What was seen before is forgotten."""
        self._events = []
        self._send("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        self._until("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the open page, of a promise what it comes to. An error in it fails."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}\n{json.dumps(answer['exceptionDetails'], indent=1)}")
        return answer["result"].get("value", answer["result"])

    def wait(self, expression: str, seconds: float) -> Any:
        """Return the first value of an expression that is true, as the page changes. Fails when none is by then."""
        return self.evaluate(f"({WAIT})(() => ({expression}), {seconds * 1000:.0f})")

    def write(self, selector: str, text: str) -> None:
        """Write into a field, in place of what it holds, as a keyboard does."""
        self.evaluate(
            f"(field => {{ field.focus(); field.select(); }})(document.querySelector({json.dumps(selector)}))"
        )
        self._send("Input.insertText", text=text)

    def press(self, element: str) -> None:
        """Click the middle of an element, given as an expression, as a mouse does, once it stands still there."""
        places: list[Any] = [None]

        def stands_still() -> bool:
            places.append(self.evaluate(f"({PLACE})({element})"))
            return bool(places[-1] == places[-2] and places[-1][2])

        until_blocking(stands_still, PRESS_SECONDS)
        x, y, _ = places[-1]
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press_and_load(self, element: str) -> None:
        """Click an element that leads to another page, and wait until that is loaded."""
        self._events = []
        self.press(element)
        self._until("Page.loadEventFired")

    def visit(
        self, page: Path | str, width: int, *, dark: bool = False, picture: bool = False, **expressions: str
    ) -> Visit:
        """Open a page, or an address, at this width in CSS pixels, and evaluate expressions in it, in order."""
        target = self._open(page, width, dark=dark)
        visit = Visit()
        for name, expression in expressions.items():
            visit.values[name] = self.evaluate(expression)
        if picture:
            shot = self._send("Page.captureScreenshot", captureBeyondViewport=True, format="png")
            visit.picture = base64.b64decode(shot["data"])
        self._send("Page.disable")
        self._note(visit)
        self._close(target)
        return visit

    def seen(self) -> Visit:
        """Return what the open page has asked for, and what Chromium disliked about it, until now."""
        visit = Visit()
        self._note(visit)
        return visit

    def _note(self, visit: Visit) -> None:
        for event in self._events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Network.requestWillBeSent":
                visit.requests.append(parameters["request"]["url"])
            elif method in COMPLAINTS:
                visit.complaints.append(json.dumps(parameters))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run Chromium with a new profile. Skips where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    theirs_in, ours_out = _high(os.pipe())
    ours_in, theirs_out = _high(os.pipe())
    null = os.open(os.devnull, os.O_RDWR)
    process = os.posix_spawn(
        program,
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        {**os.environ, "HOME": str(profile), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        file_actions=[
            *((os.POSIX_SPAWN_DUP2, null, standard) for standard in range(3)),
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
        ],
        setpgroup=0,
    )
    for descriptor in (theirs_in, theirs_out, null):
        os.close(descriptor)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(ours_in)
        os.close(ours_out)


def _high(pipe: tuple[int, int]) -> tuple[int, int]:
    """Move a pipe's ends out of the way of the numbers that Chromium wants."""
    import fcntl  # noqa: PLC0415 - there is none on every platform

    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE) for end in pipe]
    for end in pipe:
        os.close(end)
    return ends[0], ends[1]
