"""What keeps one peer from taking the place, the disk or the time of another. Safe to use from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pirtad.daemon.errors import OUT_OF_RESOURCES, Refused

# Chosen: connections that have not asked for an association yet, beyond the associations that may be open.
_PENDING_PER_PEER = 16
_PENDING = 128
# Chosen: an association that was silent for so long may be ended for a peer that has fewer places.
_IDLE_S = 5.0
# Chosen: a connection of an address that has no other must have had so long to ask for an association.
_PENDING_IDLE_S = 1.0
# Chosen: a sender that goes on with a study that is full has the ledger count it once in so long.
_LOOK_AGAIN_S = 1.0
_MAX_SENDERS = 1000  # chosen: AE titles are the senders' own words, so there may be any number


@dataclass(slots=True, eq=False)
class Place:
    """A connection's place. `active_at` is set by its own thread, at every PDU."""

    address: str
    evict: Callable[[], None]
    active_at: float
    is_associated: bool = False


class Places:
    """Connections and associations at one time, in all and per address.

    When there is no place left, the address with the most of them loses one that is idle to a peer with fewer: whoever
    takes all there is does not keep others out. Where many addresses have one each, who has none takes the place of the
    longest idle.
    """

    def __init__(self, max_associations: int, max_per_peer: int, clock: Callable[[], float]) -> None:
        self._max_associations = max_associations
        self._max_per_peer = max_per_peer
        self._clock = clock
        self._lock = threading.Lock()
        self._places: set[Place] = set()

    def enter(self, address: str, evict: Callable[[], None]) -> Place | None:
        """A place for a new connection, or None. `evict` ends it, from another thread and without waiting."""
        with self._lock:
            mine = sum(place.address == address for place in self._places)
            if mine >= self._max_per_peer + _PENDING_PER_PEER:
                return None
            pending = [place for place in self._places if not place.is_associated]
            if len(pending) >= _PENDING and not self._make_room(address, pending, 0.0, _PENDING_IDLE_S):
                return None
            place = Place(address, evict, self._clock())
            self._places.add(place)
            return place

    def associate(self, place: Place) -> str:
        """Count it as an association; else the setting that stands against it, and "" for none."""
        with self._lock:
            associated = [one for one in self._places if one.is_associated]
            if sum(one.address == place.address for one in associated) >= self._max_per_peer:
                return "max_associations_per_peer"
            is_full = len(associated) >= self._max_associations
            if is_full and not self._make_room(place.address, associated, _IDLE_S, _IDLE_S):
                return "max_associations"
            place.is_associated = True
            return ""

    def leave(self, place: Place) -> None:
        """Free it."""
        with self._lock:
            self._places.discard(place)

    def _make_room(self, address: str, places: list[Place], idle_s: float, even_idle_s: float) -> bool:
        """End the longest idle connection of whoever has more of them than this address, and of those the most."""
        counts: dict[str, int] = {}
        for place in places:
            counts[place.address] = counts.get(place.address, 0) + 1
        now, mine = self._clock(), counts.get(address, 0)

        def may_go(place: Place) -> bool:
            more = counts[place.address] - mine
            return more > 0 and now - place.active_at >= (idle_s if more > 1 else even_idle_s)

        victims = [place for place in places if may_go(place)]
        if not victims:
            return False
        victim = min(victims, key=lambda place: (-counts[place.address], place.active_at))
        self._places.discard(victim)
        victim.evict()
        return True


class Rate:
    """Images a second of each sender, by AE title: a bucket of one second's tokens."""

    def __init__(self, per_s: float, clock: Callable[[], float]) -> None:
        self._per_s = per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at: dict[str, float] = {}  # when a sender's bucket is full again

    def wait_s(self, calling_ae: str) -> float:
        """Take a token; how long the sender is to be kept waiting for it."""
        if not self._per_s:
            return 0.0
        with self._lock:
            now = self._clock()
            if len(self._free_at) > _MAX_SENDERS:
                self._free_at = {sender: at for sender, at in self._free_at.items() if at > now}
            free_at = max(self._free_at.get(calling_ae, 0.0), now) + 1 / self._per_s
            self._free_at[calling_ae] = free_at
            return max(0.0, free_at - now - 1.0)


class Watermark:
    """Refuses images before the disk is full: ledger and results need space too."""

    _LOOK_S = 0.5  # chosen: at a GB/s another half a GB is taken at most

    def __init__(self, free_bytes: Callable[[], int], min_free_bytes: int, clock: Callable[[], float]) -> None:
        self._free_bytes = free_bytes
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._looked_at = float("-inf")
        self._has_room = True

    def require_room(self) -> None:
        """`Refused` (0xA700) while less is free than `min_free_bytes`."""
        now = self._clock()
        if now - self._looked_at >= self._LOOK_S:
            self._has_room = self._free_bytes() >= self._min_free_bytes
            self._looked_at = now
        if not self._has_room:
            raise Refused(OUT_OF_RESOURCES, "less disk space is free than storage.min_free_bytes")


class StudySizes:
    """Images and bytes kept of each study, asked of the ledger once and counted from there.

    Retention may have removed some since, and an image that was registered just when the ledger was asked is counted
    twice; so it is asked again before a study is refused.
    """

    _MAX_STUDIES = 1000  # chosen: more than are received at one time

    def __init__(
        self,
        look_up: Callable[[str], tuple[int, int]],
        max_images: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._looked_at: dict[str, float] = {}
        self._look_up = look_up
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, tuple[int, int]] = {}

    def require_room(self, study_uid: str, size_bytes: int) -> None:
        """`Refused` (0xA700) if the study would grow beyond the limits."""
        with self._lock:
            known, looked_at = self._sizes.get(study_uid), self._looked_at.get(study_uid, 0.0)
        if known is None or (not self._has_room(known, size_bytes) and self._clock() - looked_at >= _LOOK_AGAIN_S):
            known = self._looked_up(study_uid)
        if not self._has_room(known, size_bytes):
            raise Refused(OUT_OF_RESOURCES, "the study is larger than listener.max_study_images or max_study_bytes")

    def _has_room(self, known: tuple[int, int], size_bytes: int) -> bool:
        return known[0] < self._max_images and known[1] + size_bytes <= self._max_bytes

    def _looked_up(self, study_uid: str) -> tuple[int, int]:
        known = self._look_up(study_uid)
        with self._lock:
            while len(self._sizes) >= self._MAX_STUDIES:
                oldest = next(iter(self._sizes))
                del self._sizes[oldest], self._looked_at[oldest]
            self._sizes[study_uid], self._looked_at[study_uid] = known, self._clock()
        return known

    def add(self, study_uid: str, size_bytes: int) -> None:
        """A new image was registered."""
        with self._lock:
            if (known := self._sizes.get(study_uid)) is not None:
                self._sizes[study_uid] = (known[0] + 1, known[1] + size_bytes)
