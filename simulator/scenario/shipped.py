"""The scenarios that come with the program, by name: in a wheel within the package, in a checkout beside it."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SCHEMA_FILE = "scenario.schema.json"
LISTED = "`hatchfarm scenarios` lists those that come with it"
_SUFFIX = ".toml"


def _folder() -> Traversable:
    package = files("simulator")
    within = package.joinpath("shipped")
    return within if within.is_dir() else package.joinpath("..", "scenarios")


def shipped_names() -> list[str]:
    """Return the names of the scenarios that are shipped, in alphabetical order."""
    return sorted(one.name.removesuffix(_SUFFIX) for one in _folder().iterdir() if one.name.endswith(_SUFFIX))


def read_shipped(name: str) -> bytes:
    """Return the file of a scenario that is shipped, by its name."""
    return _folder().joinpath(name + _SUFFIX).read_bytes()


def read_schema() -> bytes:
    """Return the JSON Schema of scenario files, for editors."""
    return _folder().joinpath(SCHEMA_FILE).read_bytes()
