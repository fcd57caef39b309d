"""Storage commitment's datasets (PS3.4 annex J, Push Model): read and written. No network, no disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

PUSH_MODEL = "1.2.840.10008.1.20.1"  # PS3.4 section J.3.5, SOP class
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # its well-known SOP instance
REQUEST_COMMITMENT = 1  # Action Type ID, PS3.4 table J.3-1
ALL_COMMITTED, SOME_FAILED = 1, 2  # Event Type ID, PS3.4 table J.3-3
# Failure Reason (0008,1197), PS3.3 section C.14.1.1.
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class-instance conflict",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
MAX_INSTANCES = 100_000  # chosen: more than any study here; a longer list is refused


class NotACommitment(ValueError):
    """The dataset is no request or no report; the text names the attribute and holds no values."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance by SOP class and SOP Instance UID."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a commitment is asked for."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a peer says of a request. failed: reference to Failure Reason; one listed in both has failed."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: dict[Reference, int] = field(default_factory=dict)

    @property
    def event_type(self) -> int:
        """Event Type ID (0000,1002)."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def request_dataset(request: Request) -> Dataset:
    """Action Information of an N-ACTION (PS3.4 table J.3-1)."""
    dataset = Dataset()
    dataset.TransactionUID = request.transaction_uid
    dataset.ReferencedSOPSequence = _items(request.references)
    return dataset


def report_dataset(report: Report) -> Dataset:
    """Event Information of an N-EVENT-REPORT (PS3.4 table J.3-3)."""
    dataset = Dataset()
    dataset.TransactionUID = report.transaction_uid
    if report.committed:
        dataset.ReferencedSOPSequence = _items(report.committed)
    if report.failed:
        dataset.FailedSOPSequence = _items(report.failed)
        for item, reason in zip(dataset.FailedSOPSequence, report.failed.values(), strict=True):
            item.FailureReason = reason
    return dataset


def read_request(dataset: Dataset) -> Request:
    """The inverse of `request_dataset`; `NotACommitment` for anything else."""
    references = tuple(dict.fromkeys(_references(dataset, "ReferencedSOPSequence")))
    if not references:
        raise NotACommitment("ReferencedSOPSequence is empty")
    return Request(_transaction_uid(dataset), references)


def read_report(dataset: Dataset) -> Report:
    """The inverse of `report_dataset`; `NotACommitment` for anything else."""
    failed: dict[Reference, int] = {}
    named = _references(dataset, "FailedSOPSequence")
    for item, reference in zip(dataset.get("FailedSOPSequence") or [], named, strict=True):
        reason = item.get("FailureReason")
        failed[reference] = reason if isinstance(reason, int) else PROCESSING_FAILURE
    committed = dict.fromkeys(_references(dataset, "ReferencedSOPSequence"))
    return Report(_transaction_uid(dataset), tuple(one for one in committed if one not in failed), failed)


def _items(references: Iterable[Reference]) -> Sequence:
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        items.append(item)
    return Sequence(items)


def _references(dataset: Dataset, keyword: str) -> list[Reference]:
    found = dataset.get(keyword)
    if found is None:
        return []
    if not isinstance(found, Sequence) or len(found) > MAX_INSTANCES:
        raise NotACommitment(f"{keyword} is no sequence, or too long a one")
    return [Reference(_uid(one, "ReferencedSOPClassUID"), _uid(one, "ReferencedSOPInstanceUID")) for one in found]


def _transaction_uid(dataset: Dataset) -> str:
    return _uid(dataset, "TransactionUID")


def _uid(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if not isinstance(value, UID) or not value.is_valid:
        raise NotACommitment(f"{keyword} is missing or no UID")
    return str(value)
