"""The study that a report is about, as the headers of the images that were used, and what the report copies from it.

Patient and study attributes are copied, never composed: a report under another patient's name is the worst that could
happen, so headers that contradict each other are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import PersonName

from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import charset

# PS3.3 C.7.1.1 Patient: type 2 first.
_PATIENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "OtherPatientIDsSequence"),
    *("OtherPatientNames", "PatientBirthTime", "QualityControlSubject"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
)
# PS3.3 C.7.2.1 General Study (type 1 and 2 first) and C.7.2.2 Patient Study.
_STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    *("IssuerOfAccessionNumberSequence", "StudyDescription", "PhysiciansOfRecord", "ProcedureCodeSequence"),
    *("PatientAge", "AdmissionID", "IssuerOfAdmissionIDSequence", "InstitutionName"),
)
_TYPE_2 = frozenset((*_PATIENT[:4], *_STUDY[1:6]))
# Of these and of an order (PS3.3 C.17.2, ReferencedRequestSequence), text that must be there, if only empty.
_TYPE_2_TEXT = _TYPE_2 | {
    *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
    *("RequestedProcedureID", "RequestedProcedureDescription"),
}
# Who this is, and which examination: never left out.
_IDENTIFYING = frozenset(
    (
        *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
        *("StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    )
)
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_FORMS = {  # PS3.5 6.2 and the enumerated values of the modules
    "PatientBirthDate": _DATE,
    "PatientBirthTime": _TIME,
    "PatientSex": re.compile("[MFO]"),
    "PatientAge": re.compile(r"\d{3}[DWMY]"),
    "QualityControlSubject": re.compile("YES|NO"),
    "PatientIdentityRemoved": re.compile("YES|NO"),
    "StudyDate": _DATE,
    "StudyTime": _TIME,
}
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_SAME_PATIENT = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
_UTC_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")


def quiet() -> AbstractContextManager[None]:
    """Values are taken as the images have them; and pydicom's warnings would print them, which are patient data."""
    context: AbstractContextManager[None] = config.disable_value_validation()
    return context


@dataclass(frozen=True, slots=True, eq=False)
class SourceStudy:
    """Headers (datasets without pixels) of the images that the report was drafted from, all of one study.

    dwi, adc: of a computed trace or map, the images it was computed from. An image may stand in both: those of a
        computed map do, and so does a multi-frame object that holds both.
    b_value_s_per_mm2: the b-value of the chosen DWI; None leaves it out of the report.
    adc_is_computed: whether the ADC map was computed here, and none was taken from the study.
    Raises `NonConformant` for headers that lack their UIDs or contradict each other on study or patient, and for a
    single image that is given as DWI and as a received ADC map at once.
    """

    dwi: Sequence[Dataset] = field(repr=False)
    adc: Sequence[Dataset] = field(repr=False)
    b_value_s_per_mm2: float | None = None
    adc_is_computed: bool = False

    def __post_init__(self) -> None:
        if not self.dwi or not self.adc:
            raise NonConformant("source-empty", f"{len(self.dwi)} DWI and {len(self.adc)} ADC images were given")
        with quiet():
            missing = sorted({k for image in self.images() for k in _NEEDED if not image.get(k)})
            if missing:
                raise NonConformant("source-incomplete", f"used images lack {', '.join(missing)}")
            if len({image.StudyInstanceUID for image in self.images()}) > 1:
                raise NonConformant("source-mixed", "the used images are of more than one study")
            for keyword in _SAME_PATIENT:
                if len({str(image.get(keyword)).strip() for image in self.images() if image.get(keyword)}) > 1:
                    raise _other_patient(keyword)
            if _names_differ(self.images()):
                raise _other_patient("PatientName")
            if not self.adc_is_computed and any(int(image.get("NumberOfFrames") or 1) == 1 for image in self.shared()):
                raise NonConformant(
                    "source-adc", "an image is given as both DWI and ADC map", "report this as a defect"
                )

    @property
    def lead(self) -> Dataset:
        """The image whose patient and study attributes are copied."""
        return self.dwi[0]

    def images(self) -> tuple[Dataset, ...]:
        """All used images, DWI first; one that stands in both comes twice."""
        return (*self.dwi, *self.adc)

    def shared(self) -> list[Dataset]:
        """The images that stand in both."""
        as_adc = {str(image.SOPInstanceUID) for image in self.adc}
        return [image for image in self.dwi if str(image.SOPInstanceUID) in as_adc]

    def utc_offset(self) -> str | None:
        """TimezoneOffsetFromUTC (PS3.3 C.12.1.1.8), e.g. "+0900", if the source has a valid one."""
        value = str(self.lead.get("TimezoneOffsetFromUTC") or "").strip()
        return value if _UTC_OFFSET.fullmatch(value) else None


def copy_patient_and_study(source: SourceStudy, target: Dataset) -> None:
    """Copy the Patient, General Study and Patient Study attributes, text decoded; absent type 2 ones become empty.

    A date, time, age, sex or flag that DICOM forbids as it stands is taken as absent, and nothing is guessed. What
    identifies patient and study is copied whatever it looks like: it must equal the images'. Raises `NonConformant`
    where it is text that the source's character set does not declare; other such text is taken as absent.
    """
    for keyword in (*_PATIENT, *_STUDY):
        copied = copied_element(source.lead, keyword)
        form = _FORMS.get(keyword)
        if copied is not None and (form is None or form.fullmatch(str(copied.value))):
            target.add(copied)
        elif keyword in _TYPE_2:
            setattr(target, keyword, None)
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")  # type 1C: one says how, if "YES"
    if target.get("PatientIdentityRemoved") == "YES" and not any(keyword in target for keyword in methods):
        del target.PatientIdentityRemoved
    _leave_out_undeclared_text(source.lead, target)


def copied_element(source: Dataset, keyword: str) -> DataElement | None:
    """A copy that owes nothing to the source's encoding, or None if absent, empty or a half-filled code sequence."""
    with quiet():
        if keyword not in source or source[keyword].is_empty:
            return None
        element = source[keyword]
        if keyword.endswith("CodeSequence") and not all(_is_code(item) for item in element.value):
            return None
        return _plain(element)


def request_items(source: SourceStudy) -> list[Dataset]:
    """Items of ReferencedRequestSequence (PS3.3 C.17.2), one for each known order; none when no order is known."""
    lead = source.lead
    attributes = lead.get("RequestAttributesSequence") or []
    if not attributes and not lead.get("AccessionNumber"):
        return []
    return [_request(lead, item, alone=len(attributes) <= 1) for item in (attributes or [Dataset()])]


def _request(lead: Dataset, attributes: Dataset, *, alone: bool) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = attributes.get("StudyInstanceUID") or lead.StudyInstanceUID
    # The study's accession number is this order's only if there is one order.
    holders = (attributes, lead) if alone else (attributes,)
    for keyword in (
        *("ReferencedStudySequence", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
        *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
        *("RequestedProcedureID", "RequestedProcedureDescription", "RequestedProcedureCodeSequence"),
    ):
        copied = next((c for holder in holders if (c := copied_element(holder, keyword)) is not None), None)
        if copied is not None:
            item.add(copied)
        elif keyword in ("ReferencedStudySequence", "RequestedProcedureCodeSequence"):
            setattr(item, keyword, DicomSequence([]))  # type 2
        elif keyword != "IssuerOfAccessionNumberSequence":  # type 3
            setattr(item, keyword, None)
    _leave_out_undeclared_text(lead, item)
    return item


def _plain(element: DataElement) -> DataElement:
    if element.VR == "SQ":
        value = DicomSequence([_plain_item(item) for item in element.value])
    elif element.VR == "PN":
        value = [_plain_name(name) for name in _values(element)]
    else:
        value = [charset.clean(str(part)) for part in _values(element)]
    single = element.VR != "SQ" and len(value) == 1
    return DataElement(element.tag, element.VR, value[0] if single else value, validation_mode=config.IGNORE)


def _plain_name(name: PersonName) -> PersonName:
    """The same characters; and the same bytes, wherever the report keeps the source's character set."""
    text = str(name)
    if charset.clean(text) == text and name.encodings and isinstance(name.original_string, bytes):
        return PersonName(name.original_string, name.encodings, validation_mode=config.IGNORE)
    return PersonName(charset.clean(text), validation_mode=config.IGNORE)


def _values(element: DataElement) -> Sequence[Any]:
    if element.is_empty:
        return []
    return [element.value] if element.VM == 1 else list(element.value)


def _plain_item(item: Dataset) -> Dataset:
    copied = Dataset()
    for element in item:
        if not element.tag.is_private and element.keyword != "SpecificCharacterSet":
            copied.add(_plain(element))
    return copied


def _leave_out_undeclared_text(lead: Dataset, copied: Dataset) -> None:
    """Nothing is guessed: without what says who this is there is no report, and a hospital's misspelt name holds back
    none."""
    wrong: list[str] = []
    for keyword in [element.keyword for element in copied if _undeclared(lead, element)]:
        if keyword in _IDENTIFYING:
            wrong.append(keyword)
        elif keyword in _TYPE_2_TEXT:
            setattr(copied, keyword, None)
        else:
            del copied[keyword]
    if wrong:
        raise NonConformant(
            "source-text",
            f"{', '.join(wrong)} of the images hold text that SpecificCharacterSet does not declare",
            "set the character set at the modality, or correct the study in the PACS",
        )


def _undeclared(lead: Dataset, element: DataElement) -> bool:
    alone = Dataset()
    alone.add(element)
    if "SpecificCharacterSet" in lead:
        alone.SpecificCharacterSet = lead.SpecificCharacterSet
    return bool(charset.undeclared(alone))


def _is_code(item: Dataset) -> bool:
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return bool(value and item.get("CodingSchemeDesignator") and item.get("CodeMeaning"))


def _names_differ(images: Iterable[Dataset]) -> bool:
    """Whether two names differ in a component group that both have; case and empty trailing components aside."""
    seen: dict[int, set[str]] = {}
    for image in images:
        name = image.get("PatientName")
        if name is not None and image["PatientName"].VM > 1:
            return True
        for group, text in enumerate(str(name or "").split("=")):
            if text.strip(" ^"):
                seen.setdefault(group, set()).add(text.strip(" ^").casefold())
    return any(len(spellings) > 1 for spellings in seen.values())


def _other_patient(keyword: str) -> NonConformant:
    return NonConformant(
        "source-patient", f"the used images contradict each other in {keyword}", "correct the study in the PACS"
    )
