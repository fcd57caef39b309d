"""What one image's header says about diffusion: its kind, its b value, its direction, and which attribute told it.

Asked in this order, the free-text name last (docs/adr/0002-choosing-dwi-and-adc.md, docs/series-recognition.md):
    ImageType (0008,0008), or FrameType (0008,9007)     PS3.3 C.8.3.1.1.1, C.8.13.3.1.1; value 3 on by vendor
    ComplexImageComponent (0008,9208), AcquisitionContrast (0008,9209)    PS3.3 C.8.13.3.1
    DiffusionBValue (0018,9087), DiffusionDirectionality (0018,9075), DiffusionGradientOrientation (0018,9089)
                                                        PS3.3 C.8.13.5.9; classic images carry them as an extension
    private elements                                    inference/dicom/meaning/vendors
    SequenceName (0018,0024), PulseSequenceName (0018,9005)
    RealWorldValueMappingSequence, RescaleType          the unit of a diffusivity
    SeriesDescription (0008,103E), and ProtocolName (0018,1030) where that is empty
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydicom import Dataset
from pydicom.tag import BaseTag

from pirtad.inference.dicom.attributes import raw_numbers, raw_texts, texts
from pirtad.inference.dicom.kinds import MAX_B0_S_PER_MM2, SAME_B_VALUE_S_PER_MM2, WEIGHTED, Diffusion, Kind
from pirtad.inference.dicom.meaning.maps import MAGNITUDE_TOKENS, TRACE_TOKENS, map_by_image_type, map_by_name
from pirtad.inference.dicom.meaning.names import NameSays, name_says
from pirtad.inference.dicom.meaning.vendors import canon, ge, philips, siemens, uih
from pirtad.inference.dicom.meaning.vendors.private import PrivateElements, Stated, plausible_b, unit, vector

_IMAGE_TYPE, _MANUFACTURER = BaseTag(0x00080008), BaseTag(0x00080070)
_CONTRAST = BaseTag(0x00089209)
_SCANNING_SEQUENCE, _SEQUENCE_NAME, _PULSE_SEQUENCE = BaseTag(0x00180020), BaseTag(0x00180024), BaseTag(0x00189005)
_B_VALUE, _DIRECTIONALITY, _GRADIENT = BaseTag(0x00189087), BaseTag(0x00189075), BaseTag(0x00189089)
_IMAGE_COMMENTS = BaseTag(0x00204000)

_NO_DIFFUSION_CONTRASTS = frozenset(
    {"T1", "T2", "T2_STAR", "TOF", "STIR", "FLUID_ATTENUATED", "PROTON_DENSITY", "FLOW_ENCODED", "TAGGING"}
)
NOMINAL_TOLERANCE = 0.2
"""How far the b value of a sequence's name may lie from the one that was reached: 7 % in a real set; chosen."""


def series_name(dataset: Dataset) -> str:
    """SeriesDescription, or ProtocolName where that is empty."""
    return _plain(dataset, "SeriesDescription") or _plain(dataset, "ProtocolName")


def b_values_in_name(name: str) -> tuple[float, ...]:
    """The b values in s/mm2 that a series' name speaks of, ascending; none for a name of a calculated map."""
    return name_says(name).b_values


def diffusion_of(dataset: Dataset) -> Diffusion:
    """Classify one image by its own header, or one frame whose functional groups were laid over the header.

    Never raises, whatever the header holds. b values that stand in the series' name alone are not filled in here.
    """
    tokens = frozenset(token.upper() for token in raw_texts(dataset, _IMAGE_TYPE))
    original = "ORIGINAL" in tokens
    name = name_says(series_name(dataset))

    mapped = map_by_image_type(dataset, tokens, name)
    if mapped is not None and mapped.kind is not Kind.UNCLEAR:
        return mapped
    sources = _sources(dataset, tokens, name)
    b_value, b_says, contradiction = _b_value(sources)
    # What is unclear about an image is not its b value, as long as that is stated without contradiction.
    clear_b_value = None if contradiction else b_value
    if mapped is not None:
        return replace(mapped, b_value_s_per_mm2=clear_b_value)
    told = next((stated for stated in sources if stated.kind is not None), None)
    if told is not None and told.kind is not None:
        return Diffusion(told.kind, because=told.kind_source)
    contrast = _first(raw_texts(dataset, _CONTRAST)).upper()
    weighted = b_value is not None and b_value > MAX_B0_S_PER_MM2
    sign = _diffusion_sign(dataset, tokens, contrast, sources, b_value)
    shape, shape_source, direction = _shape(tokens, sources)
    is_b0 = sign != "" and b_value is not None and not weighted
    acquired = original and (bool(tokens & MAGNITUDE_TOKENS) or shape is not None or is_b0)

    if not (tokens & TRACE_TOKENS or (acquired and b_value is not None)):
        # What was acquired with a stated b value, or is a trace by its ImageType, is that, whatever its name.
        copied = clear_b_value is not None and shape is None and _could_be_copied(tokens, sources)
        named = map_by_name(dataset, tokens, name, acquired, weighted or contradiction != "", copied, sign)
        if named is not None:
            return replace(named, b_value_s_per_mm2=clear_b_value) if named.kind is Kind.UNCLEAR else named
    if not weighted and contrast == "PERFUSION":
        return Diffusion(Kind.PERFUSION, because="AcquisitionContrast PERFUSION")
    if not sign:
        sign = _name_sign(dataset, contrast, sources, name)
    if not sign:
        return Diffusion(Kind.OTHER, because="nothing speaks of diffusion")
    if contradiction:
        return Diffusion(Kind.UNCLEAR, because=f"unclear which b value: {contradiction}")
    if b_value is None and original and _is_canon(dataset) and not any(name.b_values):
        # Canon writes DiffusionBValue on weighted images only (inference/dicom/meaning/vendors/canon.py).
        return Diffusion(Kind.B0, 0.0, because="Canon, no DiffusionBValue", inferred=True)
    if b_value is not None and not weighted:
        return Diffusion(Kind.B0, b_value, because=b_says)
    if TRACE_TOKENS & tokens and raw_texts(dataset, _DIRECTIONALITY)[:1] == ("DIRECTIONAL",):
        reason = "unclear whether trace or direction: ImageType says trace, DiffusionDirectionality DIRECTIONAL"
        return Diffusion(Kind.UNCLEAR, b_value, because=reason)
    because = b_says or sign
    if shape is None and "DERIVED" in tokens and not tokens & MAGNITUDE_TOKENS and not (name.trace or name.b_values):
        # A map may carry the most representative b value of its images (PS3.3 C.8.13.5.9).
        reason = f"unclear whether trace or map: {because}, but DERIVED and not said to be a trace"
        return Diffusion(Kind.UNCLEAR, b_value, because=reason)
    by_name_alone = shape is None and name.trace
    if by_name_alone:
        shape, shape_source = True, "the name says trace"
    kind = Kind.DWI if shape is None else Kind.TRACE if shape else Kind.DIRECTION
    because = ", ".join(dict.fromkeys(part for part in (because, shape_source) if part))
    return Diffusion(kind, b_value, unit(direction) if kind is Kind.DIRECTION else None, because, by_name_alone)


def settle(diffusions: Sequence[Diffusion], name: str) -> tuple[Diffusion, ...]:
    """What the images of one series say together: `diffusions` in their order, completed from the series' name.

    The name's b value counts only where no image of the series states one and the name speaks of exactly one; it then
    belongs to every weighted image. Kinds that the headers gave are not changed otherwise.
    """
    named = b_values_in_name(name)
    stated = any(found.b_value_s_per_mm2 is not None for found in diffusions if found.kind in {*WEIGHTED, Kind.B0})
    if stated or len(named) != 1:
        return tuple(diffusions)
    return tuple(_with_named_b(found, named[0]) if found.kind in WEIGHTED else found for found in diffusions)


def _with_named_b(found: Diffusion, b_value: float) -> Diffusion:
    because = f"{found.because}, b {b_value:g} from the name"
    if b_value <= MAX_B0_S_PER_MM2:
        return Diffusion(Kind.B0, b_value, because=because, inferred=True)
    return replace(found, b_value_s_per_mm2=b_value, because=because)


def _plain(dataset: Dataset, keyword: str) -> str:
    """Free text; all values, for a backslash in it splits it. Without pydicom where it is ASCII, which is quicker and
    knows no character set that a header could have wrong."""
    element = dataset.get_item(keyword, keep_deferred=True)
    value = getattr(element, "value", None)
    if getattr(element, "VR", None) == "SQ":
        return ""
    if isinstance(value, bytes) and value.isascii() and b"\x1b" not in value:
        return "\\".join(part.strip(" \0\t\r\n") for part in value.decode("ascii").split("\\"))
    return "\\".join(texts(dataset, keyword))


def _first(values: tuple[str, ...]) -> str:
    return values[0] if values else ""


def _could_be_copied(tokens: frozenset[str], sources: Sequence[Stated]) -> bool:
    """Whether a calculated image may have its b value from its sources: a sequence's name that states it as well is a
    second witness, and then it is less clear."""
    calculated = "DERIVED" in tokens and not tokens & ({"ORIGINAL"} | MAGNITUDE_TOKENS | TRACE_TOKENS)
    return calculated and all(stated.nominal_b_s_per_mm2 is None for stated in sources)


def _sources(dataset: Dataset, tokens: frozenset[str], name: NameSays) -> tuple[Stated, ...]:
    """Everything that speaks of b values and directions, the most telling first."""
    private = PrivateElements(dataset)
    maker = _first(raw_texts(dataset, _MANUFACTURER, "LO")).upper()
    scanning = frozenset(code.upper() for code in raw_texts(dataset, _SCANNING_SEQUENCE))
    found = [_standard(dataset)]
    is_siemens = "SIEMENS" in maker or private.made_by("SIEMENS")
    if is_siemens:
        found += siemens.read(private)
    if maker.startswith("GE") or private.made_by("GEMS_"):
        found += ge.read(private, "ORIGINAL" in tokens, "EP" in scanning if scanning else None)
    if "PHILIPS" in maker or private.made_by("PHILIPS"):
        # A b of 0 counts there only where neither attribute nor name speaks of a weighting.
        open_b_value = found[0].b_value_s_per_mm2 is None and min(name.b_values, default=0.0) <= MAX_B0_S_PER_MM2
        found += philips.read(private, open_b_value=open_b_value)
    if "UIH" in maker or "UNITED IMAGING" in maker or private.made_by("IMAGE PRIVATE HEADER"):
        found += uih.read(private)
    if maker.startswith(canon.MANUFACTURERS):
        found.append(canon.read_comment(_first(raw_texts(dataset, _IMAGE_COMMENTS, "LT"))))
    sequence = _first(raw_texts(dataset, _SEQUENCE_NAME, "SH"))
    found.append(siemens.sequence_name(sequence, "SequenceName"))
    found.append(siemens.sequence_name(_first(raw_texts(dataset, _PULSE_SEQUENCE, "SH")), "PulseSequenceName"))
    silent = all(stated.b_value_s_per_mm2 is None and stated.nominal_b_s_per_mm2 is None for stated in found)
    if is_siemens and silent:
        found.append(siemens.read_csa(private))
    return tuple(found)


def _standard(dataset: Dataset) -> Stated:
    code = _first(raw_texts(dataset, _DIRECTIONALITY)).upper()
    gradient = raw_numbers(dataset, _GRADIENT, "FD")
    known = code in siemens.ISOTROPIC_OF_DIRECTIONALITY
    return Stated(
        b_value_s_per_mm2=plausible_b(raw_numbers(dataset, _B_VALUE, "FD")),
        b_source="DiffusionBValue",
        isotropic=siemens.ISOTROPIC_OF_DIRECTIONALITY.get(code),
        shape_source=f"DiffusionDirectionality {code}",
        direction=vector(gradient),
        diffusion=known or None,
        diffusion_source=f"DiffusionDirectionality {code}",
    )


def _b_value(sources: Sequence[Stated]) -> tuple[float | None, str, str]:
    """(b value, the attribute it is from with what it says, what contradicts it or "")."""
    named = [(s.nominal_b_s_per_mm2, s.nominal_source) for s in sources if s.nominal_b_s_per_mm2 is not None]
    b_value, says = None, ""
    for source in sources:
        value = source.b_value_s_per_mm2
        if value is None or (b_value is not None and abs(value - b_value) <= SAME_B_VALUE_S_PER_MM2):
            continue
        nominal = source.nominal_b_s_per_mm2
        if b_value is not None and (nominal is None or abs(nominal - b_value) > SAME_B_VALUE_S_PER_MM2):
            return b_value, says, f"{says}, but {source.b_source} {value:g}"
        # The first to say so, or: the standard attribute repeats what was asked for, the private one what was reached.
        b_value, says = value, f"{source.b_source} {value:g}"
    if b_value is None:
        return (*named[0], "") if named else (None, "", "")
    for asked, asked_source in named:
        one_is_none = (asked <= MAX_B0_S_PER_MM2) != (b_value <= MAX_B0_S_PER_MM2)
        if one_is_none or abs(asked - b_value) > max(NOMINAL_TOLERANCE * b_value, MAX_B0_S_PER_MM2):
            return b_value, says, f"{says}, but {asked_source}"
    return b_value, says, ""


def _shape(
    tokens: frozenset[str], sources: Sequence[Stated]
) -> tuple[bool | None, str, tuple[float, float, float] | None]:
    """(isotropic or not or not known, the attribute it is from, gradient direction)."""
    direction = next((stated.direction for stated in sources if stated.direction is not None), None)
    for token in sorted(tokens & TRACE_TOKENS):
        return True, f"ImageType {token}", direction
    for stated in sources:
        if stated.isotropic is not None:
            return stated.isotropic, stated.shape_source, direction
    return (False, "a gradient direction", direction) if direction is not None else (None, "", None)


def _diffusion_sign(
    dataset: Dataset, tokens: frozenset[str], contrast: str, sources: Sequence[Stated], b_value: float | None
) -> str:
    """The attribute that says that this is an image of a diffusion sequence, "" for none.

    A b value of 0 is none by itself where it is private: Philips and GE write it on every image they make.
    """
    if b_value is not None and b_value > MAX_B0_S_PER_MM2:
        return "a b value"
    if any(stated.diffusion is False for stated in sources) or contrast in _NO_DIFFUSION_CONTRASTS:
        return ""
    for token in sorted(tokens & (TRACE_TOKENS | {"DIFFUSION"})):
        return f"ImageType {token}"
    if contrast == "DIFFUSION":
        return "AcquisitionContrast DIFFUSION"
    for stated in sources:
        if stated.diffusion:
            return stated.diffusion_source
    scanning = frozenset(code.upper() for code in raw_texts(dataset, _SCANNING_SEQUENCE))
    echo_planar = "EP" in scanning and "GR" not in scanning
    if b_value is not None and (sources[0].b_value_s_per_mm2 is not None or echo_planar):
        return "a b value"
    return ""


def _name_sign(dataset: Dataset, contrast: str, sources: Sequence[Stated], name: NameSays) -> str:
    """Whether the name speaks of diffusion and the sequence does not speak against it."""
    if not (name.dwi or name.b_values) or contrast in _NO_DIFFUSION_CONTRASTS:
        return ""
    if any(stated.diffusion is False for stated in sources):
        return ""
    scanning = frozenset(code.upper() for code in raw_texts(dataset, _SCANNING_SEQUENCE))
    if scanning & {"GR", "IR"} and "EP" not in scanning:
        return ""
    return "the name"


def _is_canon(dataset: Dataset) -> bool:
    return _first(raw_texts(dataset, _MANUFACTURER, "LO")).upper().startswith(canon.MANUFACTURERS)
