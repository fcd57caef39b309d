from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
)
from support.receiving import PATIENT, STUDY, encoded, image

from pirtad.daemon.errors import CANNOT_UNDERSTAND, DOES_NOT_MATCH_SOP_CLASS, Refused
from pirtad.daemon.header import Header, read_header, require_same_instance

EXPECTED = Header(STUDY, f"{STUDY}.1", f"{STUDY}.2.1", MRImageStorage, "MR")


@pytest.mark.parametrize(
    ("syntax", "how"),
    [
        (ImplicitVRLittleEndian, {"implicit": True}),
        (ExplicitVRLittleEndian, {}),
        (JPEG2000Lossless, {}),
        (ExplicitVRBigEndian, {"little": False}),
        (DeflatedExplicitVRLittleEndian, {"deflated": True}),
    ],
)
def test_the_header_is_read_in_every_encoding(syntax, how):
    assert read_header(encoded(image(), **how), syntax) == EXPECTED


def test_nothing_behind_the_series_uid_is_looked_at():
    data = encoded(image())
    end = data.index(bytes.fromhex("20001300"))  # Instance Number, the next element
    assert read_header(data[:end] + b"\xff" * 100, ExplicitVRLittleEndian) == EXPECTED


def test_a_missing_modality_is_no_reason_to_refuse():
    dataset = image()
    del dataset.Modality
    assert read_header(encoded(dataset), ExplicitVRLittleEndian).modality == ""


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize(
    "value", [None, "", "../../etc/passwd", "1.02.3", "1..2", ".1", "1." + "2" * 63, "1.2/3", "junk!"]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_uids_that_are_none_are_refused(keyword, value):
    dataset = image()
    if value is None:
        del dataset[keyword]
    else:
        setattr(dataset, keyword, value)
    with pytest.raises(Refused) as caught:
        read_header(encoded(dataset), ExplicitVRLittleEndian)
    assert caught.value.status == CANNOT_UNDERSTAND
    if value:
        assert value not in str(caught.value)


@given(st.binary(max_size=300), st.sampled_from([ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, "1.2.3"]))
def test_junk_is_refused_whatever_it_is(data, syntax):
    with pytest.raises(Refused) as caught:
        read_header(data, syntax)
    assert caught.value.status == CANNOT_UNDERSTAND


def test_a_deflated_bomb_is_not_inflated_to_its_end(monkeypatch):
    monkeypatch.setattr("pirtad.daemon.header._MAX_INFLATED_BYTES", 1000)
    dataset = image()
    dataset.add_new(0x00091010, "OB", bytes(10_000_000))
    with pytest.raises(Refused, match="after the dataset"):
        read_header(encoded(dataset, deflated=True), DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("announced", [("1.2.840.10008.5.1.4.1.1.2", f"{STUDY}.2.1"), (MRImageStorage, f"{STUDY}.2.2")])
def test_another_instance_than_announced_is_refused(announced):
    require_same_instance(EXPECTED, MRImageStorage, f"{STUDY}.2.1")
    with pytest.raises(Refused) as caught:
        require_same_instance(EXPECTED, *announced)
    assert caught.value.status == DOES_NOT_MATCH_SOP_CLASS


def test_the_reason_quotes_no_patient():
    with pytest.raises(Refused) as caught:
        read_header(encoded(image()), ImplicitVRLittleEndian)
    assert PATIENT not in str(caught.value)
