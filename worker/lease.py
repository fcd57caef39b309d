"""Keeps a claim alive while its stage works, and notices when it was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.worker.ledger.claiming import ClaimedJob, ClaimLost, renew
from pirtad.worker.ledger.database import Database

log = structlog.get_logger(__name__)


@contextmanager
def kept(database: Database, job: ClaimedJob, lease_s: float) -> Iterator[None]:
    """Renew the lease three times per its length in a thread of its own until the block ends.

    A lost claim need not interrupt the stage: every change to the ledger is made under the claim and raises
    `ClaimLost` by itself.
    """
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(lease_s / 3):
            try:
                renew(database, job, time.time(), lease_s)
            except ClaimLost:
                return
            except SQLAlchemyError as error:
                log.warning("lease not renewed, trying again", job_id=job.job_id, error=type(error).__name__)

    thread = threading.Thread(target=work, name=f"lease-{job.job_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
