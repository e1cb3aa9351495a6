"""`python mortal_server.py WHEN`: a server that dies by itself, at its first policy or at a signature that is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import plant

LAST_WORDS = "fatal: \\x1b[31mred\\x07"
SEGMENTATION = 'import signal as s; os = __import__("os"); os.kill(os.getpid(), s.SIGSEGV)'
DEATHS = {
    "at-set-up": (
        Edit(
            "reference_server.core.policies",
            "read_policy_request",
            "    try:\n        body = decode_strict(raw",
            f'    os = __import__("os"); os.write(2, b"{LAST_WORDS}\\n"); os._exit(7)\n'
            "    try:\n        body = decode_strict(raw",
        ),
    ),
    "at-forgery": (
        Edit(
            "reference_server.core.heartbeats",
            "verify",
            'return Refused(INVALID_AUTH, "invalid_heartbeat_signature", worker_id)',
            SEGMENTATION,
        ),
    ),
}


def main() -> int:
    """Serve, for a while."""
    plant(DEATHS[sys.argv[1]])
    from reference_server.app import serve  # noqa: PLC0415 - once it is what it shall be

    return serve(os.environ, until_stdin_closes=True)


if __name__ == "__main__":
    sys.exit(main())
