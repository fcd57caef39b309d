"""One case of the case base: a finding with its report, under a pseudonym."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory

# Nothing that could be a name or a hospital number: a prefix that says the source, and a counter.
_CASE_ID = re.compile(r"[a-z]{2,12}-[0-9]{1,12}")
# A set's own public subject ("soop-3") or a salted digest (patients.Pseudonyms), never a hospital number.
_PATIENT = re.compile(r"[a-z]{1,12}-[0-9a-f]{1,32}")


@dataclass(frozen=True, slots=True)
class Case:
    """case_id: pseudonym such as "sim-000123". report: the text retrieved with it, without identifiers.
    provenance: where the case comes from. patient: pseudonym that all cases of one patient share, such as "soop-3" or
    "p-0123456789abcdef" (patients.Pseudonyms); None where each case counts as a patient of its own.
    Raises ValueError for a case_id or a patient of another form."""

    case_id: str
    finding: Finding
    report: str = field(repr=False)
    provenance: str
    patient: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _CASE_ID.fullmatch(self.case_id):
            raise ValueError("a case_id must look like sim-000123: lower-case letters, a hyphen, digits")
        if self.patient is not None and not _PATIENT.fullmatch(self.patient):
            raise ValueError("a patient must be a pseudonym such as p-0123456789abcdef")

    def to_json(self) -> str:
        """One line of cases.jsonl."""
        finding = {
            "territory": self.finding.territory,
            "signal_class": self.finding.signal_class,
            "infarct_type": self.finding.infarct_type,
        }
        record: dict[str, Any] = {
            "case_id": self.case_id,
            "finding": finding,
            "report": self.report,
            "provenance": self.provenance,
        }
        if self.patient is not None:
            record["patient"] = self.patient
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Case:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError on anything else."""
        raw = json.loads(line)
        finding = raw["finding"]
        signal_class, infarct_type = finding["signal_class"], finding["infarct_type"]
        return cls(
            case_id=raw["case_id"],
            finding=Finding(
                Territory(finding["territory"]),
                None if signal_class is None else SignalClass(signal_class),
                None if infarct_type is None else InfarctType(infarct_type),
            ),
            report=raw["report"],
            provenance=raw["provenance"],
            patient=raw.get("patient"),  # earlier versions wrote none
        )
