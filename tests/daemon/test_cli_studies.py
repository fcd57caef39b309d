"""`pirtad status`, `show`, `retry` and `cancel` on a ledger with a study in every state."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.filled_ledger import REPORT, fill, uid_of
from support.ledger import new_ledger
from typer.testing import CliRunner, Result

from pirtad.daemon.cli.main import app
from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import open_ledger

NASTY = "[red]not markup[/red] [/] \x1b[31m"


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "240")
    # A file, as the Unix socket of the queue needs a short path and there is none here.
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", "/nonexistent")
    monkeypatch.setenv("PIRTAD_STORAGE__DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    return tmp_path


@pytest.fixture
def filled(data_dir: Path) -> Path:
    ledger = new_ledger(data_dir)
    fill(ledger, time.time(), NASTY)
    ledger.close()
    return data_dir


def pirtad(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def state_of(data_dir: Path, study_uid: str) -> StudyState:
    ledger = new_ledger(data_dir)
    detail = views.study(ledger, study_uid)
    ledger.close()
    assert detail is not None
    return detail.study.state


def test_status_lists_every_study_counts_queues_and_notices(filled: Path) -> None:
    result = pirtad("status")

    assert result.exit_code == 0
    for state in StudyState:
        assert uid_of(state) in result.stdout
        assert f"{state.replace('_', ' ')} 1" in result.stdout
    assert "queues:  not reachable" in result.stdout
    assert "Send the diffusion series, then retry." in result.stdout
    assert "no TCP connection to ORTHANC" in result.stdout
    assert "empty_association: CT1 sent nothing" in result.stdout
    # Free text is not taken for rich's markup, nor does it reach the terminal as a control sequence.
    assert "[red]not markup[/red]" in result.stdout
    assert "\x1b[31m" not in result.stdout


def test_status_as_json_is_what_the_api_gives(filled: Path) -> None:
    shown = json.loads(pirtad("status", "--json").stdout)
    assert shown["counts"] == {str(state): 1 for state in StudyState}
    assert shown["queues"] is None
    assert [study["state"] for study in json.loads(pirtad("status", "--json", "--limit", "1").stdout)["studies"]] == [
        "cancelled"
    ]


def test_status_of_nothing(data_dir: Path) -> None:
    open_ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}").close()
    assert "no study yet" in pirtad("status").stdout


def test_a_question_makes_no_ledger(data_dir: Path) -> None:
    result = pirtad("status")
    assert (result.exit_code, "no ledger at" in result.stderr) == (4, True)
    assert not (data_dir / "ledger.sqlite").exists()


def test_show_tells_everything_about_a_study(filled: Path) -> None:
    result = pirtad("show", uid_of(StudyState.REPORTED))

    assert result.exit_code == 0
    assert "AI DRAFT - NOT REVIEWED - not for diagnosis" in result.stdout
    for line in filter(None, REPORT.splitlines()):
        assert line in result.stdout
    assert "ORTHANC@127.0.0.1:4242: delivered" in result.stdout
    assert "study_opened" in result.stdout

    set_aside = pirtad("show", uid_of(StudyState.SET_ASIDE)).stdout
    assert "[no_dwi]" in set_aside
    assert "AI DRAFT" not in set_aside

    as_json = json.loads(pirtad("show", uid_of(StudyState.FAILED), "--json").stdout)
    assert as_json["study"]["hint"] == "check the AE titles on both sides"


def test_retry_and_cancel_do_it_once(filled: Path) -> None:
    failed = uid_of(StudyState.FAILED)

    assert pirtad("retry", failed).exit_code == 0
    assert state_of(filled, failed) is StudyState.QUEUED

    again = pirtad("retry", failed)
    assert again.exit_code == 4
    assert "only set aside, failed or cancelled ones are retried" in again.stderr

    assert pirtad("cancel", failed).exit_code == 0
    assert state_of(filled, failed) is StudyState.CANCELLED
    assert pirtad("cancel", failed).exit_code == 4


def test_an_unknown_study_ends_with_4(filled: Path) -> None:
    for command in ("show", "retry", "cancel"):
        result = pirtad(command, "1.2.3")
        assert result.exit_code == 4
        assert "1.2.3" in result.stderr


def test_a_ledger_that_can_not_be_reached_ends_with_3(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data_dir / "broken.sqlite").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("PIRTAD_STORAGE__DATABASE_URL", f"sqlite:///{data_dir / 'broken.sqlite'}")
    result = pirtad("status")
    assert result.exit_code == 3
    assert "ledger can't be opened" in result.stderr
