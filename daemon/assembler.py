"""When a study is complete enough to be drafted from. Pure: no clock, no disk, no thread; facts and a moment go in,
decisions come out.

DICOM has no message that says "that was the study". What it has is counts and geometry, so a study is started

1. at once, when DWI and ADC are whole by their own count and nothing that still comes is likely to beat them: see
   `_is_whole` (docs/adr/0013-content-aware-start.md),
2. when no new image of it came for the quiet period of its sender, or
3. when its present round of receiving has lasted for the hard cap of its sender, even if images still come,

and images that nobody has made a job of yet are there (only such studies are in the ledger's `open_studies`). A
duplicate is no new image: a sender that repeats itself for ever does not keep a study open. What still comes after a
start opens the next round. Whether that changes anything needs a look at its headers, which a worker takes; then the
ledger decides what becomes of it.

Times are POSIX seconds. If the clock is set back, a study is complete later by as much, and never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from pirtad.daemon.arrivals import Arriving
from pirtad.worker.contract import StartedBy
from pirtad.worker.ledger.looks import Counts
from pirtad.worker.ledger.receiving import OpenStudy, Standing

# Chosen: what was taken is in the ledger a tenth of a second later (`pirtad.daemon.registrar`). Where no number says
# that all is here, that has to be surely over.
_REGISTERED_S = 0.3
_SURELY_REGISTERED_S = 2.0


class Step(StrEnum):
    """What is to be done with an open study."""

    LOOK = "look"  # have a worker look at its headers
    START = "start"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a study from one sender is waited for, and what else may start it.

    starts_early: at once when DWI and ADC are whole by their own count.
    keeps_series_together: the site's word that this sender brings each series within one association: a released one
        then counts as a declared number that was met.
    """

    quiet_period_s: float
    hard_cap_s: float
    starts_early: bool = False
    keeps_series_together: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now. started_by: of a START."""

    study_uid: str
    step: Step
    started_by: StartedBy | None = None


def decide(
    open_studies: Iterable[OpenStudy],
    patience_with: Callable[[str], Patience],
    arriving: Callable[[OpenStudy], Arriving],
    now: float,
) -> list[Decision]:
    """What is to be done at this moment, urgent studies first, then the longest open; nothing for those that wait.

    patience_with: of a calling AE title. arriving: how a study's images come at this moment.
    """
    ordered = sorted(open_studies, key=lambda study: (-study.priority, study.open_since, study.study_uid))
    decisions = (_decide(study, patience_with(study.calling_ae), arriving(study), now) for study in ordered)
    return [decision for decision in decisions if decision is not None]


def _decide(study: OpenStudy, patience: Patience, arriving: Arriving, now: float) -> Decision | None:
    if study.standing is Standing.DELIVERING:
        return None  # whether it is superseded or revised is known once the report has arrived, or not
    timer = _timer(study, patience, now)
    if timer is not None:
        # Only a look at all of it tells whether what came later changes the report that is there or under way.
        if study.standing is Standing.HAS_PAIR and not _is_seen(study, timer):
            return Decision(study.study_uid, Step.LOOK)
        return Decision(study.study_uid, Step.START, timer)
    if not patience.starts_early:
        return None
    if _is_worth_a_look(study, arriving):
        return Decision(study.study_uid, Step.LOOK)
    if _is_whole(study, patience, arriving, now):
        return Decision(study.study_uid, Step.START, StartedBy.WHOLE)
    return None


def _timer(study: OpenStudy, patience: Patience, now: float) -> StartedBy | None:
    if now - study.last_received_at >= patience.quiet_period_s:
        return StartedBy.QUIET
    return StartedBy.CAP if now - study.open_since >= patience.hard_cap_s else None


def _is_seen(study: OpenStudy, timer: StartedBy) -> bool:
    """Whether the look that is there is enough to end a round: all was seen, a patient's name in a plain series too; at
    the hard cap, where no look may ever catch up with the sender, all that could change the pair."""
    look = study.look
    return look is not None and (look.seen_all or (timer is StartedBy.CAP and look.holds))


def _is_worth_a_look(study: OpenStudy, arriving: Arriving) -> bool:
    """Whether a look could find a whole pair: something else than plain series came since the last one, and no
    association is in the middle of a series that has diffusion images."""
    look = study.look
    if look is None:
        return True
    return not look.holds and not arriving.fronts & (look.known_series - look.plain_series)


def _is_whole(study: OpenStudy, patience: Patience, arriving: Arriving, now: float) -> bool:
    """Whether the pair that was seen is to be drafted from without waiting for the rest.

    - The look is still true: what came since is of series without diffusion.
    - The pair is clear: the scanner's own trace and map on one grid, and none that still comes is likely to beat it.
    - It is another one than the job's that is there, if there is one.
    - Whoever brought images of the study has released its association, or went on to a series without diffusion: no
      part of a diffusion series is on its way.
    - Declared counts are met; or the site says that this sender keeps a series together, and all is released.
    """
    look = study.look
    if look is None or not look.holds or not look.is_clear or look.used_key in ("", study.used_key):
        return False
    if not arriving.is_trusted or not arriving.fronts <= look.plain_series:
        return False
    silent_s = now - arriving.changed_at
    if look.counts is Counts.MET:
        return bool(arriving.fronts) or silent_s >= _REGISTERED_S
    is_promised = patience.keeps_series_together and not arriving.is_split and not arriving.fronts
    return look.counts is Counts.UNSTATED and is_promised and silent_s >= _SURELY_REGISTERED_S
