"""What an operator may do about retention: forget, withdraw, retry, and the commands."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import update
from support.receiving import STUDY
from support.removals import spooled
from support.retaining import DAY_S, claim, close_round, failed, report, reported, retention, send
from typer.testing import CliRunner

from pirtad.daemon.cli.main import app
from pirtad.worker.contract import JobState, Stage
from pirtad.worker.ledger import operating, progress, registry_facts, retractions
from pirtad.worker.ledger.rounds import Opened
from pirtad.worker.ledger.tables import Job
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.retention import Kept

OTHER = f"{STUDY}9"
runner = CliRunner()


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
    assert spooled(tmp_path) == []
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
    assert (told["removed"], len(spooled(tmp_path))) == ([], 2)
    assert f"{STUDY}  1 images" in runner.invoke(app, ["clean", "--dry-run"]).stdout
    # Removed
    assert runner.invoke(app, ["clean"]).stdout.startswith(f"{STUDY}  1 images")
    assert len(spooled(tmp_path)) == 1
    shown = runner.invoke(app, ["show", STUDY]).stdout
    assert "images_removed" in shown
    assert "images removed" in shown
    # By an operator's word
    assert runner.invoke(app, ["forget", OTHER], input="n\n").exit_code == 1
    assert len(spooled(tmp_path)) == 1
    assert "1 images removed" in runner.invoke(app, ["forget", OTHER, "--yes"]).stdout
    assert "no images any more" in runner.invoke(app, ["forget", OTHER, "--yes"]).stdout
    assert spooled(tmp_path) == []
    assert runner.invoke(app, ["forget", "1.2.404", "--yes"]).exit_code == 4
