"""One case of the case base: a finding with its report, under a pseudonym."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory

# Nothing that could be a name or a hospital number: a prefix that says the source, and a counter.
_CASE_ID = re.compile(r"[a-z]{2,12}-[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Case:
    """case_id: pseudonym such as "sim-000123". report: the text retrieved with it, without identifiers.
    provenance: where the case comes from. Raises ValueError for a case_id of another form."""

    case_id: str
    finding: Finding
    report: str = field(repr=False)
    provenance: str

    def __post_init__(self) -> None:
        if not _CASE_ID.fullmatch(self.case_id):
            raise ValueError("a case_id must look like sim-000123: lower-case letters, a hyphen, digits")

    def to_json(self) -> str:
        """One line of cases.jsonl."""
        finding = {
            "territory": self.finding.territory,
            "signal_class": self.finding.signal_class,
            "infarct_type": self.finding.infarct_type,
        }
        record = {
            "case_id": self.case_id,
            "finding": finding,
            "report": self.report,
            "provenance": self.provenance,
        }
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
        )
