"""Errors of the worker: the class says what the stage's boundary does with it.

    WorkerError
      Transient                the stage is tried again with backoff
        DestinationUnavailable   the PACS does not answer, or says that it can't just now
      Permanent                shelved as failed at once, with the reason
        DestinationRefused       the PACS answered and said no
        NonConformant            the DICOM object must not be sent

An error's text goes to operators and logs: UIDs, counts, statuses and attribute names only, never patient data.
"""

from __future__ import annotations


class WorkerError(Exception):
    """Base class. `code` is stable and machine-readable; `hint` says what the operator can do."""

    def __init__(self, code: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.hint = hint

    def __reduce__(self) -> tuple[type[WorkerError], tuple[str, str, str]]:
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
