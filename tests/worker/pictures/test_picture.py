"""The picture as an archive and a viewer get it."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from pirtad.inference.report.montage import montage
from pirtad.inference.report.report import DRAFT_MARK, Basis
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr.identity import NARRATIVE
from pirtad.worker.sr.picture import PICTURE, compose_picture, serialise_object

Errors = Callable[[bytes, str], list[str]]


def compose(one, identity, **changes: object) -> Dataset:
    return compose_picture(
        one.report, one.source, identity=identity(PICTURE, **changes), pair=one.pair, lesion_mask=one.lesion
    )


def test_validators_find_no_error(result, identity, errors_of: Errors) -> None:
    attributes = {"TimezoneOffsetFromUTC": "+0900", "LossyImageCompression": "01", "LossyImageCompressionRatio": 10}
    for one in (result(), result(**attributes), result().with_report(basis=Basis.ABSTENTION, abstained_because=("x",))):
        assert errors_of(serialise_object(compose(one, identity)), "SCImage") == []


def test_dciodvfy_is_really_asked(result, identity, errors_of: Errors) -> None:
    document = compose(result(), identity)
    del document.ConversionType
    assert any("ConversionType" in error.replace(" ", "") for error in errors_of(serialise_object(document), "SCImage"))


def test_pixels_are_the_montage_and_nothing_else(result, identity) -> None:
    one = result()
    read = dcmread(BytesIO(serialise_object(compose(one, identity))))
    assert (read.pixel_array == montage(one.pair, one.lesion, one.report)).all()
    assert (read.PhotometricInterpretation, read.PlanarConfiguration, list(read.ImageType)) == (
        *("RGB", 0),
        ["DERIVED", "SECONDARY"],
    )


def test_the_patient_is_in_the_header_and_not_in_the_pixels(result, identity) -> None:
    # Given two patients with the same images
    ada = compose(result(), identity)
    bo = compose(
        result(PatientName="Muster^Bo", PatientID="PID-2", StudyDate="20240101", AccessionNumber="A2"), identity
    )
    # Then their pictures differ in the header alone, and what it says of burned in text is true
    assert (ada.PatientName, ada.PatientID, bo.PatientID) == ("Specimen^Ada", "PID-1", "PID-2")
    assert ada.PixelData == bo.PixelData
    assert (ada.BurnedInAnnotation, ada.RecognizableVisualFeatures) == ("NO", "NO")


def test_viewers_show_that_it_is_a_draft_in_a_series_of_its_own(result, identity) -> None:
    picture = compose(result(), identity)
    narrative = identity(NARRATIVE)
    assert (picture.SeriesDescription, picture.ImageComments, picture.Modality) == (DRAFT_MARK, DRAFT_MARK, "OT")
    assert picture.SOPClassUID == SecondaryCaptureImageStorage
    assert picture.SOPInstanceUID != narrative.sop_instance_uid
    assert picture.SeriesInstanceUID not in (narrative.series_instance_uid, picture.StudyInstanceUID)
    assert picture.SeriesNumber == narrative.series_number + 1
    assert [item.SoftwareVersions for item in picture.ContributingEquipmentSequence] == ["a" * 64, "c" * 64]


def test_same_inputs_same_bytes_and_another_result_another_object(result, identity) -> None:
    first, second = (serialise_object(compose(result(), identity)) for _ in range(2))
    assert first == second
    other = compose(result(), identity, config={"k": "2"})
    read = dcmread(BytesIO(first))
    assert other.SOPInstanceUID != read.SOPInstanceUID
    assert other.SeriesInstanceUID != read.SeriesInstanceUID


def test_every_used_image_is_a_source_once(result, identity) -> None:
    one = result()
    picture = compose(one, identity)
    used = [str(image.SOPInstanceUID) for image in one.source.images()]
    assert [item.ReferencedSOPInstanceUID for item in picture.SourceImageSequence] == used
    assert {item.PurposeOfReferenceCodeSequence[0].CodeValue for item in picture.SourceImageSequence} == {"121322"}
    by_series = {
        str(series.SeriesInstanceUID): len(series.ReferencedInstanceSequence)
        for series in picture.ReferencedSeriesSequence
    }
    assert by_series == {str(image.SeriesInstanceUID): len(one.source.dwi) for image in one.source.images()}


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 192", "Kim^Minsu=김^민수=김^민수"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 144", "Иванов^Иван"),
    ],
)
def test_names_survive_character_for_character(result, identity, terms: str | list[str], name: str) -> None:
    content = serialise_object(compose(result(SpecificCharacterSet=terms, PatientName=name), identity))
    assert str(dcmread(BytesIO(content)).PatientName) == name


def test_lossy_stays_lossy(result, identity) -> None:
    assert compose(result(), identity).LossyImageCompression == "00"
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 8,
        "LossyImageCompressionMethod": "ISO_15444_1",
    }
    picture = compose(result(**lossy), identity)
    assert (picture.LossyImageCompression, float(picture.LossyImageCompressionRatio)) == ("01", 8.0)


def test_times_are_in_the_images_time_zone(result, identity) -> None:
    picture = compose(result(TimezoneOffsetFromUTC="+0900"), identity)
    assert (picture.TimezoneOffsetFromUTC, picture.ContentDate, picture.ContentTime) == ("+0900", "20260305", "083005")


def test_reasons_in_any_script_are_composed(result, identity) -> None:
    one = result().with_report(basis=Basis.ABSTENTION, abstained_because=("환자 사유 日本語", "עברית"))
    plain = result().with_report(basis=Basis.ABSTENTION, abstained_because=())
    one_bytes, plain_bytes = (np.frombuffer(compose(r, identity).PixelData, np.uint8) for r in (one, plain))
    assert one_bytes.size != plain_bytes.size or (one_bytes != plain_bytes).any()


def test_what_is_not_whole_is_not_serialised(result, identity) -> None:
    short = compose(result(), identity)
    short.PixelData = short.PixelData[:-2]
    with pytest.raises(NonConformant, match="pixels"):
        serialise_object(short)
    nobody = compose(result(), identity)
    nobody["SeriesInstanceUID"] = DataElement("SeriesInstanceUID", "UI", "1.02.x", validation_mode=config.IGNORE)
    with pytest.raises(NonConformant, match="SeriesInstanceUID"):
        serialise_object(nobody)
    changed = compose(result(), identity)
    changed.PatientName = "김^민수"
    with pytest.raises(NonConformant, match="SpecificCharacterSet"):
        serialise_object(changed)
