"""Why a delivered result is withdrawn, as IHE IOCM and DICOM name it (PS3.16 CID 7010 and 7031). Light: no DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_WORDS = 1000  # chosen: a reason, not a report


class RejectionReason(StrEnum):
    """What the note is titled; it decides what an archive that knows IOCM does with the withdrawn objects.

    QUALITY: of no use, though not wrong; such an archive may show it to those who ask for rejected objects.
    PATIENT_SAFETY: wrong, or maybe wrong, about the patient; it is not shown again.
    INCORRECT_WORKLIST_ENTRY: about another patient or order than its header says; it is not shown again.
    RETENTION_EXPIRED: to be kept no longer; such an archive may delete it.
    """

    QUALITY = "quality"
    PATIENT_SAFETY = "patient-safety"
    INCORRECT_WORKLIST_ENTRY = "incorrect-worklist-entry"
    RETENTION_EXPIRED = "retention-expired"


@dataclass(frozen=True, slots=True)
class Title:
    """A document title: code value of the scheme DCM, and its meaning."""

    code: str
    meaning: str


TITLES = {
    RejectionReason.QUALITY: Title("113001", "Rejected for Quality Reasons"),
    RejectionReason.PATIENT_SAFETY: Title("113037", "Rejected for Patient Safety Reasons"),
    RejectionReason.INCORRECT_WORKLIST_ENTRY: Title("113038", "Incorrect Modality Worklist Entry"),
    RejectionReason.RETENTION_EXPIRED: Title("113039", "Data Retention Policy Expired"),
}
