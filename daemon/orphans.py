"""No child outlives its parent, not even one that was killed with SIGKILL and could say nothing any more.

Linux sends a process the signal it chose with prctl(PR_SET_PDEATHSIG) (prctl(2)) when its parent dies. The choice is
made between fork and exec and survives the exec. The signal chosen is SIGKILL: a child must not be able to stay, and
sudden death is the case that spool, ledger and leases are built for. Celery makes its pool's processes do the same.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> Callable[[], None]:
    """For Popen's `preexec_fn`: ties the child to the calling process.

    The kernel counts the death of the *thread* that forked, so call Popen from a thread that lives as long as the
    process. The library is loaded here, before the fork, where it is safe to do so. Elsewhere than on Linux: nothing.
    """
    parent = os.getpid()
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)

    def tie() -> None:
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died between fork and prctl; nobody would send the signal any more
            os.kill(os.getpid(), signal.SIGKILL)

    return tie
