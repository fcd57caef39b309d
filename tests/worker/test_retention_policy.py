"""The policy of retention: whatever the facts, nothing goes that a report or a person may still need."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pirtad.worker.contract import JobState
from pirtad.worker.retention import DAY_S, REST_S, JobFacts, Kept, StudyFacts, Why, kept_counts, plan, why_kept
from pirtad.worker.retention_settings import RetentionSettings

NOW = 1e9
EVERYTHING = RetentionSettings(age_days=1e-9, free_below_bytes=2**62)

TIMES = st.floats(0, 2 * NOW)
JOBS = st.builds(
    JobFacts,
    state=st.sampled_from(list(JobState)),
    is_delivered=st.booleans(),
    is_committed=st.booleans(),
    has_delivered=st.booleans(),
    is_retracting=st.booleans(),
    finished_at=st.none() | TIMES,
)
STUDIES = st.builds(
    StudyFacts,
    study_uid=st.uuids().map(str),
    is_open=st.booleans(),
    is_noted=st.booleans(),
    last_received_at=TIMES,
    images=st.integers(0, 500),
    size_bytes=st.integers(0, 10**9),
    jobs=st.lists(JOBS, max_size=4).map(tuple),
)
DONE = JobFacts(
    JobState.DONE, is_delivered=True, is_committed=True, has_delivered=True, is_retracting=False, finished_at=100.0
)
REPORTED = StudyFacts(
    "1.2", is_open=False, is_noted=False, last_received_at=50.0, images=9, size_bytes=10, jobs=(DONE,)
)
LIKELY = st.builds(
    replace,
    st.just(REPORTED),
    study_uid=st.uuids().map(str),
    last_received_at=TIMES,
    size_bytes=st.integers(0, 10**9),
    jobs=st.lists(JOBS | st.builds(replace, st.just(DONE), finished_at=TIMES), min_size=1, max_size=3).map(tuple),
)


def needs_its_images(study: StudyFacts) -> bool:
    """Written apart from the policy, job by job: what would be lost, or is not known to be safe."""
    reports = [job for job in study.jobs if job.state == JobState.DONE]
    if study.is_open or study.is_noted or not reports:
        return True
    for index, job in enumerate(study.jobs):
        if job.is_retracting or job.state in (JobState.QUEUED, JobState.RUNNING, JobState.WAITING):
            return True
        if job.state in (JobState.DONE, JobState.WITHDRAWN) and not (job.is_delivered and job.is_committed):
            return True
        if job.state in (JobState.SET_ASIDE, JobState.FAILED, JobState.CANCELLED, JobState.SUPERSEDED):
            is_taken_over = JobState.DONE in [newer.state for newer in study.jobs[:index]]
            if job.has_delivered or (job.state != JobState.SUPERSEDED and not is_taken_over and job is _newest(study)):
                return True
    return _newest(study).state != JobState.DONE


def _newest(study: StudyFacts) -> JobFacts:
    return next(job for job in study.jobs if job.state != JobState.SUPERSEDED)


@given(st.lists(STUDIES | LIKELY, max_size=6), st.integers(0, 2**40), st.sampled_from([NOW, 2.5 * NOW]))
def test_whatever_the_facts_no_undelivered_study_is_removed(studies, free_bytes, now):
    # Given a rule that would remove all that may ever be removed
    planned = {one.study_uid for one in plan(studies, free_bytes, EVERYTHING, now)}
    # Then nothing goes that is needed, that moved just now, or that is not there
    for study in studies:
        if study.study_uid in planned:
            assert not needs_its_images(study)
            assert study.last_received_at <= now - REST_S
            assert study.images > 0
        elif study.images:
            # and what stays under such a rule has a reason that can be told
            assert why_kept(study, now) is not None


@given(st.lists(LIKELY, max_size=8), st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 10**6))
def test_the_oldest_go_first_and_no_more_than_the_rule_asks_for(studies, free_bytes, mark, days):
    rule = RetentionSettings(age_days=days, free_below_bytes=mark)
    planned = plan(studies, free_bytes, rule, NOW)
    settled = {one.study_uid: one.settled_at for one in studies}
    order = [settled[one.study_uid] for one in planned]
    assert order == sorted(order)
    freed = free_bytes
    for one in planned:
        if one.why is Why.WATERMARK:
            assert freed < mark
        else:
            assert settled[one.study_uid] <= NOW - days * DAY_S
            assert days > 0
        freed += one.size_bytes
    # Nothing that may go was passed over for something younger.
    left = [one.settled_at for one in studies if why_kept(one, NOW) is None and one.study_uid not in
            {two.study_uid for two in planned}]  # fmt: skip
    assert not left or not order or min(left) >= max(order)


def test_by_default_nothing_is_ever_removed():
    assert why_kept(REPORTED, NOW) is None
    assert plan([REPORTED], 0, RetentionSettings(), NOW) == ()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(REPORTED, is_open=True), Kept.RECEIVING),
        (replace(REPORTED, jobs=()), Kept.NO_REPORT),
        (replace(REPORTED, jobs=(replace(DONE, state=JobState.SUPERSEDED),)), Kept.NO_REPORT),
        (replace(REPORTED, jobs=(replace(DONE, state=JobState.WAITING), DONE)), Kept.UNDER_WAY),
        (replace(REPORTED, jobs=(replace(DONE, state=JobState.FAILED), DONE)), Kept.SHELVED),
        (replace(REPORTED, jobs=(replace(DONE, state=JobState.CANCELLED),)), Kept.SHELVED),
        (replace(REPORTED, jobs=(replace(DONE, is_retracting=True),)), Kept.RETRACTION),
        (replace(REPORTED, jobs=(replace(DONE, state=JobState.WITHDRAWN),)), Kept.WITHDRAWN),
        (replace(REPORTED, jobs=(DONE, replace(DONE, is_delivered=False))), Kept.NOT_DELIVERED),
        (replace(REPORTED, jobs=(DONE, replace(DONE, state=JobState.FAILED))), Kept.NOT_DELIVERED),
        (replace(REPORTED, jobs=(replace(DONE, is_committed=False),)), Kept.NOT_COMMITTED),
        (replace(REPORTED, is_noted=True), Kept.NOTED),
        (replace(REPORTED, last_received_at=NOW - REST_S + 1), Kept.RECENT),
        (REPORTED, None),
        (replace(REPORTED, jobs=(DONE, replace(DONE, state=JobState.SET_ASIDE, has_delivered=False))), None),
        (replace(REPORTED, jobs=(DONE, replace(DONE, state=JobState.WITHDRAWN))), None),
    ],
)  # fmt: skip
def test_why_a_study_stays(facts, reason):
    assert why_kept(facts, NOW) is reason


def test_it_is_counted_why_studies_stay():
    noted = replace(REPORTED, is_noted=True)
    assert kept_counts([REPORTED, noted, noted, replace(REPORTED, jobs=())], NOW) == {Kept.NO_REPORT: 1, Kept.NOTED: 2}


def test_report_objects_are_not_given_up_before_the_images():
    with pytest.raises(ValidationError, match="keep_results_days is less than age_days"):
        RetentionSettings(age_days=30, keep_results_days=29)
    assert not RetentionSettings().is_on
