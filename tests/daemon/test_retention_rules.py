"""Retention on a real spool: what goes by age or below the mark, and what stays."""

from __future__ import annotations

import pytest
import redis
from prometheus_client import generate_latest
from support.receiving import STUDY
from support.removals import detail, instances, removals, spooled
from support.retaining import DAY_S, claim, close_round, failed, look, reported, retention, send

from pirtad.daemon.web.metrics import make_registry
from pirtad.worker.contract import Stage
from pirtad.worker.ledger import retention as ledger
from pirtad.worker.ledger import retractions
from pirtad.worker.ledger.rounds import Opened
from pirtad.worker.ledger.tables import Shipment
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.retention import Why

OTHER = f"{STUDY}9"


def test_the_images_of_a_delivered_study_go_by_age_and_its_report_stays(side, tmp_path):
    reported(side, tmp_path, 1, 2, 3)
    size_bytes = sum(path.stat().st_size for path in spooled(tmp_path))
    keeper = retention(side, tmp_path, age_days=2)
    # Given a day, nothing goes
    side.clock.now += DAY_S
    assert keeper.clean() == []
    assert len(spooled(tmp_path)) == 3
    # Given two
    side.clock.now += DAY_S + 1
    (removed,) = keeper.clean()
    # Then its images are gone, its directory too, its rows and its report are not
    assert (removed.study_uid, removed.files, removed.size_bytes) == (STUDY, 3, size_bytes)
    assert spooled(tmp_path) == []
    assert [path for path in (tmp_path / "spool").glob("*/*") if path.parent.name != ".incoming"] == []
    assert [(row.removed_at is not None, row.path) for row in instances(side)] == [(True, "")] * 3
    assert (tmp_path / "results" / "2.25.1.dcm").is_file()
    # and the journal tells of it, as do the study's events and the total
    assert removals(side) == [("images", "age", 3, size_bytes, True)]
    event = detail(side).events[-1]
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
    kept = spooled(tmp_path)
    side.clock.now += 1000 * DAY_S
    side.free_bytes = 0
    keeper = retention(side, tmp_path, age_days=1, free_below_bytes=10**12)
    assert keeper.clean() == []
    assert spooled(tmp_path) == kept != []
    assert sum(keeper.outlook().kept.values()) == 1


def test_below_the_mark_the_oldest_delivered_goes_first_and_no_more_than_needed(side, tmp_path, monkeypatch):
    # Given three delivered studies, the second sent the oldest
    for study, age_s, name in ((STUDY, 5000, "2.25.1"), (OTHER, 9000, "2.25.2"), (f"{OTHER}.9", 1000, "2.25.3")):
        side.clock.now = 1e6 - age_s
        reported(side, tmp_path, 1, study=study, name=name)
    side.clock.now = 1e6
    one = instances(side)[0].size_bytes
    # and a disk that frees what is unlinked, some bytes short of the mark
    at_first = len(spooled(tmp_path))
    keeper = retention(side, tmp_path, free_below_bytes=10**9)
    keeper._free_bytes = lambda: 10**9 - one - 1 + one * (at_first - len(spooled(tmp_path)))
    assert [planned.study_uid for planned in keeper.outlook().planned] == [OTHER, STUDY]
    assert [removed.study_uid for removed in keeper.clean()] == [OTHER, STUDY]
    assert [why for _, why, *_ in removals(side)] == ["watermark", "watermark"]
    assert len(spooled(tmp_path)) == 1


def test_with_the_disk_asked_each_time_less_is_removed_than_was_planned(side, tmp_path):
    for number, study in enumerate((STUDY, OTHER)):
        reported(side, tmp_path, 1, study=study, name=f"2.25.{number + 1}")
    side.clock.now += 5000
    keeper = retention(side, tmp_path, free_below_bytes=10**12)
    side.free_bytes = 0
    free = iter((0, 0, 10**12))
    keeper._free_bytes = lambda: next(free)  # planned with none; none before the first, enough before the second
    assert len(keeper.clean()) == 1


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
    assert [one[0] for one in removals(side)] == ["images", "results"]


def test_what_was_freed_is_a_metric(side, tmp_path):
    reported(side, tmp_path, 1)
    size_bytes = instances(side)[0].size_bytes
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
