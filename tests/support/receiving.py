"""A listener on 127.0.0.1, senders, and small datasets, for the tests of the receiving side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from pirtad.daemon.listener import Listener
from pirtad.daemon.notices import Notices
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.spool import Arrival, Spool
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.settings import ListenerSettings
from support.live import free_port

STUDY = "1.2.826.0.1.3680043.8.498.1"
PATIENT = "Sample^Patience"


class Clock:
    """Stands until it is moved."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def image(number: int = 1, study: str = STUDY, pixels: bytes = b"\x01\x02" * 500) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"{study}.2.{number}"
    dataset.StudyDate = "20260101"
    dataset.Modality = "MR"
    dataset.PatientName = PATIENT
    dataset.PatientID = "P-1"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.InstanceNumber = number
    dataset.add_new(0x7FE00010, "OW", pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def encoded(dataset: Dataset, *, implicit: bool = False, little: bool = True, deflated: bool = False) -> bytes:
    data = encode(dataset, implicit, little, deflated)
    assert data is not None
    return data


def arrival(
    data: bytes,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    sop_instance_uid: str = f"{STUDY}.2.1",
    sop_class_uid: str = MRImageStorage,
) -> Arrival:
    return Arrival(data, str(transfer_syntax_uid), str(sop_class_uid), sop_instance_uid, "SCANNER")


@contextmanager
def associated(sender: AE, port: int, called: str = "PIRTAD") -> Iterator[Association]:
    """An association, released at the end if it still stands."""
    association = sender.associate("127.0.0.1", port, ae_title=called)
    connection = association.dul.socket.socket
    try:
        yield association
    finally:
        association.release()
        if association.ident is not None:  # a rejected one never started
            association.join(10)
        if connection is not None:  # pynetdicom leaves it open where the peer went away first
            connection.close()


@dataclass
class Running:
    """A listener that answers, and what it writes to."""

    port: int
    listener: Listener
    receiver: Receiver
    database: Database
    data_dir: Path
    clock: Clock

    @contextmanager
    def association(
        self, calling: str = "SCANNER", called: str = "PIRTAD", contexts: tuple[tuple[str, Any], ...] = ()
    ) -> Iterator[Association]:
        """An association as it came about, perhaps not established; released at the end."""
        sender = AE(calling)
        sender.acse_timeout = sender.dimse_timeout = sender.network_timeout = 10
        for sop_class, syntaxes in contexts or ((MRImageStorage, ExplicitVRLittleEndian),):
            sender.add_requested_context(sop_class, syntaxes)
        with associated(sender, self.port, called) as association:
            yield association

    def files(self, folder: str = "spool") -> list[Path]:
        return sorted(path for path in (self.data_dir / folder).rglob("*") if path.is_file())


@contextmanager
def running_listener(tmp_path: Path, *, grace_s: float = 10, **settings: Any) -> Iterator[Running]:
    clock = Clock()
    database = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    spool = Spool(tmp_path)
    spool.prepare()
    notices = Notices(database, clock)
    receiver = Receiver(spool, database, notices, clock)
    port = free_port()
    listener = Listener(ListenerSettings(port=port, **settings), receiver, notices)
    listener.start()
    try:
        yield Running(port, listener, receiver, database, tmp_path, clock)
    finally:
        listener.stop(grace_s)
        database.close()


def store_bytes(
    association: Association,
    data: bytes,
    sop_instance_uid: str = f"{STUDY}.2.1",
    sop_class_uid: str = MRImageStorage,
) -> int | None:
    """C-STORE of bytes as they are, under the first accepted context; the status, or None without an answer.

    `send_c_store` would encode a dataset itself and so could not send a bad one.
    """
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.Priority = 2
    request.DataSet = BytesIO(data)
    context_id = association.accepted_contexts[0].context_id
    association._reactor_checkpoint.clear()
    try:
        association.dimse.send_msg(request, context_id)
        _, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return None if response is None else int(response.Status)
