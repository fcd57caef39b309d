"""Records what came of an attempt, though the ledger fails for a moment.

The work is done by then, and what it cost is lost to nothing but a lease that runs out: half a minute for each study,
and an attempt counted that did not fail. So a busy SQLite or a connection that PostgreSQL dropped is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)

LEDGER_AWAY = (OperationalError, InterfaceError, PoolTimeout)
"""What a database raises that is busy, restarting or not there: waiting mends it, as it does not a broken rule."""
_PAUSES_S = (0.2, 1.0, 3.0)
"""Chosen: a dropped connection is back at once, a restart takes a second or two. The pauses alone are shorter than a
lease; the tries need not be, since on SQLite each waits up to 30 s for the lock. Where the lease ends meanwhile and
somebody else takes the job, the claim is lost, and the next try raises `ClaimLost`."""


def recorded(record: Callable[[], _Result], pause: Callable[[float], None]) -> _Result:
    """What `record` returns, tried four times in all; then its error is raised.

    record: changes the ledger in one transaction and under a claim. Where a transaction was committed and only the
    answer was lost, the next try finds the claim given up and raises `ClaimLost`: nothing is recorded twice.
    """
    for seconds in _PAUSES_S:
        try:
            return record()
        except LEDGER_AWAY as error:
            log.warning("outcome not recorded, trying again", error=type(error).__name__, in_s=seconds)
            pause(seconds)
    return record()
