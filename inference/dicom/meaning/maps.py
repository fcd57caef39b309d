"""Which images are calculated maps, or anything else that is no weighted image: by ImageType, by the name, by the unit.

What a map is called in ImageType is up to the vendors from value 3 on (PS3.3 C.8.3.1.1.1); the unit of a diffusivity is
that of a Real World Value Mapping (PS3.3 C.7.6.16.2.11) or RescaleType (C.11.1.1.2).
"""

from __future__ import annotations

from pydicom import Dataset
from pydicom.tag import BaseTag

from pirtad.inference.dicom.attributes import items, raw_texts, text
from pirtad.inference.dicom.kinds import Diffusion, Kind
from pirtad.inference.dicom.meaning.names import NameSays

_COMPONENT = BaseTag(0x00089208)
_RESCALE_TYPE, _REAL_WORLD = BaseTag(0x00281054), BaseTag(0x00409096)

# Values of ImageType that settle the kind, in this order: a reformat of an ADC map is a reformat.
_TOKENS: tuple[tuple[Kind, frozenset[str]], ...] = (
    (Kind.OTHER, frozenset({"MPR", "CSAMPR", "CSA MPR", "MIP", "MAX IP", "MIN IP", "REFORMATTED", "LOCALIZER"})),
    (Kind.OTHER, frozenset({"PROJECTION IMAGE", "SCREEN SAVE", "SCREENSAVE", "FIELD MAP", "B0 MAP"})),
    (Kind.OTHER, frozenset({"P", "PHASE", "PHASE MAP", "I", "IMAGINARY"})),
    (Kind.EADC, frozenset({"EADC"})),
    (Kind.EXPONENTIAL, frozenset({"EXP", "EXPONENTIAL"})),
    (Kind.COLOUR_FA, frozenset({"COLFA", "CFA", "FA_COLOR", "COLORFA"})),
    (Kind.FA, frozenset({"FA", "DIFFUSION_ANISO"})),
    (Kind.TENSOR, frozenset({"TENSOR", "TENSOR_B0", "RA", "EVALUE", "LINEAR", "PLANAR"})),
    (
        Kind.PERFUSION,
        frozenset({"PERFUSION", "ASL", "CBF", "RCBF", "RELCBF", "CBV", "RCBV", "RELCBV", "CORRECTED RELCBV"}),
    ),
    (Kind.PERFUSION, frozenset({"MTT", "RELMTT", "TTP", "TMAX", "PBP", "GBP", "PERFUSION_ASL"})),
    (Kind.CALCULATED_DWI, frozenset({"CALC_BVALUE", "CALC_B", "CALCULATED_BVALUE", "SYNTHETIC"})),
)
_REAL_TOKENS = frozenset({"R", "REAL"})
TRACE_TOKENS = frozenset({"TRACEW", "TRACE", "ISOTROPIC"})
# 'M_SE', 'M': a magnitude image as acquired. Philips ADC maps are ORIGINAL too, but say ADC in place of M.
MAGNITUDE_TOKENS = frozenset({"M", "M_SE", "M_FFE", "M_IR"})
_DIFFUSIVITY_UNITS = ("MM2/S", "MM^2/S", "UM2/S", "MM²/S")
_ADC_CODE = "113041"
"""Apparent Diffusion Coefficient, DCM, PS3.16."""


def map_by_image_type(dataset: Dataset, tokens: frozenset[str], name: NameSays) -> Diffusion | None:
    """What ImageType (`tokens`, upper case) or the image's component settles, whatever else the header says; None where
    they leave it open. Never with a b value."""
    is_adc = any(token == "ADC" or token.startswith("ADC_") for token in tokens)
    for kind, meant in _TOKENS:
        for token in sorted(tokens & meant):
            return Diffusion(kind, because=f"ImageType {token}")
    for token in sorted(tokens):
        if token.startswith(("EADC", "EXP")):
            return Diffusion(Kind.EADC if "ADC" in token else Kind.EXPONENTIAL, because=f"ImageType {token}")
    if is_adc and tokens & TRACE_TOKENS:
        return Diffusion(Kind.UNCLEAR, because="unclear whether map or trace: ImageType says ADC and trace")
    if is_adc:
        exponential = name.exponential
        return (
            Diffusion(exponential, because="the name says exponential")
            if exponential is not None
            else Diffusion(Kind.ADC, because="ImageType ADC")
        )
    component = _first(raw_texts(dataset, _COMPONENT)).upper()
    if component in {"PHASE", "IMAGINARY"} or (component == "REAL" and "ORIGINAL" in tokens):
        return Diffusion(Kind.OTHER, because=f"ComplexImageComponent {component}")
    if "ORIGINAL" in tokens and tokens & _REAL_TOKENS:
        return Diffusion(Kind.OTHER, because="ImageType REAL")
    return None


def map_by_name(
    dataset: Dataset, tokens: frozenset[str], name: NameSays, acquired: bool, weighted: bool, copied: bool, sign: str
) -> Diffusion | None:
    """What the name, or the unit of the values, says about a map; None where they say nothing of one.

    acquired: the header says that the scanner acquired the image. weighted: it states a b value above that of a b 0
        image, or several that contradict each other. copied: nothing speaks against that b value's being one that a
        calculated image took over from its sources. sign: what says that the image is one of diffusion, "" for nothing.
    """
    original = "ORIGINAL" in tokens
    if name.exponential is not None:
        return Diffusion(name.exponential, because="the name says exponential")
    if name.calculated and not original:
        return Diffusion(Kind.CALCULATED_DWI, because="the name says calculated")
    if name.reformat and not original:
        return Diffusion(Kind.OTHER, because="the name says reformat")
    if name.only_adc and weighted and copied:
        # Makers copy the header of a source image (PS3.3 C.8.13.5.9 allows the b value). That the name could be another
        # image's is what the plausibility check is for.
        return Diffusion(
            Kind.ADC, because="DERIVED, and the name is an ADC map's alone; b value copied from its sources"
        )
    if name.adc and weighted:
        # It may be either; taking a map for the trace would invent a lesion.
        return Diffusion(
            Kind.UNCLEAR, because="unclear whether map or weighted image: the name says ADC, the header a b value"
        )
    if name.adc and acquired:
        return Diffusion(
            Kind.UNCLEAR,
            because="unclear whether map or weighted image: the name says ADC, ImageType an acquired image",
        )
    if name.adc:
        return Diffusion(Kind.ADC, because="the name says ADC")
    if name.anisotropy is not None and not original and not weighted:
        return Diffusion(name.anisotropy, because="the name says a tensor's map")
    if "DERIVED" in tokens and not tokens & MAGNITUDE_TOKENS and _is_diffusivity(dataset):
        if weighted:
            return Diffusion(
                Kind.UNCLEAR, because="unclear whether map or weighted image: a diffusivity's unit, but a b value"
            )
        return Diffusion(Kind.ADC, because="the unit of the values is a diffusivity's")
    if name.philips_map and not acquired and (sign or name.dwi):
        return Diffusion(
            Kind.UNCLEAR, because="unclear whether map or weighted image: the name is a Philips map's, ImageType is not"
        )
    if name.perfusion and not sign:
        return Diffusion(Kind.PERFUSION, because="the name says perfusion")
    return None


def _is_diffusivity(dataset: Dataset) -> bool:
    if any(unit_ in _first(raw_texts(dataset, _RESCALE_TYPE, "LO")).upper() for unit_ in _DIFFUSIVITY_UNITS):
        return True
    if _REAL_WORLD not in dataset:
        return False
    for item in items(dataset, "RealWorldValueMappingSequence"):
        for units in items(item, "MeasurementUnitsCodeSequence"):
            if any(unit_ in text(units, "CodeValue").upper() for unit_ in _DIFFUSIVITY_UNITS):
                return True
        for quantity in items(item, "QuantityDefinitionSequence"):
            for code in items(quantity, "ConceptCodeSequence"):
                if text(code, "CodeValue") == _ADC_CODE:
                    return True
    return False


def _first(values: tuple[str, ...]) -> str:
    return values[0] if values else ""
