"""What a campaign does to the stack, each fault once at a time, and what it hit."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from support.campaign_control import PacsMode, Slot
from support.campaign_stack import Stack, Working

_AIM_S = 5.0  # a fault waits so long for something to hit
_FILLED_SLOWLY_BYTES = 2**23
_JUMPS_S = (-7200.0, -300.0, -40.0, 40.0, 300.0, 7200.0)

Fault = Callable[[Stack, random.Random], str]
"""Does it; returns what it hit: a stage's name, "receive", "assemble", "queue", or "" for nothing."""


def _aim(
    stack: Stack, draw: random.Random, wanted: Callable[[Working], list[str]], times: float = 1.0
) -> tuple[str, Working]:
    """Wait until something wanted is under way, and a random moment longer; what is under way then. times: as long."""
    aim_s = _AIM_S * stack.patience * times
    deadline = time.monotonic() + aim_s
    aimed_at = "deliver" if wanted is _delivering else draw.choice(("prepare", "infer", "deliver", ""))
    while time.monotonic() < deadline:
        found = wanted(stack.working())
        if aimed_at in found or (found and time.monotonic() > deadline - aim_s / 2) or (found and not aimed_at):
            break
        time.sleep(0.003)
    time.sleep(draw.uniform(0, 0.02) * stack.patience)
    seen = stack.working()
    found = wanted(seen)
    return (aimed_at if aimed_at in found else draw.choice(found) if found else ""), seen


def _stages(seen: Working) -> list[str]:
    return [stage for stage, _ in seen.running]


def _arriving(seen: Working) -> list[str]:
    return ["receive"] * seen.receiving + ["assemble"] * (seen.assembling > 0)


def _queued(seen: Working) -> list[str]:
    return [*_stages(seen), *(["queue"] * (seen.waiting > 0))]


def _delivering(seen: Working) -> list[str]:
    return [stage for stage in _stages(seen) if stage == "deliver"]


def kill_listener(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the listener, dispatcher and assembler."""
    hit, _ = _aim(stack, draw, _arriving)
    stack.kill("listener")
    return hit


def kill_worker(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to a worker with its pool."""
    hit, seen = _aim(stack, draw, _stages)
    owners = [pid for stage, pid in seen.running if stage == hit]
    victim = draw.choice([number for role, number in stack.pids if role == "worker"])
    for owner in owners:
        with contextlib.suppress(ProcessLookupError):
            group = os.getpgid(owner)
            victim = next((number for (_, number), pid in stack.pids.items() if pid == group), victim)
    stack.kill("worker", victim)
    return hit


def kill_pool_process(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the one process that works on a job."""
    hit, seen = _aim(stack, draw, _stages)
    for stage, owner in seen.running:
        if stage == hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner, signal.SIGKILL)
            break
    return hit


def stop_worker(stack: Stack, draw: random.Random) -> str:
    """SIGSTOP to the process that works on a job, until its lease is over and another has it; then SIGCONT."""
    hit, seen = _aim(stack, draw, _stages)
    owners = [owner for stage, owner in seen.running if stage == hit]
    if not owners:
        return ""
    with contextlib.suppress(ProcessLookupError):
        os.kill(owners[0], signal.SIGSTOP)
        # Its lease is over for everybody at once; the clock stays where it is from then on.
        stack.control.set(Slot.CLOCK_OFFSET_S, stack.control.get(Slot.CLOCK_OFFSET_S) + 20)
        _tended_pause(stack, draw.uniform(0.5, 2.0))
        os.kill(owners[0], signal.SIGCONT)
    return hit


def kill_redis(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the queue's server."""
    hit, _ = _aim(stack, draw, _queued)
    stack.kill_redis()
    return hit


def wipe_redis(stack: Stack, draw: random.Random) -> str:
    """FLUSHALL."""
    hit, _ = _aim(stack, draw, _queued)
    stack.wipe_redis()
    return hit


def take_redis_away(stack: Stack, draw: random.Random) -> str:
    """No server and no file of it for a while."""
    hit, _ = _aim(stack, draw, _queued)
    stack.is_redis_wanted = False
    stack.kill_redis()
    _tended_pause(stack, draw.uniform(0.3, 2.0))
    for path in sorted((stack.data_dir / "redis").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    stack.is_redis_wanted = True
    return hit


def kill_pacs(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the PACS."""
    hit, _ = _aim(stack, draw, _delivering, 3)
    stack.kill("pacs")
    return hit


def trouble_pacs(stack: Stack, draw: random.Random) -> str:
    """It refuses, hangs, or keeps objects without answering, for a while."""
    hit, _ = _aim(stack, draw, _delivering, 3)
    stack.control.set(Slot.PACS_MODE, draw.choice((PacsMode.REFUSES, PacsMode.LOSES_ANSWERS, PacsMode.HANGS)))
    deadline = time.monotonic() + draw.uniform(0.2, 1.0)
    while time.monotonic() < deadline:
        hit = hit or next(iter(_delivering(stack.working())), "")
        stack.tend()
        time.sleep(0.01)
    stack.control.set(Slot.PACS_MODE, PacsMode.SOUND)
    return hit


def kill_tree(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to listener, workers and queue at once."""
    hit, _ = _aim(stack, draw, lambda seen: [*_queued(seen), *_arriving(seen)])
    for role, number in stack.roles:
        if role in ("listener", "worker"):
            stack.kill(role, number)
    stack.kill_redis()
    return hit


def set_clock(stack: Stack, draw: random.Random) -> str:
    """The wall clock of every process of pirtad jumps, ahead or back."""
    hit, _ = _aim(stack, draw, lambda seen: [*_queued(seen), *_arriving(seen)])
    stack.control.set(Slot.CLOCK_OFFSET_S, stack.control.get(Slot.CLOCK_OFFSET_S) + draw.choice(_JUMPS_S))
    return hit


def fill_disk(stack: Stack, draw: random.Random) -> str:
    """No byte left on the data directory's file system for a while. Only where that is small."""
    hit, _ = _aim(stack, draw, lambda seen: [*_queued(seen), *_arriving(seen)])
    filler = stack.directory / "data" / "filler"
    _fill(filler)
    _tended_pause(stack, draw.uniform(0.3, 1.5))
    filler.unlink()
    return hit


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        # First nearly all at once, then what is left, whoever frees some meanwhile.
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(path.parent).free - _FILLED_SLOWLY_BYTES))
        file.seek(0, os.SEEK_END)
        for size in (2**20, 2**12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def _tended_pause(stack: Stack, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stack.tend()
        time.sleep(0.02)


DISK_FULL = "disk full"
FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "pool process killed": kill_pool_process,
    "worker stopped past its lease": stop_worker,
    "listener killed": kill_listener,
    "Redis killed": kill_redis,
    "Redis wiped": wipe_redis,
    "Redis gone, its file lost": take_redis_away,
    "PACS killed": kill_pacs,
    "PACS refuses, hangs or is silent": trouble_pacs,
    "whole tree killed": kill_tree,
    "clock set": set_clock,
    DISK_FULL: fill_disk,
}


def draw_any(stack: Stack, draw: random.Random) -> str:
    """One of them; the disk is filled only where that is its own."""
    names = [name for name in FAULTS if name != DISK_FULL or stack.data_dir.is_mount()]
    return FAULTS[draw.choice(names)](stack, draw)
