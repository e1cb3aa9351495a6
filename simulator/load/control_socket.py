"""The master's line to its conductor: an inherited socket with frames both ways. Runs under gevent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket
from gevent.lock import RLock

from simulator.load.messages import FrameError, Frames, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.load.messages import Message

READ_BYTES = 65_536
ABANDONED_EXIT_CODE = 5


class ControlSocket:
    """Frames over one connected socket. When the conductor is gone this process ends at once, as nobody wants it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._frames = Frames()
        self._waiting: list[Message] = []
        self._lock = RLock()

    def first(self) -> Any:
        """Wait for the first message. Raises FrameError where none comes."""
        while not self._waiting:
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise FrameError("the conductor was gone before it had said anything")
            self._waiting += self._frames.feed(data)
        return self._waiting.pop(0)

    def listen(self, receive: Callable[[Any], None]) -> None:
        """Pass on what comes, from now on."""
        gevent.spawn(self._listen, receive)

    def send(self, message: Message) -> None:
        """Send one message, whole, after those before it."""
        with self._lock:
            try:
                self._socket.sendall(frame(message))
            except OSError:
                os._exit(ABANDONED_EXIT_CODE)

    def _listen(self, receive: Callable[[Any], None]) -> None:
        try:
            for message in self._waiting:
                receive(message)
            while data := self._socket.recv(READ_BYTES):
                for message in self._frames.feed(data):
                    receive(message)
        except (OSError, FrameError):
            pass
        os._exit(ABANDONED_EXIT_CODE)
