"""What processes of one run tell each other: length-prefixed MessagePack frames, the same over pipes and sockets.

A worker commands its shard (`Begin`, `Wanted`, `Launch`, `Finish`), which reports (`Report`, `Failed`). The Locust
master tells the conductor what it hears of its workers (`Started`, `Joined`, `PartReport`, `Left`, `Counted`), and is
told what to run (`Order`) and when to end (`Halt`). No message holds a token: each process has it from its environment.
"""

from __future__ import annotations

import msgspec

from simulator.contract.features import Feature  # noqa: TC001 - decoding needs the annotations
from simulator.judging.tally import Tally  # noqa: TC001 - decoding needs the annotations
from simulator.limits import FRAME_MAX_BYTES
from simulator.scenario.overriding import Change  # noqa: TC001 - as above
from simulator.worlds.progress import Happening  # noqa: TC001 - as above

LENGTH_BYTES = 4


class FrameError(Exception):
    """What came is no frame of this version; the message says why."""


class Order(msgspec.Struct, frozen=True, tag=True):
    """What to run: the scenario's text, and where against whom.

    `policies` are by owner, None where each shard has owners of its own and creates theirs. `keep_history` says whether
    rows are wanted at all. `prefix` begins the owners' names. `sides` are servers for attacks that need one of their
    own, by the attack's name; `others` the ports of further instances of the target. `lacks` is what the target was
    found not to have, `settings` are known of it beyond the scenario's. `addresses` is what is known of how it tells
    machines apart, as `parse_target` takes it, and `addresses_known` whether that is more than hoped.
    `settings_known` says whether the run set the target up. `changes` take the place of values that the text has.
    """

    scenario: str
    seed: int
    target: str
    prefix: str
    policies: dict[str, str] | None = None
    clock_offset_ns: int = 0
    keep_history: bool = True
    sides: dict[str, str] = {}
    others: tuple[int, ...] = ()
    lacks: frozenset[Feature] = frozenset()
    settings: dict[str, str] = {}
    addresses: str = ""
    addresses_known: bool = True
    settings_known: bool = False
    changes: tuple[Change, ...] = ()


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a shard: play `order` as this one of the shards; time counts from a moment of its host's monotonic clock.

    `machines` is how many the fleet's full size gives each shard, for as long as no worker is lost.
    """

    order: Order
    shard: int
    first_machine: int
    start_ns: int
    machines: int


class Wanted(msgspec.Struct, frozen=True, tag=True):
    """To a shard: how many machines take part from now on."""

    machines: int


class Launch(msgspec.Struct, frozen=True, tag=True):
    """To a shard: launch a campaign now, by its number in the scenario."""

    campaign: int


class Finish(msgspec.Struct, frozen=True, tag=True):
    """To a shard: send nothing more, report what is left, and end."""


class Report(msgspec.Struct, frozen=True, tag=True):
    """From a shard, once a second: what happened since its last one. `delta` is of its history, empty if none is kept.

    All of what the shard knows up to `at_ns`, on its host's monotonic clock, is in its reports up to this one.
    `changes` are campaigns that began or ended.
    """

    at_ns: int
    tallies: list[Tally]
    progress: dict[str, int]
    delta: bytes = b""
    last: bool = False
    changes: list[Happening] = []


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a shard: it cannot go on, and why."""

    why: str


class Started(msgspec.Struct, frozen=True, tag=True):
    """From the master: load begins, at a moment of its host's monotonic clock."""

    start_ns: int


class Joined(msgspec.Struct, frozen=True, tag=True):
    """From the master: a part of the run has begun, which a worker plays.

    `offset_ns` bounds what the worker's monotonic clock shows ahead of the master's. A worker has two parts: its
    shard's machines, and what its owners do. `host` numbers the network host it speaks from, 0 for the master's own.
    The part's time counts from `start_ns` by its own clock.
    """

    part: int
    worker: str
    first_machine: int
    machines: int
    start_ns: int
    host: int = 0
    offset_ns: tuple[int, int] = (0, 0)


class PartReport(msgspec.Struct, frozen=True, tag=True):
    """From the master: a report of one of the parts, its delta still encoded."""

    part: int
    report: Report


class Left(msgspec.Struct, frozen=True, tag=True):
    """From the master: a worker is gone before it had said everything, and why."""

    worker: str
    why: str


class Count(msgspec.Struct, frozen=True):
    """One line of Locust's final statistics."""

    method: str
    name: str
    requests: int
    failures: int


class Counted(msgspec.Struct, frozen=True, tag=True):
    """From the master, at its end: Locust's statistics, and the times of its clock bounds read again, by worker."""

    counts: list[Count]
    users_max: int
    offsets_ns: dict[str, tuple[int, int]] = {}


class Halt(msgspec.Struct, frozen=True, tag=True):
    """To the master: end the test now, as if its time were over."""


Message = (
    Order | Begin | Wanted | Launch | Finish | Report | Failed | Started | Joined | PartReport | Left | Counted | Halt
)
_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    """Write a message, as `unpack` reads it."""
    return _encode(message)


def unpack(data: bytes) -> Message:
    """Read a message. Raises FrameError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameError(f"no message of this version: {error}") from None


def frame(message: Message, max_bytes: int = FRAME_MAX_BYTES) -> bytes:
    """Write a message with its length before it. Raises FrameError for one past the bound."""
    data = pack(message)
    if len(data) > max_bytes:
        raise FrameError(f"a message of {len(data):,} bytes, more than {max_bytes:,}")
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


class Frames:
    """Puts frames together from bytes as they come."""

    def __init__(self, max_bytes: int = FRAME_MAX_BYTES) -> None:
        self._data = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes; returns the messages that are whole now. Raises FrameError."""
        self._data += data
        messages = []
        start, size = 0, len(self._data)
        while size - start >= LENGTH_BYTES:
            length = int.from_bytes(self._data[start : start + LENGTH_BYTES], "little")
            if length > self._max_bytes:
                raise FrameError(f"a frame of {length:,} bytes, more than {self._max_bytes:,}")
            end = start + LENGTH_BYTES + length
            if size < end:
                break
            messages.append(unpack(bytes(self._data[start + LENGTH_BYTES : end])))
            start = end
        del self._data[:start]
        return messages
