"""Who holds a claim: a name that tells, on the same host, whether its process still lives.

On another host, or without /proc, only the lease can tell; it runs out after `queue.lease_s`.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """`host/boot:pid namespace:pid:start time`; the start time (proc(5), field 22) tells a reused pid apart."""
    pid = os.getpid()
    return f"{_this_boot()}:{_pid_namespace()}:{pid}:{_start_time(pid)}"


def is_dead(owner: str) -> bool:
    """True only if the owner lived in this host's process table and is there no more."""
    host, namespace, pid, started = owner.rsplit(":", 3)
    if host != _this_boot() or namespace != _pid_namespace() or namespace == "0":
        return False
    return _start_time(int(pid)) != int(started)


def _this_boot() -> str:
    """Host name and the kernel's random id of this boot: cloned machines share the one, never the other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"


def _start_time(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 if there is none, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    # The command name, field 2, is in parentheses and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])
