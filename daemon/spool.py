"""Received instances on disk.

    <data_dir>/spool/.incoming/<32 hex>                                           being received, or received and not
                                                                                  yet registered
    <data_dir>/spool/<2 hex>/<sha256 of the study UID>/<content sha256>.dcm       a registered instance, Part 10
    <data_dir>/quarantine/<content sha256>.dataset, .json                         what could not be registered, and why

A file in `.incoming` is received from the moment its start is synced (`pirtad.daemon.part10`): it says itself what it
is, and a restart registers it. Its name is older than its content: names are made and synced many at a time, so that
an image costs one sync, of its bytes.

The content sha256 is over the transfer syntax UID, a line feed and the dataset's bytes. Our own file meta is left out:
who sent an image, and when, must not make another image of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import structlog

from pirtad.daemon.errors import OUT_OF_RESOURCES, Refused
from pirtad.daemon.header import Header, read_header
from pirtad.daemon.landing import Landing
from pirtad.daemon.part10 import MAX_START_BYTES, Receipt, read_start

log = structlog.get_logger(__name__)

_NAMES_AT_ONCE = 64  # chosen: one sync of the directory for so many images
_NAMES_LEFT = 48  # chosen: with fewer than so many left, more are made beside receiving
_HEADER_BYTES = 16 * 2**20  # as much of a dataset as is ever looked at for its header
_CHUNK_BYTES = 2**20
_MAX_REMEMBERED_DIRECTORIES = 10_000  # chosen: a few MB; beyond it they are synced once more
_NOT_AN_IMAGE = ".part"  # a copy being written: what a sender sent is in it from its first byte, and may look received
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Announced:
    """What is known of an image before its first byte: its command, its presentation context, its sender."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str


@dataclass(frozen=True, slots=True)
class Received:
    """A complete, synced image in `.incoming`."""

    incoming: Path
    receipt: Receipt
    header: Header
    size_bytes: int  # of the whole file

    @property
    def sha256(self) -> str:
        """What `instances.sha256` in the ledger is: two arrivals are the same image exactly if this is the same."""
        return self.receipt.content_sha256.hex()

    @property
    def instance(self) -> tuple[str, str]:
        """Study and SOP Instance UID."""
        return self.header.study_uid, self.header.sop_instance_uid

    @property
    def directory(self) -> str:
        """Where its study is kept, relative to the data directory. A UID never becomes a path."""
        return _directory(self.header.study_uid)

    @property
    def path(self) -> str:
        """Where it is kept, relative to the data directory."""
        return f"{self.directory}/{self.sha256}.dcm"


@lru_cache(maxsize=1000)  # studies received at one time, and more
def _directory(study_uid: str) -> str:
    study = hashlib.sha256(study_uid.encode()).hexdigest()
    return f"spool/{study[:2]}/{study}"


def _by_directory(images: Iterable[Received]) -> dict[str, list[Received]]:
    found: dict[str, list[Received]] = {}
    for received in images:
        found.setdefault(received.directory, []).append(received)
    return found


def content_digest(transfer_syntax_uid: str) -> hashlib._Hash:
    """The content sha256, ready for the dataset's bytes."""
    return hashlib.sha256(transfer_syntax_uid.encode() + b"\n")


class Spool:
    """The spool and the quarantine of a data directory. Safe to use from several threads at once."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self._incoming = self.data_dir / "spool" / ".incoming"
        self._quarantine = self.data_dir / "quarantine"
        self._durable: set[Path] = set()  # directories whose names this process knows to be synced
        self._names: deque[tuple[Path, int]] = deque()  # and a descriptor of each
        self.close = weakref.finalize(self, _close_all, self._names)  # the descriptors; else they go with this object
        self._stocking = threading.Lock()
        self._is_stocking = False  # beside receiving

    def prepare(self) -> list[Received]:
        """Make the directories; remove what was not completed; return what was received and never settled.

        Only for the one process that receives into this data directory, before it receives.
        """
        self._make_durable(self._incoming)
        self._make_durable(self._quarantine)
        found = []
        for path in sorted(self._incoming.iterdir()):
            try:
                received = None if path.suffix == _NOT_AN_IMAGE else _read_received(path)
            except Refused as refused:  # another release took it, and its sender may have it no longer
                log.error("a received image is not understood, and stays where it is", file=path.name, why=str(refused))
                continue
            if received is None:
                path.unlink()
            else:
                found.append(received)
        return sorted(found, key=lambda received: received.receipt.received_at)

    def land(self, start_bytes: int) -> Landing:
        """A file to write an image into. `Refused` (0xA700) if the disk is full, or OSError."""
        with full_disk_refused():
            return Landing(*self._name(), start_bytes)

    def place(self, images: Iterable[Received]) -> list[Received]:
        """Give each the path it is kept under, beside its name in `.incoming`. OSError for any trouble.

        The same content takes the same path, in place of what lay there: a file damaged since is so mended. Returns
        those that lie there now: all, but for files that somebody removed, which must not keep the others waiting.
        """
        placed = []
        for directory, of_directory in _by_directory(images).items():
            self._make_durable(self.data_dir / directory)
            for received in of_directory:
                try:
                    self._link(received)
                except FileNotFoundError:
                    self._make_durable(self.data_dir / directory)  # retention removed it just then, empty as it was
                    if received.incoming.exists():
                        self._link(received)
                    elif not (self.data_dir / received.path).exists():
                        log.critical("a received image is gone", sop_instance_uid=received.header.sop_instance_uid)
                        continue
                    # else it was let go by an earlier try, of which another step failed
                placed.append(received)
        return placed

    def settle(self, images: Iterable[Received]) -> None:
        """The ledger knows them: sync the paths they are kept under, and only then let go the names in `.incoming`.

        A path may be gone since it was placed: retention unlinks what it removed, and the same image may have come
        again at that moment. It does not touch what the ledger has as kept, so the path given now stays.
        """
        images = list(images)
        self.place(one for one in images if not (self.data_dir / one.path).exists())
        for directory in _by_directory(images):
            _sync_directory(self.data_dir / directory)
        for received in images:
            received.incoming.unlink(missing_ok=True)

    def _link(self, received: Received) -> None:
        path = self.data_dir / received.path
        try:
            path.hardlink_to(received.incoming)
        except FileExistsError:
            if not path.samefile(received.incoming):
                aside = self._incoming / uuid.uuid4().hex
                aside.hardlink_to(received.incoming)
                aside.replace(path)

    def quarantine(self, landing: Landing, announced: Announced, sha256: str, reason: str, at: float) -> str:
        """Keep what can't be registered, with its reason beside it; returns the path relative to the data directory.

        The sender was told no and still has it; this copy is for whoever looks into the matter. The same content
        takes its place once, however often it is sent. `Refused` (0xA700) if the disk is full, or OSError.
        """
        path = self._quarantine / f"{sha256}.dataset"
        told = {"reason": reason, "at": at, "size_bytes": landing.dataset_bytes, **asdict(announced)}
        with full_disk_refused(), landing.path.open("rb") as source:
            source.seek(landing.start_bytes)
            self._write(path, iter(lambda: source.read(_CHUNK_BYTES), b""))
            self._write(path.with_suffix(".json"), (json.dumps(told, indent=2).encode() + b"\n",))
        return str(path.relative_to(self.data_dir))

    def free_bytes(self) -> int:
        """Space left for images."""
        return shutil.disk_usage(self.data_dir).free

    def _name(self) -> tuple[Path, int]:
        """An empty file whose name is synced, and its descriptor."""
        if len(self._names) <= _NAMES_LEFT and not self._is_stocking:
            self._is_stocking = True
            try:
                threading.Thread(target=self._stock_beside, name="names", daemon=True).start()
            except RuntimeError:  # no thread can be started now
                self._is_stocking = False
        while True:
            with suppress(IndexError):
                while True:
                    path, descriptor = self._names.popleft()
                    if os.fstat(descriptor).st_nlink:
                        return path, descriptor
                    os.close(descriptor)  # somebody tidied up the empty file
            with self._stocking:
                if not self._names:
                    self._stock()

    def _stock_beside(self) -> None:
        try:
            with suppress(OSError), self._stocking:  # trouble is told to who needs a name and finds none
                if len(self._names) <= _NAMES_LEFT:
                    self._stock()
        finally:
            self._is_stocking = False

    def _stock(self) -> None:
        """Make more names, with one sync of their directory."""
        made: list[tuple[Path, int]] = []
        try:
            for _ in range(_NAMES_AT_ONCE):
                path = self._incoming / uuid.uuid4().hex
                made.append((path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)))
            _sync_directory(self._incoming)
        except OSError:
            for path, descriptor in made:
                os.close(descriptor)
                with suppress(OSError):  # swept at the next start
                    path.unlink(missing_ok=True)
            raise
        self._names.extend(made)

    def _write(self, path: Path, parts: Iterable[bytes]) -> None:
        """Write to a temporary file, sync, rename, sync the directory."""
        temporary = self._incoming / f"{uuid.uuid4().hex}{_NOT_AN_IMAGE}"
        try:
            with temporary.open("xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
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
            if level.is_relative_to(self.data_dir) and not (level in self._durable and level.is_dir()):
                level.mkdir(exist_ok=True, parents=level == self.data_dir)
                _sync_directory(level.parent)
                self._durable.add(level)


@contextmanager
def full_disk_refused() -> Iterator[None]:
    """Turns "no space left" into `Refused` (0xA700)."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Refused(OUT_OF_RESOURCES, "no space left for received images") from error
        raise


def _close_all(names: deque[tuple[Path, int]]) -> None:
    while names:
        os.close(names.popleft()[1])


def _read_received(path: Path) -> Received | None:
    """The image in a file of `.incoming`; None unless every byte of it is what was hashed when it was received.

    `Refused` if its header can't be read: it could when it was received, before the receipt was written.
    """
    with path.open("rb") as file:
        if (start := read_start(file.read(MAX_START_BYTES))) is None:
            return None
        receipt, position = start
        file.seek(position)
        head = file.read(_HEADER_BYTES)
        digest, size = content_digest(receipt.transfer_syntax_uid), 0
        chunk = head
        while chunk:
            digest.update(chunk)
            size += len(chunk)
            chunk = file.read(_CHUNK_BYTES)
    if digest.digest() != receipt.content_sha256 or size != receipt.dataset_bytes:
        return None
    return Received(path, receipt, read_header(head, receipt.transfer_syntax_uid), position + size)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
