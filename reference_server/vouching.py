"""The part of the composition root that has those asked who vouch for people and agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_server.adapters.files.private_files import exposure
from reference_server.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.ports import Clock


def ask_outside(api: Api, clock: Clock, make_transport: Callable[[], Any]) -> None:
    """Have an API ask whom its settings name, by a transport of httpx's or, for None, by sockets.

    Raises SettingsError, naming the variable.
    """
    settings = api.settings
    if not (api.state.login_providers or settings.moltbook_base_url):
        return
    # Importing an HTTP client takes a third of a second, which no server without logins should wait for.
    from reference_server.adapters.identity.connecting import connect  # noqa: PLC0415 - see above

    path = settings.apple_private_key_file
    try:
        problem = exposure(Path(path)) if path else ""
        if problem:
            raise SettingsError(f"APPLE_PRIVATE_KEY_FILE: {problem}; then make it anew, for it may be known")
        vouchers = connect(settings, clock, make_transport())
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"APPLE_PRIVATE_KEY_FILE: cannot use {path} ({error}): it is the file with the key that Apple gave"
        ) from None
    api.providers, api.moltbook = vouchers.providers, vouchers.moltbook
    api.background_tasks = (*api.background_tasks, vouchers.run)
