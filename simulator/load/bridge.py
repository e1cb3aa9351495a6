"""A shard as its Locust worker sees it: a child process that is told what to do and reports. Runs under gevent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import gevent
from gevent import subprocess
from gevent.event import Event

from simulator.load.messages import Failed, Finish, FrameError, Frames, Launch, Report, Wanted, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.load.messages import Begin, Message

READ_BYTES = 1 << 20
COALESCE_SECONDS = 0.02
"""How long changes in the number of machines are collected: users come by the hundred."""
FINISH_SECONDS = 30.0
"""How long a shard may take for its last answers and its last report."""


class ShardBridge:
    """One shard process. `on_report` is given each report; `on_lost`, once, why there will be no more of them."""

    def __init__(self, begin: Begin, on_report: Callable[[Report], None], on_lost: Callable[[str], None]) -> None:
        self._on_report = on_report
        self._on_lost = on_lost
        self._machines = 0
        self._change_pending = False
        self._finishing = False
        self._over = Event()
        self._complete = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulator.load.shard_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for whoever conducts; the shard is told to finish
        )
        self._tell(begin)
        self._reader = gevent.spawn(self._read)

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return int(self._process.pid)

    def change(self, machines: int) -> None:
        """Have that many more machines take part, or fewer."""
        self._machines += machines
        if not self._change_pending:
            self._change_pending = True
            gevent.spawn_later(COALESCE_SECONDS, self._tell_wanted)

    def launch(self, campaign: int) -> None:
        """Launch a campaign."""
        self._tell(Launch(campaign))

    def finish(self) -> bool:
        """End the shard, and wait for its last report; returns whether it came."""
        if not self._finishing:
            self._finishing = True
            self._tell(Finish())
        self._over.wait(FINISH_SECONDS)
        self.kill()
        return self._complete

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _tell_wanted(self) -> None:
        self._change_pending = False
        if not self._finishing:  # else users stop because the test does, and their machines' last answers still count
            self._tell(Wanted(self._machines))

    def _tell(self, message: Message) -> None:
        try:
            self._process.stdin.write(frame(message))
            self._process.stdin.flush()
        except OSError:
            return  # it is gone, which the reader says

    def _read(self) -> None:
        frames = Frames()
        why = ""
        try:
            while data := self._process.stdout.read1(READ_BYTES):
                for message in frames.feed(data):
                    match message:
                        case Report():
                            self._complete = message.last
                            self._on_report(message)
                        case Failed():
                            why = message.why
                        case _:
                            raise FrameError(f"a shard that says {type(message).__name__}")  # noqa: TRY301
        except (OSError, FrameError) as error:
            why = str(error)
        if not self._complete:
            self.kill()
            self._on_lost(why or f"the shard died with exit code {self._process.returncode}")
        self._over.set()
