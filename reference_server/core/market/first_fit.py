"""Machines in the order of their ids, and the first of them that has room for so much: an index for matching."""

from __future__ import annotations

from bisect import bisect_left

_BLOCK_MAX = 128
"""Machines in a block: as many blocks as machines in one, where there are 10,000 or so."""


class _Block:
    """Neighbouring machines, and the most that any of them has of each resource."""

    __slots__ = ("cpu", "gpus", "ids", "memory", "rooms")

    def __init__(self, ids: list[str], rooms: list[tuple[int, int, int]]) -> None:
        self.ids = ids
        self.rooms = rooms
        self.measure()

    def measure(self) -> None:
        """Find the most of each resource anew."""
        rooms = self.rooms
        self.cpu = max((room[0] for room in rooms), default=0)
        self.memory = max((room[1] for room in rooms), default=0)
        self.gpus = max((room[2] for room in rooms), default=0)

    def raise_to(self, cpu: int, memory: int, gpus: int) -> None:
        """Note that a machine has so much."""
        self.cpu, self.memory, self.gpus = max(self.cpu, cpu), max(self.memory, memory), max(self.gpus, gpus)


class FirstFit:
    """Free room of machines, by id. Finding looks at one line a block, and into those that may have room."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._firsts: list[str] = []
        """The first id of each block."""

    def __len__(self) -> int:
        return sum(len(block.ids) for block in self._blocks)

    def put(self, worker_id: str, cpu: int, memory: int, gpus: int) -> None:
        """Set a machine's free room, whether it was there before or not."""
        if not self._blocks:
            self._blocks.append(_Block([worker_id], [(cpu, memory, gpus)]))
            self._firsts.append(worker_id)
            return
        at = self._block_at(worker_id)
        block = self._blocks[at]
        place = bisect_left(block.ids, worker_id)
        room = (cpu, memory, gpus)
        if place < len(block.ids) and block.ids[place] == worker_id:
            before, block.rooms[place] = block.rooms[place], room
            if before[0] == block.cpu > cpu or before[1] == block.memory > memory or before[2] == block.gpus > gpus:
                block.measure()
            else:
                block.raise_to(*room)
            return
        block.ids.insert(place, worker_id)
        block.rooms.insert(place, room)
        block.raise_to(*room)
        self._firsts[at] = block.ids[0]
        if len(block.ids) > _BLOCK_MAX:
            self._split(at)

    def remove(self, worker_id: str) -> None:
        """Take a machine out, if it is there."""
        if not self._blocks:
            return
        at = self._block_at(worker_id)
        block = self._blocks[at]
        place = bisect_left(block.ids, worker_id)
        if place == len(block.ids) or block.ids[place] != worker_id:
            return
        del block.ids[place], block.rooms[place]
        if not block.ids:
            del self._blocks[at], self._firsts[at]
            return
        block.measure()
        self._firsts[at] = block.ids[0]

    def first(self, cpu: int, memory: int, gpus: int) -> str | None:
        """Return the lowest id of a machine with at least so much free of each, or None."""
        for block in self._blocks:
            if block.cpu >= cpu and block.memory >= memory and block.gpus >= gpus:
                for place, (free_cpu, free_memory, free_gpus) in enumerate(block.rooms):
                    if free_cpu >= cpu and free_memory >= memory and free_gpus >= gpus:
                        return block.ids[place]
        return None

    def _block_at(self, worker_id: str) -> int:
        at = bisect_left(self._firsts, worker_id)
        return at if at < len(self._firsts) and self._firsts[at] == worker_id else max(0, at - 1)

    def _split(self, at: int) -> None:
        block = self._blocks[at]
        half = len(block.ids) // 2
        self._blocks[at : at + 1] = [
            _Block(block.ids[:half], block.rooms[:half]),
            _Block(block.ids[half:], block.rooms[half:]),
        ]
        self._firsts[at : at + 1] = [self._blocks[at].ids[0], self._blocks[at + 1].ids[0]]
