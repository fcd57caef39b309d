"""From bytes to status, without a network: Success exactly when file and registration are there."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError
from support.ledger import new_ledger
from support.receiving import PATIENT, STUDY, Clock, arrival, encoded, image

from pirtad.daemon import receiver as receiver_module
from pirtad.daemon.notices import Notices
from pirtad.daemon.receiver import Receiver
from pirtad.daemon.spool import Spool
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Instance


@pytest.fixture
def database(tmp_path):
    database = new_ledger(tmp_path)
    yield database
    database.close()


@pytest.fixture
def receiver(tmp_path, database):
    spool = Spool(tmp_path)
    spool.prepare()
    return Receiver(spool, database, Notices(database, Clock()), Clock())


def _rows(database) -> list[Instance]:
    with database.reading() as session:
        return list(session.scalars(select(Instance).order_by(Instance.id)))


def _files(tmp_path, folder):
    return sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())


def test_success_means_file_and_row(receiver, database, tmp_path):
    data = encoded(image())
    assert receiver.receive(arrival(data)) == 0x0000
    (row,) = _rows(database)
    assert (tmp_path / row.path).read_bytes().endswith(data)
    assert row.size_bytes == (tmp_path / row.path).stat().st_size
    assert (row.sop_instance_uid, row.sop_class_uid) == (f"{STUDY}.2.1", MRImageStorage)
    assert (row.transfer_syntax_uid, row.calling_ae) == (ExplicitVRLittleEndian, "SCANNER")
    assert row.sha256 in row.path


def test_a_duplicate_is_success_and_one_row(receiver, database, tmp_path):
    data = encoded(image())
    assert [receiver.receive(arrival(data)) for _ in range(3)] == [0, 0, 0]
    assert len(_rows(database)) == 1
    assert len(_files(tmp_path, "spool")) == 1
    assert views.studies(database)[0].duplicates == 2


def test_a_conflict_is_success_and_both_are_kept(receiver, database, tmp_path):
    first, second = encoded(image()), encoded(image(pixels=b"\x09\x09" * 500))
    assert [receiver.receive(arrival(data)) for data in (first, second)] == [0, 0]
    assert [(tmp_path / row.path).read_bytes().endswith(data) for row, data in
            zip(_rows(database), (first, second), strict=True)] == [True, True]  # fmt: skip
    detail = views.study(database, STUDY)
    assert "conflict" in [happened.kind for happened in detail.events]


def test_a_ledger_that_is_locked_is_no_success(receiver, database, tmp_path, monkeypatch):
    # Given another process that holds the ledger, and a ledger that waits for it no longer than now
    database.close()
    blocker = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    impatient = _impatient(database)
    monkeypatch.setattr(receiver, "_database", impatient)
    # When an image comes, then its sender is told to come again
    assert receiver.receive(arrival(encoded(image()))) == 0xA700
    assert _rows(database) == []
    # And when it does, all is well
    blocker.execute("ROLLBACK")
    blocker.close()
    assert receiver.receive(arrival(encoded(image()))) == 0x0000
    assert len(_rows(database)) == 1
    impatient.close()


def _impatient(database):
    other = Database(database.url)
    event.listen(other.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=0"))
    return other


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error")), 0xA700),
        (RuntimeError(f"unforeseen, and it quotes {PATIENT}"), 0x0110),
        (KeyError(PATIENT), 0x0110),
    ],
)
def test_a_registration_that_fails_is_never_success(receiver, database, tmp_path, monkeypatch, error, status):
    def fails(*_):
        raise error

    monkeypatch.setattr(receiver_module.receiving, "register", fails)
    with structlog.testing.capture_logs() as logged:
        assert receiver.receive(arrival(encoded(image()))) == status
    assert PATIENT not in str(logged)
    assert _rows(database) == []
    assert len(_files(tmp_path, "quarantine")) == (0 if status == 0xA700 else 2)
    assert PATIENT not in str(views.notices(database))


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 0xA700), (errno.EIO, 0x0110)])
def test_a_disk_that_fails_is_never_success(receiver, database, tmp_path, monkeypatch, call, number, status):
    def fails(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(os, call, fails)
    assert receiver.receive(arrival(encoded(image()))) == status
    monkeypatch.undo()
    assert _rows(database) == []
    assert _files(tmp_path, "spool") == []


def _other_study(dataset):
    dataset.StudyInstanceUID = "../../etc/passwd"


def _no_series(dataset):
    del dataset.SeriesInstanceUID


@pytest.mark.parametrize(
    ("data", "command", "status"),
    [
        (b"", {}, 0xC000),
        (b"junk that is no dataset", {}, 0xC000),
        (encoded(image())[:100], {}, 0xC000),
        (encoded(image()), {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2"}, 0xA900),
        (encoded(image()), {"sop_instance_uid": "1.2.3"}, 0xA900),
        (encoded(image(), implicit=True), {}, 0xC000),
        (b"\0" * 128 + b"DICM" + encoded(image()), {}, 0xC000),
    ],
)
def test_what_is_not_the_instance_is_refused_and_kept_apart(receiver, database, tmp_path, data, command, status):
    assert receiver.receive(arrival(data, **command)) == status
    assert _rows(database) == []
    assert _files(tmp_path, "spool") == []
    kept, note = _files(tmp_path, "quarantine")
    assert kept.read_bytes() == data
    (notice,) = views.notices(database)
    assert notice.kind == "refused"
    assert kept.name in notice.text
    assert PATIENT not in notice.text + note.read_text()


@pytest.mark.parametrize("change", [_other_study, _no_series])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_never_become_paths(receiver, database, tmp_path, change):
    dataset = image()
    change(dataset)
    before = set(tmp_path.parent.iterdir())
    assert receiver.receive(arrival(encoded(dataset))) == 0xC000
    assert set(tmp_path.parent.iterdir()) == before
    assert _files(tmp_path, "spool") == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 300), value=st.binary(min_size=1, max_size=4))
def test_success_implies_a_row_whatever_came(receiver, database, tmp_path, position, value):
    data = bytearray(encoded(image()))
    data[position : position + len(value)] = value
    status = receiver.receive(arrival(bytes(data)))
    assert status in {0x0000, 0xA900, 0xC000}
    if status == 0x0000:
        assert any((tmp_path / row.path).read_bytes().endswith(bytes(data)) for row in _rows(database))


def test_notices_are_bounded(database, tmp_path):
    clock = Clock()
    notices = Notices(database, clock)
    for _ in range(100):
        notices.note("refused", "again")
    notices.note("empty_association", "of another kind")
    clock.now += 60
    notices.note("refused", "the next minute")
    kinds = [notice.kind for notice in views.notices(database, limit=1000)]
    assert (kinds.count("refused"), kinds.count("empty_association")) == (31, 1)
    newest = next(notice for notice in views.notices(database, limit=1) if notice.kind == "refused")
    assert newest.data == {"left_out_before": 70}
