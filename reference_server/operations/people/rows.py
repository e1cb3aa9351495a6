"""The rows of the pages for people. Their answers are pages, and so are the refusals that their own decisions give."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from reference_server.core.calls import OFFSET
from reference_server.core.views import EVENT_TYPE
from reference_server.operations.callers import VISITOR
from reference_server.operations.jobs import JOB_STATE
from reference_server.operations.operation import Answer, Operation
from reference_server.operations.people import pages
from reference_server.operations.people.rendering import HTML
from reference_server.operations.wallet import ASSET

if TYPE_CHECKING:
    from reference_server.core.calls import Parameter
    from reference_server.operations.people.pages import Decision

_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE)


def _answers(*statuses: int) -> tuple[Answer, ...]:
    return tuple(Answer(status, bare=True, media_type=HTML) for status in statuses)


def _shown(path: str, decide: Decision, summary: str, *query: Parameter) -> Operation:
    answers = _answers(HTTPStatus.OK, *_REFUSALS)
    return Operation(
        "GET", path, VISITOR, decide, query=query, answers=answers, summary=summary, rooted=True, for_people=True
    )


def _posted(path: str, decide: Decision, summary: str, *refusals: int) -> Operation:
    answers = _answers(HTTPStatus.SEE_OTHER, *refusals)
    return Operation("POST", path, VISITOR, decide, answers=answers, summary=summary, rooted=True, for_people=True)


OPERATIONS = (
    _shown(pages.HOME, pages.show_overview, "Show what needs looking at, or how to sign in."),
    _shown("/my/fleet", pages.show_fleet, "Show the workers.", OFFSET),
    _shown("/my/jobs", pages.show_jobs, "Show the jobs.", OFFSET, JOB_STATE),
    _shown("/my/wallet", pages.show_wallet, "Show balances, withdrawals and transactions.", OFFSET, ASSET),
    _shown("/my/audit", pages.show_audit, "Show the audit events.", OFFSET, EVENT_TYPE),
    _shown(pages.KEY, pages.show_key, "Show which keys there are, and a new one once."),
    _posted(
        pages.KEY,
        pages.make_key,
        "Make a key, or replace it.",
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    _posted("/my/sign-out", pages.sign_out, "Sign out."),
)
