from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from support.receiving import PATIENT, STUDY, arrival, encoded, image

from pirtad.daemon.errors import OUT_OF_RESOURCES, Refused
from pirtad.daemon.header import Header
from pirtad.daemon.spool import Spool, content_sha256

HEADER = Header(STUDY, f"{STUDY}.1", f"{STUDY}.2.1", MRImageStorage, "MR")


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path)
    spool.prepare()
    return spool


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_kept_file_is_part_10_and_its_dataset_untouched(spool, tmp_path):
    data = encoded(image())
    kept = spool.keep(arrival(data), HEADER)
    written = (tmp_path / kept.path).read_bytes()
    assert written.endswith(data)
    assert kept.size_bytes == len(written)
    dataset = dcmread(tmp_path / kept.path)
    assert dataset == image()
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    # the group length is right: the dataset begins where it says
    assert 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength == len(written) - len(data)


def test_the_path_is_made_of_digests_alone(spool):
    study = hashlib.sha256(b"../../etc/passwd").hexdigest()
    kept = spool.keep(arrival(b"data"), Header("../../etc/passwd", "1", "1.2", "1.2", ""))
    assert kept.path == f"spool/{study[:2]}/{study}/{kept.sha256}.dcm"
    assert kept.sha256 == content_sha256(ExplicitVRLittleEndian, b"data")


def test_the_same_content_again_is_the_same_file(spool, tmp_path):
    first = spool.keep(arrival(b"data"), HEADER)
    before = (tmp_path / first.path).read_bytes()
    (tmp_path / first.path).write_bytes(b"damaged since")
    assert spool.keep(arrival(b"data"), HEADER) == first
    assert (tmp_path / first.path).read_bytes() == before
    assert len(_files(tmp_path)) == 1


def test_other_bytes_or_another_transfer_syntax_are_another_file(spool):
    kept = {
        spool.keep(arrival(b"data"), HEADER).path,
        spool.keep(arrival(b"Data"), HEADER).path,
        spool.keep(arrival(b"data", ImplicitVRLittleEndian), HEADER).path,
    }
    assert len(kept) == 3


def test_file_and_every_name_above_it_are_synced_before_keep_returns(tmp_path, monkeypatch):
    # Given a record of what was synced, and of the moment at which the file got its name
    steps = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor):
        steps.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    def replace(source, target):
        steps.append(("rename", target))
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    spool = Spool(tmp_path)
    spool.prepare()
    # When an image is kept
    path = tmp_path / spool.keep(arrival(b"data"), HEADER).path
    # Then its content was synced before the rename, its directory after, and each new directory in its parent
    renamed = steps.index(("rename", path))
    synced_before = [where for what, where in steps[:renamed] if what == "sync"]
    assert synced_before[-1].parent == tmp_path / "spool" / ".incoming"
    assert {tmp_path, tmp_path / "spool", path.parent.parent} <= set(synced_before)
    assert ("sync", path.parent) in steps[renamed:]


def test_leftovers_of_a_process_that_died_are_swept_and_nothing_else(spool, tmp_path):
    kept = spool.keep(arrival(b"data"), HEADER)
    (tmp_path / "spool" / ".incoming" / "leftover").write_bytes(b"half an ima")
    Spool(tmp_path).prepare()
    assert _files(tmp_path / "spool") == [tmp_path / kept.path]


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize(("number", "raised"), [(errno.ENOSPC, Refused), (errno.EDQUOT, Refused), (errno.EIO, OSError)])
def test_a_failed_write_leaves_nothing_and_says_so(spool, tmp_path, monkeypatch, call, number, raised):
    def fails(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(raised) as caught:
        spool.keep(arrival(b"data"), HEADER)
    monkeypatch.undo()
    assert not isinstance(caught.value, Refused) or caught.value.status == OUT_OF_RESOURCES
    assert _files(tmp_path) == []
    # and once there is space again the same image is kept
    assert (tmp_path / spool.keep(arrival(b"data"), HEADER).path).is_file()


def test_short_writes_are_continued(spool, tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:7]))
    kept = spool.keep(arrival(b"0123456789" * 10), HEADER)
    assert (tmp_path / kept.path).read_bytes().endswith(b"0123456789" * 10)
    assert kept.size_bytes == (tmp_path / kept.path).stat().st_size


def test_a_removed_study_directory_is_made_again(spool, tmp_path):
    path = tmp_path / spool.keep(arrival(b"data"), HEADER).path
    path.unlink()
    path.parent.rmdir()
    assert (tmp_path / spool.keep(arrival(b"data"), HEADER).path).is_file()


def test_many_threads_keep_into_one_study(spool, tmp_path):
    threads = [threading.Thread(target=spool.keep, args=(arrival(bytes([n % 5])), HEADER)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_files(tmp_path)) == 5


def test_quarantine_keeps_the_bytes_and_tells_why(spool, tmp_path):
    data = encoded(image())
    where = spool.quarantine(arrival(data), "no Study Instance UID", at=12.5)
    assert spool.quarantine(arrival(data), "no Study Instance UID", at=12.5) == where
    assert (tmp_path / where).read_bytes() == data
    told = json.loads((tmp_path / where).with_suffix(".json").read_text())
    assert (told["reason"], told["calling_ae"], told["at"]) == ("no Study Instance UID", "SCANNER", 12.5)
    assert len(_files(tmp_path / "quarantine")) == 2


def test_an_arrival_shows_no_patient():
    assert PATIENT not in repr(arrival(encoded(image())))
