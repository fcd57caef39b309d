"""GE: the b value hides in a slop field, and an image-level flag says which image of a diffusion series this is.

Sources: github.com/rordenlab/dcm2niix issues 149, 264, 602 (GE's own engineer on the bias), 574, 690, 777 (the flag),
its GE/README.md, and headers of MR750 and SIGNA Pioneer.
    (0043,1039) IS 4  first value: b, in multi-b and synthetic DWI with 1e9 added; present in every GE image, and in
                      others than diffusion images it can hold anything     "GEMS_PARM_01"
    (0043,107F)       that bias, where it was added
    (0043,102F) SS    0 magnitude, 1 phase, 2 real, 3 imaginary
    (0043,1030) SS    the flag, `_FLAGS`
    (0019,109E) LO    internal pulse sequence: EPI2 is diffusion EPI         "GEMS_ACQU_01"
    (0019,10BB..BD) DS  gradient direction along frequency, phase and slice
"""

from __future__ import annotations

from pirtad.inference.dicom.kinds import MAX_B0_S_PER_MM2, Kind
from pirtad.inference.dicom.meaning.vendors.private import PrivateElements, Stated, plausible_b, vector

_PARAMETERS, _ACQUISITION = "GEMS_PARM_01", "GEMS_ACQU_01"
_BIASES = (2**30, 10**9)
"""Added to b: 1e9 by all releases that tell it, 2**30 seen on the field's neighbour in release 27; larger first, for
a b value of more than 7e7 does not exist."""

_T2, _COMBINED, _TENSOR, _TRACE = 14, 15, 16, 19
_DIRECTIONS = {3, 4, 5, 43, 44, 45, 46}
_AXES = {3: (1.0, 0.0, 0.0), 4: (0.0, 1.0, 0.0), 5: (0.0, 0.0, 1.0)}
"""What flags 3 to 5 tell apart; the vector beside them may be zero or missing. That the three are orthogonal is all
that a trace needs: which of them is which does not change it."""
_MAPS = {17: Kind.EADC, 18: Kind.FA, 20: Kind.ADC, 31: Kind.COLOUR_FA}
"""Values of the flag. 14, 16, 18 and 19 by GE; the others as GE's reconstruction toolbox writes them. On an image that
is ORIGINAL a map's code is not believed: the flag is older than its use for diffusion."""
_DIFFUSION_FLAGS = {_T2, _COMBINED, _TENSOR, _TRACE, *_DIRECTIONS}
_COMPONENTS = {1: "phase", 2: "real", 3: "imaginary"}


def read(private: PrivateElements, original: bool, sequence_is_epi: bool | None) -> tuple[Stated, ...]:
    """What the private elements say.

    original: ImageType says ORIGINAL. sequence_is_epi: whether ScanningSequence names echo-planar imaging, None where
        it is absent; a b value is only believed where something else speaks of diffusion or nothing speaks against.
    """
    flag = _whole(private.numbers(0x0043, _PARAMETERS, 0x30, "SS"))
    component = _whole(private.numbers(0x0043, _PARAMETERS, 0x2F, "SS"))
    if original and component in _COMPONENTS:
        return (Stated(kind=Kind.OTHER, kind_source=f"GE (0043,102F) {_COMPONENTS[component]}"),)
    if not original and flag in _MAPS:
        return (Stated(kind=_MAPS[flag], kind_source=f"GE (0043,1030) {flag}"),)

    slop = private.numbers(0x0043, _PARAMETERS, 0x39, "IS")
    biased = bool(slop) and slop[0] >= min(_BIASES)
    b_value = _unbiased(slop, private)
    pulse_sequence = private.text(0x0019, _ACQUISITION, 0x9E).upper()
    gradient = _gradient(private)
    flagged = flag in _DIFFUSION_FLAGS
    diffusion = flagged or biased or pulse_sequence == "EPI2"
    if not diffusion and sequence_is_epi is False:
        return ()
    if flag == _TENSOR and gradient is not None and not any(gradient) and (b_value or 0) > MAX_B0_S_PER_MM2:
        # Releases before 29.1 give the b 0 images of a gradient table the b value of the others (issue 777).
        reason = "GE (0043,1030) says one direction and (0019,10BB) none"
        return (Stated(kind=Kind.UNCLEAR, kind_source=reason),)
    if flag == _T2 and (b_value or 0) > MAX_B0_S_PER_MM2:
        return (Stated(kind=Kind.UNCLEAR, kind_source="GE (0043,1030) says T2 and (0043,1039) a b value"),)
    return (
        Stated(
            b_value_s_per_mm2=0.0 if flag == _T2 else b_value,
            b_source="GE (0043,1030) T2, b" if flag == _T2 else "GE b value (0043,1039)",
            isotropic=_isotropic(flag),
            shape_source=f"GE (0043,1030) {flag}",
            direction=_direction(gradient, flag),
            diffusion=diffusion or None,
            diffusion_source=f"GE (0043,1030) {flag}" if flagged else "GE pulse sequence (0019,109E) EPI2",
        ),
    )


def _whole(values: tuple[float, ...]) -> int | None:
    return int(values[0]) if values else None


def _unbiased(slop: tuple[float, ...], private: PrivateElements) -> float | None:
    if not slop:
        return None
    stated = private.numbers(0x0043, _PARAMETERS, 0x7F, "IS")
    biases = (*stated[:1], *_BIASES)
    bias = next((bias for bias in biases if 0 < bias <= slop[0]), 0.0)
    return plausible_b((slop[0] - bias,))


def _gradient(private: PrivateElements) -> tuple[float, ...] | None:
    parts = [private.numbers(0x0019, _ACQUISITION, element, "DS") for element in (0xBB, 0xBC, 0xBD)]
    return tuple(part[0] for part in parts) if all(parts) else None


def _direction(gradient: tuple[float, ...] | None, flag: int | None) -> tuple[float, float, float] | None:
    stated = vector(gradient) if gradient is not None else None
    return stated if stated is not None or flag is None else _AXES.get(flag)


def _isotropic(flag: int | None) -> bool | None:
    if flag in (_COMBINED, _TRACE):
        return True
    return False if flag == _TENSOR or flag in _DIRECTIONS else None
