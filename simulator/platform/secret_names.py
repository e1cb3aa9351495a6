"""Which names are those of secrets: the one place that decides it, for settings, variables and keys. No I/O."""

from __future__ import annotations

import re

SECRET_NAME = re.compile("PASS(?:WORD|WD|PHRASE)|SECRET|TOKEN|CREDENTIAL|(?:^|(?<!PUBLIC)_)KEYS?$")
"""Variables that may hold a secret, by their names."""
