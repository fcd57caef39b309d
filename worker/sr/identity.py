"""Who a Structured Report is: UIDs derived from everything that went into it, and the moment it was composed.

The same images, registry facts, configuration and models give the same UIDs, so a repeated attempt can't add a second
report; any other input gives others. No clock and no random number here: the caller gives the moment.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from pirtad.inference.report.report import Provenance, Registry

SERIES_NUMBER = 9100  # chosen, see ADR 6: after what scanners count to
NARRATIVE = "narrative"
MEASUREMENTS = "measurements"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """An earlier version that this document replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class SrIdentity:
    """Identity of one SR document.

    content_datetime: when it was composed, with a time zone; written in the source's TimezoneOffsetFromUTC where
        there is one, else as it stands.
    """

    sop_instance_uid: str
    series_instance_uid: str
    content_datetime: datetime
    series_number: int = SERIES_NUMBER
    instance_number: int = 1
    predecessor: Predecessor | None = None

    def __post_init__(self) -> None:
        if self.content_datetime.tzinfo is None:
            raise ValueError("content_datetime has no time zone")
        if self.series_number < 1 or self.instance_number < 1:
            raise ValueError(f"series number {self.series_number}, instance number {self.instance_number}: both from 1")


def derive_uid(role: str, *facts: str) -> str:
    """A UUID-derived UID, "2.25." and a 128-bit integer (PS3.5 B.2), from a role and the facts, in their order.

    The UUID is of version 8 (RFC 9562 section 5.8): 122 bits of a sha256, the rest version and variant.
    """
    digest = hashlib.sha256(json.dumps([role, *facts], ensure_ascii=True).encode("ascii")).digest()
    bits = int.from_bytes(digest[:16], "big")
    bits = bits & ~(0xF << 76) | (0x8 << 76)  # version 8
    bits = bits & ~(0x3 << 62) | (0x2 << 62)  # variant of RFC 9562
    return f"2.25.{uuid.UUID(int=bits).int}"


def device_uid(*digests: str) -> str:
    """Device UID (0018,1002) of an algorithm: another model, another device."""
    return derive_uid("device", *digests)


def derive_identity(
    *,
    study_instance_uid: str,
    instances: Iterable[tuple[str, str]],
    registry: Registry,
    config: Mapping[str, str],
    provenance: Provenance,
    content_datetime: datetime,
    role: str = NARRATIVE,
    series_number: int = SERIES_NUMBER,
    instance_number: int = 1,
    predecessor: Predecessor | None = None,
) -> SrIdentity:
    """Identity from every input; documents of one result (other `role`) share the series.

    instances: (SOP Instance UID, sha256 of the file) of every image of the study that was looked at; the order and
        repetitions do not matter.
    config: the settings that shape the result, as text; the order does not matter.
    """
    facts = json.dumps(
        {
            "study": study_instance_uid,
            "instances": sorted(set(instances)),
            "registry": asdict(registry),
            "config": dict(config),
            "provenance": asdict(provenance),
            "predecessor": predecessor.sop_instance_uid if predecessor else None,
        },
        sort_keys=True,
    )
    return SrIdentity(
        sop_instance_uid=derive_uid("instance", role, facts),
        series_instance_uid=derive_uid("series", facts),
        content_datetime=content_datetime,
        series_number=series_number,
        instance_number=instance_number,
        predecessor=predecessor,
    )
