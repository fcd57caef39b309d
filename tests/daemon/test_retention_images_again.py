"""Images that come again after retention removed them, or while it does."""

from __future__ import annotations

from support.receiving import STUDY, files
from support.removals import detail, instances, jobs, spooled
from support.retaining import DAY_S, claim, close_round, look, reported, retention, send

from pirtad.worker.contract import JobState, Stage, StudyState
from pirtad.worker.ledger import looks, receiving, registering
from pirtad.worker.ledger.receiving import Standing
from pirtad.worker.ledger.rounds import Opened


def test_a_whole_study_sent_again_is_kept_again_and_not_reported_again(side, tmp_path):
    job_id = reported(side, tmp_path, 1, 2, 3)
    side.clock.now += 10 * DAY_S
    keeper = retention(side, tmp_path, age_days=1)
    keeper.clean()
    # When it is sent again
    send(side, 1, 2, 3)
    # Then each image is where the ledger says, and it counts as being received
    rows = instances(side)
    assert [(row.removed_at, (tmp_path / row.path).is_file()) for row in rows] == [(None, True)] * 3
    assert keeper.clean() == []
    # and the end of that round makes no second job
    assert close_round(side) == (Opened.NOTHING_NEW, job_id)
    assert [(job.id, job.state) for job in jobs(side)] == [(job_id, JobState.DONE)]
    assert detail(side).study.state is StudyState.REPORTED
    # and in its time it goes again
    side.clock.now += DAY_S + 1
    assert len(keeper.clean()) == 1
    assert spooled(tmp_path) == []


def test_new_images_after_a_removal_are_noted_and_break_nothing(side, tmp_path):
    job_id = reported(side, tmp_path, 1, 2)
    look(side, 1, 2)
    side.clock.now += 10 * DAY_S
    retention(side, tmp_path, age_days=1).clean()
    # When a third image comes, without the two
    send(side, 3)
    (study,) = receiving.open_studies(side.database)
    assert (study.standing, study.look) == (Standing.HAS_PAIR, None)  # the look before saw what is gone
    look(side, 3)  # a worker finds what is there, and would draft from it
    # Then nothing is drafted from a part of the study, and it is said why
    assert close_round(side) == (Opened.LATE, job_id)
    assert len(jobs(side)) == 1
    assert "2 images of the study had been removed: kept, and not reported" in detail(side).study.note
    assert receiving.open_studies(side.database) == []
    # When the two come again, the pair is seen whole, and another one than was reported on
    send(side, 1, 2)
    look(side, 1, 3)
    opened, revised = close_round(side)
    # Then the report is revised, from files that are all there, and the note is off
    assert opened is Opened.REVISED
    taken = claim(side.database, revised, Stage.PREPARE, side.clock.now)
    assert len(taken.files) == 3
    assert all((tmp_path / file.path).is_file() for file in taken.files)
    assert detail(side).study.note == ""


def test_a_look_at_what_was_there_before_is_not_kept(side, tmp_path):
    reported(side, tmp_path, 1, 2)
    side.clock.now += 10 * DAY_S
    retention(side, tmp_path, age_days=1).clean()
    send(side, 2)
    seen_one = looks.files_of(side.database, STUDY)
    assert len(seen_one) == 1
    send(side, 1)  # while a worker looks at the one
    seen = looks.Seen(True, looks.Counts.MET, (f"{STUDY}.2.2",), frozenset(), frozenset())
    looks.keep_look(side.database, STUDY, seen_one, seen, side.clock.now)
    (study,) = receiving.open_studies(side.database)
    assert study.look is None


def test_the_same_image_that_comes_while_its_file_is_unlinked_is_not_lost(side, tmp_path, monkeypatch):
    reported(side, tmp_path, 1)
    side.clock.now += 10 * DAY_S
    real, steps = registering.register_all, []

    def removes_first(*arguments, **named):
        # When the file has its place again and is not on record again, retention removes and unlinks it
        steps.append(len(spooled(tmp_path)))
        assert len(retention(side, tmp_path, age_days=1).clean()) == 1
        steps.append(len([path for path in spooled(tmp_path) if path.suffix == ".dcm"]))
        return real(*arguments, **named)

    monkeypatch.setattr(registering, "register_all", removes_first)
    send(side, 1)
    monkeypatch.undo()
    assert steps == [2, 0]  # in .incoming and in its place; then not in its place
    # Then it lies there all the same, as its sender was told
    (row,) = instances(side)
    assert row.removed_at is None
    assert (tmp_path / row.path).is_file()
    assert files(tmp_path / "spool" / ".incoming") == []
