"""A few numbers that the campaign's processes share: a file of doubles, mapped into each of them.

The conductor writes what it wants (clock, PACS, senders), the others write what they are doing.
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum
from pathlib import Path

PACS_AE = "CAMPAIGN"
_SIZE = 8


class Slot(IntEnum):
    """What a number is."""

    CLOCK_OFFSET_S = 0  # added to time.time() in every process of pirtad
    PACS_MODE = 1  # a `PacsMode`
    PAUSED = 2  # 1: senders begin no further study
    REDIS_AWAY = 3  # 1: no server is started
    BLOCK = 4  # the block of faults that is under way; studies are counted for the one in which they began
    BUSY_FIRST = 8  # from here on, one for each sender: images of its study that are still to be acknowledged
    SENDING_FIRST = 16  # one for each sender: the process id of the listener that it has an association with
    QUEUE_PID = 32  # the process ids of what the supervisor runs
    LISTENER_PID = 33
    WORKER_PID_FIRST = 34  # one for each worker


class PacsMode(IntEnum):
    """What the PACS does with an object."""

    SOUND = 0
    REFUSES = 1  # 0xA700, out of resources
    LOSES_ANSWERS = 2  # keeps it, and aborts instead of answering
    HANGS = 3  # answers nothing for as long as this is set


class Control:
    """The numbers; reads and writes of one are atomic on the machines we run on."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(64 * _SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 64 * _SIZE)

    def get(self, slot: int) -> float:
        """A number."""
        return float(struct.unpack_from("<d", self._map, slot * _SIZE)[0])

    def set(self, slot: int, value: float) -> None:
        """Change a number."""
        struct.pack_into("<d", self._map, slot * _SIZE, value)
