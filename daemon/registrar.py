"""The ledger follows the spool: what is received there is registered a moment later, many images in one transaction.

An image is durable, with all that registration needs, before its sender hears Success (`pirtad.daemon.part10`); so the
ledger's own syncs are off the path of receiving, and shared between all senders. If this process dies in between, the
next start registers from the spool.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from pirtad.daemon.errors import OUT_OF_RESOURCES, Refused
from pirtad.daemon.limits import StudySizes
from pirtad.daemon.spool import Received, Spool
from pirtad.daemon.versions import Versions
from pirtad.worker.ledger import registering
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.registering import ReceivedInstance, Registration

log = structlog.get_logger(__name__)

# Chosen: a study's quiet period is counted in seconds, and four syncs a tenth of a second leave the disk to receiving.
_GATHER_S = 0.1
_MAX_BATCH = 1000
# Chosen: at a thousand images a second, what a ledger that is locked for its whole waiting time (30 s) leaves behind.
_MAX_BEHIND = 30_000
_RETRY_S = (0.1, 0.5, 2.0, 5.0)


class Registrar:
    """Registers in a thread of its own. `start` and `stop` are each called once, by one thread."""

    def __init__(
        self, spool: Spool, database: Database, sizes: StudySizes, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock  # POSIX seconds
        self._spool = spool
        self._database = database
        self._sizes = sizes
        self._changed = threading.Condition()
        self._waiting: list[Received] = []
        self._in_work: list[Received] = []
        self._is_failing = False
        self._is_hurried = False
        self._is_stopping = False
        self.versions = Versions()  # of instances that the ledger will know; let go here
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def start(self, found: Sequence[Received] = ()) -> None:
        """Register what the last process left (SQLAlchemyError or OSError if that can't be done), then follow."""
        for position in range(0, len(found), _MAX_BATCH):
            self._register(found[position : position + _MAX_BATCH], is_recovery=True)
        if found:
            log.info("registered what was received before the last end", images=len(found))
        self._thread.start()

    def require_room(self) -> None:
        """`Refused` (0xA700) while the ledger can't be written, or is too far behind: nothing piles up unseen."""
        if self._is_failing:
            raise Refused(OUT_OF_RESOURCES, "the ledger can't be written")
        if len(self._waiting) > _MAX_BEHIND:
            raise Refused(OUT_OF_RESOURCES, "the ledger is too far behind")

    def add(self, received: Received) -> None:
        """To be registered soon."""
        with self._changed:
            self._waiting.append(received)
            if len(self._waiting) == 1:  # the thread gathers already where more are waiting
                self._changed.notify_all()

    def unregistered(self) -> frozenset[tuple[str, str]]:
        """(study, series) of images that were received and that the ledger may not know yet."""
        with self._changed:
            headers = [received.header for received in (*self._waiting, *self._in_work)]
        return frozenset((header.study_uid, header.series_uid) for header in headers)

    def flush(self, within_s: float) -> bool:
        """Register at once; whether all that was added before is registered and settled within that time."""
        deadline = time.monotonic() + within_s
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            while (self._waiting or self._in_work) and self._thread.is_alive():
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    break
            self._is_hurried = False
            return not (self._waiting or self._in_work)

    def stop(self, within_s: float) -> None:
        """End, with all registered if that is possible; what is left stays in the spool for the next start."""
        if not self._thread.is_alive():
            return
        is_done = self.flush(within_s)
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(within_s)
        if not is_done:
            log.error("stopped with images that the next start will register", images=len(self._waiting))

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_stopping)
                if self._is_stopping:
                    return
                pause_s = _RETRY_S[min(failures, len(_RETRY_S)) - 1] if failures else _GATHER_S
                self._changed.wait_for(self._may_go_on, pause_s)
                batch = self._waiting[:_MAX_BATCH]
                self._in_work = batch
                del self._waiting[: len(batch)]
            try:
                # Tried again, it may be on record already: that makes no duplicates of it.
                self._register(batch, is_recovery=failures > 0)
                failures = 0
            except Exception as error:  # noqa: BLE001 - a boundary: whatever it is, the thread must go on
                # The images are safe; no further one is taken meanwhile, and these are tried again.
                failures += 1
                log.error("images not registered", images=len(batch), error=type(error).__name__, failures=failures)
            with self._changed:
                if failures:
                    self._waiting[:0] = batch
                self._is_failing = failures > 0
                self._in_work = []
                self._changed.notify_all()

    def _may_go_on(self) -> bool:
        return self._is_stopping or (self._is_hurried and not self._is_failing)

    def _register(self, batch: Sequence[Received], *, is_recovery: bool = False) -> None:
        placed = self._spool.place(batch)
        # Where the clock was set back since, an image of the future would keep its study waiting for that long.
        now = self._clock()
        instances = [(_instance(received), min(received.receipt.received_at, now)) for received in placed]
        found = registering.register_all(self._database, instances, is_recovery=is_recovery)
        for received, what in zip(placed, found, strict=True):
            if what is not Registration.DUPLICATE:
                self._sizes.add(received.header.study_uid, received.size_bytes)
        self._spool.settle(placed)
        for received in batch:
            self.versions.let_go(received.instance, received.sha256)
        for study_uid in {received.header.study_uid for received in batch}:
            log.debug("registered", study_uid=study_uid, images_of_all_studies=len(batch))


def _instance(received: Received) -> ReceivedInstance:
    header = received.header
    return ReceivedInstance(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=received.receipt.transfer_syntax_uid,
        modality=header.modality,
        sha256=received.sha256,
        size_bytes=received.size_bytes,
        path=received.path,
        calling_ae=received.receipt.calling_ae,
    )
