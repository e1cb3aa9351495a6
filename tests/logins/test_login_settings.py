"""Settings of logins that go together, and the key for Apple (contract: Logins)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.settings import SettingsError, load_settings
from tests.logins.real_server import apple_key

if TYPE_CHECKING:
    from pathlib import Path

    from reference_server.operations.api import Api

GROUPS = {
    "google": ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"),
    "github": ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"),
    "apple": ("APPLE_CLIENT_ID", "APPLE_TEAM_ID", "APPLE_KEY_ID", "APPLE_PRIVATE_KEY_FILE"),
}
BASE = {"HATCHFARM_API_TOKEN": "the-token", "PUBLIC_URL": "https://api.test", "WORKER_STATUS_STATE_FILE": ""}


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_what_a_provider_gave_goes_together_and_needs_to_be_come_back_to(group: tuple[str, ...]) -> None:
    whole = dict.fromkeys(group, "given")
    assert load_settings({**BASE, **whole}).public_url == "https://api.test"
    assert refusal(whole).startswith("PUBLIC_URL: is needed")
    for missing in group:
        message = refusal({**BASE, **whole, missing: ""})
        assert missing in message
        assert "go together" in message


def test_a_default_port_is_left_out_as_browsers_do() -> None:
    for text, origin in (
        ("https://a.test:443", "https://a.test"),
        ("http://a.test:80", "http://a.test"),
        ("http://a.test:443", "http://a.test:443"),
        ("https://a.test", "https://a.test"),
    ):
        assert load_settings({"PUBLIC_URL": text}).public_url == origin


def started(path: str) -> Api:
    apple = {**dict.fromkeys(GROUPS["apple"], "given"), "APPLE_PRIVATE_KEY_FILE": path}
    return make_api({**BASE, **apple}, SeededEntropy(), SetClock())


def test_a_key_for_apple_that_cannot_be_used_refuses_to_start(tmp_path: Path) -> None:
    right = apple_key(tmp_path)
    api = started(right)
    assert list(api.providers) == ["apple"]
    assert api.moltbook is None
    other = tmp_path / "other.p8"
    other.touch(0o600)
    key = generate_private_key(SECP384R1())
    for content in (b"", b"x", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())):
        other.write_bytes(content)
        with pytest.raises(SettingsError, match="APPLE_PRIVATE_KEY_FILE: cannot use"):
            started(str(other))
    with pytest.raises(SettingsError, match="APPLE_PRIVATE_KEY_FILE: cannot use"):
        started(str(tmp_path / "missing"))
    (tmp_path / "apple.p8").chmod(0o644)
    with pytest.raises(SettingsError, match=r"APPLE_PRIVATE_KEY_FILE: .*make it anew"):
        started(right)


def test_a_server_without_providers_asks_nobody() -> None:
    api = make_api(BASE, SeededEntropy(), SetClock())
    assert (api.providers, api.moltbook, api.background_tasks) == ({}, None, ())
    api = make_api({**BASE, "MOLTBOOK_BASE_URL": "https://moltbook.test"}, SeededEntropy(), SetClock())
    assert api.moltbook is not None
