"""A variable whose name is nearly a setting's is said to be none; of all the others that there are nothing is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer

from reference_server.settings import SETTINGS, misspelt_settings
from simulator.commands.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = [setting.variable for setting in SETTINGS]
LONG = [name for name in NAMES if len(name) >= 10]
FOREIGN = """
HOSTNAME HOSTS PORTS REDIS_HOST REDIS_PORT REDIS_URL REDIS_ADDRESS REDIS_PASS SSL_CERT_FILE SSL_CERT_DIR
SSL_KEY_FILE TLS_CA_FILE TLS_CERT_PATH GITHUB_ACTIONS GITHUB_GRAPHQL_URL GITHUB_SERVER_URL GITHUB_TOKEN
GOOGLE_API_KEY APPLE_ID GOOGLE_CLIENT_EMAIL GOOGLE_APPLICATION_CREDENTIALS APPLE_API_KEY_ID HTTP_PROXY
HTTPS_PROXY TRUST_PROXY ALLOWED_HOSTS PUBLIC_DIR METRICS_PORT SESSION_TIMEOUT_SECONDS GITLAB_CLIENT_SECRET
HTTP_READ_TIMEOUT_SECONDS HTTP_WRITE_TIMEOUT_SECONDS MTLS_KEY_FILE DTLS_CERT_FILE HATCHFARM_API_TOKEN_OLD
"""


def names_of_flags(command: Any) -> Iterator[str]:
    """Return the variables that stand for flags of `hatchfarm`."""
    for inner in getattr(command, "commands", {}).values():
        yield from names_of_flags(inner)
    yield from (flag.envvar for flag in command.params if isinstance(flag.envvar, str))


@pytest.mark.parametrize("name", LONG)
def test_one_wrong_letter_is_told_with_what_was_meant(name: str) -> None:
    middle = len(name) // 2
    wrong = [name[:-1], f"{name}S", name[:middle] + name[middle + 1 :], f"{name[:middle]}Q{name[middle + 1 :]}"]
    for one in {*wrong} - {*NAMES}:
        assert misspelt_settings({one: "5"}) == {one: name}


def test_nothing_is_said_of_what_others_have_in_their_environments() -> None:
    flags = {*names_of_flags(typer.main.get_command(app))}
    assert len(flags) > 50
    assert misspelt_settings(dict.fromkeys([*FOREIGN.split(), *flags], "5")) == {}


def test_nothing_is_said_where_what_may_have_been_meant_is_set() -> None:
    assert misspelt_settings({"ALLOWED_ORIGIN": "x"}) == {"ALLOWED_ORIGIN": "ALLOWED_ORIGINS"}
    assert misspelt_settings({"ALLOWED_ORIGIN": "x", "ALLOWED_ORIGINS": "y"}) == {}
