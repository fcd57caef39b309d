"""One received instance from its first byte to its DIMSE status: knows nothing of sockets.

Success means: the image, and all that its registration needs, have survived a power loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon.arrivals import Arrivals
from pirtad.daemon.errors import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    DUPLICATE_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
    Refused,
)
from pirtad.daemon.header import Header, is_valid_uid, read_header, require_same_instance
from pirtad.daemon.landing import Landing
from pirtad.daemon.limits import StudySizes, Watermark
from pirtad.daemon.notices import Notices
from pirtad.daemon.part10 import MAX_START_BYTES, Receipt, completed_start, part10_start
from pirtad.daemon.registrar import Registrar
from pirtad.daemon.spool import Announced, Received, Spool, content_digest, full_disk_refused
from pirtad.worker.ledger import registering
from pirtad.worker.ledger.database import Database
from pirtad.worker.settings import ListenerSettings

log = structlog.get_logger(__name__)

# The header is looked for when so much of the dataset is there, then in four times as much, and so on: nearly always it
# is in the first; 16 MiB is the bound on what is held of a dataset in memory.
_HEAD_BYTES = (16 * 1024, 16 * 2**20)
_DIGEST_BYTES = 32


class Receiver:
    """Takes in instances, from several threads at once."""

    def __init__(
        self,
        settings: ListenerSettings,
        spool: Spool,
        registrar: Registrar,
        database: Database,
        sizes: StudySizes,
        watermark: Watermark,
        notices: Notices,
        clock: Callable[[], float],
        arrivals: Arrivals | None = None,
    ) -> None:
        self.arrivals = arrivals or Arrivals()
        self.settings = settings
        self.spool = spool
        self.registrar = registrar
        self.database = database
        self.sizes = sizes
        self.watermark = watermark
        self.notices = notices
        self.clock = clock

    def begin(self, announced: Announced) -> Intake:
        """An image is announced; the caller hands on its bytes and ends with `finish` or `abandon`."""
        return Intake(self, announced)


class Intake:
    """One image coming in. For one thread."""

    def __init__(self, receiver: Receiver, announced: Announced) -> None:
        self._receiver = receiver
        self._announced = announced
        self._digest = content_digest(announced.transfer_syntax_uid)
        self._start = b""  # of the file, as far as it is known now
        self._head = bytearray()  # the dataset's beginning, until the header is found in it
        self._next_look_bytes = _HEAD_BYTES[0]
        self._header: Header | None = None
        self._landing: Landing | None = None
        self._refused: Refused | None = None
        self._guarded(self._open)

    def write(self, fragment: memoryview) -> None:
        """The next bytes of the dataset. An image that is refused already is read to its end and not kept."""
        if self._landing is not None:
            refused_before = self._refused
            self._guarded(lambda: self._write(fragment))
            if self._refused is not refused_before:
                self.abandon()  # a file with a gap in it is of no use to anybody

    def finish(self) -> tuple[int, str]:
        """Sync, then have it registered; returns the status to answer with, and what may be told of it.

        0x0000 also for a duplicate; 0xA700 no space or too large, or the ledger can't be written: the sender tries
        again later; 0xA900 not the instance that was announced, 0xC000 not understood: a copy is in the quarantine;
        0x0111 the instance is there with other bytes, where that is refused; 0x0110 anything unforeseen.
        """
        self._guarded(self._keep)
        if self._refused is None:
            return SUCCESS, ""
        self._set_apart(self._refused)
        return self._refused.status, self._refused.reason

    @property
    def header(self) -> Header | None:
        """What it is; None until that is known."""
        return self._header

    def abandon(self) -> None:
        """The rest will not come; nothing is left behind."""
        if self._landing is not None:
            self._landing.abandon()
            self._landing = None

    # --- the steps, each of which may raise -----------------------------------------------------------------------

    def _open(self) -> None:
        self._receiver.watermark.require_room()
        self._receiver.registrar.require_room()
        announced = self._announced
        if is_valid_uid(announced.sop_class_uid) and is_valid_uid(announced.sop_instance_uid):
            self._start = part10_start(self._receipt())
        else:
            # Its bytes are still taken, for the quarantine. The room for a start stays empty, so that it can never
            # count as received: a dataset may begin with what looks like one.
            self._refused = Refused(DOES_NOT_MATCH_SOP_CLASS, "the command holds a UID that is not valid")
        self._landing = self._receiver.spool.land(len(self._start) or MAX_START_BYTES)

    def _write(self, fragment: memoryview) -> None:
        assert self._landing is not None
        if self._landing.dataset_bytes + len(fragment) > self._receiver.settings.max_instance_bytes:
            raise Refused(OUT_OF_RESOURCES, "the image is larger than listener.max_instance_bytes")
        self._receiver.watermark.require_room()
        with full_disk_refused():
            self._landing.write(fragment)
        self._digest.update(fragment)
        if self._header is None and len(self._head) < _HEAD_BYTES[1]:
            self._head += fragment[: _HEAD_BYTES[1] - len(self._head)]
            if len(self._head) >= self._next_look_bytes:
                self._look_for_header()

    def _look_for_header(self) -> None:
        try:
            self._header = read_header(bytes(self._head), self._announced.transfer_syntax_uid)
        except Refused:  # cut off, perhaps: decided when the rest is there
            self._next_look_bytes *= 4
            return
        self._head = bytearray()

    def _keep(self) -> None:
        if self._refused is not None or self._landing is None:
            return
        announced, receiver, landing = self._announced, self._receiver, self._landing
        header = self._header = self._header or read_header(bytes(self._head), announced.transfer_syntax_uid)
        require_same_instance(header, announced.sop_class_uid, announced.sop_instance_uid)
        size_bytes = landing.start_bytes + landing.dataset_bytes
        receiver.sizes.require_room(header.study_uid, size_bytes)
        receipt = self._receipt(landing.dataset_bytes, receiver.clock(), self._digest.digest())
        received = Received(landing.path, receipt, header, size_bytes)
        is_first_to_stand = receiver.settings.conflicting_images == "refuse"
        with self._first_bytes_stand(received) if is_first_to_stand else nullcontext(), full_disk_refused():
            landing.commit(completed_start(self._start, receipt))
        self._landing = None  # from here on it is received, and the spool's
        receiver.registrar.add(received)

    @contextmanager
    def _first_bytes_stand(self, received: Received) -> Iterator[None]:
        """`Refused` (0x0111) if the instance is there with other bytes, or is on its way into the ledger with them."""
        versions, database = self._receiver.registrar.versions, self._receiver.database
        told = "the instance is there with other bytes"
        if not versions.claim(received.instance, received.sha256):
            raise Refused(DUPLICATE_SOP_INSTANCE, told)
        is_kept = False
        try:
            if registering.is_conflict(database, *received.instance, received.sha256):
                raise Refused(DUPLICATE_SOP_INSTANCE, told)
            yield
            is_kept = True
        finally:
            if not is_kept:  # else the registrar lets it go
                versions.let_go(received.instance, received.sha256)

    def _receipt(self, dataset_bytes: int = 0, at: float = 0.0, digest: bytes = bytes(_DIGEST_BYTES)) -> Receipt:
        announced = self._announced
        return Receipt(
            announced.sop_class_uid, announced.sop_instance_uid, announced.transfer_syntax_uid, announced.calling_ae,
            dataset_bytes, at, digest,
        )  # fmt: skip

    # --- what goes wrong -------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step; whatever goes wrong in it becomes this image's refusal."""
        try:
            step()
        except Refused as refused:
            self._refused = refused
        except SQLAlchemyError:
            self._refused = Refused(OUT_OF_RESOURCES, "the ledger can't be read")
        except Exception as error:  # noqa: BLE001 - a boundary: whatever it was, this peer gets a failure status
            # No text of the error and no traceback with it: neither is ours, and either may quote the dataset.
            calling_ae = self._announced.calling_ae
            log.error("instance not taken", calling_ae=calling_ae, error=type(error).__name__, at=_place(error))
            self._refused = Refused(PROCESSING_FAILURE, f"unforeseen {type(error).__name__}")
        if self._refused is not None and self._refused.status == OUT_OF_RESOURCES:
            self.abandon()

    def _set_apart(self, refused: Refused) -> None:
        """Tell the operator, and quarantine the image where something may be wrong with it."""
        text = f"instance from {self._announced.calling_ae} refused, {refused}"
        if refused.status in (CANNOT_UNDERSTAND, DOES_NOT_MATCH_SOP_CLASS, PROCESSING_FAILURE):
            text = f"{text}; {self._quarantine(refused)}"
        self.abandon()
        if refused.status == OUT_OF_RESOURCES:
            # To the log alone: the ledger may be what is out of order, and waiting for it would make the sender wait.
            log.error(text, kind="refused")
        else:
            self._receiver.notices.note("refused", text)

    def _quarantine(self, refused: Refused) -> str:
        nothing = "no copy could be kept"
        if self._landing is None:
            return nothing
        sha256, now = self._digest.hexdigest(), self._receiver.clock()
        try:
            return self._receiver.spool.quarantine(self._landing, self._announced, sha256, refused.reason, now)
        except (Refused, OSError) as error:
            log.error("not quarantined", calling_ae=self._announced.calling_ae, error=type(error).__name__)
            return nothing


def _place(error: BaseException) -> str:
    """File and line where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
