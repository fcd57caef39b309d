"""What the fuzz campaign found, made small, and why it mattered."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from support.fuzz_target import Stream, target
from support.raw_peer import RELEASE_RQ, associate_rq, store
from support.receiving import encoded, image

from pirtad.daemon.errors import CANNOT_UNDERSTAND, Refused
from pirtad.daemon.header import read_header

WHOLE = encoded(image(pixels=bytes(20)))


@pytest.mark.parametrize("group", [0x0000, 0x0002, 0x0004, 0x0007])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_dataset_with_elements_of_the_file_meta_is_refused(group, syntax):
    # Given a dataset that begins with an element of a group that belongs before datasets, not into them
    order = "<" if syntax.is_little_endian else ">"
    element = struct.pack(f"{order}HH", group, 0x0010)
    element += struct.pack(f"{order}I", 4) if syntax.is_implicit_VR else b"CS" + struct.pack(f"{order}H", 4)
    dataset = element + b"1.2\0"
    dataset += encoded(image(), implicit=syntax.is_implicit_VR, little=syntax.is_little_endian)

    # Then it is refused: behind our file meta it would be read as a part of that, e.g. as another transfer syntax
    with pytest.raises(Refused, match="begins with an element of group") as caught:
        read_header(dataset, syntax)
    assert caught.value.status == CANNOT_UNDERSTAND


def test_a_file_has_one_transfer_syntax(tmp_path: Path):
    # Given the same over an association, where Success was answered, and the file read as in no transfer syntax at all
    dataset = b"\x02\0\x10\0CS\x0a\0ISO_IR 192" + WHOLE
    stream = associate_rq() + store(dataset) + store(WHOLE) + RELEASE_RQ
    with target(tmp_path) as tried:
        found = tried.block([Stream(0, stream)])
        counts = tried.counts

    # Then that image is refused and the one behind it is not
    assert found == []
    assert (counts["answered 0xC000"], counts["images kept"]) == (1, 1)
