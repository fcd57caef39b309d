"""Asks a peer to commit to objects: Storage Commitment Push Model as SCU (PS3.4 annex J).

The answer, an N-EVENT-REPORT, comes on this association or on another one to the listener, whichever the peer likes:
both end in the same function, and whoever waits looks into the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt

from pirtad.worker.commitment import (
    PROCESSING_FAILURE,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    NotACommitment,
    Report,
    Request,
    read_report,
    request_dataset,
)
from pirtad.worker.deliver import Destination, associated, peer_name
from pirtad.worker.errors import DestinationRefused, WorkerError

_NO_SUCH_TRANSACTION = 0x0115  # PS3.7 section C.5.8, invalid argument value
# Statuses that another question would get again: class, instance, operation not known, not authorized.
_NOT_FOR_US = (0x0112, 0x0118, 0x0122, 0x0124, 0x0211, 0x0123)
_LOOK_S = 0.02
_ANSWER_S = 10.0  # chosen: the question is taken or not; nothing is looked up meanwhile
_HINT = "does the peer know our AE title and address?"


class CommitmentUnsupported(WorkerError):
    """The peer does no storage commitment for us."""


class CommitmentNotTaken(WorkerError):
    """The peer has it, and did not take this question."""


def ask(
    destination: Destination,
    request: Request,
    on_report: Callable[[Report], bool],
    is_answered: Callable[[], bool],
    wait_s: float,
) -> None:
    """N-ACTION, then wait on the association for the answer, but for no longer than wait_s.

    on_report: takes an answer; False for one that belongs to no question. is_answered: whether the answer came,
    over whichever association. Raises `CommitmentUnsupported`, `CommitmentNotTaken`, `DestinationUnavailable`.
    """
    handlers = [(evt.EVT_N_EVENT_REPORT, _take_report, [on_report])]
    try:
        patient = replace(destination, answer_timeout_s=min(_ANSWER_S, destination.answer_timeout_s))
        with associated(patient, UID(PUSH_MODEL), None, handlers) as association:
            peer = peer_name(destination)
            try:
                status, _reply = association.send_n_action(
                    request_dataset(request), REQUEST_COMMITMENT, UID(PUSH_MODEL), UID(PUSH_MODEL_INSTANCE)
                )
            except RuntimeError as error:  # pynetdicom's word for an association that ended before the request
                raise CommitmentNotTaken("commitment-aborted", f"{peer} ended the association") from error
            if "Status" not in status:
                # Orthanc's way to say that it does not know our address. It was there a moment ago: it is not down.
                told = f"{peer} did not answer the request for storage commitment, or ended the association"
                raise CommitmentNotTaken("commitment-no-answer", told, _HINT)
            _require_taken(int(status.Status), peer)
            deadline = time.monotonic() + wait_s
            pause = threading.Event()
            while association.is_established and time.monotonic() < deadline and not is_answered():
                pause.wait(_LOOK_S)
    except DestinationRefused as error:
        if error.code == "no-presentation-context":
            raise CommitmentUnsupported("commitment-unsupported", error.reason, error.hint) from error
        raise


def _require_taken(status: int, peer: str) -> None:
    if status == 0x0000 or status >> 12 == 0xB:
        return
    said = f"{peer} answered the request for storage commitment with 0x{status:04X}"
    if status in _NOT_FOR_US:
        raise CommitmentUnsupported("commitment-unsupported", said, _HINT)
    raise CommitmentNotTaken("commitment-not-taken", said, "see the peer's log")


def _take_report(event: evt.Event, on_report: Callable[[Report], bool]) -> tuple[int, Dataset | None]:
    try:
        report = read_report(event.event_information)
    except (NotACommitment, AttributeError):
        return PROCESSING_FAILURE, None
    return (0x0000 if on_report(report) else _NO_SUCH_TRANSACTION), None
