"""One image on its way to disk: written as it comes, synced once, never whole in memory."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

# Chosen: a very large image is synced in parts, so that its sender does not wait for all of it at the end.
_SYNC_EVERY_BYTES = 64 * 2**20


class Landing:
    """An open file in the spool's `.incoming`, whose name is durable already. For one thread.

    The file's start, which makes it count as received, is written last. Every method may raise OSError; the file is
    then to be abandoned.
    """

    def __init__(self, path: Path, descriptor: int, start_bytes: int) -> None:
        self.path = path
        self._descriptor = descriptor  # open for writing; closed by this object
        self.start_bytes = start_bytes  # room kept for the start
        self.dataset_bytes = 0
        self._unsynced = 0

    def write(self, fragment: bytes | memoryview) -> None:
        """Append to the dataset."""
        position = self.start_bytes + self.dataset_bytes
        rest = memoryview(fragment)
        while rest:
            written = os.pwrite(self._descriptor, rest, position)
            rest, position = rest[written:], position + written
        self.dataset_bytes += len(fragment)
        self._unsynced += len(fragment)
        if self._unsynced > _SYNC_EVERY_BYTES:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def commit(self, start: bytes) -> None:
        """When this returns the image survives a power loss, and the next start of the listener knows it."""
        if len(start) != self.start_bytes:
            raise ValueError(f"a start of {len(start)} bytes, where {self.start_bytes} were kept free")
        position = 0
        while position < len(start):
            position += os.pwrite(self._descriptor, start[position:], position)
        os.fdatasync(self._descriptor)
        if not os.fstat(self._descriptor).st_nlink:  # it was opened a while ago: somebody removed its name since
            raise FileNotFoundError(errno.ENOENT, "removed while it was received into")
        self.close()

    def close(self) -> None:
        """Give back the descriptor; the file stays."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def abandon(self) -> None:
        """Close and remove; what can't be removed is swept at the next start."""
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
