"""Machines by id, and finding the first one with enough room: an index for matching."""

from __future__ import annotations

from bisect import bisect_left

_BLOCK_MAX = 128
"""Machines in a block: with about 10,000 machines there are as many blocks as machines in a block."""


class _Block:
    """Neighbouring machines, their free room of each resource, and the maximum of each."""

    __slots__ = ("columns", "ids", "most")

    def __init__(self, ids: list[str], columns: tuple[list[int], list[int], list[int]]) -> None:
        self.ids = ids
        self.columns = columns
        """One list each of cores, memory and GPUs: scanning a list is several times as fast as scanning tuples."""
        self.most = [max(column) for column in columns]

    def put(self, place: int, room: tuple[int, int, int]) -> None:
        """Set the free room of a machine of the block."""
        most = self.most
        for kind, column in enumerate(self.columns):
            before, now = column[place], room[kind]
            column[place] = now
            if now >= most[kind]:
                most[kind] = now
            elif before == most[kind]:
                most[kind] = max(column)

    def insert(self, place: int, worker_id: str, room: tuple[int, int, int]) -> None:
        """Add a machine."""
        self.ids.insert(place, worker_id)
        for kind, column in enumerate(self.columns):
            column.insert(place, room[kind])
            self.most[kind] = max(self.most[kind], room[kind])

    def remove(self, place: int) -> None:
        """Remove a machine; the block must not become empty."""
        del self.ids[place]
        for kind, column in enumerate(self.columns):
            if column.pop(place) == self.most[kind]:
                self.most[kind] = max(column)

    def halves(self) -> tuple[_Block, _Block]:
        """Return the two halves of the block."""
        half = len(self.ids) // 2
        cpu, memory, gpus = self.columns
        return (
            _Block(self.ids[:half], (cpu[:half], memory[:half], gpus[:half])),
            _Block(self.ids[half:], (cpu[half:], memory[half:], gpus[half:])),
        )


class FirstFit:
    """Free room of machines, by id. A search looks at one maximum per block, and into blocks that may have room."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._firsts: list[str] = []
        """The lowest id of each block."""

    def __len__(self) -> int:
        return sum(len(block.ids) for block in self._blocks)

    def put(self, worker_id: str, cpu: int, memory: int, gpus: int) -> None:
        """Set a machine's free room, adding the machine if it is new."""
        room = (cpu, memory, gpus)
        if not self._blocks:
            self._blocks.append(_Block([worker_id], ([cpu], [memory], [gpus])))
            self._firsts.append(worker_id)
            return
        at = self._block_at(worker_id)
        block = self._blocks[at]
        place = bisect_left(block.ids, worker_id)
        if place < len(block.ids) and block.ids[place] == worker_id:
            block.put(place, room)
            return
        block.insert(place, worker_id, room)
        self._firsts[at] = block.ids[0]
        if len(block.ids) > _BLOCK_MAX:
            self._blocks[at : at + 1] = block.halves()
            self._firsts[at : at + 1] = [self._blocks[at].ids[0], self._blocks[at + 1].ids[0]]

    def remove(self, worker_id: str) -> None:
        """Remove a machine if it is present."""
        if not self._blocks:
            return
        at = self._block_at(worker_id)
        block = self._blocks[at]
        place = bisect_left(block.ids, worker_id)
        if place == len(block.ids) or block.ids[place] != worker_id:
            return
        if len(block.ids) == 1:
            del self._blocks[at], self._firsts[at]
            return
        block.remove(place)
        self._firsts[at] = block.ids[0]

    def first(self, cpu: int, memory: int, gpus: int) -> str | None:
        """Return the lowest id of a machine with at least so much free of each, or None."""
        for block in self._blocks:
            most = block.most
            if most[0] >= cpu and most[1] >= memory and most[2] >= gpus:
                for place, (free_cpu, free_memory, free_gpus) in enumerate(zip(*block.columns, strict=True)):
                    if free_cpu >= cpu and free_memory >= memory and free_gpus >= gpus:
                        return block.ids[place]
        return None

    def _block_at(self, worker_id: str) -> int:
        at = bisect_left(self._firsts, worker_id)
        return at if at < len(self._firsts) and self._firsts[at] == worker_id else max(0, at - 1)
