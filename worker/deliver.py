"""Delivery of a stored report to the PACS: C-STORE of exactly the file's bytes (PS3.4 annex B, PS3.7 9.1.1).

An answer that never came may still have been a success; the report's SOP Instance UID is the same at every attempt, so
sending it again adds nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from pirtad.worker.errors import DestinationRefused, DestinationUnavailable, NonConformant
from pirtad.worker.requestor import keep_answers

_REJECTED_TRANSIENT = 0x02  # PS3.8 9.3.4, Result
_DUPLICATE = 0x0111
_WARNINGS = {  # PS3.4 B.2.3: stored all the same
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
_FAILURES = {  # PS3.7 annex C
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
}
_FAILURE_RANGES = {0xA7: "out of resources", 0xA9: "data set does not match SOP class"}  # PS3.4 B.2.3
_TRY_AGAIN = (0x0110, 0x0213)  # beside 0xA7xx: the peer's trouble, not the object's


@dataclass(frozen=True, slots=True)
class Destination:
    """A DICOM peer that takes reports.

    connect_timeout_s: for the TCP connection. association_timeout_s: for the answer to the association request and to
    its release. answer_timeout_s: for the C-STORE or C-ECHO response; also the longest silence of the network.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "PIRTAD"
    connect_timeout_s: float = 10.0
    association_timeout_s: float = 30.0
    answer_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 0xFFFF:
            raise ValueError(f"port {self.port}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the peer answered to an object that it stored; `meaning` says what a warning is about."""

    status: int
    meaning: str = "stored"

    @property
    def warned(self) -> bool:
        """Whether the peer stored the object with a remark."""
        return self.status != 0x0000


def send(sr_path: Path, destination: Destination) -> Outcome:
    """Send the Part 10 file as it is; return once the peer says that it has it.

    Raises `DestinationUnavailable` (try again), `DestinationRefused` (don't), `NonConformant` for a file that is not
    Part 10, and `OSError` when it can't be read.
    """
    try:
        meta = read_file_meta_info(sr_path)
        sop_class, syntax = UID(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError) as error:
        raise NonConformant("not-part-10", "the stored report is no DICOM file", "compose the report again") from error
    # A switch of the whole process, and nothing else in it sends: the file's bytes go out as they lie on disk.
    # Without it pynetdicom decodes and encodes them anew.
    _config.STORE_SEND_CHUNKED_DATASET = True
    with associated(destination, sop_class, syntax) as association:
        status = _status(lambda: association.send_c_store(sr_path), destination)
    return _outcome(status)


def echo(destination: Destination) -> None:
    """C-ECHO: the peer is there and lets us in. Raises as `send` does."""
    with associated(destination, Verification, None) as association:
        status = _status(association.send_c_echo, destination)
    if status != 0x0000:
        raise DestinationRefused(f"status-{status:04x}", f"C-ECHO was answered with 0x{status:04X} ({meaning(status)})")


def meaning(status: int) -> str:
    """A DIMSE status in words."""
    if status == 0x0000:
        return "stored"
    if status == _DUPLICATE:
        return "the peer has this instance already"
    if status in _WARNINGS:
        return _WARNINGS[status]
    if status in _FAILURES:
        return _FAILURES[status]
    if 0xC000 <= status <= 0xCFFF:
        return "cannot understand"
    return _FAILURE_RANGES.get(status >> 8, "warning" if status >> 12 == 0xB else "unknown status")


def _outcome(status: int) -> Outcome:
    # A duplicate is an earlier attempt whose answer was lost: the UID stands for the content.
    if status in (0x0000, _DUPLICATE) or status >> 12 == 0xB:
        return Outcome(status, meaning(status))
    said = f"C-STORE was answered with 0x{status:04X} ({meaning(status)})"
    if status >> 8 == 0xA7 or status in _TRY_AGAIN:
        raise DestinationUnavailable(f"status-{status:04x}", said)
    raise DestinationRefused(f"status-{status:04x}", said, "see the peer's log; then `pirtad retry`")


@contextmanager
def associated(
    destination: Destination, sop_class: UID, syntax: UID | None, handlers: Sequence[evt.EventHandlerType] = ()
) -> Iterator[Association]:
    """An established association with the one presentation context accepted; released or aborted at the end.

    syntax: None for pynetdicom's usual ones. handlers: for what the peer asks on it. Raises as `send` does.
    """
    entity = AE(ae_title=destination.calling_ae_title)
    entity.connection_timeout = destination.connect_timeout_s
    entity.acse_timeout = destination.association_timeout_s
    entity.dimse_timeout = destination.answer_timeout_s
    entity.network_timeout = destination.answer_timeout_s
    if syntax is None:
        entity.add_requested_context(sop_class)
    else:
        entity.add_requested_context(sop_class, syntax)
    opened: list[bool] = []
    association = entity.associate(
        destination.host,
        destination.port,
        ae_title=destination.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _connected, [opened]), *handlers],
    )
    if not association.is_established:
        raise _not_established(association, destination, sop_class, connected=bool(opened))
    if not handlers:
        keep_answers(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _connected(event: evt.Event, opened: list[bool]) -> None:
    """Note that TCP connected, and send small packets at once: the report's last one would wait for an ACK."""
    opened.append(True)
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _status(request: Callable[[], Dataset], destination: Destination) -> int:
    """The status of the peer's response; `DestinationUnavailable` when none came."""
    try:
        response = request()
    except RuntimeError as error:  # pynetdicom's word for an association that ended before the request
        raise DestinationUnavailable("aborted", f"{peer_name(destination)} ended the association") from error
    if "Status" not in response:
        raise DestinationUnavailable("no-answer", f"{peer_name(destination)} did not answer the request")
    return int(response.Status)


def _not_established(
    association: Association, destination: Destination, sop_class: UID, *, connected: bool
) -> DestinationRefused | DestinationUnavailable:
    peer = peer_name(destination)
    if association.is_rejected:
        answer = association.acceptor.primitive
        why = f"{peer} rejected the association: {answer.reason_str}"
        if answer.result == _REJECTED_TRANSIENT:
            return DestinationUnavailable("rejected-transient", why)
        return DestinationRefused("rejected", why, "check the AE titles on both sides")
    if association.rejected_contexts and not association.accepted_contexts:
        return DestinationRefused(
            "no-presentation-context",
            f"{peer} accepts no presentation context for {sop_class.name}",
            "allow this SOP class in Explicit VR Little Endian at the peer",
        )
    if not connected:
        return DestinationUnavailable(
            "no-connection", f"no TCP connection to {peer}", "is it running, is the port open?"
        )
    return DestinationUnavailable("no-association", f"{peer} aborted or did not answer the association request")


def peer_name(destination: Destination) -> str:
    """For people: AE title and address."""
    return f"{destination.ae_title} at {destination.host}:{destination.port}"
