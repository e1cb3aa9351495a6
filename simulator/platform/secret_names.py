"""Which names of settings, variables and keys denote secrets: the one place that decides. No I/O."""

from __future__ import annotations

import re

SECRET_NAME = re.compile("PASS(?:WORD|WD|PHRASE)|SECRET|TOKEN|CREDENTIAL|(?:^|(?<!PUBLIC)_)KEYS?$")
"""Matches names of variables that may hold a secret."""
