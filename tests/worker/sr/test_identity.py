from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from pydicom.uid import UID, BasicTextSRStorage

from pirtad.inference.report.report import Provenance, Registry
from pirtad.worker.sr.identity import Predecessor, SrIdentity, derive_uid, device_uid

IdentityMaker = Callable[..., SrIdentity]
PROVENANCE = Provenance("e", "1", "2", "3", "l", "4", "5", "6")
PREDECESSOR = Predecessor("1.2", "1.2.3", BasicTextSRStorage, "1.2.3.4")


def test_the_same_content_gives_the_same_uids(identity: IdentityMaker) -> None:
    # Given the same images in another order, one of them named twice, and a later moment
    instances = [("1.2.3", "f" * 64), ("1.2.4", "e" * 64)]
    first = identity(instances=instances, config={"k": "2", "m": "3"})
    again = identity(
        instances=[*reversed(instances), instances[0]],
        config={"m": "3", "k": "2"},
        content_datetime=datetime.fromisoformat("2027-01-01T00:00:00+00:00"),
    )
    # Then the report is the same one
    assert again.sop_instance_uid == first.sop_instance_uid
    assert again.series_instance_uid == first.series_instance_uid
    # and the moment is the given one
    assert again.content_datetime.year == 2027


@pytest.mark.parametrize(
    "change",
    [
        {"study_instance_uid": "1.9"},
        {"instances": [("1.2.3", "f" * 64)]},
        {"registry": Registry(age_years=72)},
        {"config": {"k": "3"}},
        {"provenance": PROVENANCE},
        {"predecessor": PREDECESSOR},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_other_input_gives_another_document(identity: IdentityMaker, change: dict[str, Any]) -> None:
    assert identity(**change).sop_instance_uid != identity().sop_instance_uid
    assert identity(**change).series_instance_uid != identity().series_instance_uid


@pytest.mark.parametrize("field", Provenance.__dataclass_fields__)
def test_every_part_of_the_provenance_counts(identity: IdentityMaker, field: str) -> None:
    other = replace(PROVENANCE, **{field: "other"})
    assert identity(provenance=other).sop_instance_uid != identity(provenance=PROVENANCE).sop_instance_uid


def test_another_document_of_the_same_result_shares_the_series(identity: IdentityMaker) -> None:
    narrative, measurements = identity(), identity(role="measurements")
    assert narrative.series_instance_uid == measurements.series_instance_uid
    assert narrative.sop_instance_uid != measurements.sop_instance_uid


def test_uids_are_valid_and_uuid_derived() -> None:
    seen = set()
    source = random.Random(7)
    for _ in range(500):
        uid = derive_uid("role", str(source.random()))
        assert UID(uid).is_valid
        made = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert (made.version, made.variant) == (8, uuid.RFC_4122)
        seen.add(uid)
    assert len(seen) == 500


def test_facts_do_not_run_into_each_other() -> None:
    assert derive_uid("r", "ab", "c") != derive_uid("r", "a", "bc")
    assert device_uid("a") != derive_uid("instance", "a")


@pytest.mark.parametrize(
    "change",
    [{"content_datetime": datetime(2026, 1, 1)}, {"series_number": 0}, {"instance_number": 0}],  # noqa: DTZ001
)
def test_an_impossible_identity_is_refused(identity: IdentityMaker, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"time zone|from 1"):
        identity(**change)
