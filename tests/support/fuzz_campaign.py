"""The fuzz campaign: blocks of streams and datasets, counters on disk, growth watched, findings kept with their inputs.

Stream N depends on the seed, N and the recordings alone, so a campaign goes on where it was left, and any stream can be
made again.
"""

from __future__ import annotations

import gc
import json
import mmap
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from support.fuzz_feeder import drawn_feed
from support.fuzz_headers import Outcome, damaged, problem_of
from support.fuzz_images import datasets
from support.fuzz_minimise import smaller
from support.fuzz_recordings import recordings
from support.fuzz_streams import Recording, mutated
from support.fuzz_target import Finding, Stream, Target, descriptors, target

BLOCK = 500  # streams between two starts of the receiver
# Of so many blocks these are others: (with the real ledger behind it, settings of the listener).
_ROUND = 40
_BLOCKS: dict[int, tuple[bool, dict[str, object]]] = {
    9: (True, {}),
    19: (True, {"conflicting_images": "refuse"}),
    29: (False, {"max_pdu_bytes": 4096, "max_instance_bytes": 800}),
    39: (False, {"require_called_ae_title": False, "allowed_calling_ae_titles": ("DCMSEND", "STORESCU", "OWN")}),
}
_SAMPLE_EVERY = 10_000
_MEMORY_EVERY = 100  # datasets: so often what is allocated is counted
_KEPT_OF_A_KIND = 5
_SMALL_BYTES, _SMALL_WEIGHT = 7000, 8
# A process's first streams fill caches, and the heap takes steps of some MB: told over 150,000 streams at least.
# Growing by more is a finding: 40 bytes a stream are 40 MB a million. What Python has allocated takes no steps;
# each new ledger leaves some 500 of SQLAlchemy's objects, 0.1 a stream, so that one kept of three streams is seen.
_WARM_UP, _LEAST_SAMPLES, _MOST_BYTES_A_STREAM, _LEAST_RISE_BYTES = 30_000, 15, 40.0, 8 * 2**20
_MOST_BLOCKS_A_STREAM = 0.3
_NOT_MADE_SMALLER = frozenset({"hang", "slow", "growth", "process died"})


@dataclass
class State:
    """What a campaign has come to. samples: [run, streams, bytes of resident memory, descriptors, memory blocks]."""

    seed: int = 1
    runs: int = 0
    streams: int = 0
    datasets: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    slowest_dataset_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    dataset_counts: dict[str, int] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    samples: list[list[int]] = field(default_factory=list)
    died_at: dict[str, int] = field(default_factory=dict)


class Campaign:
    """A directory: `state.json`, `corpus/`, `findings/`, and `now`, the number of the stream under way."""

    def __init__(self, directory: Path, seed: int, *, with_programs: bool = True) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.state = State(seed)
        if (path := directory / "state.json").exists():
            self.state = State(**json.loads(path.read_text()))
        self.state.runs += 1
        found = recordings(directory, with_programs=with_programs)
        self._recordings = [one for one in found for _ in range(_weight(one))]
        self._datasets = datasets()
        self._outcome = Outcome(Counter(self.state.dataset_counts), self.state.slowest_dataset_s)

    def run(
        self, streams: int, datasets: int, *, time_limit_s: float = float("inf"), has_watchdog: bool = True,
        say: Callable[[str], None] = lambda _line: None,
    ) -> bool:  # fmt: skip
        """Go on until so many are done in all, or the time is over; whether nothing was found, ever."""
        deadline = time.monotonic() + time_limit_s
        with target(self.directory / "target", has_watchdog=has_watchdog) as tried, self._marker() as mark:
            tried.counts = Counter(self.state.counts)
            while (self.state.streams < streams or self.state.datasets < datasets) and time.monotonic() < deadline:
                began, cpu = time.monotonic(), time.process_time()
                self._streams(tried, min(BLOCK, streams - self.state.streams), mark)
                self._check_datasets(_share(self.state, streams, datasets))
                self.state.seconds += time.monotonic() - began
                self.state.cpu_s += time.process_time() - cpu
                self._save(tried)
                if self.state.streams % _SAMPLE_EVERY == 0 and self.state.streams:
                    self._sample()
                    say(self.line())
        return self.is_clean

    @property
    def is_clean(self) -> bool:
        return not self.state.findings and not any(self._grows(run) for run in range(1, self.state.runs + 1))

    def _grows(self, run: int) -> bool:
        """Whether memory or descriptors grew with the streams, in one process."""
        samples = [rest for which, *rest in self.state.samples if which == run]
        if len(samples) - _WARM_UP // _SAMPLE_EVERY < _LEAST_SAMPLES:
            return False
        slope, rise = growth([(n, size) for n, size, _, _ in samples])
        _, more = growth([(n, count) for n, _, count, _ in samples])
        blocks, _ = growth([(n, count) for n, _, _, count in samples])
        return more > 0 or blocks > _MOST_BLOCKS_A_STREAM or (slope > _MOST_BYTES_A_STREAM and rise > _LEAST_RISE_BYTES)

    def stream(self, number: int) -> Stream:
        """The stream of that number."""
        chance = random.Random(f"{self.state.seed}:{number}")
        return Stream(number, mutated(chance, self._recordings), drawn_feed(chance))

    def _streams(self, tried: Target, count: int, mark: Callable[[int], None]) -> None:
        if count <= 0:
            return
        first = self.state.streams
        numbers = [n for n in range(first, first + count) if self.state.died_at.get(str(n), 0) < 2]
        block = first // BLOCK
        is_registered, settings = _BLOCKS.get(block % _ROUND, (False, {}))
        tried.on_stream = mark
        for finding in tried.block(
            [self.stream(number) for number in numbers], is_registered=is_registered, settings=settings
        ):
            self._keep(finding, tried)
        self.state.streams += count

    def _check_datasets(self, count: int) -> None:
        for number in range(self.state.datasets, self.state.datasets + count):
            one = damaged(random.Random(f"{self.state.seed}:dataset:{number}"), self._datasets)
            problem = problem_of(one, self._outcome, watches_memory=number % _MEMORY_EVERY == 0)
            if problem:
                self._keep(Finding(f"dataset {problem}", one.syntax, Stream(number, one.data)), None)
        self.state.datasets += count

    def _keep(self, finding: Finding, tried: Target | None) -> None:
        name = f"{finding.kind}: {finding.detail}"
        self.state.findings[name] = seen = self.state.findings.get(name, 0) + 1
        if seen > _KEPT_OF_A_KIND:
            return
        folder = self.directory / "findings"
        folder.mkdir(exist_ok=True)
        stem = "".join(c if c.isalnum() else "-" for c in finding.kind)[:60]
        path = folder / f"{stem}-{finding.stream.number}"
        path.with_suffix(".bin").write_bytes(finding.stream.data)
        told = {"kind": finding.kind, "detail": finding.detail, "feed": finding.stream.feed, "seed": self.state.seed}
        path.with_suffix(".json").write_text(json.dumps(told, indent=2))
        if tried is not None and finding.kind not in _NOT_MADE_SMALLER:
            small = smaller(finding.stream, lambda one: _shows(tried, one, finding.kind))
            path.with_suffix(".small").write_bytes(small.data)

    @contextmanager
    def _marker(self) -> Iterator[Callable[[int], None]]:
        """What was under way when the last process died is known, and is not tried a third time."""
        path = self.directory / "now"
        if path.exists() and (number := int.from_bytes(path.read_bytes(), "little", signed=True)) >= 0:
            times = self.state.died_at[str(number)] = self.state.died_at.get(str(number), 0) + 1
            if times == 2:
                self._keep(Finding("process died", "twice", self.stream(number)), None)
        path.write_bytes((-1).to_bytes(8, "little", signed=True))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as now:

            def mark(number: int) -> None:
                now[:8] = number.to_bytes(8, "little", signed=True)

            try:
                yield mark
            finally:
                mark(-1)

    def _sample(self) -> None:
        gc.collect()
        self.state.samples.append(
            [self.state.runs, self.state.streams, resident_bytes(), descriptors(), sys.getallocatedblocks()]
        )

    def _save(self, tried: Target) -> None:
        self.state.counts = dict(tried.counts)
        self.state.slowest_s = max(self.state.slowest_s, tried.slowest_s)
        self.state.dataset_counts = dict(self._outcome.counts)
        self.state.slowest_dataset_s = self._outcome.slowest_s
        path = self.directory / "state.json"
        fresh = path.with_suffix(".fresh")
        fresh.write_text(json.dumps(asdict(self.state), indent=1))
        fresh.replace(path)

    def line(self) -> str:
        """How far it is."""
        state = self.state
        slope, _ = growth([(n, size) for run, n, size, *_ in state.samples if run == state.runs])
        blocks, _ = growth([(n, count) for run, n, *_, count in state.samples if run == state.runs])
        size_mib = state.samples[-1][2] / 2**20 if state.samples else 0.0
        memory = f"{size_mib:.0f} MiB ({slope:+.0f} bytes, {blocks:+.3f} blocks a stream)"
        rate = f"{state.streams / max(state.seconds, 1e-9):.0f} streams/s"
        own = f"{state.streams / max(state.cpu_s, 1e-9):.0f} a second of CPU"
        found = sum(state.findings.values())
        return f"{state.streams} streams, {state.datasets} datasets, {rate} ({own}), {memory}, {found} findings"

    def table(self) -> str:
        """What came of it, for reading."""
        state = self.state
        rows = [self.line(), f"slowest: stream {state.slowest_s:.2f} s, dataset {state.slowest_dataset_s:.3f} s"]
        rows += [f"  {count:>8}  {what}" for what, count in sorted(state.counts.items(), key=lambda row: -row[1])]
        rows += [
            f"  {count:>8}  {what}" for what, count in sorted(state.dataset_counts.items(), key=lambda row: -row[1])
        ]
        rows += [
            f"  FOUND memory or descriptors grow in run {run}" for run in range(1, state.runs + 1) if self._grows(run)
        ]
        rows += [f"  FOUND {count} times: {what}" for what, count in state.findings.items()]
        return "\n".join(rows)


def growth(samples: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """(bytes a stream by least squares, rise from the first to the last) of one process, once it is warm."""
    warm = [(n, size) for n, size in samples if n >= samples[0][0] + _WARM_UP] if samples else []
    if len(warm) < 5:
        return 0.0, 0
    middle = sum(n for n, _ in warm) / len(warm)
    mean = sum(size for _, size in warm) / len(warm)
    spread = sum((n - middle) ** 2 for n, _ in warm)
    return sum((n - middle) * (size - mean) for n, size in warm) / spread, warm[-1][1] - warm[0][1]


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def _weight(one: Recording) -> int:
    return _SMALL_WEIGHT if len(one.stream) < _SMALL_BYTES else 1


def _share(state: State, streams: int, datasets: int) -> int:
    """As many datasets as keep in step with the streams; all that is left once there are no more streams."""
    left = datasets - state.datasets
    if state.streams >= streams:
        return min(left, BLOCK)
    return min(left, max(0, datasets * state.streams // streams - state.datasets))


def _shows(tried: Target, stream: Stream, kind: str) -> bool:
    before, tried.counts = tried.counts, Counter()
    try:
        return any(finding.kind == kind for finding in tried.block([stream]))
    finally:
        tried.counts = before
