"""`hatchfarm run ARGUMENT...` as `FILE run ARGUMENT...`: it also writes to FILE how its workers' clocks are bounded.

A bundle keeps only how wide the bounds were; whether they hold the truth is for a test that knows it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from simulator.commands.cli import main
from simulator.load.conductor import Conductor
from simulator.load.messages import Joined

if __name__ == "__main__":
    heard = Path(sys.argv.pop(1))
    reported = Conductor._receive

    def tell(conductor: Conductor, message: Any) -> None:
        if isinstance(message, Joined):
            with heard.open("ab") as file:
                file.write(msgspec.json.encode(message) + b"\n")
        reported(conductor, message)

    with patch.object(Conductor, "_receive", tell):
        main()
