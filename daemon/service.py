"""The listener process: `pirtad listen`."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon.dispatcher import Dispatcher
from pirtad.daemon.errors import DataDirectoryInUse, ListenerNotReady
from pirtad.daemon.listener import Listener
from pirtad.daemon.notices import Notices
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.spool import Spool
from pirtad.worker.ledger.database import LedgerOutOfDate, open_ledger
from pirtad.worker.logs import configure_logging
from pirtad.worker.queue import make_celery, redis_client
from pirtad.worker.settings import Settings

log = structlog.get_logger(__name__)

# Chosen: an image is answered in well under a second, and supervisors kill after 30 s (Kubernetes) or 90 s (systemd).
_GRACE_S = 10.0
_LOOK_S = 0.2  # how often the main thread looks for a signal and for a dispatcher that died


def run_listener(settings: Settings) -> int:
    """Receive and dispatch until SIGTERM or SIGINT; returns the process's exit code.

    0: stopped by a signal. 1: it could not start (ledger, port, data directory in use), or the dispatcher died: the
    reason is logged, and a supervisor starts the process anew. To be called in the main thread.
    """
    configure_logging(settings.log)
    try:
        with (
            _only_listener_of(settings.storage.data_dir),
            closing(open_ledger(settings.storage.ledger_url())) as ledger,
        ):
            spool = Spool(settings.storage.data_dir)
            spool.prepare()
            notices = Notices(ledger, time.time)
            listener = Listener(settings.listener, Receiver(spool, ledger, notices, time.time), notices)
            dispatcher = Dispatcher(
                settings.assembly, ledger, make_celery(settings), partial(redis_client, settings), time.time
            )
            return _serve(listener, dispatcher)
    except (ListenerNotReady, DataDirectoryInUse, LedgerOutOfDate, OSError) as error:
        log.error("listener can't run", reason=str(error))
    except SQLAlchemyError as error:
        log.error("listener can't run: the ledger can't be used", error=type(error).__name__)
    return 1


def _serve(listener: Listener, dispatcher: Dispatcher) -> int:
    """Run both. The order of stopping: accept nothing more and let associations end, since until then images are
    registered; then the dispatcher, at the end of its tick; then (in the caller) the ledger, which both use."""
    stop_dispatcher = threading.Event()
    with _signals() as asked, ThreadPoolExecutor(max_workers=1, thread_name_prefix="dispatcher") as pool:
        dispatching: Future[None] = pool.submit(dispatcher.run, stop_dispatcher)
        try:
            listener.start()
            while not asked and not dispatching.done():
                wait((dispatching,), timeout=_LOOK_S)
            log.info("stopping", signal=asked[0] if asked else "none: the dispatcher died")
        finally:
            listener.stop(_GRACE_S)
            stop_dispatcher.set()
        error = dispatching.exception()
    if error is not None:
        log.critical("the dispatcher died", exc_info=error)
        return 1
    return 0


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
