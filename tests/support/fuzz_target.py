"""One stream after the other through a real association with a real receiver and spool, and what has to hold then.

A block of streams shares a receiver, as a process does; at its end the spool is read as the next start reads it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from pydicom import config as pydicom_config

from pirtad.daemon.arrivals import Arrivals
from pirtad.daemon.association import Association, Services
from pirtad.daemon.commitment import Committer
from pirtad.daemon.limits import Places, Rate, StudySizes, Watermark
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.registrar import Registrar
from pirtad.daemon.spool import Received, Spool
from pirtad.daemon.versions import Versions
from pirtad.daemon.wire import Wire
from pirtad.worker.settings import ListenerSettings
from support.fuzz_feeder import Feeder
from support.fuzz_kept import paired, spool_problems
from support.fuzz_oracle import Sent, answers, sent_images
from support.receiving import Receiving, receiving_side

# A peer that stays silent is cut off after so long; no other has to wait for anything, so more would show no more.
LIMITS = {"acse_timeout_s": 2.0, "dimse_timeout_s": 2.0, "network_timeout_s": 2.0}
DEADLINE_S = 15.0  # far more than any stream needs, on a machine that does other things too
# Logged where something went wrong that was not foreseen.
_UNFORESEEN = frozenset({"association failed", "instance not taken", "not quarantined", "images not registered",
                         "notice not recorded"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stream:
    """What a peer sends, and how. number: which of the campaign's it is; with the seed it is made again from it."""

    number: int
    data: bytes
    feed: str = "at once"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `kind` is the property; two findings of one kind and cause have the same."""

    kind: str
    detail: str
    stream: Stream


class Hung(BaseException):
    """Raised in the association after the deadline; a BaseException, for its own handlers would take another."""


@dataclass
class _Kept:
    """Stands where the registrar does: knows what counts as received, and hands it on if there is a real one."""

    registrar: Registrar | None = None
    received: list[Received] = field(default_factory=list)

    def require_room(self) -> None:
        if self.registrar is not None:
            self.registrar.require_room()

    @property
    def versions(self) -> Versions:
        """Of the real one; without it every image is new."""
        return Versions() if self.registrar is None else self.registrar.versions

    def add(self, received: Received) -> None:
        self.received.append(received)
        if self.registrar is not None:
            self.registrar.add(received)


@dataclass
class Target:
    """Where streams are tried. `counts` tells what came of them."""

    directory: Path
    has_watchdog: bool
    feeder: Feeder
    side: Receiving
    logged: list[structlog.typing.EventDict]
    arrivals: Arrivals = field(default_factory=Arrivals)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    on_stream: Callable[[int], None] = lambda _number: None

    def block(
        self,
        streams: Sequence[Stream],
        *,
        is_registered: bool = False,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[Finding]:
        """Try them; a finding that shows at the end only is looked for again stream by stream.

        is_registered: with a registrar and a new ledger behind it. settings: of the listener, others than usual.
        """
        found, at_end = self._try(streams, is_registered, settings)
        if at_end and len(streams) > 1:
            how = {"is_registered": is_registered, "settings": settings}
            alone = [finding for stream in streams for finding in self.block([stream], **how)]
            return [
                *found,
                *(alone or (Finding(kind, f"{detail} (not alone)", streams[-1]) for kind, detail in at_end)),
            ]
        return [*found, *(Finding(kind, detail, streams[-1]) for kind, detail in at_end)]

    def _try(
        self, streams: Sequence[Stream], is_registered: bool, settings: Mapping[str, Any]
    ) -> tuple[list[Finding], list[tuple[str, str]]]:
        found: list[Finding] = []
        directory = self.directory / "block"
        shutil.rmtree(directory, ignore_errors=True)
        open_before, threads = descriptors(), threading.active_count()
        with ExitStack() as stack:
            side = stack.enter_context(receiving_side(directory, **LIMITS)) if is_registered else self.side
            spool = Spool(directory)
            spool.prepare()
            kept = _Kept(side.registrar if is_registered else None)
            services = self._services(side, spool, kept, ListenerSettings(**{**LIMITS, **settings}))
            truth: list[tuple[Received, Sent]] = []
            for stream in streams:
                before = len(kept.received)
                problems = self._one(stream, services, kept, truth)
                found += [Finding(kind, detail, stream) for kind, detail in problems]
                self.counts["images kept"] += len(kept.received) - before
            self.arrivals.forget_all_but(frozenset(), time.time() + 3600)  # as the dispatcher does
            at_end = spool_problems(spool, side, truth, is_registered)
            self.counts["quarantined"] += len(list((directory / "quarantine").glob("*.dataset")))
        for thread in threading.enumerate():
            if thread.name == "names":  # the spool makes them ahead, and holds them open
                thread.join()
        spool.close()
        if (left := descriptors() - open_before) > 0:
            at_end.append(("descriptors left open", f"{left}"))
        if (left := threading.active_count() - threads) > 0:
            at_end.append(("threads left", f"{left}"))
        return found, at_end

    def _services(self, side: Receiving, spool: Spool, kept: _Kept, settings: ListenerSettings) -> Services:
        sizes = StudySizes(lambda _study: (0, 0), settings.max_study_images, settings.max_study_bytes)
        watermark = Watermark(spool.free_bytes, 10**6, time.monotonic)
        receiver = Receiver(settings, spool, kept, side.database, sizes, watermark, side.notices, side.clock,  # type: ignore[arg-type]
                            self.arrivals)  # fmt: skip
        committer = Committer("PIRTAD", side.database, spool.data_dir, lambda _within: True, {}, side.clock)
        places, rate = Places(1, 1, time.monotonic), Rate(0, time.monotonic)
        return Services(settings, receiver, side.notices, places, rate, committer)

    def _one(
        self, stream: Stream, services: Services, kept: _Kept, truth: list[tuple[Received, Sent]]
    ) -> list[tuple[str, str]]:
        ours, theirs = socket.socketpair()
        place = services.places.enter("fuzz", lambda: None)
        assert place is not None
        first, problems = len(kept.received), []
        self.logged.clear()
        self.on_stream(stream.number)
        self.feeder.begin(theirs, stream.data, stream.feed, random.Random(stream.number))
        began = time.monotonic()
        try:
            with _watchdog(self.has_watchdog):
                Association(Wire(ours), place, services).run()
        except Hung:
            problems.append(("hang", f"not over after {DEADLINE_S} s"))
        except Exception as error:  # noqa: BLE001 - whatever comes out of run is the finding
            problems.append(("run raised", type(error).__name__))
        took_s = time.monotonic() - began
        if ours.fileno() != -1:
            problems.append(("connection left open", ""))
            ours.close()
        said = answers(self.feeder.end())
        theirs.close()
        self.slowest_s = max(self.slowest_s, took_s)
        if took_s > DEADLINE_S / 3:
            problems.append(("slow", f"{took_s:.0f} s"))
        if not _has_place(services.places):
            problems.append(("place not left", ""))
            services.places.leave(place)
        problems += [
            ("unforeseen", f"{line['event']}: {line.get('error', '')} {line.get('at', '').rpartition('/')[2]}")
            for line in self.logged
            if line["event"] in _UNFORESEEN
        ]
        self._count(said.kinds, said.statuses)
        added = kept.received[first:]
        if said.stored != [one.receipt.sop_instance_uid for one in added][: len(said.stored)]:
            problems.append(("Success without an image", f"{len(said.stored)} answers, {len(added)} images"))
        pairs = paired(added, sent_images(stream.data), said.syntaxes)
        if pairs is None:
            problems.append(("an image that was not sent", f"{len(added)} kept"))
        else:
            truth += pairs
        return problems

    def _count(self, kinds: list[int], statuses: list[int]) -> None:
        self.counts["streams"] += 1
        self.counts["associated"] += 2 in kinds
        self.counts["rejected"] += 3 in kinds
        self.counts["aborted by us"] += 7 in kinds
        self.counts["released"] += 6 in kinds
        for status in statuses:
            self.counts[f"answered 0x{status:04X}"] += 1


def _has_place(places: Places) -> bool:
    """Whether the only place there is is free."""
    place = places.enter("fuzz", lambda: None)
    if place is None or places.associate(place):
        return False
    places.leave(place)
    return True


def descriptors() -> int:
    """Open ones of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, many times


@contextmanager
def _watchdog(is_on: bool) -> Iterator[None]:
    """`Hung` after the deadline, whether it waits or computes."""
    if not is_on:
        yield
        return
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
    began = time.monotonic()
    try:
        yield
    finally:
        # Whoever had set it before, a test's own time limit say, gets it back.
        passed_s = time.monotonic() - began
        signal.setitimer(signal.ITIMER_REAL, max(left_s - passed_s, 0.001) if left_s else 0, interval_s)


def _cry_out(_signal: int, _frame: object) -> None:
    raise Hung


@contextmanager
def target(directory: Path, *, has_watchdog: bool = True) -> Iterator[Target]:
    """Everything a listener has but its port. The watchdog takes SIGALRM, and is for the main thread."""
    directory.mkdir(parents=True, exist_ok=True)
    mode = pydicom_config.settings.reading_validation_mode
    with ExitStack() as stack:
        if has_watchdog:
            before = signal.signal(signal.SIGALRM, _cry_out)
            stack.callback(signal.signal, signal.SIGALRM, before)
        # As the service has them (pirtad.daemon.service, pirtad.worker.logs).
        stack.callback(setattr, pydicom_config.settings, "reading_validation_mode", mode)
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
        logged = stack.enter_context(structlog.testing.capture_logs())
        side = stack.enter_context(receiving_side(directory / "side", **LIMITS))
        feeder = stack.enter_context(Feeder())
        stack.callback(shutil.rmtree, directory / "block", ignore_errors=True)
        yield Target(directory, has_watchdog, feeder, side, logged)
