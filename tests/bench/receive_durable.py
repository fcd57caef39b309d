"""What a receiver has of the images it answered Success for: registered, there, and on the disk.

`cachestat(2)` (Linux 6.5) tells how many pages of a file wait to be written. Right after a round only a sync can have
written them: the kernel by itself waits half a minute. Without that call (`is_told`) nothing is said of the disk.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import func, select
from support import live

from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Instance

_CACHESTAT = 451  # the same on every architecture


@dataclass(frozen=True)
class Image:
    """An image to send: a Part 10 file that ends with its pixels."""

    path: Path
    sop_instance_uid: str
    pixel_bytes: int

    def ends(self, file: Path) -> bool:
        """Whether that file holds these pixels."""
        return file.read_bytes()[-self.pixel_bytes :] == self.path.read_bytes()[-self.pixel_bytes :]


def wait_until_registered(stack_directory: Path, number: int) -> None:
    """Until pirtad's ledger has so many images; fails after a minute."""
    database = _ledger(stack_directory)

    def registered() -> bool:
        with database.reading() as session:
            return session.scalar(select(func.count()).select_from(Instance)) == number

    try:
        live.wait_for(registered, 60, f"{number} images to be registered", every_s=0.01)
    finally:
        database.close()


def require_kept(stack_directory: Path, sent: Iterable[Image], *, must_be_synced: bool) -> list[Path]:
    """Their files. SystemExit unless pirtad's ledger has each once, with its bytes, and synced if asked."""
    expected = {image.sop_instance_uid: image for image in sent}
    database = _ledger(stack_directory)
    try:
        with database.reading() as session:
            rows = list(session.scalars(select(Instance)))
    finally:
        database.close()
    if sorted(row.sop_instance_uid for row in rows) != sorted(expected):
        raise SystemExit(f"{len(expected)} images were sent and answered, {len(rows)} are registered")
    data_dir = stack_directory / "data"
    for row in rows:
        path = data_dir / row.path
        if row.removed_at is not None or not path.is_file() or path.stat().st_size != row.size_bytes:
            raise SystemExit("an image is registered and its file is not there, or not whole")
        if not expected[row.sop_instance_uid].ends(path):
            raise SystemExit("a file is not the image that was sent")
    paths = [data_dir / row.path for row in rows]
    if must_be_synced and is_told() and (share := synced_share(paths)) < 1:
        raise SystemExit(f"{1 - share:.1%} of the images were answered and are not on the disk")
    return paths


def files(directory: Path, least_bytes: int) -> list[Path]:
    """The Part 10 files of at least this size."""
    return [path for path in directory.rglob("*") if path.is_file() and _is_image(path, least_bytes)]


def _is_image(path: Path, least_bytes: int) -> bool:
    with path.open("rb") as file:
        return path.stat().st_size >= least_bytes and file.read(132)[128:] == b"DICM"  # PS3.10 section 7.1


def synced_share(paths: Iterable[Path]) -> float:
    """The share of these files that has no page left to write."""
    unwritten = [_unwritten_pages(path) for path in paths]
    return sum(pages == 0 for pages in unwritten) / len(unwritten) if unwritten else 0.0


@cache
def is_told() -> bool:
    """Whether this kernel has cachestat."""
    try:
        _unwritten_pages(Path(__file__))
    except OSError:
        return False
    return True


def _unwritten_pages(path: Path) -> int:
    whole, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syscall(_CACHESTAT, descriptor, whole, found, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
    _, dirty, in_writeback, _, _ = found
    return int(dirty + in_writeback)


def _ledger(stack_directory: Path) -> Database:
    return Database(f"sqlite:///{stack_directory / 'data' / 'ledger.sqlite'}")
