"""How the pages for people are written: templates that escape everything, and the headers that every page has."""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reference_server.limits import PAGE_ROWS
from reference_server.wire.values import Reply
from reference_server.wire.visible_text import visible

if TYPE_CHECKING:
    from reference_server.wire.values import Headers

TEMPLATES = Path(__file__).parent / "templates"
HTML = "text/html; charset=utf-8"
PAGES = (
    ("/", "Overview"),
    ("/my/fleet", "Fleet"),
    ("/my/jobs", "Jobs"),
    ("/my/wallet", "Wallet"),
    ("/my/audit", "Audit"),
    ("/my/key", "API key"),
)
"""The pages of who is signed in, in the order of the menu."""
PROVIDERS = {"google": "Google", "apple": "Apple", "github": "GitHub"}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def page(template: str, status: int = HTTPStatus.OK, more: Headers = (), **shown: Any) -> Reply:
    """Write a page."""
    text = _environment().get_template(f"{template}.html.jinja").render(shown)
    return Reply(status, text.encode(), (("content-type", HTML), *_page_headers(), *more))


def see_other(path: str, more: Headers = ()) -> Reply:
    """Send a browser that posted a form to a page, so that going back or again posts nothing anew."""
    headers = (("location", path), ("cache-control", "no-store"), ("referrer-policy", "same-origin"))
    return Reply(HTTPStatus.SEE_OTHER, b"", (("content-type", HTML), *headers, *more))


@cache
def _page_headers() -> Headers:
    """Return the headers of every page. Nothing is loaded, nothing runs, and no other site may frame it."""
    digest = base64.b64encode(sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        ("cache-control", "no-store"),
        ("content-security-policy", policy),
        # Not `no-referrer`: browsers then hide the `Origin` of forms too, and a form is told from another site's by it.
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
    )


@cache
def _style() -> str:
    return TEMPLATES.joinpath("page.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    """Make the template engine: everything is escaped, and everything unseen is made visible first."""

    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(pages=PAGES, rows=PAGE_ROWS, style=_style(), link_to=_link_to)
    environment.filters.update(
        ago=_ago,
        counted=_counted,
        link=urlencode,
        moment=_moment,
        provider=_provider,
        span=_span,
        words=_words,
    )
    return environment


def _link_to(path: str, asked: dict[str, Any], offset: int) -> str:
    """Return the link to a page of a list, filtered as it is."""
    query = {name: value for name, value in (asked | {"offset": offset}).items() if value}
    return f"{path}?{urlencode(query)}" if query else path


def _moment(text: str) -> str:
    """Write a timestamp of the API for people, to the second."""
    return f"{text[:10]} {text[11:19]}"


def _provider(name: str) -> str:
    """Write a provider's name; one of a state file from elsewhere may be any."""
    return PROVIDERS.get(name, name)


def _span(seconds: int) -> str:
    """Write a length of time in the largest unit that it is whole in."""
    size, name = next(unit for unit in _UNITS if seconds % unit[0] == 0)
    return f"{seconds // size} {name}"


def _ago(seconds: int) -> str:
    """Write how long ago something was in the largest unit that has passed, rounded down."""
    size, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return f"{seconds // size} {name} ago"


def _counted(number: int, noun: str, most: int = 0) -> str:
    """Write how many there are of something, or that there may be more where no more than so many were counted."""
    more = " or more" if most and number >= most else ""
    return f"{number:,}{more} {noun}{'' if number == 1 else 's'}"


def _words(name: str) -> str:
    """Write a name of the API as words."""
    return name.replace("_", " ").capitalize()
