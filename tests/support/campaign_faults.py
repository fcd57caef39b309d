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
from support.campaign_stack import WORKERS, Stack, Working, living_groups

_AIM_S = 5.0  # a fault waits so long for something to hit, and a fifth of it for the stage that it drew
_LOOK_S = 0.004
_BACKLOG, _BACKLOG_S = 3, 8.0
_ORPHANS_S = 5.0
_FILLED_SLOWLY_BYTES = 2**23
_JUMPS_S = (-7200.0, -300.0, -40.0, 40.0, 300.0, 7200.0)

Fault = Callable[[Stack, random.Random], str]
"""Does it; returns what it hit: a stage's name, "receive", "assemble", "queue", "backlog", or "" for nothing."""


def _aim(
    stack: Stack, draw: random.Random, wanted: Callable[[Working], list[str]], times: float = 1.0
) -> tuple[str, Working]:
    """Wait until something wanted is under way, and a random moment longer; what is under way then. times: as long."""
    aim_s = _AIM_S * stack.patience * times
    began_at = time.monotonic()
    aimed_at = "deliver" if wanted is _delivering else draw.choice(("prepare", "infer", "deliver", ""))
    if wanted is _arriving:
        aimed_at = ""
    while (waited_s := time.monotonic() - began_at) < aim_s:
        found = wanted(stack.working())
        if found and (not aimed_at or aimed_at in found or waited_s > aim_s / 5):
            break
        stack.tend()
        time.sleep(_LOOK_S)
    time.sleep(draw.uniform(0, 0.02) * stack.patience)
    seen = stack.working()
    found = wanted(seen)
    return (aimed_at if aimed_at in found else draw.choice(found) if found else ""), seen


def _stages(seen: Working) -> list[str]:
    return [stage for stage, _ in seen.running]


def _arriving(seen: Working) -> list[str]:
    return ["receive"] * seen.sending + ["assemble"] * (seen.sending and seen.assembling > 0)


def _queued(seen: Working) -> list[str]:
    return [*_stages(seen), *(["queue"] * (seen.waiting > 0))]


def _anything(seen: Working) -> list[str]:
    return [*_queued(seen), *_arriving(seen)]


def _delivering(seen: Working) -> list[str]:
    return [stage for stage in _stages(seen) if stage == "deliver"]


def kill_listener(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the listener, dispatcher and assembler."""
    with stack.more_arriving():
        hit, _ = _aim(stack, draw, _arriving)
    stack.kill("listener")
    return hit


def kill_worker(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to a worker with its pool."""
    hit, seen = _aim(stack, draw, _stages)
    victim = draw.randrange(WORKERS)
    for owner in (pid for stage, pid in seen.running if stage == hit):
        with contextlib.suppress(ProcessLookupError):
            group = os.getpgid(owner)
            victim = next((number for number in range(WORKERS) if stack.pid("worker", number) == group), victim)
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
        _pause(stack, 2.0, until=lambda: all(owner != owners[0] for _, owner in stack.working().running))
        _pause(stack, draw.uniform(0, 0.8))
        os.kill(owners[0], signal.SIGCONT)
    return hit


def kill_redis(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the queue's server."""
    hit, _ = _aim(stack, draw, _queued)
    stack.kill("queue")
    return hit


def wipe_redis(stack: Stack, draw: random.Random) -> str:
    """FLUSHALL."""
    hit, _ = _aim(stack, draw, _queued)
    stack.wipe_redis()
    return hit


def take_redis_away(stack: Stack, draw: random.Random) -> str:
    """No server for a while, and nothing of what it kept."""
    hit, _ = _aim(stack, draw, _queued)
    with stack.no_redis():
        _pause(stack, draw.uniform(0.1, 1.0))
        _forget_redis(stack)
    return hit


def take_redis_away_for_long(stack: Stack, draw: random.Random) -> str:
    """No server until several studies more have come and wait for it; their jobs are opened without it."""
    hit, _ = _aim(stack, draw, _queued)
    newest = "SELECT count(*) FROM jobs"
    before = stack.ledger().execute(newest).fetchone()[0]

    def is_backlog() -> bool:
        return bool(stack.ledger().execute(newest).fetchone()[0] >= before + _BACKLOG)

    with stack.no_redis(), stack.more_arriving():
        _pause(stack, _BACKLOG_S * stack.patience, until=lambda: bool(stack.working()) and is_backlog())
        hit = "backlog" if is_backlog() else hit
        if draw.random() < 0.5:
            _forget_redis(stack)
    return hit


def _forget_redis(stack: Stack) -> None:
    for path in sorted((stack.data_dir / "redis").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


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
        time.sleep(_LOOK_S)
    stack.control.set(Slot.PACS_MODE, PacsMode.SOUND)
    return hit


def kill_tree(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to supervisor, listener, workers and queue at once."""
    hit, _ = _aim(stack, draw, _anything)
    for pid in (stack.pid("supervisor"), *stack.supervised()):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    stack.kill("supervisor")
    return hit


def kill_supervisor(stack: Stack, draw: random.Random) -> str:
    """SIGKILL to the supervisor alone: all that it started must go with it, whether the next one has begun or not."""
    hit, _ = _aim(stack, draw, _anything)
    groups = stack.supervised()
    stack.kill("supervisor")
    if draw.random() < 0.5:
        stack.tend()
    deadline = time.monotonic() + _ORPHANS_S
    while (left := living_groups(groups)) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    if left:
        stack.told.append(f"{len(left)} process groups outlived their supervisor by {_ORPHANS_S:.0f} s")
    return hit


def set_clock(stack: Stack, draw: random.Random) -> str:
    """The wall clock of every process of pirtad jumps, ahead or back."""
    hit, _ = _aim(stack, draw, _anything)
    stack.control.set(Slot.CLOCK_OFFSET_S, stack.control.get(Slot.CLOCK_OFFSET_S) + draw.choice(_JUMPS_S))
    return hit


def fill_disk(stack: Stack, draw: random.Random) -> str:
    """No byte left on the data directory's file system for a while. Only where that is small."""
    hit, _ = _aim(stack, draw, _anything)
    filler = stack.directory / "data" / "filler"
    _fill(filler)
    _pause(stack, draw.uniform(0.2, 1.0))
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


def _pause(stack: Stack, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Let time pass, or less if that comes first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        stack.tend()
        time.sleep(_LOOK_S)


DISK_FULL = "disk full"
FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "pool process killed": kill_pool_process,
    "worker stopped past its lease": stop_worker,
    "listener killed": kill_listener,
    "Redis killed": kill_redis,
    "Redis wiped": wipe_redis,
    "Redis gone, its file lost": take_redis_away,
    "Redis gone for long": take_redis_away_for_long,
    "PACS killed": kill_pacs,
    "PACS refuses, hangs or is silent": trouble_pacs,
    "supervisor killed": kill_supervisor,
    "whole tree killed": kill_tree,
    "clock set": set_clock,
    DISK_FULL: fill_disk,
}


def draw_any(stack: Stack, draw: random.Random) -> str:
    """One of them; the disk is filled only where that is its own."""
    names = [name for name in FAULTS if name != DISK_FULL or stack.data_dir.is_mount()]
    return FAULTS[draw.choice(names)](stack, draw)
