"""Storage commitment at the listener (PS3.4 annex J): requests of senders, and the answers of our destinations.

A sender that asks us to commit may delete its images when it hears "committed". So an image counts only if it is
registered, its file is there, and has the size it was received with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import structlog
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role
from pynetdicom.dsutils import encode
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon.errors import INVALID_ARGUMENT, PROCESSING_FAILURE, SUCCESS
from pirtad.worker.commitment import (
    CLASS_CONFLICT,
    NO_SUCH_INSTANCE,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    Reference,
    Report,
    Request,
    read_report,
    read_request,
    report_dataset,
)
from pirtad.worker.ledger import commitments
from pirtad.worker.ledger.commitments import KeptFile
from pirtad.worker.ledger.database import Database

log = structlog.get_logger(__name__)

_IMPLICIT_VR = "1.2.840.10008.1.2"
_FLUSH_S = 5.0  # chosen: what was just received is registered within a tenth of a second, a slow ledger apart
_TRIES_AT_S = (0.0, 5.0, 30.0)  # chosen: a sender that hears nothing asks again
_TIMEOUT_S = 10.0
_MAX_OWED = 100


class Committer:
    """Answers for what is stored here, and takes answers about what we sent. Safe to share between threads.

    flush: has what was received registered, within so many seconds. peers: by AE title, where answers go to whose
    association is gone.
    """

    def __init__(
        self, ae_title: str, database: Database, data_dir: Path, flush: Callable[[float], bool],
        peers: Mapping[str, tuple[str, int]], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._ae_title = ae_title
        self._database = database
        self._data_dir = data_dir
        self._flush = flush
        self._peers = {title.strip(): address for title, address in peers.items()}
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commitment")
        self._room = threading.BoundedSemaphore(_MAX_OWED)
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """Send no more; a sender that hears nothing asks again."""
        self._is_stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def requested(self, encoded: bytes, transfer_syntax: str) -> Request | None:
        """The request in an N-ACTION's dataset; None if it is none."""
        try:
            return read_request(_decoded(encoded, transfer_syntax))
        except Exception as error:  # noqa: BLE001 - a boundary: any bytes may come, and a DICOM library reads them
            log.warning("a request for storage commitment can't be read", error=type(error).__name__)
            return None

    def report_on(self, request: Request) -> Report:
        """What of it is here. SQLAlchemyError if the ledger can't be read: then nothing is answered."""
        self._flush(_FLUSH_S)
        kept = commitments.kept_files(self._database, {one.sop_instance_uid for one in request.references})
        committed, failed = [], {}
        for reference in request.references:
            reason = self._why_not(reference, kept.get(reference.sop_instance_uid, []))
            if reason is None:
                committed.append(reference)
            else:
                failed[reference] = reason
        return Report(request.transaction_uid, tuple(committed), failed)

    def take(self, encoded: bytes, transfer_syntax: str) -> int:
        """A destination's N-EVENT-REPORT about what we sent it; returns the status to answer with."""
        try:
            report = read_report(_decoded(encoded, transfer_syntax))
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("a storage commitment's answer can't be read", error=type(error).__name__)
            return PROCESSING_FAILURE
        try:
            is_known = commitments.receive_report(self._database, report, self._clock())
        except SQLAlchemyError as error:
            log.error("a storage commitment's answer was not kept", error=type(error).__name__)
            return PROCESSING_FAILURE
        return SUCCESS if is_known else INVALID_ARGUMENT

    def send_later(self, ae_title: str, report: Report) -> None:
        """Send an answer whose association is gone, to where the settings say that this sender takes it."""
        address = self._peers.get(ae_title.strip())
        if address is None:
            log.warning("no address to answer a storage commitment at", ae_title=ae_title)
            return
        if self._is_stopping.is_set() or not self._room.acquire(blocking=False):
            return
        try:
            self._pool.submit(self._send, ae_title, address, report)
        except RuntimeError:  # stopped just now, or no thread can be started
            self._room.release()
            log.warning("a storage commitment's answer can't be sent now", ae_title=ae_title)

    def _send(self, ae_title: str, address: tuple[str, int], report: Report) -> None:
        try:
            for pause_s in _TRIES_AT_S:
                if self._is_stopping.wait(pause_s):
                    return
                if _send_report(self._ae_title, ae_title, address, report):
                    log.info("storage commitment answered", ae_title=ae_title, failed=len(report.failed))
                    return
            log.warning("a storage commitment's answer was not taken", ae_title=ae_title)
        finally:
            self._room.release()

    def _why_not(self, reference: Reference, kept: list[KeptFile]) -> int | None:
        of_class = [one for one in kept if one.sop_class_uid == reference.sop_class_uid]
        if kept and not of_class:
            return CLASS_CONFLICT
        return None if any(self._is_whole(one) for one in of_class) else NO_SUCH_INSTANCE

    def _is_whole(self, kept: KeptFile) -> bool:
        path = self._data_dir / kept.path
        try:
            return path.is_file() and path.stat().st_size == kept.size_bytes
        except OSError:
            return False


def encoded_report(report: Report, transfer_syntax: str) -> bytes:
    """The dataset of an N-EVENT-REPORT."""
    encoded: bytes | None = encode(report_dataset(report), transfer_syntax == _IMPLICIT_VR, True)
    if encoded is None:
        raise ValueError("a commitment's report can't be encoded")
    return encoded


def _decoded(encoded: bytes, transfer_syntax: str) -> Dataset:
    return read_dataset(BytesIO(encoded), transfer_syntax == _IMPLICIT_VR, True)


def _send_report(calling: str, called: str, address: tuple[str, int], report: Report) -> bool:
    """N-EVENT-REPORT on a new association, our role being the SCP's (PS3.4 section J.3.3, PS3.7 section D.3.3.4)."""
    entity = AE(ae_title=calling)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    entity.add_requested_context(PUSH_MODEL)
    role = build_role(PUSH_MODEL, scp_role=True)
    association = entity.associate(*address, ae_title=called, ext_neg=[role])
    if not association.is_established:
        return False
    try:
        status, _ = association.send_n_event_report(
            report_dataset(report), report.event_type, UID(PUSH_MODEL), UID(PUSH_MODEL_INSTANCE)
        )
        return bool(status.get("Status") == SUCCESS)
    except (RuntimeError, ValueError):  # it ended meanwhile; it does not take our role
        return False
    finally:
        if association.is_established:
            association.release()
