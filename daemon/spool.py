"""Received instances on disk. When `keep` returns, the file survives a power loss.

    <data_dir>/spool/.incoming/                                                  temporary files, swept at start
    <data_dir>/spool/<2 hex>/<sha256 of the study UID>/<content sha256>.dcm       a received instance, Part 10
    <data_dir>/quarantine/<content sha256>.dataset, .json                         what could not be registered, and why

The content sha256 is over the transfer syntax UID, a line feed and the dataset's bytes. Our own file meta is left out:
were it ever to change, an image sent again would else count as another one, and its study would get a second report.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pirtad.daemon.errors import OUT_OF_RESOURCES, Refused
from pirtad.daemon.header import Header
from pirtad.daemon.part10 import part10_start

_MAX_REMEMBERED_DIRECTORIES = 10_000  # chosen: a few MB; beyond it they are synced once more
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Kept:
    """A file in the spool."""

    path: str  # relative to the data directory
    sha256: str  # content_sha256
    size_bytes: int  # of the whole file


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a C-STORE request brought: the dataset's bytes as they were encoded, and what the command said of them."""

    encoded: bytes
    transfer_syntax_uid: str
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    calling_ae: str

    def __repr__(self) -> str:
        return f"<Arrival of {len(self.encoded)} bytes from {self.calling_ae}>"


def content_sha256(transfer_syntax_uid: str, encoded: bytes) -> str:
    """What `instances.sha256` in the ledger is: two arrivals are the same image exactly if this is the same."""
    digest = hashlib.sha256(transfer_syntax_uid.encode() + b"\n")
    digest.update(encoded)
    return digest.hexdigest()


class Spool:
    """The spool and the quarantine of a data directory. Safe to use from several threads at once."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()
        self._root = self._data_dir / "spool"
        self._incoming = self._root / ".incoming"
        self._quarantine = self._data_dir / "quarantine"
        self._durable: set[Path] = set()  # directories whose names this process knows to be synced

    def prepare(self) -> None:
        """Make the directories and remove what a process that died left in `.incoming`.

        Only for the one process that receives into this data directory, before it receives.
        """
        self._make_durable(self._incoming)
        self._make_durable(self._quarantine)
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def keep(self, arrival: Arrival, header: Header) -> Kept:
        """Write a Part 10 file and sync it, its name and its directories.

        The same content gives the same path and the same bytes. It is written anew each time: only so it is known to
        be synced, and a file that was damaged since is mended. `Refused` (0xA700) if the disk is full, OSError for
        any other trouble; then nothing new is left behind.
        """
        sha256 = content_sha256(arrival.transfer_syntax_uid, arrival.encoded)
        study = hashlib.sha256(header.study_uid.encode()).hexdigest()  # a UID never becomes a path
        directory = self._root / study[:2] / study
        path = directory / f"{sha256}.dcm"
        start = part10_start(header.sop_class_uid, header.sop_instance_uid, arrival.transfer_syntax_uid)
        with _full_disk_refused():
            self._make_durable(directory)
            self._write(path, (start, arrival.encoded))
        return Kept(
            path=str(path.relative_to(self._data_dir)), sha256=sha256, size_bytes=len(start) + len(arrival.encoded)
        )

    def quarantine(self, arrival: Arrival, reason: str, at: float) -> str:
        """Keep what can't be registered, with its reason beside it; returns the path relative to the data directory.

        The sender was told no and still has it; this copy is for whoever looks into the matter. The same content
        takes its place once, however often it is sent. `Refused` (0xA700) if the disk is full, or OSError.
        """
        sha256 = content_sha256(arrival.transfer_syntax_uid, arrival.encoded)
        path = self._quarantine / f"{sha256}.dataset"
        told = {name: value for name, value in asdict(arrival).items() if name != "encoded"}
        note = json.dumps({"reason": reason, "at": at, "size_bytes": len(arrival.encoded), **told}, indent=2)
        with _full_disk_refused():
            self._write(path, (arrival.encoded,))
            self._write(path.with_suffix(".json"), (note.encode() + b"\n",))
        return str(path.relative_to(self._data_dir))

    def _write(self, path: Path, parts: Sequence[bytes]) -> None:
        """Write to a temporary file, sync, rename, sync the directory."""
        temporary = self._incoming / uuid.uuid4().hex
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                for part in parts:
                    _write_all(descriptor, part)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # the first error is the one to tell of; a leftover is swept at the next start
                temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)

    def _make_durable(self, directory: Path) -> None:
        """Make a directory and its missing parents, and sync the name of each into the one that holds it.

        That a directory exists does not say that its name is synced: another thread may have made it a moment ago,
        or a process that died since.
        """
        if directory in self._durable and directory.is_dir():
            return
        if len(self._durable) > _MAX_REMEMBERED_DIRECTORIES:
            self._durable.clear()
        for level in (*reversed(directory.parents), directory):
            if level.is_relative_to(self._data_dir):
                level.mkdir(exist_ok=True, parents=level == self._data_dir)
                _sync_directory(level.parent)
                self._durable.add(level)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Refused(OUT_OF_RESOURCES, "no space left for received images") from error
        raise
