"""Logins that are not the browser's own: other states, codes that were used, codes of others, other providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import OK
from simulator.attacks.logins.browsing import (
    EMAIL,
    FOUND,
    Browser,
    LoginAttack,
    begin,
    come_back,
    denied,
    forged,
    log_in,
    no_session,
    no_state,
    still_open,
)
from simulator.attacks.logins.forging import write
from simulator.attacks.script import Claim, Expect, Outcome, Pause, PrerequisiteError, Together, granted
from simulator.contract.answers import Answer

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext

COPIES = 8
SUBJECTS = 1 << 40
"""How many subjects people are drawn from who log in rightly: no two runs against one server are to meet."""
LATE_NS = 602 * SECOND_NS
"""How long after it began a login is over: ten minutes, and more than two clocks differ by then."""
AFTERWARDS_NS = 5 * SECOND_NS
"""How much of a run must be left once a login is over."""
CHALLENGE_CHARACTERS = 43
_RIGHT = granted(FOUND, "it is the browser's own login, and the provider vouches for it")


class State(LoginAttack):
    """A login that somebody else began is forced on a browser."""

    name = "oauth.state"
    shape = (
        "callbacks without a state, with made-up and others' ones, without the cookie, and with another login's; where "
        "the run lasts for so long, one more than ten minutes after its login began"
    )
    verdict = "400 invalid login state"
    effect = "nobody is logged in, and nobody's login is used up by it"
    anchor = "RFC 6749 §10.12; RFC 9700 §4.7"
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        victim, attacker = Browser(addresses.take(8)), Browser(addresses.take(8))
        own, others = (yield from begin(context, victim)), (yield from begin(context, attacker))
        wrong = no_state("this browser began no such login")
        outcomes: list[Outcome] = []
        states = ("", "0" * 64, others.state, own.state.upper(), own.state[:-1], f"{own.state}0")
        for state in states:
            outcome = yield from come_back(context, victim, own, forged(context, others), wrong, state=state)
            outcomes.append(outcome)
        bare = Browser(addresses.take(4))
        outcomes.append((yield from come_back(context, bare, own, forged(context, own), wrong)))
        bare.cookies = dict(others.cookies)
        outcomes.append((yield from come_back(context, bare, own, forged(context, own), wrong)))
        bare.cookies = {name: f"{value}x" for name, value in own.cookies.items()}
        outcomes.append((yield from come_back(context, bare, own, forged(context, own), wrong)))
        bare.cookies = dict(own.cookies)
        outcomes.append((yield from come_back(context, bare, own, forged(context, own), wrong, provider="github")))
        twice = f"/auth/google/callback?code={write(forged(context, own))}&state={own.state}&state={others.state}"
        outcomes.append((yield bare.send(context, "GET", twice, wrong)))
        yield no_session(outcomes)
        done = yield from come_back(context, victim, own, forged(context, own), _RIGHT)
        yield Claim("not-used-up", done.right if done.known else None, "others could use up a login by trying it")
        yield from still_open(context, addresses)
        yield from self._too_late(context, addresses)

    @staticmethod
    def _too_late(context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Come back once the login is over, where so much of the run is left."""
        if context.end_ns - context.now() < LATE_NS + AFTERWARDS_NS:
            return
        browser = Browser(addresses.take(2))
        login = yield from begin(context, browser)
        yield Pause(context.now() + LATE_NS)
        late = no_state("a login is valid for 10 minutes, and they are over")
        outcome = yield from come_back(context, browser, login, forged(context, login), late)
        yield no_session([outcome])


class CodeReplay(LoginAttack):
    """A code, or all of a callback, again."""

    name = "oauth.code-replay"
    shape = "a callback again, many times at once, and its code in another login, of a provider that does not notice"
    verdict = "400 invalid login state for the same login; 401 login refused for another"
    effect = "one session for one login"
    anchor = "RFC 6749 §4.1.2, §10.5; RFC 9700 §2.1.1"
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        browser = Browser(addresses.take(8))
        login = yield from begin(context, browser)
        used = forged(context, login)
        first = yield from come_back(context, browser, login, used, _RIGHT)
        if not first.right:
            raise PrerequisiteError(f"log in: it got HTTP {first.status}")
        thief = Browser(addresses.take(8))
        thief.cookies = dict(login.cookies)
        again = no_state("the login was used")
        outcomes: list[Outcome] = []
        for _ in range(2):
            outcome = yield from come_back(context, thief, login, used, again)
            outcomes.append(outcome)
        for bound in (used, msgspec.structs.replace(used, challenge="")):
            fresh = yield from begin(context, thief)
            elsewhere = denied("its code was redeemed for another login")
            outcomes.append((yield from come_back(context, thief, fresh, bound, elsewhere)))
        yield no_session(outcomes)
        yield from self._at_once(context, addresses)
        yield from still_open(context, addresses)

    @staticmethod
    def _at_once(context: ScriptContext, addresses: Addresses) -> Script[None]:
        browser = Browser(addresses.take())
        login = yield from begin(context, browser)
        one_of = Expect(Answer.MAY_BE_REFUSED, (FOUND, 400), "", "a login is used once, by whichever comes first")
        path = f"/auth/google/callback?code={write(forged(context, login))}&state={login.state}"
        copies = []
        for _ in range(COPIES):
            each = Browser(addresses.take(COPIES))
            each.cookies = dict(login.cookies)
            copies.append(each.send(context, "GET", path, one_of))
        outcomes: list[Outcome] = yield Together(tuple(copies))
        granted_to = sum(one.status == FOUND for one in outcomes)
        known = all(one.known for one in outcomes)
        message = f"of {COPIES} copies of one callback {granted_to} began a session"
        yield Claim("one-session", granted_to == 1 if known or granted_to > 1 else None, message)


class NoPkce(LoginAttack):
    """A code that was intercepted, and is redeemed in the attacker's own login."""

    name = "oauth.no-pkce"
    shape = "what the provider is asked for each login, and codes bound to another login's challenge, of each provider"
    anchor = "RFC 7636 §1, §4; RFC 9700 §2.1.1"
    severity = 7.5

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        challenges: list[str] = []
        outcomes: list[Outcome] = []
        for provider in ("google", "github"):
            victim, attacker = Browser(addresses.take(4)), Browser(addresses.take(4))
            theirs, own = (yield from begin(context, victim, provider)), (yield from begin(context, attacker, provider))
            for login in (theirs, own):
                right = login.asked.get("code_challenge_method") == "S256"
                challenges.append(login.asked.get("code_challenge", "") if right else "")
            stolen = msgspec.structs.replace(forged(context, own), challenge=challenges[-2] or "of-another")
            bound = denied("its code is bound to another login's challenge")
            outcomes.append((yield from come_back(context, attacker, own, stolen, bound)))
            done = yield from come_back(context, victim, theirs, forged(context, theirs), _RIGHT)
            yield Claim("verifier", done.right if done.known else None, f"no verifier is shown to {provider}")
        good = all(len(one) == CHALLENGE_CHARACTERS for one in challenges) and len(set(challenges)) == len(challenges)
        message = "not every login asks for a challenge of its own, by S256"
        yield Claim("challenge", good, message, {"challenges": challenges})
        yield no_session(outcomes)


class MixUp(LoginAttack):
    """A code of one provider is brought to another, or an answer says that it is somebody else's."""

    name = "oauth.mix-up"
    shape = (
        "callbacks that name another issuer, two, or nobody's, and tokens of one provider in a login with another; "
        "right logins of people who share an address, or a subject with two providers"
    )
    verdict = "401 login refused; 400 for a login with another provider; 302 to people, each as an owner of their own"
    anchor = "RFC 9207 §2.4; RFC 9700 §4.4"
    severity = 7.5

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        outcomes: list[Outcome] = []
        issuers = ("https://evil.example", "https://accounts.google.com", "http://127.0.0.1", "null")
        for provider in ("google", "github"):
            other = denied("its answer came from another provider")
            for issuer in issuers:
                browser = Browser(addresses.take(2))
                login = yield from begin(context, browser, provider)
                forgery = forged(context, login)
                outcomes.append((yield from come_back(context, browser, login, forgery, other, iss=issuer)))
        browser = Browser(addresses.take(5))
        with_google, with_github = (yield from begin(context, browser)), (yield from begin(context, browser, "github"))
        wrong = no_state("the login was begun with another provider")
        for login, provider in ((with_google, "github"), (with_github, "google")):
            forgery = forged(context, login)
            outcomes.append((yield from come_back(context, browser, login, forgery, wrong, provider=provider)))
        yield no_session(outcomes)
        me: Outcome = yield browser.send(
            context, "GET", "/auth/me", Expect(Answer.REFUSED, (401,), "unauthorized", "it never logged in")
        )
        yield Claim("nobody", me.status != OK, "after mixed-up logins somebody is logged in")
        yield from still_open(context, addresses)
        yield from _who_is_who(context, addresses)


def _who_is_who(context: ScriptContext, addresses: Addresses) -> Script[None]:
    """Claim that who somebody is goes by provider and subject, and by no address."""
    number = int(context.rng.integers(1, SUBJECTS))
    people = (
        ("google", str(number), EMAIL),
        ("google", str(number + 1), EMAIL),
        ("github", str(number), EMAIL),
        ("google", str(number), "another@example.com"),
    )
    owners: list[Any] = []
    for provider, subject, email in people:
        me = yield from log_in(context, Browser(addresses.take(3)), subject, provider, email=email)
        owners.append(me.get("owner_id"))
    message = "two people with one address, or with one subject of two providers, are one owner"
    yield Claim("people-apart", len(set(owners[:3])) == len(owners[:3]), message, {"owners": list(map(str, owners))})
    message = "one person is another owner with another address"
    yield Claim("same-person", owners[0] == owners[3], message, {"owners": list(map(str, owners))})
