"""`pirtad shelf` and `pirtad retry --all-failed` on a ledger with studies that failed for different reasons."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.ledger import new_ledger
from support.shipping import at_delivery, load, write_object
from typer.testing import CliRunner, Result

from pirtad.daemon.cli.main import app
from pirtad.worker.contract import JobState, StudyState
from pirtad.worker.ledger import deliveries, progress, shipments, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import Commitment

ARCHIVE, BOTH, INPUT = "1.2.840.99.11", "1.2.840.99.12", "1.2.840.99.13"


def fail_at(
    database: Database, directory: Path, study_uid: str, failing: dict[str, str], arrived: tuple[str, ...]
) -> None:
    """A study whose delivery failed at these destinations, with these codes, and arrived at those."""
    job = at_delivery(database, study_uid)
    kept = write_object(directory, f"2.25.{study_uid[-2:]}")
    load(database, job, (*failing, *arrived), kept)
    shipments.open_shares(database, job, (*failing, *arrived))
    for name in arrived:
        deliveries.mark_delivered(database, job, name, kept, 0x0000, time.time())
        shipments.settle(database, job, name, Commitment.COMMITTED, time.time())
    for name, code in failing.items():
        shipments.fail(database, job, name, code, f"{name} said no", "allow it", time.time())
    code = next(iter(failing.values()))
    progress.shelve(database, job, JobState.FAILED, code, "said no", "allow it", time.time())


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", "/nonexistent")
    monkeypatch.setenv("PIRTAD_STORAGE__DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger = new_ledger(tmp_path)
    fail_at(ledger, tmp_path, ARCHIVE, {"archive": "http-413"}, ("pacs",))
    fail_at(ledger, tmp_path, BOTH, {"archive": "not-committed", "pacs": "rejected"}, ())
    job = at_delivery(ledger, INPUT)
    progress.shelve(ledger, job, JobState.SET_ASIDE, "no_adc", "no ADC series", "send it", time.time())
    ledger.close()
    return tmp_path


def pirtad(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def states(data_dir: Path) -> dict[str, StudyState]:
    ledger = new_ledger(data_dir)
    found = {view.study_uid: view.state for view in views.studies(ledger)}
    ledger.close()
    return found


def test_the_shelf_shows_what_is_on_it_and_why(data_dir: Path) -> None:
    shown = pirtad("shelf").stdout
    for text in (ARCHIVE, BOTH, INPUT, "http-413", "no_adc", "archive, pacs", "allow it"):
        assert text in shown
    listed = json.loads(pirtad("shelf", "--destination", "archive", "--json").stdout)
    assert [one["study_uid"] for one in listed] == [ARCHIVE, BOTH]
    assert listed[0]["delivered_to"] == ["pacs"]
    assert [one["study_uid"] for one in json.loads(pirtad("shelf", "--reason", "rejected", "--json").stdout)] == [BOTH]


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ((), {ARCHIVE, BOTH}),
        (("--destination", "pacs"), {BOTH}),
        (("--destination", "archive", "--reason", "http-413"), {ARCHIVE}),
        (("--reason", "no_adc"), set()),
    ],
)
def test_all_that_failed_are_queued_again(data_dir: Path, options: tuple[str, ...], again: set[str]) -> None:
    # Nothing happens in a rehearsal, which names the same studies
    before = states(data_dir)
    rehearsed = pirtad("retry", "--all-failed", *options, "--dry-run")
    assert rehearsed.exit_code == 0
    assert states(data_dir) == before
    done = pirtad("retry", "--all-failed", *options)
    assert done.exit_code == 0
    assert set(done.stdout.split()) == set(rehearsed.stdout.split()) == again
    after = states(data_dir)
    assert {uid for uid, state in after.items() if state is StudyState.QUEUED} == again
    assert after[INPUT] is StudyState.SET_ASIDE


@pytest.mark.parametrize("options", [(), ("--dry-run",), (ARCHIVE, "--all-failed"), (ARCHIVE, "--reason", "x")])
def test_what_makes_no_sense_is_refused(data_dir: Path, options: tuple[str, ...]) -> None:
    before = states(data_dir)
    assert pirtad("retry", *options).exit_code == 2
    assert states(data_dir) == before


def test_status_and_show_tell_each_destination(data_dir: Path) -> None:
    shown = pirtad("show", ARCHIVE).stdout
    assert "destination archive: failed: archive said no; allow it" in shown
    assert "destination pacs: done: committed" in shown
    listed = json.loads(pirtad("status", "--json").stdout)
    (study,) = [one for one in listed["studies"] if one["study_uid"] == ARCHIVE]
    assert {one["destination"]: one["state"] for one in study["shipments"]} == {"archive": "failed", "pacs": "done"}
