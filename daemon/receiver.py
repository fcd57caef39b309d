"""One received instance from bytes to DIMSE status: the handler, which knows nothing of sockets.

Success means: the file and its registration have survived a power loss.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon.errors import OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS, Refused
from pirtad.daemon.header import read_header, require_same_instance
from pirtad.daemon.notices import Notices
from pirtad.daemon.spool import Arrival, Spool
from pirtad.worker.ledger import receiving
from pirtad.worker.ledger.database import Database

log = structlog.get_logger(__name__)


class Receiver:
    """Takes in instances, from several threads at once."""

    def __init__(self, spool: Spool, database: Database, notices: Notices, clock: Callable[[], float]) -> None:
        self._spool = spool
        self._database = database
        self._notices = notices
        self._clock = clock

    def receive(self, arrival: Arrival) -> int:
        """Keep, register, and only then Success; returns the status to answer with.

        0x0000 also for a duplicate; 0xA700 no space, or the ledger can't be reached: the sender tries again later;
        0xA900 not the instance that was announced, 0xC000 not understood: a copy is in the quarantine;
        0x0110 anything unforeseen.
        """
        try:
            self._take_in(arrival)
        except Refused as refused:
            self._set_apart(arrival, refused)
            return refused.status
        except Exception as error:  # noqa: BLE001 - a boundary: whatever it was, this peer gets a failure status
            # No text of the error and no traceback with it: neither is ours, and either may quote the dataset.
            log.error("instance not taken", calling_ae=arrival.calling_ae, error=type(error).__name__, at=_place(error))
            self._set_apart(arrival, Refused(PROCESSING_FAILURE, f"unforeseen {type(error).__name__}"))
            return PROCESSING_FAILURE
        return SUCCESS

    def _take_in(self, arrival: Arrival) -> None:
        header = read_header(arrival.encoded, arrival.transfer_syntax_uid)
        require_same_instance(header, arrival.affected_sop_class_uid, arrival.affected_sop_instance_uid)
        kept = self._spool.keep(arrival, header)
        received = receiving.ReceivedInstance(
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=arrival.transfer_syntax_uid,
            modality=header.modality,
            sha256=kept.sha256,
            size_bytes=kept.size_bytes,
            path=kept.path,
            calling_ae=arrival.calling_ae,
        )
        try:
            # If this fails the file stays: whether the transaction was committed is not always known, and the same
            # instance sent again takes the same place.
            found = receiving.register(self._database, received, self._clock())
        except SQLAlchemyError as error:
            raise Refused(OUT_OF_RESOURCES, "the ledger can't be written") from error
        log.debug("received", study_uid=header.study_uid, sop_instance_uid=header.sop_instance_uid, found=str(found))

    def _set_apart(self, arrival: Arrival, refused: Refused) -> None:
        """Tell the operator, and quarantine the image where something may be wrong with it."""
        text = f"instance from {arrival.calling_ae} refused, {refused}"
        if refused.status == OUT_OF_RESOURCES:
            # To the log alone: the ledger may be what is out of order, and waiting for it once more would make the
            # sender wait twice as long for its answer.
            log.error(text, kind="refused")
            return
        try:
            where = self._spool.quarantine(arrival, refused.reason, self._clock())
        except (Refused, OSError) as error:
            log.error("not quarantined", calling_ae=arrival.calling_ae, error=type(error).__name__)
            where = "no copy could be kept"
        self._notices.note("refused", f"{text}; {where}")


def _place(error: BaseException) -> str:
    """File and line where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
