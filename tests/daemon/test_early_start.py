"""The early start: as soon as the pair is whole, never before, and with the same end as the timer's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arriving import (
    ADC,
    AGAIN_ADC,
    AGAIN_DWI,
    CAP_S,
    DWI,
    FLAIR,
    QUIET_S,
    SLICES,
    T2,
    Image,
    Play,
    exam,
    images,
    pair_of,
)

from pirtad.daemon.assembler import Patience
from pirtad.inference.dicom.kinds import Kind
from pirtad.worker.contract import JobState, StartedBy
from pirtad.worker.declared import Declared
from pirtad.worker.ledger.rounds import Opened

PROMISED = Patience(QUIET_S, CAP_S, starts_early=True, keeps_series_together=True)


def _of(found: list[Image], *series: str) -> list[Image]:
    return [image for image in found if image.series_uid in series]


def _bring(play: Play, found: list[Image], association: int = 1, *, ends: bool = True) -> None:
    for image in found:
        play.take(image, association)
    if ends:
        play.end(association)


def test_a_whole_pair_starts_at_once_when_its_association_is_released():
    play = Play()
    _bring(play, _of(exam(), DWI, ADC))
    play.tick()
    assert [(job.started_by, job.used) for job in play.jobs] == [(StartedBy.WHOLE, pair_of(exam()))]


def test_in_one_long_association_it_starts_once_the_sender_has_gone_on_to_another_series():
    found, play = exam(), Play()
    _bring(play, _of(found, DWI, ADC), ends=False)
    play.tick()
    assert play.jobs == []  # more of the map's series could still come
    play.take(_of(found, T2)[0])
    play.tick()
    assert [job.started_by for job in play.jobs] == [StartedBy.WHOLE]


def test_what_comes_after_it_changes_nothing_and_is_not_noted():
    found, play = exam(), Play()
    _bring(play, _of(found, DWI, ADC))
    play.tick()
    play.run_jobs()
    _bring(play, _of(found, T2, FLAIR), 2)
    play.settle()
    assert play.outcomes == [Opened.OPENED, Opened.UNCHANGED]
    assert len(play.reports()) == 1


def test_a_job_under_way_goes_on_when_other_series_are_complete():
    found, play = exam(), Play()
    _bring(play, _of(found, DWI, ADC))
    play.tick()
    _bring(play, _of(found, T2), 2)
    play.tick(QUIET_S + 1)
    assert play.outcomes == [Opened.OPENED, Opened.UNCHANGED]
    assert len(play.jobs) == 1


@pytest.mark.parametrize(
    ("dwi_count", "adc_count"),
    [(None, None), (2 * SLICES, None), (None, SLICES + 1), (2 * SLICES, SLICES + 1), (2 * SLICES + 1, SLICES)],
)
def test_a_count_that_is_absent_not_met_or_not_of_the_volume_starts_nothing_early(dwi_count, adc_count):
    play = Play()
    _bring(play, exam(dwi_count=dwi_count, adc_count=adc_count))
    play.tick()
    assert play.jobs == []
    play.settle()
    assert [job.started_by for job in play.jobs] == [StartedBy.QUIET]


def test_half_a_brain_in_an_association_of_its_own_is_not_whole():
    # Ten of sixteen slices of everything, evenly spaced and large enough: nothing but the count tells
    found = [
        *images(Kind.TRACE, 1000.0, DWI, count=16, slices=16),
        *images(Kind.ADC, None, ADC, count=16, slices=16),
    ]
    half = [image for image in found if int(image.uid.rpartition(".")[2]) < 10]
    assert pair_of(half) is not None
    play = Play()
    _bring(play, half)
    play.tick()
    assert play.jobs == []
    _bring(play, [image for image in found if image not in half], 2)
    play.tick()
    assert [job.used for job in play.jobs] == [pair_of(found)]


def test_without_a_count_the_archive_is_asked_where_the_site_says_so():
    found = exam(dwi_count=None, adc_count=None)
    counts = {DWI: 2 * SLICES, ADC: SLICES}
    play = Play(in_archive=lambda _: counts)
    _bring(play, [image for image in found if image is not _of(found, ADC)[-1]])
    play.tick()
    assert play.jobs == []
    _bring(play, [_of(found, ADC)[-1]], 2)
    play.tick()
    assert [job.started_by for job in play.jobs] == [StartedBy.WHOLE]


def test_an_archive_that_has_fewer_images_than_are_here_says_nothing_of_the_rest():
    # Given an archive that is behind: it is being sent the same series at this moment
    found = exam(dwi_count=None, adc_count=None)
    play = Play(in_archive=lambda _: {DWI: SLICES, ADC: SLICES - 1})
    _bring(play, _of(found, DWI, ADC))
    play.tick()
    assert play.jobs == []
    # Then the quiet period starts the study
    play.settle()
    assert [job.started_by for job in play.reports()] == [StartedBy.QUIET]


def test_a_sender_that_keeps_series_together_needs_no_count():
    found, play = exam(dwi_count=None, adc_count=None), Play(PROMISED)
    _bring(play, _of(found, DWI, ADC), ends=False)
    play.take(_of(found, T2)[0])
    play.tick()
    assert play.jobs == []  # not before the release
    play.end()
    play.tick(2.1)
    assert [job.started_by for job in play.jobs] == [StartedBy.WHOLE]


def test_the_promise_does_not_hold_for_a_series_that_came_in_two_associations():
    found, play = exam(dwi_count=None, adc_count=None), Play(PROMISED)
    _bring(play, found[:15])
    _bring(play, found[15:], 2)
    play.tick(2.1)
    assert play.jobs == []


def test_an_association_that_broke_off_leaves_it_to_the_timer():
    found, play = exam(), Play()
    for image in found:
        play.take(image)
    play.end(is_released=False)
    play.tick()
    assert play.jobs == []


def test_a_second_diffusion_series_on_its_way_is_waited_for():
    again = images(Kind.TRACE, 1000.0, AGAIN_DWI, count=SLICES, moment="120000.0")
    play = Play()
    _bring(play, _of(exam(), DWI, ADC))
    play.take(again[0], 2)
    play.tick()
    assert play.jobs == []


def test_a_computed_map_or_an_undeclared_trace_is_not_started_early():
    play = Play()
    _bring(play, _of(exam(dwi_count=SLICES), DWI))  # a map could be fitted to it
    assert pair_of(play.arrived) is not None
    play.tick()
    assert play.jobs == []


def test_a_repeat_after_the_report_is_a_revision_where_the_choice_is_clear():
    # Given a report on a first acquisition
    first = [
        *images(Kind.TRACE, 1000.0, DWI, count=SLICES, moment="110000.0"),
        *images(Kind.ADC, None, ADC, count=SLICES, moment="110000.0"),
    ]
    more = images(Kind.TRACE, 1000.0, AGAIN_DWI, count=14, moment="120000.0", slices=14)
    more += images(Kind.ADC, None, AGAIN_ADC, count=14, moment="120000.0", slices=14)
    play = Play()
    _bring(play, first)
    play.tick()
    play.run_jobs()
    # When an acquisition with more coverage comes
    _bring(play, more, 2)
    play.tick()
    play.run_jobs()
    # Then its report names the first, and only it stands
    assert [job.used for job in play.standing_reports()] == [pair_of([*first, *more])]
    assert [job.revises for job in play.reports()] == [None, "job 0"]
    assert play.outcomes == [Opened.OPENED, Opened.REVISED]


def test_a_repeat_that_makes_the_choice_ambiguous_is_left_to_a_person():
    pair = [*images(Kind.TRACE, 1000.0, DWI, count=SLICES), *images(Kind.ADC, None, ADC, count=SLICES)]
    again = [*images(Kind.TRACE, 1000.0, AGAIN_DWI, count=SLICES), *images(Kind.ADC, None, AGAIN_ADC, count=SLICES)]
    assert pair_of([*pair, *again]) is None
    play = Play()
    _bring(play, pair)
    play.tick()
    play.run_jobs()
    _bring(play, again, 2)
    play.settle()
    assert play.outcomes == [Opened.OPENED, Opened.LATE]
    assert len(play.reports()) == 1


def test_a_pair_that_was_set_aside_is_not_started_again_by_every_image_of_another_series():
    found, play = exam(), Play()
    _bring(play, _of(found, DWI, ADC))
    play.tick()
    play.jobs[0].state = JobState.SET_ASIDE  # e.g. no brain on it
    for image in _of(found, T2):
        play.take(image, 2)
        play.tick()
    assert len(play.jobs) == 1
    play.settle()
    assert [job.started_by for job in play.jobs] == [StartedBy.QUIET, StartedBy.WHOLE]


def test_looks_are_few():
    play = Play()
    for image in exam():
        play.take(image)
        play.tick(0.0)
    play.end()
    play.tick()
    assert play.looks <= 5  # the first image, and the first of each later series


# --- every order, every split --------------------------------------------------------------------------------------

_COUNTS = st.sampled_from([(2 * SLICES, SLICES), (SLICES, SLICES), (None, SLICES), (2 * SLICES, None), (None, None)])


@st.composite
def _arrival(draw):
    """An exam's images in any order, over any number of associations at once, and where ticks and reports fall."""
    dwi_count, adc_count = draw(_COUNTS)
    found = exam(dwi_count=dwi_count, adc_count=adc_count)
    if draw(st.booleans()):
        order = draw(st.permutations(range(len(found))))
    else:  # as scanners send: series by series, in any order of series
        ranks = draw(st.permutations([DWI, ADC, T2, FLAIR]))
        order = sorted(range(len(found)), key=lambda at: (ranks.index(found[at].series_uid), at))
    associations = draw(st.lists(st.integers(1, 3), min_size=len(found), max_size=len(found)))
    if draw(st.booleans()):
        associations = sorted(associations)  # one after the other
    steps = draw(st.lists(st.sampled_from("-----trR"), min_size=len(found), max_size=len(found)))
    return found, [found[at] for at in order], associations, steps


@given(_arrival())
@settings(deadline=None, max_examples=25)
def test_for_any_order_and_split_nothing_incomplete_is_started_and_the_end_is_the_timers(arrival):
    found, ordered, associations, steps = arrival
    whole = pair_of(found)
    play = Play()
    for position, (image, association, step) in enumerate(zip(ordered, associations, steps, strict=True)):
        play.take(image, association)
        if association not in associations[position + 1 :]:
            play.end(association)
        if step in "tR":
            play.tick(0.4)
        if step in "rR":
            play.run_jobs()
    play.settle()
    # Then what was started early was drafted from the very images that the whole study is drafted from
    assert all(job.used == whole for job in play.jobs if job.started_by is StartedBy.WHOLE)
    # and one report stands, the timer's
    assert [job.used for job in play.standing_reports()] == [whole]
    assert len(play.reports()) == 1


@given(st.permutations(range(len(exam()))), st.integers(0, 33))
@settings(deadline=None, max_examples=15)
def test_a_lost_image_of_the_pair_is_never_overlooked(order, lost):
    # Given an exam of which one image of the pair never comes
    found = exam(dwi_count=2 * SLICES)
    lost %= 3 * SLICES
    play = Play()
    for at in order:
        if at != lost:
            play.take(found[at])
    play.end()
    play.tick()
    assert play.jobs == []


def test_several_frames_in_a_file_are_whole_and_a_part_of_a_concatenation_is_not():
    def packed(total: int | None) -> list[Image]:
        pair = [*images(Kind.TRACE, 1000.0, DWI), *images(Kind.ADC, None, ADC)]
        return [replace(image, declared=Declared(temporal_positions=total)) for image in pair]

    # A series that declares two positions in time and has one
    play = Play(in_archive=lambda _: {DWI: SLICES, ADC: SLICES})
    _bring(play, packed(2))
    play.tick()
    assert play.jobs == []
    play = Play(in_archive=lambda _: {DWI: SLICES, ADC: SLICES})
    _bring(play, packed(1))
    play.tick()
    assert [job.started_by for job in play.jobs] == [StartedBy.WHOLE]
