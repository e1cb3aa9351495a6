"""`python foreign_server.py --port N [--state FILE]`: another implementation, which is unlike the reference server.

It forks and goes on as two processes, the second of which serves; takes its port and state from its command line and
its token from a variable of its own; says nothing of where it listens; and ends by SIGTERM only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))


def main() -> int:
    """Serve, in a child."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--state", default="")
    options = parser.parse_args()
    child = os.fork()
    if child:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the child has it as well
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    from reference_server.app import serve  # noqa: PLC0415 - in the child only, as if exec'd

    mine = {"PORT": options.port, "HATCHFARM_STATE_FILE": options.state, "HATCHFARM_API_TOKEN": os.environ["FARM_KEY"]}
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return serve({**os.environ, **mine})


if __name__ == "__main__":
    sys.exit(main())
