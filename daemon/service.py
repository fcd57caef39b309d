"""The listener process: `pirtad listen`."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType

import structlog
from pydicom import config as pydicom_config
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon.arrivals import Arrivals
from pirtad.daemon.clock_watch import ClockWatch
from pirtad.daemon.commitment import Committer
from pirtad.daemon.dispatcher import Dispatcher
from pirtad.daemon.errors import DataDirectoryInUse, ListenerNotReady
from pirtad.daemon.limits import StudySizes, Watermark
from pirtad.daemon.listener import Listener
from pirtad.daemon.notices import Notices
from pirtad.daemon.one_cpu import on_one_cpu
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.registrar import Registrar
from pirtad.daemon.retention import Retention
from pirtad.daemon.spool import Spool
from pirtad.worker.ledger import registering
from pirtad.worker.ledger.clock import Longest
from pirtad.worker.ledger.database import Database, LedgerOutOfDate, open_ledger
from pirtad.worker.logs import configure_logging
from pirtad.worker.queue import make_celery, redis_client
from pirtad.worker.settings import Settings

log = structlog.get_logger(__name__)

# Chosen: an image is answered in well under a second, and supervisors kill after 30 s (Kubernetes) or 90 s (systemd).
_GRACE_S = 10.0
_REGISTER_S = 5.0  # chosen: what is not registered by then is registered at the next start
_LOOK_S = 0.2  # how often the main thread looks for a signal and for a dispatcher that died


def run_listener(settings: Settings) -> int:
    """Receive and dispatch until SIGTERM or SIGINT; returns the process's exit code.

    0: stopped by a signal. 1: it could not start (ledger, port, data directory in use), or the dispatcher died: the
    reason is logged, and a supervisor starts the process anew. To be called in the main thread.
    """
    configure_logging(settings.log)
    # pydicom would warn on stderr of every UID a peer proposes that is none, and quote it.
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    gc.freeze()  # modules and classes stay: nothing to look through again and again while images come
    try:
        with (
            on_one_cpu() if settings.listener.one_cpu else nullcontext(),
            _only_listener_of(settings.storage.data_dir),
            closing(open_ledger(settings.storage.ledger_url())) as ledger,
        ):
            arrivals = Arrivals()
            registrar, listener = make_listener(settings, ledger, arrivals)
            dispatcher = Dispatcher(
                settings.assembly, ledger, make_celery(settings), partial(redis_client, settings), time.time,
                arrivals, settings.priority, ClockWatch(ledger, time.time),
                Longest(settings.longest_wait_s, settings.queue.lease_s), registrar.unregistered,
            )  # fmt: skip
            retention = Retention(settings.retention, settings.storage, ledger, time.time)
            return _serve(registrar, listener, dispatcher, retention)
    except (ListenerNotReady, DataDirectoryInUse, LedgerOutOfDate, OSError) as error:
        log.error("listener can't run", reason=str(error))
    except SQLAlchemyError as error:
        log.error("listener can't run: the ledger can't be used", error=type(error).__name__)
    return 1


def make_listener(settings: Settings, ledger: Database, arrivals: Arrivals) -> tuple[Registrar, Listener]:
    """The receiving side on a ledger: what registers, started and with all that was left in the spool registered, and
    what listens, not started yet.

    Only for the one process that receives into this data directory. OSError or SQLAlchemyError if it can't be done.
    """
    limits, storage = settings.listener, settings.storage
    spool = Spool(storage.data_dir)
    found = spool.prepare()
    sizes = StudySizes(partial(registering.study_size, ledger), limits.max_study_images, limits.max_study_bytes)
    watermark = Watermark(spool.free_bytes, storage.min_free_bytes, time.monotonic)
    notices = Notices(ledger, time.time)
    registrar = Registrar(spool, ledger, sizes)
    receiver = Receiver(limits, spool, registrar, ledger, sizes, watermark, notices, time.time, arrivals)
    registrar.start(found)
    peers = {peer.ae_title: (peer.host, peer.port) for peer in settings.delivery.commitment_peers}
    committer = Committer(limits.ae_title, ledger, storage.data_dir, registrar.flush, peers, time.time)
    return registrar, Listener(limits, receiver, notices, committer)


def _serve(registrar: Registrar, listener: Listener, dispatcher: Dispatcher, retention: Retention) -> int:
    """Run all. The order of stopping: accept nothing more and let associations end; register what they brought; then
    the dispatcher, at the end of its tick, and retention, at the end of a study; then (in the caller) the ledger,
    which all use. Retention that died of a defect stops nothing else: the disk fills up later than images are lost."""
    stop_dispatcher = threading.Event()
    with _signals() as asked, ThreadPoolExecutor(max_workers=2, thread_name_prefix="dispatcher") as pool:
        dispatching: Future[None] = pool.submit(dispatcher.run, stop_dispatcher)
        cleaning: Future[None] = pool.submit(retention.run, stop_dispatcher)
        cleaning.add_done_callback(_tell_death_of_retention)
        try:
            listener.start()
            while not asked and not dispatching.done():
                wait((dispatching,), timeout=_LOOK_S)
            log.info("stopping", signal=asked[0] if asked else "none: the dispatcher died")
        finally:
            listener.stop(_GRACE_S)
            registrar.stop(_REGISTER_S)
            stop_dispatcher.set()
        error = dispatching.exception()
    if error is not None:
        log.critical("the dispatcher died", exc_info=error)
        return 1
    return 0


def _tell_death_of_retention(cleaning: Future[None]) -> None:
    if (error := cleaning.exception()) is not None:
        log.critical("retention died; nothing is removed until the next start", exc_info=error)


@contextmanager
def _signals() -> Iterator[list[str]]:
    """The names of the stop signals that came; the former handlers are put back afterwards."""
    asked: list[str] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        # Nothing but this: a handler interrupts the main thread anywhere, also where it holds a lock.
        asked.append(signal.Signals(number).name)

    former = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _only_listener_of(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock: a second listener would sweep away what the first is just receiving.

    The kernel drops the lock with the process, however it ends (flock(2)).
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "listener.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUse(f"another listener works on {data_dir}") from None
        yield
    finally:
        os.close(descriptor)
