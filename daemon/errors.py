"""Errors of the receiving side: the class says what its boundary answers.

    DaemonError
      Refused              the C-STORE is answered with `status` (PS3.4 table B.2-1, PS3.7 annex C); never Success
      ListenerNotReady     the port could not be bound or does not answer; the process ends non-zero
      DataDirectoryInUse   another listener works on this data directory; the process ends non-zero

An error's text goes to operators, logs and peers: UIDs, counts, statuses and attribute names only, never patient data.
"""

from __future__ import annotations

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_ARGUMENT = 0x0115
SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213


class DaemonError(Exception):
    """Base class."""


class Refused(DaemonError):
    """The instance is not taken; the sender keeps it and may try again."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"0x{status:04X}: {reason}")
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[Refused], tuple[int, str]]:
        return type(self), (self.status, self.reason)


class ListenerNotReady(DaemonError):
    """The listener did not come up."""


class DataDirectoryInUse(DaemonError):
    """Another listener holds the data directory's lock."""
