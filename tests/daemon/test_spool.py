from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from support.receiving import PATIENT, STUDY, announced, encoded, files, image

from pirtad.daemon.errors import OUT_OF_RESOURCES, Refused
from pirtad.daemon.header import Header
from pirtad.daemon.part10 import MAX_START_BYTES, Receipt, part10_start, read_start
from pirtad.daemon.spool import Received, Spool, content_digest

IMAGE = encoded(image())


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path)
    spool.prepare()
    return spool


def _receipt(data, syntax=ExplicitVRLittleEndian, *, calling_ae="SCANNER", at=5.0) -> Receipt:
    digest = content_digest(syntax)
    digest.update(data)
    return Receipt(MRImageStorage, f"{STUDY}.2.1", str(syntax), calling_ae, len(data), at, digest.digest())


def _receive(spool, data=IMAGE, *, study=STUDY, **receipt) -> Received:
    """Land and commit, as receiving does."""
    told = _receipt(data, **receipt)
    start = part10_start(told)
    landing = spool.land(len(start))
    landing.write(data)
    landing.commit(start)
    return Received(landing.path, told, Header(study, f"{study}.1", f"{STUDY}.2.1", MRImageStorage, "MR"),
                    len(start) + len(data))  # fmt: skip


def _keep(spool, *arguments, **more) -> Path:
    received = _receive(spool, *arguments, **more)
    spool.place([received])
    spool.settle([received])
    return spool.data_dir / received.path


def test_a_kept_file_is_part_10_and_its_dataset_untouched(spool):
    path = _keep(spool)
    written = path.read_bytes()
    assert written.endswith(IMAGE)
    dataset = dcmread(path)
    assert dataset == image()
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert dataset.file_meta.SourceApplicationEntityTitle == "SCANNER"
    # the group length is right: the dataset begins where it says
    assert 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength == len(written) - len(IMAGE)


def test_the_start_of_a_file_can_be_read_back_and_its_length_depends_on_uids_alone():
    told = _receipt(IMAGE)
    start = part10_start(told)
    assert read_start(start + b"more") == (told, len(start))
    assert len(start) == len(part10_start(_receipt(b"", calling_ae="A", at=1e9)))
    longest = Receipt("1" * 64, "2" * 64, "3" * 64, "S" * 16, 2**40, 1e9, bytes(32))
    assert read_start(part10_start(longest)[:MAX_START_BYTES]) == (longest, len(part10_start(longest)))


def test_a_start_cut_off_or_damaged_is_none():
    start = part10_start(_receipt(IMAGE))
    for length in range(len(start)):
        assert read_start(start[:length]) is None
    assert read_start(bytes(len(start))) is None
    for position in range(128, len(start)):  # whatever one byte says: read or none, and nothing raised
        read_start(start[:position] + b"\xff" + start[position + 1 :])


def test_the_path_is_made_of_digests_alone(spool):
    study = hashlib.sha256(b"../../etc/passwd").hexdigest()
    received = _receive(spool, study="../../etc/passwd")
    content = hashlib.sha256(ExplicitVRLittleEndian.encode() + b"\n" + IMAGE).hexdigest()
    assert received.path == f"spool/{study[:2]}/{study}/{content}.dcm"


def test_the_same_content_again_is_the_same_path_and_mends_it(spool, tmp_path):
    first = _keep(spool)
    before = first.read_bytes()
    first.write_bytes(b"damaged since")
    assert _keep(spool) == first
    assert first.read_bytes() == before
    assert files(tmp_path) == [first]


def test_other_bytes_or_another_transfer_syntax_are_another_file(spool):
    kept = {_keep(spool), _keep(spool, IMAGE[:-1] + b"\7"), _keep(spool, IMAGE, syntax=ImplicitVRLittleEndian)}
    assert len(kept) == 3


def test_what_was_received_and_not_settled_is_found_again_at_every_step(spool, tmp_path):
    # Given a process that dies after receiving, or after it placed the file
    received = _receive(spool)
    for step in (lambda: None, lambda: spool.place([received])):
        step()
        (found,) = Spool(tmp_path).prepare()
        assert (found.receipt, found.header, found.size_bytes) == (
            received.receipt, received.header, received.size_bytes,
        )  # fmt: skip
        assert found.path == received.path
        # Then placing it once more is no trouble
        spool.place([found])
    spool.settle([found])
    assert Spool(tmp_path).prepare() == []
    assert files(tmp_path) == [tmp_path / received.path]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:-1] + b"\7",
        lambda data: b"",
        lambda data: data[:200],
        lambda data: bytes(len(data)),
    ],
)
def test_what_was_not_received_to_the_end_is_swept(spool, tmp_path, damage):
    received = _receive(spool)
    received.incoming.write_bytes(damage(received.incoming.read_bytes()))
    assert Spool(tmp_path).prepare() == []
    assert list((tmp_path / "spool" / ".incoming").iterdir()) == []


def test_an_image_is_synced_under_a_name_that_was_synced_before(tmp_path, monkeypatch):
    # Given a record of what was synced, and of what had been written by then
    steps = []
    for call in ("fsync", "fdatasync", "pwrite"):
        real = getattr(os, call)

        def recorded(descriptor, *rest, call=call, real=real):
            steps.append((call.replace("data", ""), Path(f"/proc/self/fd/{descriptor}").readlink()))
            return real(descriptor, *rest)

        monkeypatch.setattr(os, call, recorded)
    spool = Spool(tmp_path)
    spool.prepare()
    received = _receive(spool)
    # Then its name was synced before it was opened for writing, and after its last byte it was synced itself
    first_byte = steps.index(("pwrite", received.incoming))
    assert ("fsync", received.incoming.parent) in steps[:first_byte]
    assert steps[-1] == ("fsync", received.incoming)
    # And where it is kept every directory is synced in its parent, and its own name before `.incoming` lets it go
    spool.place([received])
    spool.settle([received])
    path = tmp_path / received.path
    assert {tmp_path, tmp_path / "spool", path.parent.parent} <= {where for what, where in steps if what == "fsync"}
    assert steps[-1] == ("fsync", path.parent)


def test_many_images_share_the_syncs_of_their_names(spool, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append(1))
    for number in range(64):
        _receive(spool, bytes([number]))
    assert len(calls) <= 2


def test_a_spool_that_is_no_longer_used_holds_no_descriptor(tmp_path):
    spool = Spool(tmp_path)
    spool.prepare()
    _receive(spool)
    del spool
    gc.collect()
    open_files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [path for path in open_files if path.is_relative_to(tmp_path)]


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_is_told_and_an_abandoned_image_leaves_nothing(spool, tmp_path, monkeypatch, call, number):
    def fails(*_):
        raise OSError(number, "no")

    start = part10_start(_receipt(IMAGE))
    landing = spool.land(len(start))
    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError, match="no"):
        (landing.write(IMAGE), landing.commit(start))
    monkeypatch.undo()
    landing.abandon()
    assert files(tmp_path) == []
    assert _keep(spool).is_file()  # and once there is space again the same image is kept


def test_names_that_somebody_removed_are_not_received_into(spool, tmp_path):
    # Given names that were made ahead, and a tool that removes empty files
    _keep(spool)
    for path in (tmp_path / "spool" / ".incoming").iterdir():
        path.unlink()
    # Then the next image gets one that is there
    assert _keep(spool, b"another").is_file()


def test_an_image_whose_name_is_removed_while_it_comes_is_not_received(spool):
    start = part10_start(_receipt(IMAGE))
    landing = spool.land(len(start))
    landing.write(IMAGE)
    landing.path.unlink()
    with pytest.raises(FileNotFoundError):
        landing.commit(start)
    landing.abandon()


def test_no_space_for_another_file_is_out_of_resources(spool, monkeypatch):
    def fails(*_):
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(Refused) as caught:
        spool.land(400)
    assert caught.value.status == OUT_OF_RESOURCES


def test_short_writes_are_continued(spool, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, position: real(descriptor, bytes(data)[:7], position))
    data = b"0123456789" * 10
    path = _keep(spool, data)
    assert path.read_bytes() == part10_start(_receipt(data)) + data


def test_a_removed_study_directory_is_made_again(spool):
    path = _keep(spool)
    path.unlink()
    path.parent.rmdir()
    assert _keep(spool).is_file()


def test_many_threads_keep_into_one_study(spool, tmp_path):
    threads = [threading.Thread(target=_keep, args=(spool, bytes([n % 5]))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(tmp_path)) == 5


def test_quarantine_keeps_the_bytes_and_tells_why(spool, tmp_path):
    for start_bytes in (400, 0):
        landing = spool.land(start_bytes)
        landing.write(IMAGE)
        where = spool.quarantine(landing, announced(), "ab" * 32, "no Study Instance UID", at=12.5)
        landing.abandon()
        assert (tmp_path / where).read_bytes() == IMAGE
    told = json.loads((tmp_path / where).with_suffix(".json").read_text())
    assert (told["reason"], told["calling_ae"], told["at"]) == ("no Study Instance UID", "SCANNER", 12.5)
    assert PATIENT not in str(told)
    assert len(files(tmp_path)) == 2
