"""One association from its request to its end: the path from socket to disk, read from top to bottom.

A thread each, with blocking reads against deadlines: PDUs in, fragments straight on to the spool, one answer an image.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon import commands, negotiation, wire
from pirtad.daemon.commands import BadCommand, Command
from pirtad.daemon.commitment import Committer, encoded_report
from pirtad.daemon.errors import (
    CANNOT_UNDERSTAND,
    INVALID_ARGUMENT,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
)
from pirtad.daemon.limits import Place, Places, Rate
from pirtad.daemon.negotiation import BadRequest, Context, Rejection, Request
from pirtad.daemon.notices import Notices
from pirtad.daemon.peer import Peer
from pirtad.daemon.receiver import Intake, Receiver
from pirtad.daemon.spool import Announced
from pirtad.daemon.wire import PeerGone, TooSlow, Violation, Wire
from pirtad.worker.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST_COMMITMENT, Report
from pirtad.worker.settings import ListenerSettings

log = structlog.get_logger(__name__)

_NUMBERS = itertools.count(1)
_MAX_DATASET_BYTES = 16 * 2**20  # chosen: a request about 100000 instances
# Chosen: answers about so many instances wait for a sender to take them; then it has to, before it may ask for more.
_MAX_OWED_REFERENCES = 100_000
_LINGER_S = 1.0  # chosen: for the peer to close after our last PDU (PS3.8 section 9.2, ARTIM)


@dataclass(frozen=True, slots=True)
class Services:
    """What all associations of a listener share."""

    settings: ListenerSettings
    receiver: Receiver
    notices: Notices
    places: Places
    rate: Rate
    committer: Committer | None = None  # without one there is no storage commitment


class Association:
    """One connection. `run` is called once, by its thread; `abort` from any thread."""

    def __init__(self, connection_wire: Wire, place: Place, services: Services) -> None:
        self._number = next(_NUMBERS)  # not id(): an association that is gone leaves its own to the next
        self._wire = connection_wire
        self._place = place
        self._services = services
        self._settings = services.settings
        self._peer = Peer(place.address)
        self._contexts: dict[int, Context] = {}
        self._peer_max_pdu_bytes = 0
        self._aborting = threading.Event()
        # The message that is coming in:
        self._context_id = 0
        self._encoded_command = bytearray()
        self._command: Command | None = None  # complete, and its dataset is coming
        self._intake: Intake | None = None
        self._dataset: bytearray | None = None  # of a message about storage commitment
        self._owed: dict[int, Report] = {}  # answers to commitments that were sent and are not taken yet, by message
        self._began_at = 0.0
        self._message_bytes = 0

    def abort(self) -> None:
        """Have the association end with an A-ABORT, without waiting for it."""
        self._aborting.set()
        self._wire.interrupt()

    def run(self) -> None:
        """Serve the peer until the association ends, however it does; raises nothing."""
        cut_off_for = ""
        try:
            if self._is_associated():
                self._serve()
        except PeerGone:
            if self._aborting.is_set():
                self._wire.abort(by_user=True)
        except TooSlow as error:
            cut_off_for = f"too slow: {error}"
            self._wire.abort()
        except (Violation, BadRequest, BadCommand) as error:
            cut_off_for = f"not DICOM: {error}"
            self._wire.abort(error.abort_reason if isinstance(error, Violation) else wire.INVALID_PARAMETER)
            self._wire.drain(_LINGER_S)
        except Exception as error:  # noqa: BLE001 - a boundary: no peer may take the listener with it
            log.error("association failed", calling_ae=self._peer.calling_ae, error=type(error).__name__)
            self._wire.abort()
        finally:
            is_cut_off = self._command is not None or bool(self._encoded_command)
            if self._intake is not None:
                self._intake.abandon()
            self._arrived()
            self._services.places.leave(self._place)  # first: to tell of it takes a transaction
            if verdict := self._peer.verdict(is_cut_off=is_cut_off, why=cut_off_for):
                self._services.notices.note(*verdict)
            self._wire.close()
            self._send_owed_elsewhere()

    def _arrived(self) -> None:
        """Nothing more comes over this association; told as soon as that is known, since studies wait for it."""
        self._services.receiver.arrivals.ended(self._number, time.time(), is_released=self._peer.is_released)

    def _is_associated(self) -> bool:
        """Read the request and answer it; whether there is an association now."""
        deadline_s = self._settings.acse_timeout_s
        _, body = self._wire.read(deadline_s, deadline_s, _longest_request)
        request = negotiation.read_request(body)
        rejection = negotiation.who_may_not(request, self._settings)
        if rejection is None and (setting := self._services.places.associate(self._place)):
            rejection = negotiation.no_place(setting)
        if rejection is not None:
            self._reject(request, rejection)
            return False
        answer, self._contexts = negotiation.accept(request, self._settings.max_pdu_bytes)
        self._peer_max_pdu_bytes = request.max_pdu_bytes
        self._peer.calling_ae = request.calling_ae
        self._peer.accepted_contexts = len(self._contexts)
        self._peer.proposed_contexts = len(request.primitive.presentation_context_definition_list)
        self._send(answer)
        return True

    def _reject(self, request: Request, rejection: Rejection) -> None:
        text = f"association from {request.calling_ae} rejected: {rejection.text}"
        self._services.notices.note("association_rejected", text)
        self._send(rejection.pdu())
        self._wire.drain(_LINGER_S)

    def _serve(self) -> None:
        """Take PDUs until the peer releases the association; `PeerGone` if it aborts."""
        while True:
            wait_s = self._patience_s()
            pdu_type, body = self._wire.read(wait_s, self._settings.dimse_timeout_s, self._longest)
            self._place.active_at = came_at = time.monotonic()
            if pdu_type == wire.P_DATA:
                for context_id, is_command, is_last, data in wire.fragments(body):
                    self._take(context_id, is_command, is_last, data)
                self._began_at += time.monotonic() - came_at  # that was ours: a slow disk is not a slow sender
            elif pdu_type == wire.RELEASE_RQ:
                self._peer.is_released = self._command is None and not self._encoded_command
                self._arrived()
                self._send(wire.RELEASE_RP)
                self._wire.drain(_LINGER_S)
                return
            else:
                raise PeerGone  # A-ABORT

    def _take(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> None:
        """One fragment (PS3.7 section 6.3.1, PS3.8 annex E): of a command, or of the dataset that belongs to one."""
        if context_id not in self._contexts:
            raise Violation("a context that was not accepted", wire.INVALID_PARAMETER)
        if not self._encoded_command and self._command is None:
            self._context_id, self._began_at, self._message_bytes = context_id, time.monotonic(), 0
        if context_id != self._context_id or is_command != (self._command is None):
            raise Violation("fragments of two messages mixed", wire.UNEXPECTED_PDU)
        self._message_bytes += len(data)
        if is_command:
            self._encoded_command += data
            if len(self._encoded_command) > commands.MAX_COMMAND_BYTES:
                raise Violation("a command set that is too long", wire.INVALID_PARAMETER)
            if is_last:
                self._begin(commands.read_command(self._encoded_command))
        else:
            if self._intake is not None:
                self._intake.write(data)
            if self._dataset is not None:
                self._dataset += data
                if len(self._dataset) > _MAX_DATASET_BYTES:
                    raise Violation("a dataset that is too long", wire.INVALID_PARAMETER)
            if is_last:
                self._complete()

    def _begin(self, command: Command) -> None:
        """A command is complete; its dataset, if it has one, follows."""
        self._encoded_command = bytearray()
        context = self._contexts[self._context_id]
        if command.field & commands.RESPONSE and not self._owed:
            raise Violation("a response to nothing", wire.UNEXPECTED_PDU)
        is_commitment = context.abstract_syntax == PUSH_MODEL and self._services.committer is not None
        is_about_it = command.field in (commands.N_ACTION_RQ, commands.N_EVENT_REPORT_RQ)
        if is_commitment and is_about_it and command.has_dataset:
            self._dataset = bytearray()
        if command.field == commands.C_STORE_RQ and command.has_dataset and context.is_storage:
            announced = Announced(
                command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax, self._peer.calling_ae
            )
            self._intake = self._services.receiver.begin(announced)
        self._command = command
        if not command.has_dataset:
            self._complete()

    def _complete(self) -> None:
        """A message is complete: do what it asks, and answer."""
        command, intake, dataset = self._command, self._intake, self._dataset
        assert command is not None
        self._command = self._intake = self._dataset = None
        if command.field & commands.RESPONSE:
            self._take_response(command)
            return
        if dataset is not None:
            self._commit(command, bytes(dataset))
            return
        if intake is not None:
            status, comment = intake.finish()
            self._peer.received += status == SUCCESS
            if status == SUCCESS and (header := intake.header) is not None:
                arrivals, now = self._services.receiver.arrivals, time.time()
                arrivals.took(
                    self._number, header.study_uid, header.series_uid, now, is_urgent=command.is_high_priority
                )
            self._peer.refused += status != SUCCESS
            # Last: what is taken is registered meanwhile, and whoever decides on its study has to know of it.
            self._wait(self._services.rate.wait_s(self._peer.calling_ae))
        elif command.field == commands.C_CANCEL_RQ:
            return  # of what is answered already; it has no answer of its own (PS3.7 section 9.3.2.3)
        elif command.field == commands.C_ECHO_RQ:
            status, comment = SUCCESS, ""
            self._peer.echoes += 1
        elif command.field == commands.C_STORE_RQ:
            is_storage = self._contexts[self._context_id].is_storage
            status = CANNOT_UNDERSTAND if is_storage else SOP_CLASS_NOT_SUPPORTED
            comment = "no dataset" if is_storage else "not a storage context"
            self._peer.refused += 1
        else:
            status, comment = UNRECOGNIZED_OPERATION, ""
        answer = commands.response(command, status, comment)
        self._place.active_at = time.monotonic()  # the time until here was ours
        self._send(wire.command_pdus(self._context_id, answer, self._peer_max_pdu_bytes))

    def _commit(self, command: Command, dataset: bytes) -> None:
        """Storage commitment: a destination's answer, or a sender's request, answered by a report of our own."""
        committer, context = self._services.committer, self._contexts[self._context_id]
        assert committer is not None
        self._peer.commitments += 1
        if command.field == commands.N_EVENT_REPORT_RQ:
            self._answer(command, committer.take(dataset, context.transfer_syntax))
            return
        request = committer.requested(dataset, context.transfer_syntax)
        if request is None or command.type_id != REQUEST_COMMITMENT:
            self._answer(command, INVALID_ARGUMENT)
            return
        owed = sum(len(one.committed) + len(one.failed) for one in self._owed.values())
        if owed and owed + len(request.references) > _MAX_OWED_REFERENCES:
            self._answer(command, RESOURCE_LIMITATION)
            return
        # First what is true, then the promise to tell it: a request that can't be looked into is not taken.
        try:
            report = committer.report_on(request)
        except SQLAlchemyError:
            self._answer(command, PROCESSING_FAILURE)
            return
        message_id = command.message_id % 0xFFFF + 1
        while message_id in self._owed:
            message_id = message_id % 0xFFFF + 1
        self._owed[message_id] = report
        self._answer(command, SUCCESS)
        event = commands.event_report(message_id, report.event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        encoded = encoded_report(report, context.transfer_syntax)
        pdus = wire.command_pdus(self._context_id, event, self._peer_max_pdu_bytes)
        self._send(pdus + wire.command_pdus(self._context_id, encoded, self._peer_max_pdu_bytes, is_command=False))

    def _take_response(self, command: Command) -> None:
        """The peer's answer to our report; a report that it did not take goes another way at the end."""
        if command.field != commands.N_EVENT_REPORT_RQ | commands.RESPONSE:
            raise Violation("a response to nothing", wire.UNEXPECTED_PDU)
        if command.status == SUCCESS:
            self._owed.pop(command.answers_id, None)

    def _send_owed_elsewhere(self) -> None:
        if self._services.committer is not None:
            for report in self._owed.values():
                self._services.committer.send_later(self._peer.calling_ae, report)

    def _answer(self, command: Command, status: int) -> None:
        self._send(wire.command_pdus(self._context_id, commands.response(command, status), self._peer_max_pdu_bytes))

    def _patience_s(self) -> float:
        """How long to wait for the next PDU: in the middle of a message less, the slower it has come so far."""
        if self._command is None and not self._encoded_command:
            return self._settings.network_timeout_s
        settings = self._settings
        allowed_s = settings.dimse_timeout_s + self._message_bytes / settings.min_bytes_per_s
        return min(settings.dimse_timeout_s, self._began_at + allowed_s - time.monotonic())

    def _longest(self, pdu_type: int) -> int:
        """Longest body of a PDU that can come now."""
        if pdu_type == wire.P_DATA:
            return self._settings.max_pdu_bytes
        if pdu_type in (wire.RELEASE_RQ, wire.ABORT):
            return 4  # PS3.8 sections 9.3.6 and 9.3.8
        raise _unexpected(pdu_type)

    def _wait(self, wait_s: float) -> None:
        if wait_s:
            self._aborting.wait(wait_s)

    def _send(self, pdu: bytes) -> None:
        self._wire.send(pdu, self._settings.dimse_timeout_s)


def _longest_request(pdu_type: int) -> int:
    if pdu_type != wire.ASSOCIATE_RQ:
        raise _unexpected(pdu_type)
    return negotiation.MAX_REQUEST_BYTES


def _unexpected(pdu_type: int) -> Violation:
    is_known = 0x01 <= pdu_type <= 0x07
    return Violation(f"PDU type {pdu_type:#04x}", wire.UNEXPECTED_PDU if is_known else wire.UNRECOGNIZED_PDU)
