"""`pirtad retract` on a ledger with a study in every state."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.filled_ledger import ROOT, fill, receive, report, uid_of
from support.ledger import new_ledger
from typer.testing import CliRunner, Result

from pirtad.daemon.cli.main import app
from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import looks, receiving, views
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.ledger.views import StudyDetail

REPORTED = uid_of(StudyState.REPORTED)
WHY = "The side is wrong."
AGREED = ("--reason", WHY, "--code", "patient-safety", "--yes")


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", "/nonexistent")
    monkeypatch.setenv("PIRTAD_STORAGE__DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    monkeypatch.setenv("PIRTAD_PACS__AE_TITLE", "ORTHANC")
    monkeypatch.setenv("PIRTAD_PACS__HOST", "127.0.0.1")
    monkeypatch.setenv("PIRTAD_PACS__PORT", "4242")
    ledger = new_ledger(tmp_path)
    fill(ledger, time.time())
    ledger.close()
    return tmp_path


def pirtad(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed)


def detail_of(directory: Path, study_uid: str) -> StudyDetail:
    ledger = new_ledger(directory)
    detail = views.study(ledger, study_uid)
    ledger.close()
    assert detail is not None
    return detail


def test_it_withdraws_once_and_tells_it_as_json(filled: Path) -> None:
    told = json.loads(pirtad("retract", REPORTED, *AGREED, "--json").stdout)
    (sent,) = detail_of(filled, REPORTED).deliveries
    assert told == {
        "study_uid": REPORTED,
        "outcome": "requested",
        "state": "withdrawing",
        "code": "113037",
        "meaning": "Rejected for Patient Safety Reasons",
        "withdraws": [sent.sop_instance_uid],
    }
    again = pirtad("retract", REPORTED, *AGREED)
    assert (again.exit_code, "no second one is sent" in again.stdout) == (0, True)
    other = pirtad("retract", REPORTED, "--reason", "Useless.", "--yes")
    assert (other.exit_code, "second note is not sent" in other.stderr) == (4, True)
    events = [event.kind for event in detail_of(filled, REPORTED).events]
    assert events.count("withdrawal_requested") == 1
    shown = pirtad("show", REPORTED).stdout
    assert "TO BE WITHDRAWN - AI DRAFT" in shown
    assert f"Rejected for Patient Safety Reasons: {WHY}" in shown


def test_the_operator_sees_what_is_sent_and_may_say_no(filled: Path) -> None:
    refused = pirtad("retract", REPORTED, "--reason", WHY, typed="n\n")
    assert refused.exit_code == 1
    for said in ("ORTHANC@127.0.0.1:4242", "Rejected for Quality Reasons (113001)", "narrative 2.25.", WHY):
        assert said in refused.stderr
    assert "no patient data" in refused.stderr
    assert detail_of(filled, REPORTED).study.state is StudyState.REPORTED
    # and without anybody to ask, nothing is done
    assert pirtad("retract", REPORTED, "--reason", WHY).exit_code == 1
    assert detail_of(filled, REPORTED).study.state is StudyState.REPORTED
    assert pirtad("retract", REPORTED, "--reason", WHY, typed="y\n").exit_code == 0
    assert detail_of(filled, REPORTED).study.state is StudyState.WITHDRAWING


@pytest.mark.parametrize("reason", [" ", "patient-safety", "x" * 1001])
def test_a_reason_is_words_and_no_code(filled: Path, reason: str) -> None:
    assert pirtad("retract", REPORTED, "--reason", reason, "--yes").exit_code == 2
    assert detail_of(filled, REPORTED).study.state is StudyState.REPORTED


def test_without_a_reason_or_with_another_code_it_is_wrong_usage(filled: Path) -> None:
    assert pirtad("retract", REPORTED, "--yes").exit_code == 2
    assert pirtad("retract", REPORTED, "--reason", WHY, "--code", "boredom", "--yes").exit_code == 2


def test_what_was_not_delivered_is_not_withdrawn(filled: Path) -> None:
    for state in StudyState:
        if state in (StudyState.REPORTED, StudyState.WITHDRAWING, StudyState.WITHDRAWN):
            continue
        refused = pirtad("retract", uid_of(state), *AGREED)
        assert refused.exit_code == 4, state
        assert detail_of(filled, uid_of(state)).study.state is state
    assert pirtad("retract", "1.2.3", *AGREED).exit_code == 4


def test_another_pacs_gets_no_note_unless_it_is_the_same(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIRTAD_PACS__PORT", "104")
    refused = pirtad("retract", REPORTED, *AGREED)
    assert (refused.exit_code, "--moved" in refused.stderr) == (4, True)
    assert detail_of(filled, REPORTED).study.state is StudyState.REPORTED
    assert pirtad("retract", REPORTED, *AGREED, "--moved").exit_code == 0


def test_a_withdrawn_study_can_be_drafted_anew(filled: Path) -> None:
    withdrawn = uid_of(StudyState.WITHDRAWN)
    assert "WITHDRAWN - AI DRAFT" in pirtad("show", withdrawn).stdout
    assert pirtad("retry", withdrawn).exit_code == 0
    detail = detail_of(filled, withdrawn)
    assert (detail.study.state, detail.report_text, detail.is_retracted) == (StudyState.QUEUED, "", False)
    # What was withdrawn is still told
    assert [(one.role, one.is_withdrawn) for one in detail.deliveries] == [("narrative", True), ("retraction", False)]


REVISED = f"{ROOT}.99"


@pytest.fixture
def revised(filled: Path) -> tuple[str, str]:
    """The jobs of a delivered report and of the one that revises it."""
    ledger = new_ledger(filled)
    at = time.time() - 3600
    jobs = []
    for series in (2, 3):
        receive(ledger, REVISED, at, series=series)
        every = frozenset(f"{REVISED}.{number}" for number in range(1, series + 1))
        used = tuple(f"{uid}.1" for uid in every)
        seen = Seen(True, Counts.MET, used, every, frozenset(), "", "")
        looks.keep_look(ledger, REVISED, looks.files_of(ledger, REVISED), seen, at + 5)
        _, job_id = receiving.open_job(ledger, REVISED, at + 10)
        report(ledger, job_id, at + 20)
        jobs.append(job_id)
        at += 600
    ledger.close()
    first, second = jobs
    return first, second


def test_a_revised_report_is_withdrawn_with_the_one_before_it(filled: Path, revised: tuple[str, str]) -> None:
    first, second = revised
    # The operator is shown what is of which report, and may say no
    refused = pirtad("retract", REVISED, "--reason", WHY, typed="n\n")
    assert refused.exit_code == 1
    sent = {one.job_id: one.sop_instance_uid for one in detail_of(filled, REVISED).deliveries}
    assert sorted(sent) == sorted(revised)
    for job_id, uid in sent.items():
        assert f"narrative {uid} of job {job_id}" in refused.stderr
    # Then one note is to withdraw both
    told = json.loads(pirtad("retract", REVISED, *AGREED, "--json").stdout)
    assert (told["outcome"], told["withdraws"]) == ("requested", [sent[first], sent[second]])
    assert [one.is_withdrawn for one in detail_of(filled, REVISED).deliveries] == [True, True]


def test_one_report_alone_is_withdrawn_by_its_job(filled: Path, revised: tuple[str, str]) -> None:
    first, _ = revised
    told = json.loads(pirtad("retract", REVISED, *AGREED, "--job", first, "--json").stdout)
    assert (told["outcome"], told["state"], len(told["withdraws"])) == ("requested", "reported", 1)
    assert {one.job_id: one.is_withdrawn for one in detail_of(filled, REVISED).deliveries}[first]
    other = pirtad("retract", REPORTED, *AGREED, "--job", first)
    assert (other.exit_code, f"has no job {first}" in other.stderr) == (4, True)


def test_a_report_that_arrives_while_the_operator_is_asked_is_not_withdrawn(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a report, which the operator is shown
    ledger = new_ledger(filled)
    at = time.time() - 3600
    job_ids = []

    def bring(series: int) -> None:
        receive(ledger, REVISED, at, series=series)
        every = frozenset(f"{REVISED}.{number}" for number in range(1, series + 1))
        used = tuple(f"{uid}.1" for uid in every)
        seen = Seen(True, Counts.MET, used, every, frozenset(), "", "")
        looks.keep_look(ledger, REVISED, looks.files_of(ledger, REVISED), seen, at + 5)
        _, job_id = receiving.open_job(ledger, REVISED, at + 10)
        report(ledger, job_id, at + 20)
        job_ids.append(job_id)

    bring(2)

    # When a revised one arrives before the answer
    def agree(*_: object, **__: object) -> bool:
        bring(3)
        return True

    with monkeypatch.context() as patched:
        patched.setattr("typer.confirm", agree)
        refused = pirtad("retract", REVISED, "--reason", WHY)
    ledger.close()
    # Then neither is withdrawn, and the operator is to look again
    assert (refused.exit_code, "ask again" in refused.stderr) == (4, True)
    assert len(set(job_ids)) == 2
    assert not any(one.is_withdrawn for one in detail_of(filled, REVISED).deliveries)
    assert pirtad("retract", REVISED, "--reason", WHY, typed="y\n").exit_code == 0
    assert all(one.is_withdrawn for one in detail_of(filled, REVISED).deliveries)
