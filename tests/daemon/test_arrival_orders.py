"""Whatever the order in which an exam comes, one report stands in the end, and it is the whole exam's.

An order is one seed, so that a failure is played again by its number. Building the exam and choosing from it is what
costs; both are shared between orders, and a few hundred take a second or two.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import arriving
from support.arriving import ADC, AGAIN_DWI, DWI, Image, Play, exam, images, pair_of

from pirtad.daemon.assembler import Decision
from pirtad.inference.dicom.frames import Plane
from pirtad.inference.dicom.kinds import Kind
from pirtad.worker.contract import JobState, StartedBy
from pirtad.worker.ledger.looks import Seen
from pirtad.worker.ledger.rounds import Opened

SLICES = 14  # more than a pair has to have, so that a part of an exam can look like a whole one
SEEDS = st.integers(0, 2**32 - 1)
COUNTS = ((2 * SLICES, SLICES), (SLICES, SLICES), (None, SLICES), (2 * SLICES, None), (None, None))
MAP, TRACE, B0 = (Kind.ADC, None, ADC), (Kind.TRACE, 1000.0, DWI), (Kind.B0, 0.0, DWI)
LATER = {
    "another slice of the map": (MAP,),
    "another slice of the trace": (TRACE,),
    "another slice of the pair": (MAP, B0, TRACE),
}


@cache
def whole_exam(dwi_count: int | None, adc_count: int | None) -> tuple[Image, ...]:
    return tuple(exam(dwi_count=dwi_count, adc_count=adc_count, slices=SLICES))


def _height_mm(image: Image) -> float:
    assert isinstance(image.frame.plane, Plane)
    return float(image.frame.plane.position[2])


@cache
def later(what: str) -> tuple[Image, ...]:
    """Images of series that may be in use by then, which nobody had declared."""
    return tuple(_next_slice(*volume, number) for number, volume in enumerate(LATER[what]))


def _next_slice(kind: Kind, b: float | None, series_uid: str, number: int) -> Image:
    *_, last = images(kind, b, series_uid, slices=SLICES + 1)
    renamed = replace(last.frame.instance, sop_instance_uid=f"{series_uid}.99{number}")
    return replace(last, frame=replace(last.frame, instance=renamed))


class Memory:
    """`pair_of` and `seen`, each of the same images once."""

    def __init__(self) -> None:
        self._pairs: dict[frozenset[Any], frozenset[str] | None] = {}
        self._seen: dict[frozenset[Any], Seen] = {}

    def pair_of(self, arrived: Iterable[Image]) -> frozenset[str] | None:
        found = list(arrived)
        content = frozenset(image.uid for image in found)
        if content not in self._pairs:
            self._pairs[content] = pair_of(found)
        return self._pairs[content]

    def see(self, arrived: Sequence[Image], in_archive: Any) -> Seen:
        content = frozenset((image.uid, image.declared) for image in arrived)
        if content not in self._seen:
            self._seen[content] = arriving.seen(arrived, in_archive)
        return self._seen[content]


MEMORY = Memory()


@dataclass
class Watched(Play):
    """A play that keeps its own account of open associations, and what they were at when a job was started early.

    open: by association, the series of its last image.
    """

    open: dict[int, str] = field(default_factory=dict)
    at_early_starts: list[set[str]] = field(default_factory=list)

    def take(self, image: Image, association: int = 1, after_s: float = 0.01) -> None:
        self.open[association] = image.series_uid
        super().take(image, association, after_s)

    def take_again(self, image: Image, association: int = 1, after_s: float = 0.01) -> None:
        self.open[association] = image.series_uid
        super().take_again(image, association, after_s)

    def end(self, association: int = 1, *, is_released: bool = True) -> None:
        self.open.pop(association, None)
        super().end(association, is_released=is_released)

    def _follow(self, decision: Decision) -> None:
        if decision.started_by is StartedBy.WHOLE:
            self.at_early_starts.append(set(self.open.values()))
        super()._follow(decision)


@dataclass
class Order:
    """One way in which an exam comes: its images, by which associations, and what happens between them."""

    seed: int
    how: str = ""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        counts = self._chance.choice(COUNTS)
        self.found = whole_exam(*counts)
        self.ordered = self._ordered()
        number = len(self.ordered)
        shares = self._chance.choice(((1, 1, 1), (8, 1, 0)))  # the second: all but the end comes in one association
        self.associations = self._chance.choices((1, 2, 3), shares, k=number)
        if self._chance.random() < 0.5:
            self.associations.sort()  # one after the other
        if self.how == "slice by slice":  # the rest of every series comes in another association
            cut_mm = _height_mm(self.found[self._chance.randrange(SLICES // 2, SLICES)])
            self.associations = [1 if _height_mm(image) < cut_mm else 2 for image in self.ordered]

    def _ordered(self) -> list[Image]:
        """In any order; series by series; slice by slice through all of them, so that a part of the exam looks like a
        smaller whole; or a few series at once, each in its own order."""
        ordered = list(self.found)
        self._chance.shuffle(ordered)
        self.how = how = self._chance.choice(("any", "series by series", "slice by slice", "interleaved"))
        if how == "slice by slice":
            return sorted(self.found, key=_height_mm)
        if how == "any":
            return ordered
        series = list(dict.fromkeys(image.series_uid for image in ordered))
        rows = [[image for image in self.found if image.series_uid == uid] for uid in series]
        if how == "series by series":
            return [image for row in rows for image in row]
        taken: list[Image] = []
        while rows:
            row = self._chance.choice(rows)
            taken.append(row.pop(0))
            rows = [row for row in rows if row]
        return taken

    def play(self) -> Watched:
        """Bring it all, with duplicates in between, releases at once, late or by abort, ticks and workers' passes."""
        chance, play = self._chance, Watched(choose=MEMORY.pair_of, see=MEMORY.see)
        left = Counter(self.associations)
        owed: list[int] = []
        for image, association in zip(self.ordered, self.associations, strict=True):
            play.take(image, association)
            left[association] -= 1
            if chance.random() < 0.15:
                play.take_again(chance.choice(play.arrived), association)
            if not left[association]:
                owed.append(association)
            if owed and chance.random() < 0.7:
                play.end(owed.pop(0), is_released=chance.random() < 0.9)
            self.step(play, 0.3)
        for association in owed:  # after a while, or after the report
            self.step(play, 0.5)
            play.end(association, is_released=chance.random() < 0.9)
        self.step(play, 0.7)
        return play

    def step(self, play: Play, likely: float) -> None:
        """Maybe a pass of the dispatcher, maybe of the workers."""
        if self._chance.random() < likely:
            play.tick(self._chance.choice((0.1, 0.4, 2.5)))
        if self._chance.random() < likely:
            play.run_jobs()

    def chance(self) -> random.Random:
        """What else the order decides."""
        return self._chance


def require_one_chain(play: Play) -> None:
    """Of all reports that are out, each but the first names the one that it takes the place of."""
    for earlier, revision in pairwise(play.reports()):
        assert revision.revises == earlier.job_id
    assert play.reports() == [] or play.reports()[0].revises is None


@given(SEEDS)
@settings(deadline=None, max_examples=300)
def test_in_whatever_order_an_exam_comes_one_report_stands_and_it_is_the_whole_exams(seed: int) -> None:
    order = Order(seed)
    whole = pair_of_exam(order)
    play = order.play()
    play.settle()
    # Then what was started early was drafted from the very images that the whole study is drafted from
    assert all(job.used == whole for job in play.jobs if job.started_by is StartedBy.WHOLE)
    # and one report is out, the timer's
    assert [job.used for job in play.reports()] == [whole]
    assert Opened.LATE not in play.outcomes


@given(SEEDS)
@settings(deadline=None, max_examples=200)
def test_nothing_is_started_early_while_an_association_is_in_a_diffusion_series(seed: int) -> None:
    # Given an exam whose associations may stay open after their last image, and a repeat that has only begun
    order = Order(seed)
    play = order.play()
    play.take(images(Kind.TRACE, 1000.0, AGAIN_DWI, slices=SLICES, moment="120000.0")[0], 6)
    play.tick()
    # Then whoever was still connected at an early start had gone on to a series without diffusion
    assert all(fronts.isdisjoint((DWI, ADC, AGAIN_DWI)) for fronts in play.at_early_starts)


@given(SEEDS, st.sampled_from(sorted(LATER)))
@settings(deadline=None, max_examples=200)
def test_a_later_image_of_a_series_in_use_is_never_taken_in_silence(seed: int, what: str) -> None:
    # Given an exam, a report of which may be out, and then one more image of a series that it is drafted from
    order = Order(seed)
    play = order.play()
    if order.chance().random() < 0.5:
        play.settle()
    before = len(play.outcomes)
    for image in later(what):
        play.take(image, 4)
        order.step(play, 0.3)
    if order.chance().random() < 0.5:
        play.end(4)
    order.step(play, 0.5)
    play.settle()
    # Then a round was ended for it, and the report that stands is of what there is now, or a person is told
    assert len(play.outcomes) > before
    now = MEMORY.pair_of(play.arrived)
    (standing,) = play.standing_reports() or [None]
    if standing is None:
        assert now is None
        assert play.jobs[0].state is JobState.SET_ASIDE
    else:
        assert standing.used == now or Opened.LATE in play.outcomes
    require_one_chain(play)


@given(SEEDS)
@settings(deadline=None, max_examples=200)
def test_an_exam_that_comes_twice_makes_no_second_report(seed: int) -> None:
    order = Order(seed)
    play = order.play()
    play.settle()
    out = [job.job_id for job in play.reports()]
    again = list(order.found)
    order.chance().shuffle(again)
    for image in again:
        play.take_again(image, 5)
        order.step(play, 0.1)
    play.end(5)
    play.settle()
    assert [job.job_id for job in play.reports()] == out


def pair_of_exam(order: Order) -> frozenset[str]:
    whole = MEMORY.pair_of(order.found)
    assert whole is not None
    return whole


def test_orders_are_of_every_kind() -> None:
    """What the properties above are about comes up: early starts, interleaved series, revisions."""
    plays = [(order := Order(seed), order.play()) for seed in range(60)]
    for _, play in plays:
        play.settle()
    started = Counter(job.started_by for _, play in plays for job in play.jobs)
    assert min(started[StartedBy.WHOLE], started[StartedBy.QUIET]) >= 5
    assert sum(bool(fronts) for _, play in plays for fronts in play.at_early_starts) >= 2
    for seed, (_, play) in enumerate(plays):
        for image in later(sorted(LATER)[seed % len(LATER)]):
            play.take(image, 4)
        play.end(4)
        play.settle()
    outcomes = Counter(outcome for _, play in plays for outcome in play.outcomes)
    assert min(outcomes[Opened.REVISED], outcomes[Opened.LATE]) >= 5
    changes = [sum(a.series_uid != b.series_uid for a, b in pairwise(order.ordered)) for order, _ in plays]
    assert (min(changes), max(changes) > 10) == (3, True)


@pytest.mark.parametrize("what", sorted(LATER))
def test_a_later_image_would_change_or_spoil_the_pair(what: str) -> None:
    found = whole_exam(2 * SLICES, SLICES)
    assert pair_of((*found, *later(what))) != pair_of(found)
