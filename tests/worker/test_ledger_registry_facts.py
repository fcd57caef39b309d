"""Facts that are given in time are kept, and never later."""

from __future__ import annotations

import json

import pytest
from support.filled_ledger import claimed, receive, report
from support.ledger import STUDY

from pirtad.worker.contract import JobState, Stage
from pirtad.worker.ledger import operating, progress, receiving, registry_facts, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.registry_facts import Giving


def give(database: Database, nihss: int = 12, study_uid: str = STUDY) -> str:
    return registry_facts.keep(database, Giving(study_uid, 50.0, "HIS", "api", {"nihss": nihss, "history": "Lupus"}))


def kept(database: Database) -> int | None:
    giving = registry_facts.newest(database, STUDY)
    return None if giving is None else giving.facts["nihss"]


def test_facts_wait_for_a_study_that_has_not_come(database: Database) -> None:
    assert kept(database) is None
    assert "not come" in give(database)
    assert kept(database) == 12
    assert registry_facts.newest(database, f"{STUDY}.1") is None
    receive(database, STUDY, 60.0)
    assert "being received" in give(database, 13)
    assert kept(database) == 13
    events = views.study(database, STUDY).events  # type: ignore[union-attr]
    assert events[-1].text == "history, nihss; by HIS (api)"
    assert "Lupus" not in json.dumps([one.data for one in events])


def test_they_are_taken_up_to_the_draft_and_not_from_there(database: Database) -> None:
    receive(database, STUDY, 0.0)
    _, job_id = receiving.open_job(database, STUDY, 1.0)
    assert "draft to come" in give(database, 1)
    prepare = claimed(database, job_id, Stage.PREPARE, 2.0)
    give(database, 2)
    progress.advance(database, prepare, Stage.INFER, 3.0)
    give(database, 3)
    infer = claimed(database, job_id, Stage.INFER, 4.0)
    with pytest.raises(NotPossible, match="pirtad cancel"):
        give(database, 4)
    # An attempt that came to nothing is followed by another, which sees what was given in between
    progress.defer(database, infer, 6.0, "no server", 5.0, is_failure=False)
    give(database, 5)
    infer = claimed(database, job_id, Stage.INFER, 7.0)
    progress.advance(database, infer, Stage.DELIVER, 8.0)
    with pytest.raises(NotPossible, match="pirtad cancel"):
        give(database, 6)
    assert kept(database) == 5
    # What the refusal says can be done can be done
    operating.cancel(database, STUDY, 9.0)
    assert "retried" in give(database, 7)
    assert operating.retry(database, STUDY, 10.0).stage is Stage.PREPARE
    assert kept(database) == 7


def test_a_report_is_never_changed(database: Database) -> None:
    receive(database, STUDY, 0.0)
    _, job_id = receiving.open_job(database, STUDY, 1.0)
    report(database, job_id, 2.0)
    with pytest.raises(NotPossible, match="radiologist"):
        give(database)
    assert kept(database) is None


def test_a_study_set_aside_takes_facts_for_its_retry(database: Database) -> None:
    receive(database, STUDY, 0.0)
    _, job_id = receiving.open_job(database, STUDY, 1.0)
    job = claimed(database, job_id, Stage.PREPARE, 2.0)
    progress.shelve(database, job, JobState.SET_ASIDE, "no_dwi", "no DWI", "", 3.0)
    assert "retried" in give(database)


def test_what_is_taken_back_is_gone_and_a_deleted_study_s_facts_too(database: Database) -> None:
    give(database)
    registry_facts.keep(database, Giving(STUDY, 60.0, "HIS", "api", {}))
    assert registry_facts.newest(database, STUDY) is None
    give(database)
    other = f"{STUDY}.9"
    give(database, 30, other)
    with database.transaction() as session:
        registry_facts.forget(session, STUDY)
    assert registry_facts.newest(database, STUDY) is None
    assert registry_facts.newest(database, other) is not None


@pytest.mark.parametrize("uid", ["", "1.2\n", "1..2", "a", "1." + "1" * 63, "1.2'; --"])
def test_what_is_no_uid_is_refused(database: Database, uid: str) -> None:
    with pytest.raises(ValueError, match="no Study Instance UID"):
        give(database, study_uid=uid)
