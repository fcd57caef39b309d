"""`pirtad registry`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.filled_ledger import fill, uid_of
from support.ledger import new_ledger
from typer.testing import CliRunner, Result

from pirtad.daemon.cli.main import app
from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import registry_facts
from pirtad.worker.ledger.registry_facts import Giving

COMING = "1.2.840.99.77"


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", "/nonexistent")
    monkeypatch.setenv("PIRTAD_STORAGE__DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger = new_ledger(tmp_path)
    fill(ledger, time.time())
    ledger.close()
    return tmp_path


def pirtad(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["registry", *arguments])


def kept(data_dir: Path, study_uid: str) -> Giving | None:
    ledger = new_ledger(data_dir)
    giving = registry_facts.newest(ledger, study_uid)
    ledger.close()
    return giving


def test_facts_are_kept_shown_and_taken_back(data_dir: Path) -> None:
    given = pirtad(COMING, "--age", "75", "--sex", "Female", "--nihss", "0", "--history", "HTN, Afib", "--by", "Dr. A")
    assert (given.exit_code, given.stdout) == (0, "age, sex, NIHSS, history: kept; the study has not come yet\n")
    giving = kept(data_dir, COMING)
    assert giving is not None
    assert giving.facts == {"age_years": 75, "sex": "Female", "nihss": 0, "history": "HTN, Afib"}
    assert (giving.given_by, giving.via) == ("Dr. A", "cli")

    shown = pirtad(COMING)
    assert "by Dr. A (cli)" in shown.stdout
    assert "history: HTN, Afib" in shown.stdout
    assert json.loads(pirtad(COMING, "--json").stdout)["facts"] == giving.facts

    assert pirtad(COMING, "--clear").exit_code == 0
    assert kept(data_dir, COMING) is None
    assert pirtad(COMING).exit_code == 4


def test_json_tells_what_happens_with_them(data_dir: Path) -> None:
    told = json.loads(pirtad(uid_of(StudyState.QUEUED), "--presentation", "Aphasia", "--json").stdout)
    assert told["kept"] == ["presentation"]
    assert told["told"] == "kept; used for the draft to come"
    assert told["given_by"]


def test_a_reported_study_takes_none(data_dir: Path) -> None:
    reported = uid_of(StudyState.REPORTED)
    refused = pirtad(reported, "--nihss", "12")
    assert refused.exit_code == 4
    assert "radiologist" in refused.stderr
    assert kept(data_dir, reported) is None


@pytest.mark.parametrize(
    "wrong",
    [
        ("--nihss", "43"),
        ("--age", "-1"),
        ("--sex", "F"),
        ("--history", "a\x1b[2J"),
        ("--patient-id", "PID-1"),
        ("--nihss", "4", "--clear"),
        ("--nihss", "4", "--by", "\x07"),
    ],
)
def test_what_can_not_be_right_is_wrong_usage(data_dir: Path, wrong: tuple[str, ...]) -> None:
    assert pirtad(COMING, *wrong).exit_code == 2
    assert kept(data_dir, COMING) is None


def test_what_is_no_uid_is_wrong_usage(data_dir: Path) -> None:
    assert pirtad("patient-7", "--nihss", "4").exit_code == 2
