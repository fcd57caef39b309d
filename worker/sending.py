"""What an error says of an object that was being sent: whether anybody was there, and whether it may have arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from pirtad.worker.errors import WorkerError
from pirtad.worker.recording import LEDGER_AWAY

_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)

NOBODY_THERE = ("no-connection", "tls", "token-file")
"""Codes of errors after which the next object would only wait for the same connection, and no question got there."""
_MAY_HAVE_ARRIVED = ("no-answer", "aborted", "unforeseen", "stow-unclear", "http-408")
# A gateway says 5xx of a service behind it that may have done its work, and a service of what failed at any moment; a
# 2xx that STOW-RS does not know is a success of some kind.
_MAY_HAVE_ARRIVED_BY_HTTP = ("http-5", "http-2")


class Unforeseen(WorkerError):
    """What an error in the sending code became: counted, and no other destination is kept waiting for it."""


def may_have_arrived(error: WorkerError) -> bool:
    """Whether the object may have been stored all the same."""
    return error.code in _MAY_HAVE_ARRIVED or error.code.startswith(_MAY_HAVE_ARRIVED_BY_HTTP)


def guarded(act: Callable[[], _Result]) -> _Result:
    """What a target does; an error that it does not foresee is raised as `Unforeseen`."""
    try:
        return act()
    except (WorkerError, OSError, *LEDGER_AWAY):
        raise
    except Exception as error:  # whatever a library raises over one destination, the others are not kept waiting
        log.error("sending failed unexpectedly", error=type(error).__name__)
        told = f"{type(error).__name__} while sending"
        raise Unforeseen("unforeseen", told, "a defect of pirtad: please report it") from error
