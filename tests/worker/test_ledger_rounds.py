"""What becomes of images that come after a job was opened: nothing, a revised report, or a note for a person."""

from __future__ import annotations

import pytest
from support.ledger import STUDY, receive, received

from pirtad.worker.contract import JobState, Priority, Stage, StartedBy, StudyState
from pirtad.worker.ledger import (
    claiming,
    deliveries,
    looks,
    priority,
    progress,
    publishing,
    receiving,
    registering,
    revisions,
    views,
)
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.ledger.receiving import Opening, Standing
from pirtad.worker.ledger.rounds import Opened

SERIES = f"{STUDY}.1"
PAIR = (1, 2)


def never_dead(_owner: str) -> bool:
    return False


def uid(number: int) -> str:
    return received(number).sop_instance_uid


def look(database: Database, *used: int, now: float = 5.0, plain: bool = False, code: str = "") -> None:
    """A look that takes these images for the pair."""
    every = frozenset({SERIES})
    seen = Seen(bool(used), Counts.MET, tuple(map(uid, used)), every, every if plain else frozenset(), code, code)
    looks.keep_look(database, STUDY, looks.files_of(database, STUDY), seen, now)


def claim(database: Database, now: float) -> ClaimedJob:
    (message,) = publishing.publishable(database, now, never_dead)
    claimed = claiming.claim(database, message, "worker", now, 30, never_dead)
    assert claimed is not None
    return claimed


def run(database: Database, now: float, used: tuple[int, ...], sop_uid: str, *, until: Stage | None = None) -> str:
    """The workers do the one job that is there; returns its id."""
    claimed = claim(database, now)
    while claimed.stage is not Stage.DELIVER:
        if claimed.stage is Stage.PREPARE:
            revisions.keep_used(database, claimed, map(uid, used))
        progress.advance(
            database, claimed, {Stage.PREPARE: Stage.INFER, Stage.INFER: Stage.DELIVER}[claimed.stage], now
        )
        claimed = claim(database, now)
    if until is Stage.DELIVER:
        return claimed.job_id
    kept = deliveries.KeptObject("narrative", sop_uid, "0" * 64, f"results/{sop_uid}.dcm")
    deliveries.keep(database, claimed, "PACS", [kept])
    deliveries.mark_delivered(database, claimed, "PACS", kept, 0x0000, now)
    progress.finish(database, claimed, "PACS", now)
    return claimed.job_id


def reported(database: Database) -> str:
    """A report that was started early on images 1 and 2, image 3 of the exam being there too."""
    receive(database, 1, 2, 3, now=1.0)
    look(database, *PAIR)
    outcome, job_id = receiving.open_job(database, STUDY, 6.0, Opening(StartedBy.WHOLE, (600.0, 180.0)))
    assert outcome is Opened.OPENED
    assert run(database, 7.0, PAIR, "2.25.1") == job_id
    return job_id


def test_other_images_after_the_report_change_nothing_and_leave_no_note(database: Database) -> None:
    job_id = reported(database)
    receive(database, 4, now=20.0)
    look(database, *PAIR, now=21.0)

    assert receiving.open_job(database, STUDY, 30.0) == (Opened.UNCHANGED, job_id)

    (view,) = views.studies(database)
    assert (view.state, view.note, view.started_by) == (StudyState.REPORTED, "", "whole")
    assert receiving.open_studies(database) == []
    detail = views.study(database, STUDY)
    assert detail is not None
    assert [event.text for event in detail.events if event.kind == "other_images"] == [
        "1 image that the draft is not made from"
    ]


def test_more_images_of_the_pair_make_a_report_that_revises_the_first(database: Database) -> None:
    first = reported(database)
    receive(database, 4, now=20.0)
    look(database, 1, 2, 4, now=21.0)

    outcome, second = receiving.open_job(database, STUDY, 30.0)

    assert (outcome, second != first) == (Opened.REVISED, True)
    claimed = claim(database, 31.0)
    background = revisions.background_of(database, claimed)
    assert background.revised is not None
    assert background.revised.job_id == first
    assert {role: kept.sop_instance_uid for role, kept in background.revised.objects.items()} == {"narrative": "2.25.1"}


def test_a_revision_that_is_superseded_or_fails_hands_on_what_it_revises(database: Database) -> None:
    first = reported(database)
    receive(database, 4, now=20.0)
    look(database, 1, 2, 4, now=21.0)
    receiving.open_job(database, STUDY, 30.0)
    # Given a revision under way, and another slice
    receive(database, 5, now=31.0)
    look(database, 1, 2, 4, 5, now=32.0)
    assert receiving.open_job(database, STUDY, 33.0)[0] is Opened.REVISED
    progress.shelve(database, claim(database, 34.0), JobState.FAILED, "code", "reason", "", 34.0)
    # and one more
    receive(database, 6, now=40.0)
    assert receiving.open_job(database, STUDY, 50.0)[0] is Opened.REVISED
    # Then the third revises the first report still, and it is the only one that is out
    third = claim(database, 51.0)
    background = revisions.background_of(database, third)
    assert background.revised is not None
    assert background.revised.job_id == first


def test_a_revision_of_a_revision_names_the_one_that_stands(database: Database) -> None:
    reported(database)
    for number in (4, 5):
        receive(database, number, now=number * 10.0)
        look(database, 1, 2, number, now=number * 10.0 + 1)
        assert receiving.open_job(database, STUDY, number * 10.0 + 2)[0] is Opened.REVISED
        last = run(database, number * 10.0 + 3, (1, 2, number), f"2.25.{number}")
    # and what is no part of the pair still changes nothing
    receive(database, 6, now=70.0)
    look(database, 1, 2, 5, now=71.0)
    assert receiving.open_job(database, STUDY, 72.0) == (Opened.UNCHANGED, last)


def test_replaced_images_are_for_a_person_even_where_the_pair_is_another_one(database: Database) -> None:
    job_id = reported(database)
    registering.register(database, received(1, content="corrected"), 20.0)
    look(database, *PAIR, now=21.0)

    assert receiving.open_job(database, STUDY, 30.0) == (Opened.LATE, job_id)

    assert "1 image REPLACED after the report was drafted: check" in views.studies(database)[0].note
    assert publishing.publishable(database, 40.0, never_dead) == []


def test_images_with_which_the_study_would_be_refused_are_for_a_person(database: Database) -> None:
    job_id = reported(database)
    receive(database, 4, now=20.0)
    look(database, now=21.0, code="two_patients")

    assert receiving.open_job(database, STUDY, 30.0) == (Opened.LATE, job_id)

    assert "would be set aside: CHECK the draft; two_patients" in views.studies(database)[0].note


def test_a_round_stays_open_while_a_report_is_delivered(database: Database) -> None:
    # Given a report on its way and another image of the pair
    receive(database, 1, 2, now=1.0)
    look(database, *PAIR)
    receiving.open_job(database, STUDY, 6.0)
    job_id = run(database, 7.0, PAIR, "", until=Stage.DELIVER)
    receive(database, 4, now=20.0)
    look(database, 1, 2, 4, now=21.0)

    assert receiving.open_job(database, STUDY, 30.0) == (Opened.HELD, job_id)

    (study,) = receiving.open_studies(database)
    assert study.standing is Standing.DELIVERING


def test_a_look_that_is_behind_decides_nothing(database: Database) -> None:
    job_id = reported(database)
    receive(database, 4, now=20.0)  # of a series that has diffusion images, and nobody looked

    assert receiving.open_job(database, STUDY, 30.0) == (Opened.HELD, job_id)

    (study,) = receiving.open_studies(database)
    assert study.look is not None
    assert (study.standing, study.look.holds, study.look.since) == (Standing.HAS_PAIR, False, frozenset({SERIES}))


def test_a_look_that_saw_less_does_not_replace_one_that_saw_more(database: Database) -> None:
    receive(database, 1, now=1.0)
    slow = looks.files_of(database, STUDY)
    receive(database, 2, now=2.0)
    look(database, *PAIR)
    every = frozenset({SERIES})
    looks.keep_look(database, STUDY, slow, Seen(False, Counts.UNSTATED, (), every, every), 9.0)
    (study,) = receiving.open_studies(database)
    assert study.look is not None
    assert (study.look.seen_all, study.look.used_at) == (True, 2.0)


# --- urgency --------------------------------------------------------------------------------------------------------


def opened(database: Database, study_uid: str, at: float) -> str:
    receive(database, 1, now=at, study_uid=study_uid)
    return receiving.open_job(database, study_uid, at, Opening(StartedBy.QUIET, (600.0, 180.0)))[1]


def stat(database: Database, study_uid: str, now: float, because: str = "sender ER") -> bool:
    return priority.set_priority(database, study_uid, Priority.STAT, because, 180.0, now)


def test_a_stat_study_is_taken_by_the_message_that_was_sent_for_another(database: Database) -> None:
    # Given three routine studies whose messages are in the queue, and then a STAT one
    order = [opened(database, f"1.2.{number}", float(number)) for number in range(3)]
    messages = publishing.publishable(database, 5.0, never_dead)
    urgent = opened(database, "1.2.9", 6.0)
    assert stat(database, "1.2.9", 6.5)
    messages += [message for message in publishing.publishable(database, 7.0, never_dead) if message.job_id == urgent]
    # When a worker takes one message after the other
    taken = [claiming.claim(database, message, f"w{n}", 8.0, 30, never_dead) for n, message in enumerate(messages)]
    # Then it is first, the rest keep their order, and each is taken once
    assert [job.job_id for job in taken if job is not None] == [urgent, *order]


def test_a_routine_study_that_waited_half_an_hour_longer_is_overtaken_no_more(database: Database) -> None:
    old = opened(database, "1.2.1", 0.0)
    for number in range(2, 5):
        opened(database, f"1.2.{number}", priority.STAT_HEAD_START_S + number)
        assert stat(database, f"1.2.{number}", priority.STAT_HEAD_START_S + number)
    first = publishing.publishable(database, 4000.0, never_dead)[0]
    assert first.job_id == old


def test_a_report_that_is_late_is_told_once(database: Database) -> None:
    opened(database, "1.2.1", 10.0)
    opened(database, "1.2.2", 10.0)
    assert stat(database, "1.2.2", 11.0)
    assert priority.mark_missed(database, 10.0 + 180.0) == []
    assert priority.mark_missed(database, 10.0 + 181.0) == ["1.2.2"]
    assert priority.mark_missed(database, 10.0 + 182.0) == []
    assert priority.mark_missed(database, 10.0 + 601.0) == ["1.2.1"]
    detail = views.study(database, "1.2.2")
    assert detail is not None
    assert [event.text for event in detail.events if event.kind == "objective_missed"] == [
        "STAT: no report 180 s after its last image"
    ]
    assert (detail.study.due_at, detail.study.missed_at) == (190.0, 191.0)


def test_the_objective_counts_from_the_last_image_of_the_pair(database: Database) -> None:
    receive(database, 1, 2, now=1.0)
    receive(database, 3, now=100.0)
    look(database, *PAIR)
    receiving.open_job(database, STUDY, 101.0, Opening(StartedBy.WHOLE, (600.0, 180.0)))
    assert views.studies(database)[0].due_at == 601.0


def test_what_an_operator_says_of_the_urgency_holds(database: Database) -> None:
    opened(database, "1.2.1", 1.0)
    assert stat(database, "1.2.1", 2.0)
    assert not stat(database, "1.2.1", 3.0)
    assert priority.set_priority(database, "1.2.1", Priority.ROUTINE, f"{priority.BY_OPERATOR} ada", 600.0, 4.0)
    assert not stat(database, "1.2.1", 5.0)
    assert views.studies(database)[0].due_at == 601.0
    assert not stat(database, "1.2.404", 6.0)


@pytest.mark.parametrize("used_key", ["", "known"])
def test_a_study_without_a_job_is_new(database: Database, used_key: str) -> None:
    receive(database, 1, 2)
    if used_key:
        look(database, *PAIR)
    (study,) = receiving.open_studies(database)
    assert (study.standing, study.used_key) == (Standing.NEW, "")
