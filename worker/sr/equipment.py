"""The devices that made a report: this program, and each algorithm it ran (PS3.3 C.7.5.1 and C.12.1.5)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import CodedConcept, ContentItem, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from pirtad.inference.report.report import Provenance
from pirtad.worker.sr import codes
from pirtad.worker.sr.identity import derive_uid, device_uid

MANUFACTURER = "pirtad"
MODEL_NAME = "pirtad draft report"
NOT_RECORDED = "not recorded"
IMPLEMENTATION_CLASS_UID = UID(derive_uid("implementation class"))  # PS3.7 D.3.3.2
_LO_CHARACTERS = 64  # PS3.5 6.2
_ST_CHARACTERS = 1024
_SH_CHARACTERS = 16


def implementation_version_name(provenance: Provenance) -> str:
    """(0002,0013), at most 16 characters."""
    return f"PIRTAD {provenance.pirtad_version}"[:_SH_CHARACTERS]


def observer_uid(provenance: Provenance) -> str:
    """UID of the observing device: another encoder, case base, language model, prompt or version is another device."""
    return device_uid(
        provenance.encoder_sha256,
        provenance.preprocessing_version,
        provenance.case_base_sha256,
        provenance.language_model,
        provenance.language_model_digest,
        provenance.prompt_sha256,
        provenance.pirtad_version,
    )


def serial_number(provenance: Provenance) -> str:
    """Of the observing device: software has none but what it is made of, so the number of its UID."""
    return observer_uid(provenance).rpartition(".")[2]


def device_observer(provenance: Provenance) -> Sequence[ContentItem]:
    """TID 1002 and 1004: a device observed, no person did."""
    observer: Sequence[ContentItem] = ObserverContext(
        observer_type=CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=observer_uid(provenance),
            name=MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=f"{MODEL_NAME} {provenance.pirtad_version}",
            serial_number=serial_number(provenance),
        ),
    )
    return observer


def add_general_equipment(dataset: Dataset, provenance: Provenance) -> None:
    """General Equipment module of the report itself, with what Enhanced General Equipment asks for (C.7.5.2)."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = serial_number(provenance)
    dataset.SoftwareVersions = provenance.pirtad_version[:_LO_CHARACTERS]


def contributing_equipment(provenance: Provenance, contributed_at: str) -> list[Dataset]:
    """One item for the encoder and, where one was used, one for the language model.

    contributed_at: a DICOM date-time (VR DT).
    """
    items = [
        _item(
            MANUFACTURER,
            provenance.encoder_name,
            provenance.encoder_sha256,
            f"Image encoder. Preprocessing {provenance.preprocessing_version}; "
            f"case base sha256 {provenance.case_base_sha256}",
            contributed_at,
        )
    ]
    if provenance.language_model:
        items.append(
            _item(
                NOT_RECORDED,
                provenance.language_model,
                provenance.language_model_digest,
                f"Language model {provenance.language_model}. Prompt sha256 {provenance.prompt_sha256}",
                contributed_at,
            )
        )
    return items


def coded(code: Code) -> Dataset:
    """An item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _item(manufacturer: str, model_name: str, digest: str, description: str, contributed_at: str) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = manufacturer  # type 1
    item.ManufacturerModelName = model_name[:_LO_CHARACTERS]
    item.SoftwareVersions = digest[:_LO_CHARACTERS]  # a sha256 in hex is 64 characters
    item.DeviceUID = device_uid(model_name, digest)
    item.ContributionDateTime = contributed_at
    item.ContributionDescription = description[:_ST_CHARACTERS]
    return item
