"""Retention on a real spool: what goes, what stays, and what becomes of images that come again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import redis
from prometheus_client import generate_latest
from sqlalchemy import select, update
from support.receiving import STUDY, files, receiving_side
from support.retaining import DAY_S, claim, close_round, failed, look, report, reported, retention, send
from typer.testing import CliRunner

from pirtad.daemon import retention as module
from pirtad.daemon.cli.main import app
from pirtad.daemon.retention import NoSpool
from pirtad.daemon.web.metrics import make_registry
from pirtad.worker.contract import JobState, Stage, StudyState
from pirtad.worker.ledger import looks, operating, progress, receiving, registering, registry_facts, retractions, views
from pirtad.worker.ledger import retention as ledger
from pirtad.worker.ledger.receiving import Standing
from pirtad.worker.ledger.rounds import Opened
from pirtad.worker.ledger.tables import Instance, Job, Removal, Shipment
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.retention import Kept, Why

OTHER = f"{STUDY}9"
runner = CliRunner()


@pytest.fixture
def side(tmp_path: Path):
    with receiving_side(tmp_path) as side:
        yield side


def _rows(side, study: str = STUDY) -> list[Instance]:
    with side.database.reading() as session:
        of_study = Instance.sop_instance_uid.startswith(f"{study}.2.")
        return list(session.scalars(select(Instance).where(of_study).order_by(Instance.id)))


def _spooled(tmp_path: Path) -> list[Path]:
    return files(tmp_path / "spool")


def _detail(side, study: str = STUDY):
    detail = views.study(side.database, study)
    assert detail is not None
    return detail


def _jobs(side) -> list[Job]:
    with side.database.reading() as session:
        return list(session.scalars(select(Job).order_by(Job.created_at)))


def _removals(side) -> list[tuple[str, str, int, int, bool]]:
    with side.database.reading() as session:
        rows = session.scalars(select(Removal).order_by(Removal.id))
        return [(row.what, row.why, row.files, row.size_bytes, row.finished_at is not None) for row in rows]


def test_the_images_of_a_delivered_study_go_by_age_and_its_report_stays(side, tmp_path):
    reported(side, tmp_path, 1, 2, 3)
    size_bytes = sum(path.stat().st_size for path in _spooled(tmp_path))
    keeper = retention(side, tmp_path, age_days=2)
    # Given a day, nothing goes
    side.clock.now += DAY_S
    assert keeper.clean() == []
    assert len(_spooled(tmp_path)) == 3
    # Given two
    side.clock.now += DAY_S + 1
    (removed,) = keeper.clean()
    # Then its images are gone, its directory too, its rows and its report are not
    assert (removed.study_uid, removed.files, removed.size_bytes) == (STUDY, 3, size_bytes)
    assert _spooled(tmp_path) == []
    assert [path for path in (tmp_path / "spool").glob("*/*") if path.parent.name != ".incoming"] == []
    assert [(row.removed_at is not None, row.path) for row in _rows(side)] == [(True, "")] * 3
    assert (tmp_path / "results" / "2.25.1.dcm").is_file()
    # and the journal tells of it, as do the study's events and the total
    assert _removals(side) == [("images", "age", 3, size_bytes, True)]
    event = _detail(side).events[-1]
    assert (event.kind, event.data) == ("images_removed", {"files": 3, "size_bytes": size_bytes, "why": "age"})
    assert ledger.freed_bytes(side.database) == {Why.AGE: size_bytes, Why.WATERMARK: 0, Why.OPERATOR: 0}
    # and nothing is left to do
    assert keeper.clean() == []


@pytest.mark.parametrize("state", ["receiving", "failed", "running", "withdrawing", "noted", "not_committed"])
def test_what_may_still_be_needed_stays_however_old_and_however_full_the_disk(side, tmp_path, state):
    if state == "failed":
        failed(side, 1)
    elif state in ("receiving", "running"):
        send(side, 1)
        if state == "running":
            claim(side.database, close_round(side)[1], Stage.PREPARE, side.clock.now)
    else:
        job_id = reported(side, tmp_path, 1)
        if state == "withdrawing":
            retractions.request(side.database, STUDY, RejectionReason.QUALITY, "wrong", "PACS", side.clock.now)
        elif state == "noted":
            send(side, 2)
            look(side)
            assert close_round(side)[0] is Opened.LATE
        else:
            with side.database.transaction() as session:
                session.add(Shipment(job_id=job_id, destination="PACS", state="done", commitment="no_answer"))
    kept = _spooled(tmp_path)
    side.clock.now += 1000 * DAY_S
    side.free_bytes = 0
    keeper = retention(side, tmp_path, age_days=1, free_below_bytes=10**12)
    assert keeper.clean() == []
    assert _spooled(tmp_path) == kept != []
    assert sum(keeper.outlook().kept.values()) == 1


def test_below_the_mark_the_oldest_delivered_goes_first_and_no_more_than_needed(side, tmp_path, monkeypatch):
    # Given three delivered studies, the second sent the oldest
    for study, age_s, name in ((STUDY, 5000, "2.25.1"), (OTHER, 9000, "2.25.2"), (f"{OTHER}.9", 1000, "2.25.3")):
        side.clock.now = 1e6 - age_s
        reported(side, tmp_path, 1, study=study, name=name)
    side.clock.now = 1e6
    one = _rows(side)[0].size_bytes
    # and a disk that frees what is unlinked, some bytes short of the mark
    at_first = len(_spooled(tmp_path))
    keeper = retention(side, tmp_path, free_below_bytes=10**9)
    keeper._free_bytes = lambda: 10**9 - one - 1 + one * (at_first - len(_spooled(tmp_path)))
    assert [planned.study_uid for planned in keeper.outlook().planned] == [OTHER, STUDY]
    assert [removed.study_uid for removed in keeper.clean()] == [OTHER, STUDY]
    assert [why for _, why, *_ in _removals(side)] == ["watermark", "watermark"]
    assert len(_spooled(tmp_path)) == 1


def test_with_the_disk_asked_each_time_less_is_removed_than_was_planned(side, tmp_path):
    for number, study in enumerate((STUDY, OTHER)):
        reported(side, tmp_path, 1, study=study, name=f"2.25.{number + 1}")
    side.clock.now += 5000
    keeper = retention(side, tmp_path, free_below_bytes=10**12)
    side.free_bytes = 0
    free = iter((0, 0, 10**12))
    keeper._free_bytes = lambda: next(free)  # planned with none; none before the first, enough before the second
    assert len(keeper.clean()) == 1


class Died(BaseException):
    """The process ends here, as far as the test goes."""


@pytest.mark.parametrize("at", ["before_the_first", "after_the_first", "before_the_ledger_hears"])
def test_a_death_between_ledger_and_unlink_is_made_good_by_the_next_pass(side, tmp_path, monkeypatch, at):
    reported(side, tmp_path, 1, 2, 3)
    side.clock.now += 10 * DAY_S
    real, calls = Path.unlink, []

    def dies(path, *arguments, **named):
        if path.suffix == ".dcm":
            calls.append(path)
            if len(calls) > (at == "after_the_first"):
                raise Died
        real(path, *arguments, **named)

    def dies_late(directory):
        raise Died

    if at == "before_the_ledger_hears":
        monkeypatch.setattr(module, "_sync", dies_late)
    else:
        monkeypatch.setattr(Path, "unlink", dies)
    with pytest.raises(Died):
        retention(side, tmp_path, age_days=1).clean()
    monkeypatch.undo()
    assert all(row.removed_at is not None for row in _rows(side))
    # When retention is off by then, what was begun is finished all the same
    assert retention(side, tmp_path).clean() == []
    assert _spooled(tmp_path) == []
    assert [finished for *_, finished in _removals(side)] == [True]
    assert len(_removals(side)) == 1


def test_a_whole_study_sent_again_is_kept_again_and_not_reported_again(side, tmp_path):
    job_id = reported(side, tmp_path, 1, 2, 3)
    side.clock.now += 10 * DAY_S
    keeper = retention(side, tmp_path, age_days=1)
    keeper.clean()
    # When it is sent again
    send(side, 1, 2, 3)
    # Then each image is where the ledger says, and it counts as being received
    rows = _rows(side)
    assert [(row.removed_at, (tmp_path / row.path).is_file()) for row in rows] == [(None, True)] * 3
    assert keeper.clean() == []
    # and the end of that round makes no second job
    assert close_round(side) == (Opened.NOTHING_NEW, job_id)
    assert [(job.id, job.state) for job in _jobs(side)] == [(job_id, JobState.DONE)]
    assert _detail(side).study.state is StudyState.REPORTED
    # and in its time it goes again
    side.clock.now += DAY_S + 1
    assert len(keeper.clean()) == 1
    assert _spooled(tmp_path) == []


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
    assert len(_jobs(side)) == 1
    assert "2 images of the study had been removed: kept, and not reported" in _detail(side).study.note
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
    assert _detail(side).study.note == ""


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
        steps.append(len(_spooled(tmp_path)))
        assert len(retention(side, tmp_path, age_days=1).clean()) == 1
        steps.append(len([path for path in _spooled(tmp_path) if path.suffix == ".dcm"]))
        return real(*arguments, **named)

    monkeypatch.setattr(registering, "register_all", removes_first)
    send(side, 1)
    monkeypatch.undo()
    assert steps == [2, 0]  # in .incoming and in its place; then not in its place
    # Then it lies there all the same, as its sender was told
    (row,) = _rows(side)
    assert row.removed_at is None
    assert (tmp_path / row.path).is_file()
    assert files(tmp_path / "spool" / ".incoming") == []


def test_an_operator_who_is_faster_keeps_the_images(side, tmp_path):
    # Given a pass that planned to remove a study
    reported(side, tmp_path, 1)
    side.clock.now += 10 * DAY_S
    keeper = retention(side, tmp_path, age_days=1)
    real = keeper._planned

    def then_withdraws():
        planned = real()
        retractions.request(side.database, STUDY, RejectionReason.QUALITY, "wrong", "PACS", side.clock.now)
        return planned

    keeper._planned = then_withdraws
    # When it is withdrawn before its turn comes, and the note is under way
    assert keeper.clean() == []
    # Then it stays
    assert len(_spooled(tmp_path)) == 1
    assert claim(side.database, _jobs(side)[0].id, Stage.DELIVER, side.clock.now).files[0].path != ""


def test_several_passes_at_once_remove_a_study_once(side, tmp_path):
    for number in range(8):
        reported(side, tmp_path, 1, 2, study=f"{STUDY}.{number}", name=f"2.25.{number + 1}")
    side.clock.now += 10 * DAY_S
    removed, barrier = [], threading.Barrier(3)

    def clean():
        keeper = retention(side, tmp_path, age_days=1)
        barrier.wait()
        removed.extend(keeper.clean())

    threads = [threading.Thread(target=clean) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.study_uid for one in removed) == sorted(f"{STUDY}.{number}" for number in range(8))
    assert len(_removals(side)) == 8
    assert _spooled(tmp_path) == []


def test_report_objects_go_later_if_at_all_and_only_after_the_images(side, tmp_path):
    reported(side, tmp_path, 1)
    reported(side, tmp_path, 1, study=OTHER, name="2.25.2")
    send(side, 2, study=OTHER)
    look(side, study=OTHER)
    close_round(side, OTHER)  # noted: its images stay
    side.clock.now += 10 * DAY_S
    keeper = retention(side, tmp_path, age_days=1, keep_results_days=30)
    assert [str(one.what) for one in keeper.clean()] == ["images"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["2.25.1.dcm", "2.25.2.dcm"]
    side.clock.now += 21 * DAY_S
    (removed,) = keeper.clean()
    assert (removed.study_uid, str(removed.what), removed.files) == (STUDY, "results", 1)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["2.25.2.dcm"]
    assert keeper.clean() == []
    assert [one[0] for one in _removals(side)] == ["images", "results"]


def test_nothing_is_put_on_record_where_there_is_no_spool(side, tmp_path):
    reported(side, tmp_path, 1)
    side.clock.now += 10 * DAY_S
    elsewhere = retention(side, tmp_path / "elsewhere", age_days=1)
    with pytest.raises(NoSpool):
        elsewhere.clean()
    assert _removals(side) == []


def test_an_operator_forgets_a_failed_study_and_it_is_drafted_if_it_comes_again(side, tmp_path):
    job_id = failed(side, 1, 2)
    (tmp_path / "work" / job_id).mkdir(parents=True)
    (tmp_path / "work" / job_id / "input.npz").write_bytes(b"made of images")
    giving = registry_facts.Giving(STUDY, side.clock.now, "me", "cli", {"age_years": 60})
    registry_facts.keep(side.database, giving)
    keeper = retention(side, tmp_path)
    removed = keeper.forget(STUDY)
    assert removed is not None
    assert removed.files == 2
    assert _spooled(tmp_path) == []
    assert list((tmp_path / "work").iterdir()) == []
    assert registry_facts.newest(side.database, STUDY) is None
    assert keeper.forget(STUDY) is None
    # A retry would find nothing, and is told so
    with pytest.raises(operating.NotPossible, match="2 of its images were removed"):
        operating.retry(side.database, STUDY, side.clock.now)
    # A part of it that comes again is not drafted from
    send(side, 1)
    assert close_round(side)[0] is Opened.LATE
    # All of it is, in the job that it had
    send(side, 2)
    assert close_round(side) == (Opened.REOPENED, job_id)
    report(side, job_id, [], tmp_path)


def test_a_withdrawal_needs_no_images_and_another_draft_does(side, tmp_path):
    job_id = reported(side, tmp_path, 1)
    side.clock.now += 10 * DAY_S
    retention(side, tmp_path, age_days=1).clean()
    retractions.request(side.database, STUDY, RejectionReason.QUALITY, "wrong", "PACS", side.clock.now)
    deliver = claim(side.database, job_id, Stage.DELIVER, side.clock.now)
    progress.shelve(side.database, deliver, JobState.FAILED, "code", "refused", "", side.clock.now)
    assert operating.retry(side.database, STUDY, side.clock.now).stage is Stage.DELIVER
    with side.database.transaction() as session:
        session.execute(update(Job).values(state=JobState.WITHDRAWN))
    with pytest.raises(operating.NotPossible, match="1 of its images were removed"):
        operating.retry(side.database, STUDY, side.clock.now)


def test_the_thread_goes_on_after_trouble_and_ends_when_told(side, tmp_path, monkeypatch):
    reported(side, tmp_path, 1)
    side.clock.now += 10 * DAY_S
    keeper, stop, passes = retention(side, tmp_path, age_days=1), threading.Event(), []
    real = keeper.clean

    def clean(told):
        passes.append(told)
        if len(passes) == 1:
            raise OSError(5, "Input/output error")
        stop.set()
        return real()

    monkeypatch.setattr(keeper, "clean", clean)
    keeper.run(stop, interval_s=0)
    assert len(passes) == 2
    assert _spooled(tmp_path) == []


def test_what_was_freed_is_a_metric(side, tmp_path):
    reported(side, tmp_path, 1)
    size_bytes = _rows(side)[0].size_bytes
    side.clock.now += 10 * DAY_S
    retention(side, tmp_path, age_days=1).clean()
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"))
    shown = generate_latest(make_registry(side.database, nowhere, side.clock)).decode()
    nowhere.close()
    found = {line for line in shown.splitlines() if line.startswith("pirtad_freed_bytes_total{")}
    assert found == {
        f'pirtad_freed_bytes_total{{why="age"}} {float(size_bytes)}',
        'pirtad_freed_bytes_total{why="watermark"} 0.0',
        'pirtad_freed_bytes_total{why="operator"} 0.0',
    }


def test_the_commands(side, tmp_path, monkeypatch):
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PIRTAD_RETENTION__AGE_DAYS", "1")
    reported(side, tmp_path, 1)  # in 1970, by the test's clock
    failed(side, 1, study=OTHER)
    # What would be removed, and what stays
    shown = runner.invoke(app, ["clean", "--dry-run", "--json"])
    told = json.loads(shown.stdout)
    assert [one["study_uid"] for one in told["planned"]] == [STUDY]
    assert told["kept"] == {str(Kept.SHELVED): 1}
    assert (told["removed"], len(_spooled(tmp_path))) == ([], 2)
    assert f"{STUDY}  1 images" in runner.invoke(app, ["clean", "--dry-run"]).stdout
    # Removed
    assert runner.invoke(app, ["clean"]).stdout.startswith(f"{STUDY}  1 images")
    assert len(_spooled(tmp_path)) == 1
    shown = runner.invoke(app, ["show", STUDY]).stdout
    assert "images_removed" in shown
    assert "images removed" in shown
    # By an operator's word
    assert runner.invoke(app, ["forget", OTHER], input="n\n").exit_code == 1
    assert len(_spooled(tmp_path)) == 1
    assert "1 images removed" in runner.invoke(app, ["forget", OTHER, "--yes"]).stdout
    assert "no images any more" in runner.invoke(app, ["forget", OTHER, "--yes"]).stdout
    assert _spooled(tmp_path) == []
    assert runner.invoke(app, ["forget", "1.2.404", "--yes"]).exit_code == 4
