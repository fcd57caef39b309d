"""From bytes to status, without a network: Success exactly when the image is there to stay."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import event, select
from support.receiving import PATIENT, STUDY, Clock, announced, encoded, files, image, receiving_side

from pirtad.daemon import receiver as receiver_module
from pirtad.daemon.notices import Notices
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Instance

IMAGE = encoded(image())


def _rows(database) -> list[Instance]:
    with database.reading() as session:
        return list(session.scalars(select(Instance).order_by(Instance.id)))


@pytest.mark.parametrize("fragment_bytes", [1, 100, 2**16])
def test_success_means_a_file_and_then_a_row(side, tmp_path, fragment_bytes):
    assert side.receive(IMAGE, fragment_bytes=fragment_bytes) == 0x0000
    (row,) = _rows(side.database)
    assert (tmp_path / row.path).read_bytes().endswith(IMAGE)
    assert row.size_bytes == (tmp_path / row.path).stat().st_size
    assert (row.sop_instance_uid, row.sop_class_uid) == (f"{STUDY}.2.1", MRImageStorage)
    assert (row.transfer_syntax_uid, row.calling_ae) == (ExplicitVRLittleEndian, "SCANNER")
    assert row.received_at == side.clock.now
    assert row.sha256 in row.path
    assert files(tmp_path / "spool") == [tmp_path / row.path]


@pytest.mark.parametrize("deflated", [False, True])
def test_a_header_that_is_longer_than_the_first_look(side, deflated):
    # Given so much before the Series Instance UID that the header is not in the first part looked at
    dataset = image()
    dataset.add_new(0x00090010, "LO", "SUPPORT")
    dataset.add_new(0x00091001, "OB", os.urandom(300_000))
    syntax = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    assert side.receive(encoded(dataset, deflated=deflated), transfer_syntax_uid=syntax) == 0x0000
    assert len(_rows(side.database)) == 1


def test_a_large_image_is_not_held_in_memory(side):
    intake = side.receiver.begin(announced())
    intake.write(memoryview(IMAGE[:-1000] + bytes(100_000)))
    for _ in range(50):
        intake.write(memoryview(bytes(100_000)))
    assert len(intake._head) == 0
    intake.abandon()


def test_a_duplicate_is_success_and_one_row(side, tmp_path):
    assert [side.receive(IMAGE) for _ in range(3)] == [0, 0, 0]
    assert len(_rows(side.database)) == 1
    assert len(files(tmp_path / "spool")) == 1
    assert views.studies(side.database)[0].duplicates == 2


def test_a_conflict_is_success_and_both_are_kept(side, tmp_path):
    first, second = IMAGE, encoded(image(pixels=b"\x09\x09" * 500))
    assert [side.receive(data) for data in (first, second)] == [0, 0]
    assert [(tmp_path / row.path).read_bytes().endswith(data) for row, data in
            zip(_rows(side.database), (first, second), strict=True)] == [True, True]  # fmt: skip
    detail = views.study(side.database, STUDY)
    assert "conflict" in [happened.kind for happened in detail.events]


def test_a_conflict_is_refused_where_that_is_set(tmp_path):
    with receiving_side(tmp_path, conflicting_images="refuse") as side:
        assert side.receive(IMAGE) == 0x0000
        assert side.receive(encoded(image(pixels=b"\x09\x09" * 500))) == 0x0111
        assert side.receive(IMAGE) == 0x0000
        assert len(_rows(side.database)) == len(files(tmp_path / "spool")) == 1


def test_a_ledger_that_is_locked_takes_no_more_and_loses_nothing(tmp_path, side, monkeypatch):
    # Given another process that holds the ledger, and a ledger that waits for it no longer than now
    impatient = Database(side.database.url)
    event.listen(impatient.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=0"))
    monkeypatch.setattr(side.registrar, "_database", impatient)
    blocker = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    # When images come, then the first is kept, and the next sender is told to come again
    intake = side.receiver.begin(announced())
    intake.write(memoryview(IMAGE))
    assert intake.finish() == (0x0000, "")
    assert not side.registrar.flush(0.3)
    assert side.receiver.begin(announced(sop_instance_uid=f"{STUDY}.2.2")).finish()[0] == 0xA700
    assert _rows(side.database) == []
    # And when the ledger is free all is well
    blocker.execute("ROLLBACK")
    blocker.close()
    assert side.registrar.flush(10)
    assert side.receive(encoded(image(2)), sop_instance_uid=f"{STUDY}.2.2") == 0x0000
    assert len(_rows(side.database)) == 2
    impatient.close()


def test_an_unforeseen_error_is_never_success_and_quotes_nobody(side, tmp_path, monkeypatch):
    def fails(*_):
        raise KeyError(PATIENT)

    monkeypatch.setattr(receiver_module, "require_same_instance", fails)
    with structlog.testing.capture_logs() as logged:
        assert side.receive(IMAGE) == 0x0110
    assert PATIENT not in str(logged)
    assert _rows(side.database) == []
    assert len(files(tmp_path / "quarantine")) == 2
    assert PATIENT not in str(views.notices(side.database))


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 0xA700), (errno.EIO, 0x0110)])
def test_a_disk_that_fails_is_never_success(side, tmp_path, monkeypatch, call, number, status):
    def fails(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(os, call, fails)
    assert side.receive(IMAGE) == status
    monkeypatch.undo()
    assert _rows(side.database) == []
    assert files(tmp_path / "spool") == []
    assert side.receive(IMAGE) == 0x0000


def _other_study(dataset):
    dataset.StudyInstanceUID = "../../etc/passwd"


def _no_series(dataset):
    del dataset.SeriesInstanceUID


@pytest.mark.parametrize(
    ("data", "command", "status"),
    [
        (b"", {}, 0xC000),
        (b"junk that is no dataset", {}, 0xC000),
        (IMAGE[:100], {}, 0xC000),
        (IMAGE, {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2"}, 0xA900),
        (IMAGE, {"sop_instance_uid": "1.2.3"}, 0xA900),
        (IMAGE, {"sop_instance_uid": "../../etc/passwd"}, 0xA900),
        (encoded(image(), implicit=True), {}, 0xC000),
        (b"\0" * 128 + b"DICM" + IMAGE, {}, 0xC000),
    ],
)
def test_what_is_not_the_instance_is_refused_and_kept_apart(side, tmp_path, data, command, status):
    assert side.receive(data, **command) == status
    assert _rows(side.database) == []
    assert files(tmp_path / "spool") == []
    kept, note = (path for path in sorted((tmp_path / "quarantine").iterdir()))
    assert kept.read_bytes() == data
    (notice,) = views.notices(side.database)
    assert notice.kind == "refused"
    assert kept.name in notice.text
    assert PATIENT not in notice.text + note.read_text()


@pytest.mark.parametrize("change", [_other_study, _no_series])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_never_become_paths(side, tmp_path, change):
    dataset = image()
    change(dataset)
    before = set(tmp_path.parent.iterdir())
    assert side.receive(encoded(dataset)) == 0xC000
    assert set(tmp_path.parent.iterdir()) == before
    assert files(tmp_path / "spool") == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 300), value=st.binary(min_size=1, max_size=4), fragment_bytes=st.integers(1, 500))
def test_success_implies_a_row_whatever_came(side, tmp_path, position, value, fragment_bytes):
    data = bytearray(IMAGE)
    data[position : position + len(value)] = value
    status = side.receive(bytes(data), fragment_bytes=fragment_bytes)
    assert status in {0x0000, 0xA900, 0xC000}
    if status == 0x0000:
        assert any((tmp_path / row.path).read_bytes().endswith(bytes(data)) for row in _rows(side.database))


def test_notices_are_bounded(side):
    clock = Clock()
    notices = Notices(side.database, clock)
    for _ in range(100):
        notices.note("refused", "again")
    notices.note("empty_association", "of another kind")
    clock.now += 60
    notices.note("refused", "the next minute")
    kinds = [notice.kind for notice in views.notices(side.database, limit=1000)]
    assert (kinds.count("refused"), kinds.count("empty_association")) == (31, 1)
    newest = next(notice for notice in views.notices(side.database, limit=1) if notice.kind == "refused")
    assert newest.data == {"left_out_before": 70}
