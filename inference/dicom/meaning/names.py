"""What a series' free-text name says about diffusion; the header always comes before it.

The spellings are those of real archives: docs/series-recognition.md counts them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pirtad.inference.dicom.kinds import Kind

_EADC = re.compile(
    r"exponential.{0,12}(?:adc|apparent|diffusion)|(?:adc|diffusion).{0,12}exponential"
    r"|(?<![a-z])e(?:xp)?[ _-]?adc(?![a-z])",
    re.IGNORECASE,
)
_EXPONENTIAL = re.compile(r"exponential", re.IGNORECASE)
# 'dADC', 'ddADC', 'dAdc', 'DWI_ADC', 'ADC (10^-6 mm2/s)'; not 'eADC', not 'cadc...'. 'Average DC' is GE's.
_ADC = re.compile(r"(?<![a-z])d{0,2}adc(?![a-z])|apparent[ _-]diffusion|(?<![a-z])average dc(?![a-z])", re.IGNORECASE)
# The name of an ADC map and of nothing else: 'ADC', 'dADC', 'ADC map', 'Apparent Diffusion Coefficient (mm2/s)'.
_ONLY_ADC = re.compile(
    r"(?:d{0,2}adc|(?:average |mean )?apparent[ _-]diffusion(?:[ _-]coefficient)?|average dc)(?:[ _-]?map)?"
    r"(?:[ _]?\((?:10\^?-?\d )?[mu]m\^?2/s(?:ec)?\))?",
    re.IGNORECASE,
)
# Philips puts 'd' or 'dd' before the protocol's name for the calculated ADC map ('dAX DWI b1000 CLEAR').
_PHILIPS_MAP = re.compile(r"^dd?(?=[A-Z])")
_DWI = re.compile(r"dwi|diffusion|_diff|trace(?!r)|(?<![a-z])dti(?![a-z])", re.IGNORECASE)
_TRACE = re.compile(r"trace(?!r)|^s(?=B ?\d|AX|Ax)|^sb ?\d", re.IGNORECASE)
# 'DWI ISO', 'ax dwi iso', 'DWI_isotropic': the trace. 'DTI 2mm iso', 'iso 1.5', '2.0 iso': the voxels.
_ISOTROPIC = re.compile(
    r"(?<![a-z\d])(?<!mm[ _-])(?<!\.\d[ _-])(?<![ _]\d[ _-])iso(?:tropic)?(?![a-z\d])(?![ _-]\d)(?![ _-]voxel)",
    re.IGNORECASE,
)
# 'sB1000', 'sB 1000', 'b=1000', 'B0', 'b50_400_800'. One digit other than 0 is a field map ('B1 map'), not a b value,
# and so is 'B0 map'.
_B = re.compile(
    r"(?<![a-z])s?b[ _=-]{0,2}((?:0|\d{2,5})(?:[_/,+-](?:0|\d{2,5})(?![\d.a-z]))*)(?![\d.])(?! ?_?(?:map|field|shim))",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")
_CALCULATED = re.compile(
    r"(?<![a-z])(?:calc(?:ulated)?|synth(?:etic)?|computed)(?![a-z])|(?<![a-z])cdwi", re.IGNORECASE
)
_COLOUR_FA = re.compile(r"(?<![a-z])(?:col(?:ou?r)?|c)[ _-]?fa(?![a-z])|(?<![a-z])fa[ _-]?col", re.IGNORECASE)
_FA = re.compile(r"fractional[ _-]?an|(?<![a-z])fa(?![a-z])", re.IGNORECASE)
_TENSOR = re.compile(r"tensor|eigen|(?<![a-z])[remaf]d[ _-]map|(?<![a-z])(?:ivim|kurtosis)(?![a-z])", re.IGNORECASE)
_REFORMAT = re.compile(
    r"(?<![a-z])(?:mpr|mip|minip|reformat(?:ted)?|localizer|scout|survey|screen ?save)(?![a-z])", re.IGNORECASE
)
_PERFUSION = re.compile(
    r"perfusion|(?<![a-z])(?:perf|pwi|dsc|p?c?asl|r?cbf|r?cbv|mtt|ttp|tmax|pbp|gbp)(?![a-z])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class NameSays:
    """What one name speaks of. b_values in s/mm2, ascending; none for the name of a calculated Philips map.

    only_adc: it is the name of an ADC map and says nothing else.
    """

    adc: bool
    only_adc: bool
    exponential: Kind | None
    philips_map: bool
    dwi: bool
    trace: bool
    b_values: tuple[float, ...]
    calculated: bool
    anisotropy: Kind | None
    reformat: bool
    perfusion: bool


@lru_cache(maxsize=4096)
def name_says(name: str) -> NameSays:
    """Read a name once; the thousand images of a series share it."""
    philips_map = bool(_PHILIPS_MAP.search(name))
    lists = () if philips_map else _B.findall(name)
    b_values = tuple(sorted({float(number) for found in lists for number in _NUMBER.findall(found)}))
    dwi = bool(_DWI.search(name))
    return NameSays(
        adc=bool(_ADC.search(name)),
        only_adc=bool(_ONLY_ADC.fullmatch(name.strip())),
        exponential=Kind.EADC if _EADC.search(name) else Kind.EXPONENTIAL if _EXPONENTIAL.search(name) else None,
        philips_map=philips_map,
        dwi=dwi,
        trace=bool(_TRACE.search(name) or _ISOTROPIC.search(name)),
        b_values=b_values,
        calculated=bool(_CALCULATED.search(name)) and (dwi or bool(b_values)),
        anisotropy=_anisotropy(name),
        reformat=bool(_REFORMAT.search(name)),
        perfusion=bool(_PERFUSION.search(name)),
    )


def _anisotropy(name: str) -> Kind | None:
    if _COLOUR_FA.search(name):
        return Kind.COLOUR_FA
    if _FA.search(name):
        return Kind.FA
    return Kind.TENSOR if _TENSOR.search(name) else None
