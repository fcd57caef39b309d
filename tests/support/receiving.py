"""A listener on 127.0.0.1, senders, and small datasets, for the tests of the receiving side."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from sqlalchemy import select

from pirtad.daemon.limits import StudySizes, Watermark
from pirtad.daemon.listener import Listener
from pirtad.daemon.notices import Notices
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.registrar import Registrar
from pirtad.daemon.spool import Announced, Spool
from pirtad.worker.ledger import registering
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.ledger.tables import Instance
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


def announced(
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    sop_instance_uid: str = f"{STUDY}.2.1",
    sop_class_uid: str = MRImageStorage,
) -> Announced:
    return Announced(str(sop_class_uid), sop_instance_uid, str(transfer_syntax_uid), "SCANNER")


@dataclass
class Receiving:
    """The receiving side without its socket."""

    spool: Spool
    registrar: Registrar
    receiver: Receiver
    database: Database
    notices: Notices
    clock: Clock
    free_bytes: int = 10**12

    def receive(self, data: bytes, *, fragment_bytes: int = 2**16, **command: str) -> int:
        """One image in fragments; its status, with the ledger up to date."""
        intake = self.receiver.begin(announced(**command))
        for position in range(0, len(data), fragment_bytes):
            intake.write(memoryview(data)[position : position + fragment_bytes])
        status, _ = intake.finish()
        self.registrar.flush(10)
        return status


@cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory(prefix="ledger") as directory:
        open_ledger(f"sqlite:///{directory}/ledger.sqlite").close()
        return Path(directory, "ledger.sqlite").read_bytes()


def _ledger(directory: Path) -> Database:
    """The directory's ledger; migrating a new one for each test would take longer than most tests."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "ledger.sqlite"
    if not path.exists():
        path.write_bytes(_empty_ledger())
    return open_ledger(f"sqlite:///{path}")


@contextmanager
def receiving_side(tmp_path: Path, database: Database | None = None, **settings: Any) -> Iterator[Receiving]:
    """As `pirtad.daemon.service.make_listener` puts it together, with clocks that stand."""
    clock, is_ours = Clock(), database is None
    database = database or _ledger(tmp_path)
    limits = ListenerSettings(**settings)
    spool = Spool(tmp_path)
    found = spool.prepare()
    sizes = StudySizes(partial(registering.study_size, database), limits.max_study_images, limits.max_study_bytes)
    notices = Notices(database, clock)
    registrar = Registrar(spool, database, sizes, clock)
    watermark = Watermark(lambda: side.free_bytes, 10**9, itertools.count().__next__)
    receiver = Receiver(limits, spool, registrar, database, sizes, watermark, notices, clock)
    side = Receiving(spool, registrar, receiver, database, notices, clock)
    registrar.start(found)
    try:
        yield side
    finally:
        registrar.stop(5)
        if is_ours:
            database.close()


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


def files(folder: Path) -> list[Path]:
    """All but the empty files, which are names kept ready for images to come."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


@dataclass
class Running:
    """A listener that answers, and what it writes to."""

    port: int
    listener: Listener
    side: Receiving
    database: Database
    data_dir: Path
    clock: Clock

    def rows(self) -> list[Instance]:
        """What is registered of all that was received until now."""
        assert self.side.registrar.flush(10)
        with self.database.reading() as session:
            return list(session.scalars(select(Instance).order_by(Instance.id)))

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
        """Without the names kept ready for images to come."""
        return files(self.data_dir / folder)


@contextmanager
def running_listener(tmp_path: Path, *, grace_s: float = 10, **settings: Any) -> Iterator[Running]:
    port = free_port()
    with receiving_side(tmp_path, port=port, **settings) as side:
        listener = Listener(side.receiver.settings, side.receiver, side.notices)
        listener.start()
        try:
            yield Running(port, listener, side, side.database, tmp_path, side.clock)
        finally:
            listener.stop(grace_s)


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
