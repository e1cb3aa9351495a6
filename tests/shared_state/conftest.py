"""What all tests of shared state need: without a Redis they are skipped, and say so."""

from __future__ import annotations

from tests.redis.conftest import _redis_is_installed

__all__ = ["_redis_is_installed"]
