"""Codes of where a lesion lies and of what similar cases say it is like.

The four classes and the types of PIRTA's table 1 have no standard codes, and SNOMED CT's codes of arteries name the
vessel and not the tissue it supplies: a finding site is the brain with its side, and class and artery are qualitative
evaluations whose names say what they are. Arteries come from CID 7192; a region whose artery is not in that list is
coded as the atlas names it.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.lesion.atlas import REGIONS
from pirtad.worker.sr.codes import BILATERAL, LEFT, PRIVATE_SCHEME, RIGHT

# Measured on this patient's images: the class of the arterial regions in which this part of the lesion lies.
MEASURED_TERRITORY = Code("TERRITORY", PRIVATE_SCHEME, "Territory class, measured")
# Measured on this patient's images: an artery in whose region this part of the lesion lies; nothing of the vessel.
SUPPLIED_BY = Code("SUPPLIED_BY", PRIVATE_SCHEME, "Arterial region, measured")
# The next three are what the similar cases have, and nobody measured them on this patient's images.
VOTED_TERRITORY = Code("VOTED_TERRITORY", PRIVATE_SCHEME, "Territory class, vote of similar cases")
VOTED_TYPE = Code("VOTED_TYPE", PRIVATE_SCHEME, "Infarct pattern, of similar cases")
VOTED_SIGNAL = Code("VOTED_SIGNAL", PRIVATE_SCHEME, "DWI signal of lesion, of similar cases")

LATERALITY = {"left": LEFT, "right": RIGHT, "bilateral": BILATERAL}

TERRITORY = {
    Territory.ANTERIOR: Code("ANTERIOR", PRIVATE_SCHEME, "Anterior circulation"),
    Territory.DEEP_GRAY_MATTER: Code("DEEP_GRAY_MATTER", PRIVATE_SCHEME, "Deep gray matter"),
    Territory.POSTERIOR: Code("POSTERIOR", PRIVATE_SCHEME, "Posterior circulation"),
}
SIGNAL = {  # signal on DWI, never severity: see the report's wording
    SignalClass.STRONG: Code("SIGNAL_MARKED", PRIVATE_SCHEME, "Markedly hyperintense"),
    SignalClass.MILD: Code("SIGNAL_MILD", PRIVATE_SCHEME, "Mildly hyperintense"),
}
INFARCT_TYPE = {
    InfarctType.LARGE_VASCULAR_TERRITORIAL: Code("TYPE_LARGE", PRIVATE_SCHEME, "Large vascular territorial"),
    InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL: Code(
        "TYPE_WEDGE", PRIVATE_SCHEME, "Wedge-shaped vascular territorial"
    ),
    InfarctType.SMALL_LACUNE: Code("TYPE_LACUNE", PRIVATE_SCHEME, "Small lacune"),
    InfarctType.SMALL_STRIATO_CAPSULAR: Code("TYPE_STRIATOCAPS", PRIVATE_SCHEME, "Small striato-capsular"),
    InfarctType.SMALL_DIFFUSION_RESTRICTION: Code("TYPE_SMALL", PRIVATE_SCHEME, "Small diffusion restriction"),
}

_ANTERIOR_CEREBRAL = Code("60176003", "SCT", "Anterior cerebral artery")
_MIDDLE_CEREBRAL = Code("17232002", "SCT", "Middle cerebral artery")
_POSTERIOR_CEREBRAL = Code("70382005", "SCT", "Posterior cerebral artery")
_BASILAR = Code("59011009", "SCT", "Basilar artery")
_ARTERY = {
    "ACA": _ANTERIOR_CEREBRAL,
    **dict.fromkeys(("MCAF", "MCAP", "MCAT", "MCAO", "MCAI"), _MIDDLE_CEREBRAL),
    **dict.fromkeys(("PCAT", "PCAO"), _POSTERIOR_CEREBRAL),
    "B": _BASILAR,
}


def arterial_region(code: str) -> Code:
    """The artery of an atlas region, e.g. MCAF; where CID 7192 has none, the region under its own name."""
    if code in _ARTERY:
        return _ARTERY[code]
    return Code(f"REGION_{code}", PRIVATE_SCHEME, f"{REGIONS[code][0].upper()}{REGIONS[code][1:]} region")
