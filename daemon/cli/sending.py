"""The C-STORE client behind `pirtad send`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from pirtad.worker.deliver import meaning
from pirtad.worker.requestor import keep_answers

MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd ids from 1 to 255


class NoAssociation(Exception):
    """The peer could not be reached, or did not accept the association."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is called and how."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file to send, and the presentation context it needs."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file. status: the peer's DIMSE status, None if it gave none."""

    file: DicomFile
    status: int | None
    problem: str = ""

    @property
    def stored(self) -> bool:
        """Success, or a warning, with which the peer stores it all the same (PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0x0000 or self.status >> 12 == 0xB)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a folder. lost: why the association could not be had, for some or all of the files; or empty."""

    files: int
    others: int
    sent: tuple[Sent, ...]
    lost: str = ""

    @property
    def failed(self) -> tuple[Sent, ...]:
        """Those sent and not stored."""
        return tuple(one for one in self.sent if not one.stored)

    @property
    def stored(self) -> int:
        """Number of files that the peer has now."""
        return len(self.sent) - len(self.failed)


def _silent(_done: int, _total: int) -> None:
    return


def send_directory(
    directory: Path, host: str, port: int, *, called_ae: str, calling_ae: str, timeout_s: float = 30.0,
    progress: Callable[[int, int], None] = _silent,
) -> Outcome:  # fmt: skip
    """Send every DICOM file below a directory by C-STORE, as it is on disk. OSError if a file can't be read.

    progress: called with (done, total) after each file.
    """
    files, others = dicom_files(directory)
    sent: list[Sent] = []

    def note(one: Sent) -> None:
        sent.append(one)
        progress(len(sent), len(files))

    lost = ""
    try:
        send(files, Peer(host, port, called_ae, calling_ae, timeout_s), note)
    except NoAssociation as error:
        lost = str(error)
    return Outcome(len(files), others, tuple(sent), lost)


def dicom_files(directory: Path) -> tuple[list[DicomFile], int]:
    """The DICOM Part 10 files below a directory, sorted by path, and the number of other files."""
    found, others = [], 0
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
            meta = header.file_meta
            file = DicomFile(
                path,
                str(meta.get("MediaStorageSOPClassUID") or header.SOPClassUID),
                str(meta.get("MediaStorageSOPInstanceUID") or header.SOPInstanceUID),
                str(meta.TransferSyntaxUID),
            )
        except (InvalidDicomError, AttributeError, EOFError):
            others += 1
            continue
        if file.sop_class_uid == MediaStorageDirectoryStorage:
            others += 1
        else:
            found.append(file)
    return found, others


def send(files: Iterable[DicomFile], peer: Peer, report: Callable[[Sent], None]) -> None:
    """C-STORE each file as it is on disk; `report` is called once for each. `NoAssociation` if there is none at all."""
    for batch in _batches(files):
        with _association(peer, _contexts(batch)) as association:
            accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
            for file in batch:
                if (file.sop_class_uid, file.transfer_syntax_uid) not in accepted:
                    names = f"{UID(file.sop_class_uid).name}, {UID(file.transfer_syntax_uid).name}"
                    report(Sent(file, None, f"the peer does not take {names}"))
                else:
                    report(_send_one(association, file))


def _send_one(association: Association, file: DicomFile) -> Sent:
    if not association.is_established:
        return Sent(file, None, "the association was lost before")
    try:
        # A path is sent in pieces, its data set untouched and undecoded.
        response: Dataset = association.send_c_store(file.path)
    except (ValueError, OSError, RuntimeError, AttributeError, InvalidDicomError) as error:
        return Sent(file, None, f"can't be sent ({type(error).__name__})")
    if "Status" not in response:
        return Sent(file, None, "no answer")
    status = int(response.Status)
    return Sent(file, status, "" if status == 0 else f"0x{status:04X} ({meaning(status)})")


def _batches(files: Iterable[DicomFile]) -> Iterator[list[DicomFile]]:
    """Files for one association each: as many as 128 presentation contexts serve."""
    batch: list[DicomFile] = []
    needed: set[tuple[str, str]] = set()
    for file in sorted(files, key=lambda file: (file.sop_class_uid, file.transfer_syntax_uid, file.path)):
        key = (file.sop_class_uid, file.transfer_syntax_uid)
        if key not in needed and len(needed) == MAX_CONTEXTS:
            yield batch
            batch, needed = [], set()
        batch.append(file)
        needed.add(key)
    if batch:
        yield batch


def _contexts(files: Iterable[DicomFile]) -> list[PresentationContext]:
    """One context for each pair of SOP class and transfer syntax: the peer accepts one syntax a context."""
    keys = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    return [build_context(UID(sop_class), [UID(syntax)]) for sop_class, syntax in keys]


@contextmanager
def _association(peer: Peer, contexts: list[PresentationContext]) -> Iterator[Association]:
    entity = AE(ae_title=peer.calling_ae)
    entity.requested_contexts = contexts
    entity.connection_timeout = entity.acse_timeout = peer.timeout_s
    entity.dimse_timeout = entity.network_timeout = peer.timeout_s
    in_pieces, _config.STORE_SEND_CHUNKED_DATASET = _config.STORE_SEND_CHUNKED_DATASET, True
    try:
        association = entity.associate(
            peer.host, peer.port, ae_title=peer.called_ae, evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)]
        )
        if not association.is_established:
            raise NoAssociation(_why_not(association, peer))
        keep_answers(association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = in_pieces


def _why_not(association: Association, peer: Peer) -> str:
    if association.is_rejected:
        answer = association.acceptor.primitive
        return f"{_name(peer)} rejects the association: {answer.reason_str} (calling {peer.calling_ae})"
    return f"no association with {_name(peer)}: no connection, or it was aborted"


def _no_delay(event: evt.Event) -> None:
    # Without it each image waits for the ACK of the one before: 20 a second instead of hundreds.
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _name(peer: Peer) -> str:
    return f"{peer.called_ae} at {peer.host}:{peer.port}"
