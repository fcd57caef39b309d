"""What processes hold, read from /proc every few seconds, and whether it grows with the studies done.

Memory "grows" where its median over the last third of the studies is above that over the second third by more than
both limits below; the first third is for caches, pools and the allocator to fill. Handles and threads likewise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from support.day_stack import DayStack

MIB = 2**20
# Chosen: at 500 studies a third is 167, so that 4 MiB are 25 KB a study; the share is the allocator's, in processes
# that hold models.
_MEMORY_LIMIT_MIB, _MEMORY_LIMIT_SHARE = 4.0, 0.01
_COUNT_LIMIT = 2.0  # handles or threads: a connection that is open at half of the moments is no leak
_FINISHED = "('reported', 'set_aside', 'failed')"


@dataclass(frozen=True)
class Held:
    """By one process at one moment. anonymous: memory that is no file's."""

    rss_mib: float
    pss_mib: float
    anonymous_mib: float
    handles: int
    threads: int


@dataclass(frozen=True)
class Sample:
    """One moment. done: studies reported or shelved by then. The rest: what else could grow."""

    at_s: float
    done: int
    unfinished: int
    processes: dict[str, Held]
    queue_memory_mib: float
    queue_keys: int
    ledger_mib: float
    spool_mib: float  # of registered images
    work_entries: int
    incoming_entries: int


@dataclass(frozen=True)
class Course:
    """One quantity over the studies. first, last: medians of the first and last tenth. per_100: slope by least squares,
    without the first third. thirds: medians of the second and the last third, None where one is empty."""

    first: float
    middle: float
    last: float
    per_100: float
    thirds: tuple[float, float] | None

    def grows(self, limit: float, share: float = 0.0) -> bool:
        """Whether it does; what was never seen in two thirds is not known not to."""
        if self.thirds is None:
            return True
        second, last = self.thirds
        return last - second > max(limit, share * second)


@dataclass
class Watch:
    """Takes samples, each also a line in `samples.jsonl`."""

    stack: DayStack
    began_at: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)

    def take(self) -> Sample:
        """Look now."""
        stack = self.stack
        ledger, data = stack.ledger(), stack.data_dir
        memory = stack.queue().info("memory")
        sample = Sample(
            at_s=time.monotonic() - self.began_at,
            done=ledger.execute(f"SELECT count(*) FROM studies WHERE state IN {_FINISHED}").fetchone()[0],
            unfinished=stack.unfinished(),
            processes={name: held for name, pid in stack.processes().items() if (held := held_by(pid)) is not None},
            queue_memory_mib=memory["used_memory"] / MIB,
            queue_keys=int(stack.queue().dbsize()),
            ledger_mib=sum(path.stat().st_size for path in data.glob("ledger.sqlite*")) / MIB,
            spool_mib=(ledger.execute("SELECT sum(size_bytes) FROM instances").fetchone()[0] or 0) / MIB,
            work_entries=_entries(data / "work"),
            incoming_entries=_entries(data / "spool" / ".incoming"),
        )
        self.samples.append(sample)
        with (stack.directory / "samples.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sample)) + "\n")
        return sample

    def course(self, name: str, quantity: Callable[[Held], float]) -> Course:
        """Of one process."""
        return course_of([
            (one.done, quantity(one.processes[name])) for one in self.samples if name in one.processes
        ])  # fmt: skip

    def table(self) -> tuple[str, list[str]]:
        """(the table as Markdown, a line for each thing that grows)."""
        head = (
            "process", "RSS, MiB: first tenth", "median", "last tenth", "per 100 studies", "handles: first tenth",
            "median", "last tenth", "per 100", "threads: median", "last tenth", "grows",
        )  # fmt: skip
        rows, found = [], []
        for name in self.samples[-1].processes:
            rss = self.course(name, lambda held: held.rss_mib)
            anonymous = self.course(name, lambda held: held.anonymous_mib)
            handles = self.course(name, lambda held: held.handles)
            threads = self.course(name, lambda held: held.threads)
            growing = [
                what
                for what, is_so in (
                    ("memory", rss.grows(_MEMORY_LIMIT_MIB, _MEMORY_LIMIT_SHARE)),
                    ("anonymous memory", anonymous.grows(_MEMORY_LIMIT_MIB, _MEMORY_LIMIT_SHARE)),
                    ("handles", handles.grows(_COUNT_LIMIT)),
                    ("threads", threads.grows(_COUNT_LIMIT)),
                )
                if is_so
            ]
            found += [f"{what} of {name} grows" for what in growing]
            cells = (
                name, f"{rss.first:.1f}", f"{rss.middle:.1f}", f"{rss.last:.1f}", f"{rss.per_100:+.2f}",
                f"{handles.first:.0f}", f"{handles.middle:.0f}", f"{handles.last:.0f}", f"{handles.per_100:+.2f}",
                f"{threads.middle:.0f}", f"{threads.last:.0f}", ", ".join(growing) or "no",
            )  # fmt: skip
            rows.append("| " + " | ".join(cells) + " |")
        return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows]), found

    def others(self) -> str:
        """What else was watched, as Markdown."""
        rows = ["| | first tenth | median | last tenth | per 100 studies |", "|---|---|---|---|---|"]
        quantities: dict[str, Callable[[Sample], float]] = {
            "queue's memory, MiB": lambda one: one.queue_memory_mib,
            "queue's keys": lambda one: one.queue_keys,
            "ledger, MiB": lambda one: one.ledger_mib,
            "images kept, MiB": lambda one: one.spool_mib,
            "work directories": lambda one: one.work_entries,
            "names in .incoming": lambda one: one.incoming_entries,
            "studies and jobs under way": lambda one: one.unfinished,
        }
        for name, quantity in quantities.items():
            course = course_of([(one.done, quantity(one)) for one in self.samples])
            rows.append(
                f"| {name} | {course.first:.2f} | {course.middle:.2f} | {course.last:.2f} | {course.per_100:+.2f} |"
            )
        return "\n".join(rows)


def course_of(seen: list[tuple[int, float]]) -> Course:
    """seen: (studies done, value) of each moment."""
    values = [value for _, value in seen]
    most = max((done for done, _ in seen), default=0)

    def share(low: float, high: float) -> list[float]:
        return [value for done, value in seen if low * most <= done <= high * most]

    second = [value for done, value in seen if most / 3 <= done < 2 * most / 3]
    last = [value for done, value in seen if done >= 2 * most / 3]
    later = [(done, value) for done, value in seen if done >= most / 3]
    slope = 0.0
    if len({done for done, _ in later}) > 1:
        slope = 100 * float(np.polyfit([done for done, _ in later], [value for _, value in later], 1)[0])
    thirds = (median(second), median(last)) if second and last and most else None
    return Course(median(share(0, 0.1) or values), median(values), median(share(0.9, 1) or values), slope, thirds)


def held_by(pid: int) -> Held | None:
    """None if it is gone."""
    process = Path(f"/proc/{pid}")
    try:
        rollup = _fields(process / "smaps_rollup")
        return Held(
            rss_mib=rollup["Rss"] / 1024,
            pss_mib=rollup["Pss"] / 1024,
            anonymous_mib=rollup["Anonymous"] / 1024,
            handles=sum(not _is_prepared(link) for link in (process / "fd").iterdir()),
            threads=int(_fields(process / "status")["Threads"]),
        )
    except (OSError, KeyError):
        return None


def _is_prepared(link: Path) -> bool:
    """Whether it is one of the names made ahead for images to come (some dozens, `daemon.spool`; counted for
    themselves). That of an image that was taken reads "(deleted)" once it has its place."""
    target = str(link.readlink()) if link.is_symlink() else ""
    return "/spool/.incoming/" in target and not target.endswith("(deleted)")


def _fields(path: Path) -> dict[str, float]:
    """Lines such as `Rss: 1234 kB`."""
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].endswith(":") and words[1].isdigit():
            found[words[0][:-1]] = float(words[1])
    return found


def _entries(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir()) if directory.exists() else 0
