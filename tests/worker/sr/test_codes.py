"""No standard code is invented, and the private ones fit where they are written."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.lesion.atlas import REGIONS
from pirtad.worker.sr import codes, territory_codes

REGION_CODES = [territory_codes.arterial_region(code) for code in REGIONS]
ALL = {
    *(value for module in (codes, territory_codes) for value in vars(module).values() if isinstance(value, Code)),
    *territory_codes.LATERALITY.values(),
    *territory_codes.TERRITORY.values(),
    *territory_codes.SIGNAL.values(),
    *territory_codes.INFARCT_TYPE.values(),
    *REGION_CODES,
}
# Of other standards than PS3.16's context groups; each was looked up at its source.
NOT_IN_CONTEXT_GROUPS = {
    ("en", "RFC5646"): "language tag",
    ("72089-6", "LN"): "Total score [NIH Stroke Scale]",
    ("ml", "UCUM"): "millilitre",
}


@pytest.mark.parametrize("code", sorted(ALL, key=lambda c: (c.scheme_designator, c.value)), ids=lambda c: str(c.value))
def test_a_code_is_a_standard_one_or_a_private_one_that_fits(code: Code) -> None:
    assert len(code.meaning) <= 64  # LO
    assert len(code.value) <= 16  # SH
    if code.scheme_designator == codes.PRIVATE_SCHEME:
        assert code.value == code.value.upper()
    elif (code.value, code.scheme_designator) not in NOT_IN_CONTEXT_GROUPS:
        known = [item[code.value][0] for item in concepts[code.scheme_designator].values() if code.value in item]
        assert any(code.meaning.casefold() in (one.casefold(), one.casefold().split(" (")[0]) for one in known), known


def test_private_codes_are_distinct() -> None:
    private = [code for code in ALL if code.scheme_designator == codes.PRIVATE_SCHEME]
    assert len({code.value for code in private}) == len(private)


def test_every_class_type_and_region_has_a_code() -> None:
    assert set(territory_codes.TERRITORY) == set(Territory) - {Territory.NORMAL}
    assert set(territory_codes.SIGNAL) == set(SignalClass)
    assert set(territory_codes.INFARCT_TYPE) == set(InfarctType)
    assert territory_codes.arterial_region("MCAF").meaning == "Middle cerebral artery"
    assert territory_codes.arterial_region("SC").scheme_designator == codes.PRIVATE_SCHEME
