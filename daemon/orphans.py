"""No child outlives its parent, not even one that was killed with SIGKILL and could say nothing any more.

Linux sends a process the signal it chose with prctl(PR_SET_PDEATHSIG) (prctl(2)) when its parent dies, and the choice
survives exec. So a child starts as this module, chooses, and becomes the program it is meant to be: unlike a
`preexec_fn` that needs no Python between fork and exec and is safe where the parent has threads. The signal chosen is
SIGKILL: a child must not be able to stay, and sudden death is the case that spool, ledger and leases are built for.
Celery makes its pool's processes do the same.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tied(argv: Sequence[str]) -> tuple[str, ...]:
    """The command line that runs `argv` tied to the calling process.

    The kernel counts the death of the *thread* that forked, so start it from one that lives as long as the process.
    `-P` keeps the current directory out of the import path.
    """
    return (sys.executable, "-P", "-m", "pirtad.daemon.orphans", str(os.getpid()), *argv)


def _become(parent: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died before the choice; nobody would send the signal any more
            sys.exit(1)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
