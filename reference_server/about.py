"""What the server has and takes, for commands that tell of it without starting one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.tables import TABLES
from reference_server.login_settings import LOGIN_SETTINGS
from reference_server.market_settings import MARKET_SETTINGS
from reference_server.operations.openapi import describe
from reference_server.operations.table import OPERATIONS, PREFIXES
from reference_server.proxy_settings import PROXY_SETTINGS
from reference_server.settings import SETTINGS, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reference_server.setting_rows import Setting
    from reference_server.wire.sections import Section


def described_api() -> dict[str, Any]:
    """Return the API's description, an OpenAPI document."""
    return describe(OPERATIONS, PREFIXES[0], Settings().version)


def state_sections() -> tuple[Section[Any], ...]:
    """Return the sections that state files of this server have."""
    return TABLES.sections


class SettingRow(msgspec.Struct, frozen=True):
    """One setting as people read it; a `default` of nothing is unset."""

    variable: str
    default: str
    allowed: str
    purpose: str


def settings_help() -> list[tuple[str, str, str]]:
    """List every setting as (variable, default, what it is for)."""
    return [(row.variable, row.default, row.purpose) for row in map(_row, SETTINGS)]


def settings_by_subject() -> dict[str, list[SettingRow]]:
    """List every setting once, under what it is about."""
    subjects = {"Behind proxies": PROXY_SETTINGS, "Agents, jobs and money": MARKET_SETTINGS, "Logins": LOGIN_SETTINGS}
    placed = {setting.variable for settings in subjects.values() for setting in settings}
    own = [setting for setting in SETTINGS if setting.variable not in placed]
    redis = [setting for setting in own if setting.variable.startswith(_OF_SEVERAL)]
    server = [setting for setting in own if setting not in redis]
    return {
        subject: [*map(_row, settings)]
        for subject, settings in {"The server": server, "Several instances": redis, **subjects}.items()
    }


_OF_SEVERAL = ("REDIS_", "HATCHFARM_SHARED_STATE")
"""How the names begin of settings that let several instances share something."""


def _row(setting: Setting) -> SettingRow:
    default = getattr(Settings(), setting.field)
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    shown = shown.lower() if isinstance(default, bool) else shown
    return SettingRow(setting.variable, shown, setting.allowed, setting.purpose)


def setting_names() -> list[str]:
    """List the variables that `load_settings` looks at."""
    return [setting.variable for setting in SETTINGS]


def setting_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each setting's value, with what it is for, by its variable."""
    schemas = {}
    for (variable, default, purpose), setting in zip(settings_help(), SETTINGS, strict=True):
        described = f"{purpose[:1].upper()}{purpose[1:]}: {setting.allowed}; {default or 'unset'} by default."
        schemas[variable] = {"description": described, **(setting.shape or {"type": ["string", "number", "boolean"]})}
    return schemas


def settings_problem(environ: Mapping[str, str]) -> str:
    """Return what is wrong with the settings in an environment; nothing when they are right."""
    try:
        load_settings(environ)
    except SettingsError as error:
        return str(error)
    return ""
