"""How many files, which is to say connections, this process may have open."""

from __future__ import annotations

import resource


def raise_open_files() -> int:
    """Raise the soft limit on open files to the hard one, and return what is allowed then.

    The soft one is 1,024 nearly everywhere, for programs that use select(), which this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 30
