"""A study that arrives image by image, played through the assembler, the look and the rules for a round's end.

No database and no clock: what the ledger would hold is a few sets here, and a look is taken the moment it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pirtad.daemon.arrivals import Arrivals
from pirtad.daemon.assembler import Decision, Patience, Step, decide
from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES, SelectionRules
from pirtad.inference.dicom.choosing.select import choose_pair
from pirtad.inference.dicom.frames import Frame, Series
from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.errors import StudyNotUsable
from pirtad.worker.contract import JobState, Stage, StartedBy, used_key
from pirtad.worker.declared import NOTHING, Declared
from pirtad.worker.ledger.looks import Look, Seen
from pirtad.worker.ledger.receiving import OpenStudy, Standing
from pirtad.worker.ledger.rounds import JobFacts, Opened, current_of, outcome_of
from pirtad.worker.wholeness import seen_in
from support.frames import series_of, stack

STUDY = "1.2"
SLICES = 10
DWI, ADC, T2, FLAIR, AGAIN_DWI, AGAIN_ADC = (f"1.2.{number}" for number in range(1, 7))
QUIET_S, CAP_S = 10.0, 900.0


@dataclass(frozen=True)
class Image:
    """One instance of the exam: a frame, and what its header declares."""

    frame: Frame
    series_uid: str
    name: str
    declared: Declared = NOTHING

    @property
    def uid(self) -> str:
        """SOP Instance UID."""
        return self.frame.instance.sop_instance_uid

    @property
    def path(self) -> Path:
        """Where it would lie."""
        return self.frame.instance.path


def images(
    kind: Kind, b: float | None, series_uid: str, *, count: int | None = None, moment: str = "", slices: int = SLICES
) -> list[Image]:
    """The slices of one volume. count: what ImagesInAcquisition says."""
    frames = stack(kind, b, series=series_uid, slices=slices, gap_mm=6.0, moment=moment, name=series_uid)
    return [Image(frame, series_uid, series_uid, Declared(images_in_acquisition=count)) for frame in frames]


def exam(*, dwi_count: int | None = 2 * SLICES, adc_count: int | None = SLICES, slices: int = SLICES) -> list[Image]:
    """b 0 and trace in one series, the map, and two series without diffusion. slices: of the pair."""
    return [
        *images(Kind.B0, 0.0, DWI, count=dwi_count, slices=slices),
        *images(Kind.TRACE, 1000.0, DWI, count=dwi_count, slices=slices),
        *images(Kind.ADC, None, ADC, count=adc_count, slices=slices),
        *images(Kind.OTHER, None, T2, slices=4),
        *images(Kind.OTHER, None, FLAIR, slices=3),
    ]


def grouped(arrived: Iterable[Image]) -> list[Series]:
    """The series of these images."""
    by_series: dict[str, list[Image]] = {}
    for image in arrived:
        by_series.setdefault(image.series_uid, []).append(image)
    return [
        series_of([image.frame for image in sorted(found, key=lambda image: image.uid)], uid=uid, name=found[0].name)
        for uid, found in sorted(by_series.items())
    ]


def pair_of(arrived: Iterable[Image], rules: SelectionRules = DEFAULT_RULES) -> frozenset[str] | None:
    """The images that the prepare stage would draft from; None where it refuses."""
    try:
        choice = choose_pair(grouped(arrived), rules)
    except StudyNotUsable:
        return None
    return frozenset(frame.instance.sop_instance_uid for frame in (*choice.dwi.frames, *choice.adc.frames))


@dataclass
class Job:
    """A job and, once it ran, what its report is made from."""

    number: int
    content: frozenset[str]
    used: frozenset[str] | None
    started_by: StartedBy
    revises: str | None
    state: JobState = JobState.QUEUED

    @property
    def job_id(self) -> str:
        """Its name."""
        return f"job {self.number}"

    def facts(self, content: frozenset[str]) -> JobFacts:
        """As the rules for a round's end see it."""
        return JobFacts(
            self.job_id, self.state, Stage.PREPARE, key(self.used), self.revises, False, content == self.content
        )


def key(used: Iterable[str] | None) -> str:
    """`used_key` of images whose bytes never change; "" for none."""
    return used_key((uid, "") for uid in used) if used else ""


def seen(arrived: Sequence[Image], in_archive: Callable[[tuple[str, ...]], Mapping[str, int]]) -> Seen:
    """What a look at these images tells."""
    declared = {image.path: image.declared for image in arrived}
    return seen_in(grouped(arrived), DEFAULT_RULES, declared.__getitem__, in_archive)


@dataclass
class Play:
    """What pirtad does while images come. choose, see: `pair_of` and `seen`, or the same with a memory."""

    patience: Patience = field(default_factory=lambda: Patience(QUIET_S, CAP_S, starts_early=True))
    in_archive: Callable[[tuple[str, ...]], Mapping[str, int]] = lambda _: {}
    choose: Callable[[Iterable[Image]], frozenset[str] | None] = pair_of
    see: Callable[[Sequence[Image], Callable[[tuple[str, ...]], Mapping[str, int]]], Seen] = seen
    now: float = 1000.0
    arrived: list[Image] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)  # newest first
    outcomes: list[Opened] = field(default_factory=list)
    looks: int = 0
    arrivals: Arrivals = field(default_factory=Arrivals)
    _open_since: float | None = None
    _last_received_at: float = 0.0
    _seen: tuple[int, Seen] | None = None

    def take(self, image: Image, association: int = 1, after_s: float = 0.01) -> None:
        """An image arrives."""
        self.now += after_s
        self.arrived.append(image)
        self.arrivals.took(association, STUDY, image.series_uid, self.now)
        self._last_received_at = self.now
        if self._open_since is None:
            self._open_since = self.now

    def take_again(self, image: Image, association: int = 1, after_s: float = 0.01) -> None:
        """An image arrives that is there already: the association brought it, and the ledger only counts it."""
        self.now += after_s
        self.arrivals.took(association, STUDY, image.series_uid, self.now)

    def end(self, association: int = 1, *, is_released: bool = True) -> None:
        """An association is over."""
        self.now += 0.01
        self.arrivals.ended(association, self.now, is_released=is_released)

    def tick(self, after_s: float = 0.5) -> None:
        """The dispatcher's pass, until it has nothing to do: looks are answered at once."""
        self.now += after_s
        for _ in range(3):
            decisions = self._decisions()
            for decision in decisions:
                self._follow(decision)
            if not any(decision.step is Step.LOOK for decision in decisions):
                return

    def settle(self) -> None:
        """Let the quiet period pass."""
        self.tick(QUIET_S + 1)
        self.run_jobs()
        self.tick(QUIET_S + 1)
        self.run_jobs()

    def run_jobs(self) -> None:
        """The workers do all that there is to do."""
        for job in self.jobs:
            if job.state == JobState.QUEUED:
                job.state = JobState.DONE if job.used else JobState.SET_ASIDE

    def reports(self) -> list[Job]:
        """Jobs whose report is out, oldest first."""
        return [job for job in reversed(self.jobs) if job.state == JobState.DONE]

    def standing_reports(self) -> list[Job]:
        """Reports that no later one revises."""
        reports = self.reports()
        return [job for job in reports if job.job_id not in {other.revises for other in reports}]

    def _decisions(self) -> Sequence[Decision]:
        if self._open_since is None:
            return []
        current = current_of([job.facts(frozenset()) for job in self.jobs])
        has_pair = (
            current is not None and current.used_key and (current.is_unfinished or current.state == JobState.DONE)
        )
        study = OpenStudy(
            STUDY, "MR", self._open_since, self._last_received_at,
            standing=Standing.HAS_PAIR if has_pair else Standing.NEW,
            used_key="" if current is None else current.used_key,
            look=self._look(),
        )  # fmt: skip
        return decide([study], lambda _: self.patience, lambda one: self.arrivals.of(STUDY, one.open_since), self.now)

    def _look(self) -> Look | None:
        if self._seen is None:
            return None
        count, seen = self._seen
        since = frozenset(image.series_uid for image in self.arrived[count:])
        return Look(
            self.now, seen.is_clear, seen.counts, key(seen.used_uids), self.now, seen.known_series,
            seen.plain_series, seen.reason_code, seen.reason, count == len(self.arrived), since,
        )  # fmt: skip

    def _follow(self, decision: Decision) -> None:
        if decision.step is Step.LOOK:
            self._seen = (len(self.arrived), self.see(self.arrived, self.in_archive))
            self.looks += 1
            return
        assert decision.started_by is not None
        content = frozenset(image.uid for image in self.arrived)
        outcome = outcome_of([job.facts(content) for job in self.jobs], self._look(), replaced=False)
        self.outcomes.append(outcome.opened)
        if outcome.opened is Opened.HELD:
            return
        self._open_since = None
        if outcome.opened in (Opened.OPENED, Opened.REVISED, Opened.REOPENED):
            for job in self.jobs:
                if job.state == JobState.QUEUED:
                    job.state = JobState.SUPERSEDED
            used = self.choose(self.arrived)
            self.jobs.insert(0, Job(len(self.jobs), content, used, decision.started_by, outcome.revises))
