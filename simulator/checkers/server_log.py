"""The log checker: no secret that a run used stands in what the servers that it started have logged (contract §11)."""

from __future__ import annotations

import msgspec

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.platform.wording import plural

LOG = "log"
FORMS = "not as it is, in hex, in base64, in a URL or escaped"
"""In which a secret is looked for (`deployment.server_log.forms_of`); what was compressed or encrypted is not seen."""


class Leak(msgspec.Struct, frozen=True):
    """Where a secret stands: which server's log, what kind of secret, in which form and line. Never the secret."""

    server: str
    kind: str
    form: str
    line: int


class LogSearch(msgspec.Struct, frozen=True):
    """What was looked for in which logs, and what was found. `found` counts leaks, those among them not kept here.

    What was `left_out` was too much to be kept, or, of secrets, too short to be told from a word; `ends_left_out` are
    logs whose last words were not read. `unknown` says which of the run's secrets whoever looked did not know; empty
    for none.
    """

    servers: int
    bytes_read: int
    bytes_left_out: int
    secrets: int
    secrets_left_out: int
    unknown: str = ""
    leaks: tuple[Leak, ...] = ()
    found: int = 0
    ends_left_out: int = 0


def check_log(search: LogSearch) -> Verdict:
    """Judge what a search has found. One that did not see all proves nothing."""
    figures = {"secrets": search.secrets, "bytes": search.bytes_read, "servers": search.servers}
    logs = "a server's log" if search.servers == 1 else f"{search.servers} servers' logs"
    if search.leaks:
        findings = tuple(
            Finding(
                "log.secret",
                f"the log of {one.server} holds a secret in line {one.line:,}: {_with_article(one.kind)}, {one.form}",
                0,
                msgspec.to_builtins(one),
            )
            for one in search.leaks
        )
        summary = f"Secrets stand in {logs}; {findings[0].message}."
        return Verdict(LOG, Status.FAIL, summary, findings, figures, search.found)
    missed = [
        *([] if search.bytes_read else ["nothing was logged"]),
        *([f"{search.bytes_left_out:,} bytes were more than is kept"] if search.bytes_left_out else []),
        *([f"the end of {plural(search.ends_left_out, 'log')} was not read"] if search.ends_left_out else []),
        *([f"{plural(search.secrets_left_out, 'secret')} could not be looked for"] if search.secrets_left_out else []),
        *([search.unknown] if search.unknown else []),
    ]
    looked = f"{plural(search.secrets, 'secret')} in the {search.bytes_read:,} bytes of {logs}"
    if missed:
        summary = f"None of {looked} that were looked through, but that is not all: {'; '.join(missed)}."
        return Verdict(LOG, Status.NOT_APPLICABLE, summary, (), figures)
    return Verdict(LOG, Status.PASS, f"None of {looked}: {FORMS}.", (), figures)


def _with_article(kind: str) -> str:
    if kind.startswith(("value", "private")):
        return f"the {kind}"
    return f"{'an' if kind[0] in 'AEIO' else 'a'} {kind}"
