"""Errors of the worker: the class says what the stage's boundary does with it.

    WorkerError
      Transient                the stage is tried again with backoff
        DestinationUnavailable   the PACS does not answer, or says that it can't just now
          DeliveryPending          a destination's share waits; says until when
      Permanent                shelved as failed at once, with the reason
        DestinationRefused       the PACS answered and said no
        NonConformant            the DICOM object must not be sent

An error's text goes to operators and logs: UIDs, counts, statuses and attribute names only, never patient data.
"""

from __future__ import annotations

from typing import Any


class WorkerError(Exception):
    """Base class. `code` is stable and machine-readable; `hint` says what the operator can do."""

    def __init__(self, code: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.reason, self.hint)


class Transient(WorkerError):
    """Worth another attempt after a while."""


class Permanent(WorkerError):
    """No attempt mends it; a person has to."""


class DestinationUnavailable(Transient):
    """No connection, no association, no answer in time, or the peer is out of resources."""


class DestinationRefused(Permanent):
    """The peer answered and will not take the object or the association."""


class NonConformant(Permanent):
    """The object, or the source it copies from, breaks a rule of DICOM or of this project; it is never sent."""


class DeliveryPending(DestinationUnavailable):
    """Some destination's share of a job waits; `until` (POSIX seconds) is when the first is due.

    is_failure: something went wrong; else an answer is waited for, as after a storage commitment was asked for.
    """

    def __init__(self, reason: str, hint: str, until: float, *, is_failure: bool) -> None:
        super().__init__("delivery-pending", reason, hint)
        self.until = until
        self.is_failure = is_failure

    def __reduce__(self) -> tuple[Any, ...]:
        return _pending, (self.reason, self.hint, self.until, self.is_failure)


def _pending(reason: str, hint: str, until: float, is_failure: bool) -> DeliveryPending:
    return DeliveryPending(reason, hint, until, is_failure=is_failure)
