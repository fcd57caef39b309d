"""Passes of retention that die, meet trouble, or run beside others."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.receiving import STUDY
from support.removals import instances, jobs, removals, spooled
from support.retaining import DAY_S, claim, reported, retention

from pirtad.daemon import retention as module
from pirtad.daemon.retention import NoSpool
from pirtad.worker.contract import Stage
from pirtad.worker.ledger import retractions
from pirtad.worker.rejection import RejectionReason


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
    assert all(row.removed_at is not None for row in instances(side))
    # When retention is off by then, what was begun is finished all the same
    assert retention(side, tmp_path).clean() == []
    assert spooled(tmp_path) == []
    assert [finished for *_, finished in removals(side)] == [True]
    assert len(removals(side)) == 1


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
    assert len(spooled(tmp_path)) == 1
    assert claim(side.database, jobs(side)[0].id, Stage.DELIVER, side.clock.now).files[0].path != ""


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
    assert len(removals(side)) == 8
    assert spooled(tmp_path) == []


def test_nothing_is_put_on_record_where_there_is_no_spool(side, tmp_path):
    reported(side, tmp_path, 1)
    side.clock.now += 10 * DAY_S
    elsewhere = retention(side, tmp_path / "elsewhere", age_days=1)
    with pytest.raises(NoSpool):
        elsewhere.clean()
    assert removals(side) == []


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
    assert spooled(tmp_path) == []
