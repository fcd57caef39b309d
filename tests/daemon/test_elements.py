"""The walk over encoded elements, against pydicom and against whatever bytes a network brings."""

from __future__ import annotations

import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from support.receiving import encoded, image
from support.shared import shared_data

from pirtad.daemon.elements import Encoding, Malformed, walk

EXPLICIT = Encoding(is_explicit_vr=True, is_little_endian=True)
ENCODINGS = [EXPLICIT, Encoding(False, True), Encoding(True, False)]


def _nested(undefined: bool) -> Dataset:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    inner.PurposeOfReferenceCodeSequence = Sequence([image()])
    inner["PurposeOfReferenceCodeSequence"].is_undefined_length = undefined
    inner.is_undefined_length_sequence_item = undefined
    dataset = image()
    dataset.ReferencedImageSequence = Sequence([inner, inner, Dataset()])
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    return dataset


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
def test_the_values_found_are_those_that_were_written(encoding, undefined):
    dataset = _nested(undefined)
    data = encoded(dataset, implicit=not encoding.is_explicit_vr, little=encoding.is_little_endian)
    found = {tag: data[start:end] for tag, start, end in walk(data, encoding)}
    skipped = {0x00081140} if undefined else set()
    assert set(found) | skipped == {int(element.tag) for element in dataset}
    assert found[0x0020000D].rstrip(b"\0").decode() == dataset.StudyInstanceUID


def test_inside_an_unknown_element_of_undefined_length_everything_is_implicit():
    # Given a UN element of undefined length in an explicit dataset, with an item as PS3.5 section 6.2.2 wants it
    item = bytes.fromhex("feff00e0ffffffff") + bytes.fromhex("0800180004000000") + b"1.2\0"
    item += bytes.fromhex("feff0de000000000") + bytes.fromhex("feffdde000000000")
    data = bytes.fromhex("09001010") + b"UN\0\0" + b"\xff" * 4 + item + bytes.fromhex("20000d00") + b"UI\x04\x001.2\0"
    # Then what follows it is found
    assert [tag for tag, _, _ in walk(data, EXPLICIT)] == [0x0020000D]


@pytest.mark.parametrize("undefined", [False, True])
def test_every_cut_is_noticed_unless_it_falls_between_elements(undefined):
    data = encoded(_nested(undefined))
    whole = list(walk(data, EXPLICIT))
    boundaries = {end for _, _, end in whole}
    for length in range(1, len(data)):
        try:
            seen = list(walk(data[:length], EXPLICIT))
        except Malformed:
            continue
        assert seen == whole[: len(seen)]
        assert length in boundaries or (undefined and _ends_a_sequence(data, length))


def _ends_a_sequence(data: bytes, length: int) -> bool:
    return data[length - 8 : length] == bytes.fromhex("feffdde000000000")


@given(st.binary(max_size=200), st.sampled_from(ENCODINGS))
def test_any_bytes_end_in_elements_or_malformed(data, encoding):
    try:
        for _, start, end in walk(data, encoding):
            assert start <= end <= len(data)
    except Malformed:
        pass


@given(st.lists(st.tuples(st.integers(0, 800), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_dataset_ends_in_elements_or_malformed(changes):
    data = bytearray(encoded(_nested(undefined=True)))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        for _, start, end in walk(bytes(data), EXPLICIT):
            assert start <= end <= len(data)
    except Malformed:
        pass


def test_a_deep_nest_is_no_recursion():
    opening = bytes.fromhex("08004011") + b"SQ\0\0" + b"\xff" * 4 + bytes.fromhex("feff00e0ffffffff")
    with pytest.raises(Malformed):
        list(walk(opening * 50_000, EXPLICIT))


def test_a_second_study_uid_further_down_is_refused():
    data = encoded(image())
    other = encoded(image(study="1.2.3"))
    start = other.index(bytes.fromhex("20000d00"))
    with pytest.raises(Malformed, match="out of order"):
        list(walk(data + other[start:], EXPLICIT))


@pytest.mark.parametrize("archive", ["siemens_xa30_enhanced.zip", "philips_classic.zip", "siemens_e11_mosaic.zip",
                                     "uih_vframe.zip", "transfer_syntaxes.zip"])  # fmt: skip
def test_real_files_read_as_pydicom_reads_them(archive):
    tags = (0x00080016, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E)
    compared = 0
    with zipfile.ZipFile(shared_data(f"dicom/{archive}")) as zipped:
        for name in [n for n in zipped.namelist() if not n.endswith("/")][:60]:
            raw = zipped.read(name)
            if raw[128:132] != b"DICM":
                continue
            oracle = dcmread(BytesIO(raw), stop_before_pixels=True)
            syntax = oracle.file_meta.TransferSyntaxUID
            if syntax.is_deflated:
                continue
            start = 132 + 12 + oracle.file_meta.FileMetaInformationGroupLength
            encoding = Encoding(not syntax.is_implicit_VR, syntax.is_little_endian)
            found = {}
            for tag, begin, end in walk(raw[start:], encoding):
                if tag > 0x0020000E:
                    break
                found[tag] = raw[start:][begin:end].rstrip(b"\0 ").decode("ascii", errors="replace")
            for tag in tags:
                assert found.get(tag, "") == str(oracle[tag].value if tag in oracle else ""), (name, hex(tag))
            compared += 1
    assert compared
