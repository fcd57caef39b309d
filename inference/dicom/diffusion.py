"""What one image's header says about diffusion: DWI, ADC map or neither, its b value, and whether it is a trace.

Standard attributes are asked first, the free-text name last (docs/adr/0002-choosing-dwi-and-adc.md):
    ImageType (0008,0008)                   PS3.3 C.8.3.1.1.1, and values 3 and later as vendors fill them
    DiffusionBValue (0018,9087)             PS3.3 C.8.13.5.9; classic images carry it as an extension
    DiffusionDirectionality (0018,9075), DiffusionGradientOrientation (0018,9089)
    SequenceName (0018,0024)                Siemens: '*ep_b1000t' is a trace, '*ep_b1000#3' one direction
    SeriesDescription (0008,103E), and ProtocolName (0018,1030) where that is empty
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydicom import Dataset

from pirtad.inference.dicom.attributes import number, numbers, text, texts


class Kind(StrEnum):
    """What an image, or a whole series, is."""

    DWI = "dwi"
    ADC = "adc"
    EXPONENTIAL_ADC = "exponential_adc"
    UNCLEAR = "unclear"
    """Name and header contradict each other; nothing is guessed."""
    OTHER = "other"
    MIXED = "mixed"
    """A series that holds images of several kinds."""


@dataclass(frozen=True, slots=True)
class Diffusion:
    """One image. `isotropic` is None where the header does not say whether it is a trace or one direction."""

    kind: Kind
    b_value_s_per_mm2: float | None = None
    isotropic: bool | None = None


# Derived maps and reformats that are neither a trace image nor an ADC map.
_OTHER_TOKENS = {
    *("FA", "COLFA", "RA", "TENSOR", "TENSOR_B0", "EVALUE", "LINEAR", "PLANAR", "MPR", "CSAMPR", "CSA MPR", "MIP"),
    *("LOCALIZER", "PROJECTION IMAGE", "SCREEN SAVE", "P", "PHASE", "PHASE MAP", "I", "IMAGINARY"),
}
_TRACE_TOKENS = {"TRACEW", "TRACE", "ISOTROPIC"}
# 'M_SE', 'M': a magnitude image as acquired. Philips ADC maps are ORIGINAL too, but say ADC in place of M.
_MAGNITUDE_TOKENS = {"M", "M_SE", "M_FFE", "M_IR"}

_SEQUENCE_B = re.compile(r"_b(\d+)(t|#\d+)?$", re.IGNORECASE)
_NAME_EXPONENTIAL = re.compile(r"exponential|(?<![a-z])e(?:xp)?[ _-]?adc(?![a-z])", re.IGNORECASE)
# 'dADC', 'ddADC', 'dAdc', 'DWI_ADC', 'ADC (10^-6 mm2/s)'; not 'eADC', not 'cadc...'.
_NAME_ADC = re.compile(r"(?<![a-z])d{0,2}adc(?![a-z])|apparent[ _-]diffusion", re.IGNORECASE)
# Philips puts 'd' or 'dd' before the protocol's name for the calculated ADC map ('dAX DWI b1000 CLEAR').
_NAME_PHILIPS_MAP = re.compile(r"^dd?(?=[A-Z])")
_NAME_DWI = re.compile(r"dwi|diffusion|_diff|trace|(?<![a-z])dti(?![a-z])", re.IGNORECASE)
_NAME_TRACE = re.compile(r"trace|^s(?=B ?\d|AX|Ax)|^sb ?\d", re.IGNORECASE)
# 'sB1000', 'sB 1000', 'b=1000', 'B0'; one digit other than 0 is a field map ('B1 map'), not a b value.
_NAME_B = re.compile(r"(?<![a-z])s?b[ _=-]{0,2}(0|\d{2,4})(?![\d.])", re.IGNORECASE)


def series_name(dataset: Dataset) -> str:
    """SeriesDescription, or ProtocolName where that is empty."""
    return text(dataset, "SeriesDescription") or text(dataset, "ProtocolName")


def b_values_in_name(dataset: Dataset) -> tuple[float, ...]:
    """The b values in s/mm2 that the series' name speaks of, ascending; none for a name of a calculated map."""
    name = series_name(dataset)
    if _NAME_PHILIPS_MAP.search(name):
        return ()
    return tuple(sorted({float(found) for found in _NAME_B.findall(name)}))


def diffusion_of(dataset: Dataset) -> Diffusion:
    """Classify one image by its own header; b values that stand in the series' name alone are not filled in here."""
    tokens = {token.upper() for token in texts(dataset, "ImageType")}
    name = series_name(dataset)
    b_value = _b_value(dataset)
    named_adc = bool(_NAME_ADC.search(name))
    acquired = "ORIGINAL" in tokens and bool(tokens & _MAGNITUDE_TOKENS)

    if _NAME_EXPONENTIAL.search(name) or any(token.startswith(("EADC", "EXP")) for token in tokens):
        return Diffusion(Kind.EXPONENTIAL_ADC)
    if tokens & _OTHER_TOKENS:
        return Diffusion(Kind.OTHER)
    if any(token == "ADC" or token.startswith("ADC_") for token in tokens):
        return Diffusion(Kind.ADC)
    if named_adc and not acquired:
        # A map that also claims a b value may be either; taking it for the trace would invent a lesion.
        return Diffusion(Kind.UNCLEAR if b_value else Kind.ADC)
    if named_adc and b_value is None:
        return Diffusion(Kind.UNCLEAR)
    if _NAME_PHILIPS_MAP.search(name) and not acquired:
        return Diffusion(Kind.UNCLEAR)
    named_dwi = bool(_NAME_DWI.search(name) or _NAME_B.search(name))
    if b_value is not None or tokens & (_TRACE_TOKENS | {"DIFFUSION"}) or named_dwi:
        return Diffusion(Kind.DWI, b_value, _isotropic(dataset, tokens, name))
    return Diffusion(Kind.OTHER)


def _b_value(dataset: Dataset) -> float | None:
    standard = number(dataset, "DiffusionBValue")
    if standard is not None and standard >= 0:
        return standard
    found = _SEQUENCE_B.search(text(dataset, "SequenceName"))
    return float(found.group(1)) if found else None


def _isotropic(dataset: Dataset, tokens: set[str], name: str) -> bool | None:
    directionality = text(dataset, "DiffusionDirectionality").upper()
    if directionality in {"ISOTROPIC", "DIRECTIONAL", "BMATRIX"}:
        return directionality == "ISOTROPIC"
    if tokens & _TRACE_TOKENS:
        return True
    found = _SEQUENCE_B.search(text(dataset, "SequenceName"))
    if found and found.group(2):
        return found.group(2).lower() == "t"
    gradient = numbers(dataset, "DiffusionGradientOrientation", 3)
    if gradient is not None and any(gradient):
        return False
    return True if _NAME_TRACE.search(name) else None
