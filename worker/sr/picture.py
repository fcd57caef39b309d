"""The picture for the reader as a Secondary Capture image, which every PACS shows: see ADR 11.

Sources: PS3.3 A.8.1 (Secondary Capture Image IOD), C.7.6.1 (General Image), C.7.6.3 (Image Pixel), C.8.6.1 and C.8.6.2
(SC Equipment and Image), C.12.1 and C.12.2 (SOP Common, Common Instance Reference); PS3.16 CID 7202 and 7203.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import UID, SecondaryCaptureImageStorage

from pirtad.inference.report.montage import montage
from pirtad.inference.report.report import DRAFT_MARK, Report
from pirtad.inference.volume import DiffusionPair
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import charset
from pirtad.worker.sr.equipment import (
    add_general_equipment,
    coded,
    contributing_equipment,
)
from pirtad.worker.sr.evidence import evidence_items
from pirtad.worker.sr.header import composed_at, finished
from pirtad.worker.sr.identity import SrIdentity, derive_uid
from pirtad.worker.sr.source import SourceStudy, copied_element, copy_patient_and_study, quiet

PICTURE = "picture"  # role for `derive_identity`
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202
REFORMATTED = Code("113072", "DCM", "Multiplanar reformatting")  # CID 7203
_DERIVATION = "Slices of the diffusion-weighted images and the ADC map, with the words of a draft that nobody reviewed"


def compose_picture(
    report: Report,
    source: SourceStudy,
    *,
    identity: SrIdentity,
    pair: DiffusionPair,
    lesion_mask: NDArray[np.bool_] | None,
) -> Dataset:
    """The picture as an image dataset with its file meta information, ready for `serialise_object`.

    identity: of the role `PICTURE`, so that its instance is the picture's own; the series (an image's Modality is not
        SR) is derived from the result's, and numbered next to it.
    pair: the volumes that `source` tells of. lesion_mask: bool on the grid of `pair.dwi`, or None.
    Pure: the same arguments give the same dataset. Raises `NonConformant`.
    """
    dataset = Dataset()
    moment = composed_at(source, identity)
    copy_patient_and_study(source, dataset)
    _add_series_and_sop(dataset, identity, moment)
    add_general_equipment(dataset, report.provenance)
    dataset.ContributingEquipmentSequence = contributing_equipment(report.provenance, moment.strftime("%Y%m%d%H%M%S%z"))
    _add_image(dataset, source, moment)
    _add_references(dataset, source.images())
    _add_pixels(dataset, montage(pair, lesion_mask, report))
    return finished(dataset, source, report.provenance)


def serialise_object(dataset: Dataset) -> bytes:
    """A picture or a retraction as a Part 10 file: called once, its bytes are kept and sent as they are.

    Raises `NonConformant` for a UID that is none, for pixels that are not as many as the header says, and for text that
    the character set does not carry or that does not read back as the same.
    """
    with quiet():
        single = [e for e in dataset.iterall() if e.VR == "UI" and e.VM == 1]
        wrong = sorted({e.keyword for e in single if not UID(str(e.value)).is_valid})
    if wrong:
        raise NonConformant("object-uid", f"{', '.join(wrong)} not a valid UID", "report this as a defect")
    if "Rows" in dataset and len(dataset.PixelData) != _pixel_bytes(dataset):
        raise NonConformant("object-pixels", "the pixels are not as many as the header says", "report this as a defect")
    terms = charset.declared(dataset)
    if any(not charset.carries(terms, vr, text) for _, vr, text in charset.texts(dataset)):
        raise NonConformant("object-text", "text outside SpecificCharacterSet", "report this as a defect")
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    content = buffer.getvalue()
    with quiet():
        survived = list(charset.texts(dcmread(BytesIO(content), stop_before_pixels=True))) == list(
            charset.texts(dataset)
        )
    if not survived:
        raise NonConformant("object-text-changed", "text does not survive its encoding", "report this as a defect")
    return content


def _pixel_bytes(dataset: Dataset) -> int:
    exact = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
    return exact + exact % 2  # PS3.5 8.1.1: a value has an even length


def _add_series_and_sop(dataset: Dataset, identity: SrIdentity, moment: datetime) -> None:
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.Modality = "OT"
    dataset.SeriesInstanceUID = derive_uid(PICTURE, identity.series_instance_uid)
    dataset.SeriesNumber = identity.series_number + 1
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.SeriesDescription = DRAFT_MARK
    dataset.BodyPartExamined = "BRAIN"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceNumber = 1
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time


def _add_image(dataset: Dataset, source: SourceStudy, moment: datetime) -> None:
    dataset.ConversionType = "WSD"  # C.8.6.1: workstation
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = None  # type 2C: of many slices there is none
    dataset.ImageComments = DRAFT_MARK
    dataset.DerivationDescription = _DERIVATION
    dataset.DerivationCodeSequence = [coded(REFORMATTED)]
    # C.7.6.1: text that identifies the patient and dates the image; there is neither, see ADR 11.
    dataset.BurnedInAnnotation = "NO"
    dataset.RecognizableVisualFeatures = "NO"
    # Once lossy, always lossy (C.7.6.1.1.5).
    lossy = [image for image in source.images() if str(image.get("LossyImageCompression") or "") == "01"]
    dataset.LossyImageCompression = "01" if lossy else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        copied = copied_element(lossy[0], keyword) if lossy else None
        if copied is not None:
            dataset.add(copied)


def _add_references(dataset: Dataset, images: Iterable[Dataset]) -> None:
    """Every used image once: as a source, and by series for software that looks for them."""
    dataset.SourceImageSequence = DicomSequence([])
    dataset.ReferencedSeriesSequence = DicomSequence([])
    for study in evidence_items(images):
        for series in study.ReferencedSeriesSequence:
            by_series = Dataset()
            by_series.SeriesInstanceUID = series.SeriesInstanceUID
            by_series.ReferencedInstanceSequence = series.ReferencedSOPSequence
            dataset.ReferencedSeriesSequence.append(by_series)
            for sop in series.ReferencedSOPSequence:
                item = Dataset()
                item.ReferencedSOPClassUID = sop.ReferencedSOPClassUID
                item.ReferencedSOPInstanceUID = sop.ReferencedSOPInstanceUID
                item.PurposeOfReferenceCodeSequence = [coded(SOURCE_IMAGE)]
                dataset.SourceImageSequence.append(item)


def _add_pixels(dataset: Dataset, picture: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = picture.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    content = picture.tobytes()
    dataset.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
