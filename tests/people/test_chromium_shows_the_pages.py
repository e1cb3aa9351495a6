"""The pages for people in Chromium: every form without a script, every state on a phone, and nothing that axe finds."""

from __future__ import annotations

import json
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
import trio

from reference_server.core.identity.logins import person_id
from reference_server.wire.values import Request
from tests.logins.real_server import of_process, running
from tests.people.furnished import SETTINGS, furnish
from tests.people.reading import PAGES
from tests.support.axe import FINDINGS, axe
from tests.support.chromium import chromium
from tests.support.provider_process import provider_process
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.logins.real_server import Running
    from tests.support.chromium import Browser

pytestmark = pytest.mark.long
WIDE, PHONE = 1280, 320
SCREENS = [(WIDE, False), (PHONE, True)]
"""Ordinarily each page is looked at on one of them, in turns."""
ALL_SCREENS = [(width, dark) for width in (WIDE, 1025, 700, PHONE) for dark in (False, True)]
"""Beside the wide and the narrow one those on both sides of where tables become cards."""
SECRET = "(document.querySelector('pre.secret') || {innerText: ''}).innerText"
REFUSED_STATUS = "Failed to load resource: the server responded with a status of 4"
"""What Chromium logs of pages that come with the status of a refusal."""


class Person:
    """Somebody at a browser, whose server is served by the test's own loop meanwhile."""

    def __init__(self, browser: Browser, server: Running) -> None:
        self.browser = browser
        self.server = server
        self.axe = axe()
        self.screens = cycle(SCREENS)

    def go(self, path: str) -> None:
        self.browser.go(self.server.url + path)

    def press(self, text: str) -> None:
        """Press the button or follow the link of this text."""
        found = f"[...document.querySelectorAll('a, button')].find(one => one.innerText === {json.dumps(text)})"
        self.browser.press_and_load(found)

    def text(self) -> str:
        return str(self.browser.evaluate("document.querySelector('main').innerText"))

    def sign_in(self, name: str) -> None:
        self.press("Continue with Google")
        self.browser.write("input[name=sub]", name)
        self.browser.press_and_load("document.querySelector('form button')")

    def works(self, key: str) -> bool:
        """Return whether a key acts as an owner, asked of the server in its own loop."""
        request = Request("GET", "/api/v1/workers/summary", headers=(("authorization", f"Bearer {key}"),))
        return trio.from_thread.run_sync(lambda: self.server.api.handle(request, self.server.clock.now())).status == 200

    def look_through(self, *paths: str) -> dict[str, Any]:
        """Return whatever is wrong with pages as they are now, by page and screen."""
        wrong: dict[str, Any] = {}
        for path in paths:
            self.go(path)
            wrong |= self.look(path)
        return wrong

    def look(self, name: str) -> dict[str, Any]:
        """Return what axe finds in the open page, how much too wide it is for a phone, and what Chromium dislikes."""
        wrong: dict[str, Any] = {}
        self.browser.evaluate(f"{self.axe};0")
        screens = ALL_SCREENS if SOAK else [next(self.screens)]
        for width, dark in screens:
            self.browser.set_screen(width, dark=dark)
            found = self.browser.evaluate(FINDINGS)
            if found:
                wrong[f"{name} at {width}, {dark=}"] = found
        self.browser.set_screen(PHONE)
        width = self.browser.evaluate("document.documentElement.scrollWidth")
        if width > PHONE:
            wrong[f"{name} on a phone"] = f"{width} wide"
        complaints = [one for one in self.browser.seen().complaints if REFUSED_STATUS not in one]
        if complaints:
            wrong[f"{name}, as Chromium says"] = complaints
        return wrong


def use_the_forms(person: Person) -> None:
    """Sign in, make and replace a key, choose among events and sign out, without any script."""
    person.browser.set_scripts(run=False)
    person.go("/my/key")
    person.sign_in("ada")
    assert person.browser.evaluate("location.pathname") == "/my/key"
    person.press("Make a key")
    first = person.browser.evaluate(SECRET)
    assert person.works(first)
    person.go("/my/key")
    assert person.browser.evaluate(SECRET) == ""
    person.press("Replace the key")
    second = person.browser.evaluate(SECRET)
    assert [person.works(first), person.works(second)] == [False, True]
    person.press("Audit")
    assert "Login succeeded" in person.text()
    person.browser.evaluate("document.querySelector('select').value = 'job_created'")
    person.press("Show")
    assert "There is no event of this type" in person.text()
    person.press("Sign out")
    assert "Continue with Google" in person.text()
    assert not person.works(second)
    person.browser.set_scripts(run=True)


def look_at_every_state(person: Person) -> dict[str, Any]:
    """Return whatever is wrong with any page: signed out, with nothing, with everything, refused, with a key."""
    wrong = person.look_through("/my/wallet")
    person.sign_in("ben")
    wrong |= person.look_through(*PAGES if SOAK else ["/my/wallet"])
    api, clock = person.server.api, person.server.clock
    trio.from_thread.run_sync(lambda: furnish(api, person_id("google", "ben"), clock.now()))
    full = person.look_through(*PAGES[:-1])
    wrong |= {f"full: {name}": found for name, found in full.items()}
    wrong |= person.look_through("/my/audit?offset=-1")
    person.go("/my/key")
    person.press("Make a key")
    assert person.browser.evaluate(SECRET)
    return wrong | person.look("a new key")


async def test_the_pages_work_without_scripts_and_nothing_is_wrong_with_them(tmp_path: Path) -> None:
    async with provider_process() as provider, running(of_process(provider, tmp_path) | SETTINGS) as server:

        def drive(bare: Running) -> dict[str, Any]:
            with chromium(tmp_path / "profile") as browser, browser.tab(f"{server.url}/", WIDE):
                person = Person(browser, server)
                use_the_forms(person)
                wrong = look_at_every_state(person)
                browser.evaluate("document.documentElement.lang = ''")
                assert person.look("spoilt") != {}
                return wrong | Person(browser, bare).look_through("/")

        async with running({}) as bare:
            assert await trio.to_thread.run_sync(drive, bare) == {}
