"""What the server has and takes, for commands that tell of it without starting one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_server.core.tables import TABLES
from reference_server.operations.openapi import describe
from reference_server.operations.table import OPERATIONS, PREFIXES
from reference_server.settings import SETTINGS, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reference_server.wire.sections import Section


def described_api() -> dict[str, Any]:
    """Return the API's description, an OpenAPI document."""
    return describe(OPERATIONS, PREFIXES[0], Settings().version)


def state_sections() -> tuple[Section[Any], ...]:
    """Return the sections that state files of this server have."""
    return TABLES.sections


def settings_help() -> list[tuple[str, str, str]]:
    """List every setting as (variable, default, what it is for)."""
    defaults = Settings()
    rows = []
    for setting in SETTINGS:
        default = getattr(defaults, setting.field)
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        rows.append((setting.variable, shown.lower() if isinstance(default, bool) else shown, setting.purpose))
    return rows


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
