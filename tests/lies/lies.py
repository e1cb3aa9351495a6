"""Every lie, by what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lies.answering import HEARD
from tests.lies.granting import GRANTED
from tests.lies.showing import SHOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lies.changing import FoundLie

LIES: Mapping[str, FoundLie] = {**HEARD, **GRANTED, **SHOWN}
