"""What the associations that are open at this moment have brought, study by study: the sender's side of completeness.

In memory alone: a process that starts anew knows of no association, and what it did not see itself it does not trust.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Arriving:
    """How one study's images come.

    fronts: of each association that is open and has brought images of the study, the series of the last of them.
    is_trusted: this process saw every image of the round come, and no association that brought some ended otherwise
        than by a release.
    is_split: images of one series came over more than one association.
    is_urgent: an image was sent with the DIMSE priority HIGH.
    changed_at: when an image was last taken or an association ended, POSIX seconds.
    """

    fronts: frozenset[str] = frozenset()
    is_trusted: bool = False
    is_split: bool = False
    is_urgent: bool = False
    changed_at: float = 0.0


UNSEEN = Arriving()
"""Of a study of which this process has seen no image come."""


@dataclass(slots=True)
class _Study:
    began_at: float
    changed_at: float
    fronts: dict[int, str] = field(default_factory=dict)  # by association
    carriers: dict[str, int] = field(default_factory=dict)  # series -> association
    is_broken: bool = False
    is_split: bool = False
    is_urgent: bool = False


class Arrivals:
    """Told by the associations' threads, asked by the dispatcher's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._studies: dict[str, _Study] = {}

    def took(self, association: int, study_uid: str, series_uid: str, now: float, *, is_urgent: bool = False) -> None:
        """An association brought an image, which is received. is_urgent: its DIMSE priority was HIGH."""
        with self._lock:
            study = self._studies.setdefault(study_uid, _Study(began_at=now, changed_at=now))
            study.changed_at = now
            study.is_urgent |= is_urgent
            study.fronts[association] = series_uid
            study.is_split |= study.carriers.setdefault(series_uid, association) != association

    def ended(self, association: int, now: float, *, is_released: bool) -> None:
        """An association is over; one that was not released may have had more to bring."""
        with self._lock:
            for study in self._studies.values():
                if study.fronts.pop(association, None) is not None:
                    study.changed_at = now
                    study.is_broken |= not is_released

    def of(self, study_uid: str, open_since: float) -> Arriving:
        """How the study's images come; `open_since`: when its present round of receiving began (the ledger's)."""
        with self._lock:
            study = self._studies.get(study_uid)
            if study is None:
                return UNSEEN
            # An image is taken a moment after it was received: what this process saw from the first one on begins then.
            saw_all = study.began_at <= open_since + _TAKEN_WITHIN_S
            return Arriving(
                fronts=frozenset(study.fronts.values()),
                is_trusted=saw_all and not study.is_broken,
                is_split=study.is_split,
                is_urgent=study.is_urgent,
                changed_at=study.changed_at,
            )

    def forget_all_but(self, study_uids: frozenset[str], now: float) -> None:
        """Drop what is known of studies that are no longer open, once no association brings them."""
        with self._lock:
            for study_uid in [*self._studies]:
                study = self._studies[study_uid]
                is_over = study_uid not in study_uids and not study.fronts
                if is_over and now - study.changed_at > _FORGET_AFTER_S:
                    del self._studies[study_uid]


_TAKEN_WITHIN_S = 1.0
"""Between an image's receiving time and our noting it: a sync and an answer. Chosen."""
_FORGET_AFTER_S = 60.0
"""An image that was taken may not be in the ledger yet, so its study may not be open yet. Chosen."""
