"""Which studies are complete. Pure: no clock, no disk, no thread; the ledger's rows and a moment go in, decisions come
out.

DICOM has no message that says "that was the study", so it is judged by the clock. A study is complete if

1. no new image of it came for the quiet period of its sender, or
2. its present round of receiving has lasted for the hard cap of its sender, even if images still come,

and images that nobody has made a job of yet are there (only such studies are in the ledger's `open_studies`). A
duplicate is no new image: a sender that repeats itself for ever does not keep a study open. What still comes after a
study was complete opens the next round: the ledger then decides what becomes of it.

Times are POSIX seconds. If the clock is set back, a study is complete later by as much, and never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pirtad.worker.ledger.receiving import OpenStudy


def complete_studies(
    open_studies: Iterable[OpenStudy], waiting_times_s: Callable[[str], tuple[float, float]], now: float
) -> list[str]:
    """Study UIDs of the complete ones, longest open first.

    waiting_times_s: (quiet period, hard cap) in seconds for a calling AE title, as `AssemblySettings.waiting_times_s`.
    """
    complete = [study for study in open_studies if _is_complete(study, waiting_times_s(study.calling_ae), now)]
    return [study.study_uid for study in sorted(complete, key=lambda study: (study.open_since, study.study_uid))]


def _is_complete(study: OpenStudy, waiting_times_s: tuple[float, float], now: float) -> bool:
    quiet_period_s, hard_cap_s = waiting_times_s
    return now - study.last_received_at >= quiet_period_s or now - study.open_since >= hard_cap_s
