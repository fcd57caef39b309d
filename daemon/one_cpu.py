"""The listener's threads on one processor, for they share the interpreter's lock anyhow.

A thread gives the lock up in every system call and takes it back after it. Where whoever takes it meanwhile runs on
another processor, each hand-over wakes that processor up. Measured with four senders (docs/adr/0007-receiving.md): 1.6
times the images a second on one processor, for 0.6 of the processor time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keep this thread, and those started inside, on one processor; where the system can't, on any."""
    try:
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(allowed)})  # the first one usually serves the devices
    except (AttributeError, OSError):  # not Linux; forbidden
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
