"""What single headers are taken for; names are those of real archives."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from pirtad.inference.dicom.kinds import WEIGHTED, Kind
from pirtad.inference.dicom.meaning.diffusion import diffusion_of, series_name, settle


def header(name: str, image_type: str = "", **attributes: object) -> Dataset:
    made = Dataset()
    made.SeriesDescription = name
    if image_type:
        made.ImageType = image_type.split("/")
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("name", "image_type", "kind"),
    [
        ("sB1000", "ORIGINAL/PRIMARY/M/SE/M/SE", Kind.TRACE),
        ("sB 1000", "ORIGINAL/PRIMARY/M/SE/M/SE", Kind.TRACE),
        ("sB1000", "DERIVED/PRIMARY/DIFFUSION/MIXED", Kind.TRACE),
        ("sAX DWI b1000 CLEAR", "ORIGINAL/PRIMARY/M/SE/M/SE", Kind.TRACE),
        ("dAX DWI b1000 CLEAR", "ORIGINAL/PRIMARY/ADC/SE/ADC/SE", Kind.ADC),
        ("dAX DWI b1000 CLEAR", "", Kind.UNCLEAR),
        ("B1000", "ORIGINAL/PRIMARY/OTHER", Kind.DWI),
        ("DWI ISO", "ORIGINAL/PRIMARY/OTHER", Kind.TRACE),
        ("ax dwi iso", "ORIGINAL/PRIMARY/M/SE", Kind.TRACE),
        ("DWI_b1000_isotropic", "DERIVED/PRIMARY/OTHER", Kind.TRACE),
        ("DTI 2mm iso", "ORIGINAL/PRIMARY/M/SE", Kind.DWI),
        ("DTI 2.0 iso", "ORIGINAL/PRIMARY/M/SE", Kind.DWI),
        ("DTI_iso2mm", "ORIGINAL/PRIMARY/M/SE", Kind.DWI),
        ("DTI isotropic voxels", "ORIGINAL/PRIMARY/M/SE", Kind.DWI),
        ("DWI isocenter", "ORIGINAL/PRIMARY/M/SE", Kind.DWI),
        ("T1 3D ISO", "ORIGINAL/PRIMARY/M/SE", Kind.OTHER),
        ("eDWI", "ORIGINAL/PRIMARY/OTHER", Kind.DWI),
        ("dADC", "ORIGINAL/PRIMARY/ADC/ADC/UNSPECIFIED", Kind.ADC),
        ("dADC", "DERIVED/PRIMARY/DIFFUSION/MIXED/REAL", Kind.ADC),
        ("", "DERIVED/PRIMARY/DIFFUSION/MIXED/REAL", Kind.UNCLEAR),
        ("ddADC", "ORIGINAL/PRIMARY/ADC/UNSPECIFIED/ADC/UNSPECIFIED", Kind.ADC),
        ("Apparent Diffusion Coefficient (mm2/s)", "DERIVED/PRIMARY/ADC/ADC", Kind.ADC),
        ("Apparent Diffusion Coefficient (mm2/s)", "", Kind.ADC),
        ("Average DC", "DERIVED/SECONDARY/PROCESSED", Kind.ADC),
        ("ep2d_diff_ADC", "DERIVED/PRIMARY/DIFFUSION/ADC/ND/NORM", Kind.ADC),
        ("ep2d_diff_TRACEW", "DERIVED/PRIMARY/DIFFUSION/TRACEW/ND/NORM", Kind.TRACE),
        ("DWI_ADC_TRACEW", "DERIVED/PRIMARY/DIFFUSION/TRACEW/ND/NORM", Kind.TRACE),
        ("", "DERIVED/PRIMARY/DIFFUSION/TRACEW/ADC", Kind.UNCLEAR),
        ("DWI_dir80_TENSOR_B0", "DERIVED/PRIMARY/DIFFUSION/TENSOR_B0", Kind.TENSOR),
        ("ep2d_diff_FA", "DERIVED/PRIMARY/DIFFUSION/FA", Kind.FA),
        ("DTI Fractional Aniso.", "DERIVED/SECONDARY/PROCESSED", Kind.FA),
        ("ep2d_diff_ColFA", "DERIVED/PRIMARY/DIFFUSION/COLFA", Kind.COLOUR_FA),
        ("dti_ColFA", "DERIVED/SECONDARY", Kind.COLOUR_FA),
        ("ep2d_diff_CALC_BVALUE", "DERIVED/PRIMARY/DIFFUSION/CALC_BVALUE", Kind.CALCULATED_DWI),
        ("DW Synthetic: Ax DWI b2000", "DERIVED/SECONDARY/PROCESSED", Kind.CALCULATED_DWI),
        ("Synthetic T1", "DERIVED/SECONDARY/PROCESSED", Kind.OTHER),
        ("eADC", "DERIVED/PRIMARY/ADC", Kind.EADC),
        ("Exponential Apparent Diffusion Coefficient", "DERIVED/PRIMARY/EADC/EADC", Kind.EADC),
        ("AX DWI eADC", "", Kind.EADC),
        ("DWI", "DERIVED/PRIMARY/EADC", Kind.EADC),
        ("Exponential", "DERIVED/SECONDARY", Kind.EXPONENTIAL),
        ("ep2d_perf", "ORIGINAL/PRIMARY/M/ND", Kind.PERFUSION),
        ("DSC Perfusion", "ORIGINAL/PRIMARY/M/FFE", Kind.PERFUSION),
        ("", "DERIVED/PRIMARY/PERFUSION/TTP", Kind.PERFUSION),
        ("pCASL 3D", "ORIGINAL/PRIMARY/M/FFE", Kind.PERFUSION),
        ("Tmax", "DERIVED/SECONDARY", Kind.PERFUSION),
        ("B1 map", "ORIGINAL/PRIMARY/M", Kind.OTHER),
        ("B0 map", "ORIGINAL/PRIMARY/M", Kind.OTHER),
        ("SAG T1 3D TFE", "ORIGINAL/PRIMARY/M/FFE/M/FFE", Kind.OTHER),
        ("cadaver study", "ORIGINAL/PRIMARY/M/SE", Kind.OTHER),
        ("Gadolinium tracer", "ORIGINAL/PRIMARY/M/SE", Kind.OTHER),
        ("sB1000 MPR", "DERIVED/SECONDARY/MPR", Kind.OTHER),
        ("DWI MIP", "DERIVED/SECONDARY", Kind.OTHER),
        ("T1 MPRAGE", "ORIGINAL/PRIMARY/M/ND", Kind.OTHER),
        ("ep2d_diff", "ORIGINAL/PRIMARY/P/ND", Kind.OTHER),
        ("DWI", "ORIGINAL/PRIMARY/R/SE/R/SE", Kind.OTHER),
        ("DWI b1000", "DERIVED/PRIMARY/SCREEN SAVE", Kind.OTHER),
        ("", "", Kind.OTHER),
    ],
)
def test_kind_by_image_type_and_name(name: str, image_type: str, kind: Kind) -> None:
    assert diffusion_of(header(name, image_type)).kind is kind


def test_protocol_name_stands_in_for_an_empty_description() -> None:
    made = header("", "DERIVED/SECONDARY", ProtocolName="ADC")
    assert series_name(made) == "ADC"
    assert diffusion_of(made).kind is Kind.ADC


def test_the_standard_header_comes_before_the_name() -> None:
    found = diffusion_of(header("sB1000", "ORIGINAL/PRIMARY/M", DiffusionBValue=0.0))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.B0, 0.0)
    assert found.because == "DiffusionBValue 0"


@pytest.mark.parametrize(
    ("name", "image_type", "b_value", "kind"),
    [
        ("DWI + ADC", "ORIGINAL/PRIMARY/M/SE", 1000.0, Kind.DWI),
        ("DWI + ADC", "ORIGINAL/PRIMARY/M/SE", 0.0, Kind.B0),
        ("DWI + ADC", "ORIGINAL/PRIMARY/M/SE", None, Kind.UNCLEAR),
        ("DWI + ADC", "ORIGINAL/PRIMARY/OTHER", 1000.0, Kind.UNCLEAR),
        ("dADC", "DERIVED/PRIMARY/DIFFUSION", 1000.0, Kind.ADC),
        ("dADC", "", 1000.0, Kind.UNCLEAR),
        ("dADC", "DERIVED/PRIMARY/DIFFUSION", 0.0, Kind.ADC),
        ("dADC", "ORIGINAL/PRIMARY/ADC", 1000.0, Kind.ADC),
        ("", "ORIGINAL/PRIMARY/ADC", 0.0, Kind.ADC),
        ("eADC", "ORIGINAL/PRIMARY/M/SE", 1000.0, Kind.DWI),
        ("", "DERIVED/PRIMARY/DIFFUSION/MIXED", 1000.0, Kind.UNCLEAR),
        ("", "DERIVED/PRIMARY/M/SE", 1000.0, Kind.DWI),
        ("FA", "ORIGINAL/PRIMARY/M/SE", 1000.0, Kind.DWI),
        ("perfusion", "ORIGINAL/PRIMARY/M/SE", 1000.0, Kind.DWI),
    ],
)
def test_name_against_header(name: str, image_type: str, b_value: float | None, kind: Kind) -> None:
    made = header(name, image_type)
    if b_value is not None:
        made.DiffusionBValue = b_value
    assert diffusion_of(made).kind is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Apparent Diffusion Coefficient (mm2/s)", Kind.ADC),
        ("ADC", Kind.ADC),
        ("dADC", Kind.ADC),
        ("ADC map", Kind.ADC),
        ("ADC (10^-6 mm2/s)", Kind.ADC),
        ("Average DC", Kind.ADC),
        ("DWI ADC", Kind.UNCLEAR),
        ("ADC b1000", Kind.UNCLEAR),
        ("ep2d_diff_ADC", Kind.UNCLEAR),
        ("ADC trace", Kind.UNCLEAR),
        ("dAX DWI b1000 CLEAR", Kind.UNCLEAR),
        ("", Kind.UNCLEAR),
    ],
)
def test_a_map_with_the_b_value_of_its_sources(name: str, kind: Kind) -> None:
    # Given a calculated image with a b value, and nothing but the name to say what was calculated
    found = diffusion_of(header(name, "DERIVED/SECONDARY/PROCESSED", DiffusionBValue=1000.0))
    # Then it is a map if that is all the name speaks of, and no b value is a map's
    assert (found.kind, found.b_value_s_per_mm2) == (kind, None if kind is Kind.ADC else 1000)


@pytest.mark.parametrize(
    ("image_type", "attributes"),
    [
        ("", {}),
        ("ORIGINAL/PRIMARY/OTHER", {}),
        ("ORIGINAL/DERIVED/OTHER", {}),
        ("DERIVED/PRIMARY/OTHER", {"DiffusionDirectionality": "ISOTROPIC"}),
        ("DERIVED/PRIMARY/OTHER", {"DiffusionGradientOrientation": [0.0, 0.6, 0.8]}),
        ("DERIVED/PRIMARY/OTHER", {"SequenceName": "*ep_b1000"}),
        ("DERIVED/PRIMARY/OTHER", {"SequenceName": "*ep_b0"}),
    ],
)
def test_an_image_called_adc_that_may_be_weighted_stays_unclear(image_type: str, attributes: dict[str, object]) -> None:
    found = diffusion_of(header("ADC", image_type, DiffusionBValue=1000.0, **attributes))
    assert found.kind is Kind.UNCLEAR
    assert "unclear" in found.because


def test_a_magnitude_image_called_adc_is_no_map() -> None:
    assert diffusion_of(header("ADC", "DERIVED/PRIMARY/M/SE", DiffusionBValue=1000.0)).kind is not Kind.ADC


@pytest.mark.parametrize(
    ("name", "image_type", "attributes", "words"),
    [
        ("", "DERIVED/PRIMARY/DIFFUSION", {}, "not said to be a trace"),
        ("DWI + ADC", "ORIGINAL/PRIMARY/OTHER", {}, "the name says ADC"),
        ("", "DERIVED/PRIMARY/DIFFUSION/TRACEW", {"DiffusionDirectionality": "DIRECTIONAL"}, "DIRECTIONAL"),
        ("", "DERIVED/PRIMARY/DIFFUSION/TRACEW/ADC", {}, "ADC and trace"),
        ("", "DERIVED/PRIMARY/DIFFUSION", {"RescaleType": "mm2/s"}, "diffusivity"),
    ],
)
def test_an_unclear_image_keeps_a_b_value_that_nothing_contradicts(
    name: str, image_type: str, attributes: dict[str, object], words: str
) -> None:
    found = diffusion_of(header(name, image_type, DiffusionBValue=1000.0, **attributes))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.UNCLEAR, 1000)
    assert "unclear whether" in found.because
    assert words in found.because
    # and none where b values contradict each other
    attributes = attributes | {"SequenceName": "*ep_b0"}
    found = diffusion_of(header(name, image_type, DiffusionBValue=1000.0, **attributes))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.UNCLEAR, None)
    assert "unclear" in found.because


@pytest.mark.parametrize(
    ("name", "image_type", "attributes", "inferred"),
    [
        ("sB1000", "ORIGINAL/PRIMARY/M/SE", {}, True),
        ("sB1000", "ORIGINAL/PRIMARY/M/SE", {"DiffusionBValue": 1000.0}, True),
        ("DWI ISO", "ORIGINAL/PRIMARY/OTHER", {"DiffusionBValue": 1000.0}, True),
        ("TRACE", "DERIVED/PRIMARY/OTHER", {"DiffusionBValue": 1000.0}, True),
        ("sB1000", "DERIVED/PRIMARY/DIFFUSION/TRACEW", {}, False),
        ("sB1000", "ORIGINAL/PRIMARY/M", {"DiffusionBValue": 1000.0, "DiffusionDirectionality": "ISOTROPIC"}, False),
        ("TRACE", "ORIGINAL/PRIMARY/M", {"SequenceName": "*ep_b1000t"}, False),
    ],
)
def test_a_trace_by_its_name_alone_is_inferred(
    name: str, image_type: str, attributes: dict[str, object], inferred: bool
) -> None:
    found = diffusion_of(header(name, image_type, **attributes))
    assert (found.kind, found.inferred) == (Kind.TRACE, inferred)
    # and the name's b value does not change that
    (settled,) = settle([found], name)
    assert (settled.kind, settled.inferred) == (Kind.TRACE, inferred)


@pytest.mark.parametrize("sequence", [["GR"], ["IR"], ["SE", "IR"]])
def test_a_name_is_not_believed_against_the_sequence(sequence: list[str]) -> None:
    made = header("T1 for DTI b1000", "ORIGINAL/PRIMARY/M/ND", ScanningSequence=sequence)
    assert diffusion_of(made).kind is Kind.OTHER


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"AcquisitionContrast": "T2"}, Kind.OTHER),
        ({"AcquisitionContrast": "PERFUSION"}, Kind.PERFUSION),
        ({"AcquisitionContrast": "DIFFUSION"}, Kind.DWI),
        ({"ComplexImageComponent": "PHASE"}, Kind.OTHER),
        ({"ComplexImageComponent": "REAL"}, Kind.OTHER),
        ({"ComplexImageComponent": "MAGNITUDE"}, Kind.DWI),
    ],
)
def test_enhanced_attributes(attributes: dict[str, object], kind: Kind) -> None:
    assert diffusion_of(header("DWI", "ORIGINAL/PRIMARY/OTHER", **attributes)).kind is kind


@pytest.mark.parametrize(
    ("sequence", "kind", "b_value"),
    [
        ("*ep_b0", Kind.B0, 0),
        ("*ep_b1000#3", Kind.DIRECTION, 1000),
        ("ep_b1000t", Kind.TRACE, 1000),
        ("*re_b1000t", Kind.TRACE, 1000),
        ("*ep_b1000", Kind.DWI, 1000),
        ("ep_b0_2500", Kind.DWI, None),
        ("*tse2d1_15", Kind.DWI, None),
        ("ep_calc_b1400", Kind.CALCULATED_DWI, None),
    ],
)
@pytest.mark.parametrize("keyword", ["SequenceName", "PulseSequenceName"])
def test_siemens_sequence_names(keyword: str, sequence: str, kind: Kind, b_value: float | None) -> None:
    found = diffusion_of(header("", "ORIGINAL/PRIMARY/DIFFUSION", **{keyword: sequence}))
    assert (found.kind, found.b_value_s_per_mm2) == (kind, b_value)
    if b_value is not None:
        assert found.because == f"{keyword} {sequence}"


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"DiffusionDirectionality": "ISOTROPIC"}, Kind.TRACE),
        ({"DiffusionDirectionality": "DIRECTIONAL"}, Kind.DIRECTION),
        ({"DiffusionDirectionality": "BMATRIX"}, Kind.DIRECTION),
        ({"DiffusionGradientOrientation": [0.0, 0.6, 0.8]}, Kind.DIRECTION),
        ({"DiffusionGradientOrientation": [0.0, 0.0, 0.0]}, Kind.DWI),
        ({"DiffusionGradientOrientation": [7e75, 7e75, 7e75]}, Kind.DWI),
        ({"DiffusionDirectionality": "ISOTROPIC", "DiffusionGradientOrientation": [0.0, 0.6, 0.8]}, Kind.TRACE),
        ({}, Kind.DWI),
    ],
)
def test_directions(attributes: dict[str, object], kind: Kind) -> None:
    found = diffusion_of(header("DWI", "ORIGINAL/PRIMARY/M", DiffusionBValue=1000.0, **attributes))
    assert found.kind is kind


def test_a_direction_has_length_one_and_only_directions_have_one() -> None:
    vector = {"DiffusionGradientOrientation": [0.0, 0.3, 0.4]}
    assert diffusion_of(header("", "", DiffusionBValue=1000.0, **vector)).direction == pytest.approx((0, 0.6, 0.8))
    assert diffusion_of(header("", "", DiffusionBValue=0.004, **vector)).direction is None


def test_a_trace_by_image_type_that_is_directional_is_unclear() -> None:
    made = header("", "DERIVED/PRIMARY/DIFFUSION/TRACEW", DiffusionBValue=1000.0, DiffusionDirectionality="DIRECTIONAL")
    assert diffusion_of(made).kind is Kind.UNCLEAR


@pytest.mark.parametrize(
    ("b_value", "sequence", "kind"),
    [
        (1000.0, "*ep_b0", Kind.UNCLEAR),
        (0.0, "*ep_b1000t", Kind.UNCLEAR),
        (2000.0, "*ep_b1000t", Kind.UNCLEAR),
        (930.0, "*ep_b1000t", Kind.TRACE),
        (5.0, "*ep_b0", Kind.B0),
    ],
)
def test_a_b_value_against_the_sequence_name(b_value: float, sequence: str, kind: Kind) -> None:
    made = header("DWI", "ORIGINAL/PRIMARY/M", DiffusionBValue=b_value, SequenceName=sequence)
    assert diffusion_of(made).kind is kind


@pytest.mark.parametrize("unset", [-1.0, 7.23e75, float("nan"), float("inf")])
def test_placeholders_are_no_b_values(unset: float) -> None:
    found = diffusion_of(header("DWI", "ORIGINAL/PRIMARY/M", DiffusionBValue=unset))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.DWI, None)


def test_the_unit_of_the_values_gives_a_map_away() -> None:
    units, quantity, code, mapping = Dataset(), Dataset(), Dataset(), Dataset()
    units.CodeValue = "um2/s"
    code.CodeValue = "113041"
    quantity.ConceptCodeSequence = [code]

    mapping.MeasurementUnitsCodeSequence = [units]
    by_units = header("", "DERIVED/PRIMARY/DIFFUSION", RealWorldValueMappingSequence=[mapping])
    assert diffusion_of(by_units).kind is Kind.ADC

    other = Dataset()
    other.QuantityDefinitionSequence = [quantity]
    assert diffusion_of(header("", "DERIVED/PRIMARY", RealWorldValueMappingSequence=[other])).kind is Kind.ADC
    assert diffusion_of(header("", "DERIVED/PRIMARY", RescaleType="10^-6 mm2/s")).kind is Kind.ADC
    # A b value next to it, or an acquired image, is a contradiction or no map
    by_units.DiffusionBValue = 1000.0
    assert diffusion_of(by_units).kind is Kind.UNCLEAR
    assert diffusion_of(header("", "ORIGINAL/PRIMARY/M", RescaleType="mm2/s")).kind is Kind.OTHER


# Hostile headers: what may decide, with values of any type, as data elements and as raw bytes of any VR.
_KEYWORDS = ["DiffusionBValue", "DiffusionDirectionality", "ImageType", "SequenceName", "ScanningSequence"]
_TAGS = [
    *(0x00080008, 0x00080070, 0x0008103E, 0x00181030, 0x00089208, 0x00089209, 0x00180020, 0x00180024, 0x00189005),
    *(0x00189087, 0x00189075, 0x00189089, 0x00204000, 0x00281054, 0x00409096, 0x00080005),
    *(0x00190010, 0x0019100C, 0x0019100D, 0x0019100E, 0x00210011, 0x00211177, 0x00290010, 0x00291010),
    *(0x00430010, 0x00431030, 0x0043102F, 0x00431039, 0x0043107F, 0x0019109E, 0x001910BB, 0x001910BC, 0x001910BD),
    *(0x20010010, 0x20011003, 0x20011004, 0x20011020, 0x20050010, 0x200510B0, 0x200510B1, 0x200510B2),
    *(0x00650010, 0x00651009, 0x0065100A, 0x0065102D, 0x00651037),
]
_TEXT = st.sampled_from(
    [
        *(b"SIEMENS MR HEADER ", b"SIEMENS CSA HEADER", b"GEMS_PARM_01", b"Philips Imaging DD 001", b"UIH", b"TOSHIBA"),
        *(b"Image Private Header", b"GE MEDICAL SYSTEMS", b"ORIGINAL\\PRIMARY\\M", b"DERIVED\\PRIMARY\\ADC", b"EP\\SE"),
        *(b"1000", b"1000001000\\8\\0\\0", b"nan", b"\\", b"1e999", b"9" * 400, b"*ep_b1000t", b"b=1000(0,0,1)", b"I"),
        *(
            struct.pack("<d", 1000.0),
            struct.pack(">d", 1000.0),
            b"SV10\4\3\2\1e\0\0\0M\0\0\0",
            b"B_value\0" + bytes(80),
        ),
    ]
)
_VALUES = st.one_of(_TEXT, st.binary(max_size=48))
_VRS = st.sampled_from([None, "UN", "FD", "FL", "IS", "DS", "SS", "US", "CS", "LO", "SQ", "OB", "AT", "XX"])


# pydicom warns of what it finds odd in garbage; what counts is that nothing is raised.
@pytest.mark.filterwarnings("ignore")
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(_TAGS), _VRS, _VALUES, st.booleans()), max_size=14),
    st.dictionaries(st.sampled_from(_KEYWORDS), st.one_of(st.none(), st.text(max_size=12), st.just(1e400)), max_size=3),
)
def test_no_header_raises(
    elements: list[tuple[int, str | None, bytes, bool]], attributes: dict[str, str | float | None]
) -> None:
    made = Dataset()
    for keyword, value in attributes.items():
        if keyword != "DiffusionBValue" or not isinstance(value, str):
            setattr(made, keyword, value)
    for number, vr, value, little in elements:
        tag = Tag(number)
        made._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, vr is None, little, True)

    found = diffusion_of(made)

    assert found.kind is not Kind.MIXED
    assert found.because
    b_value = found.b_value_s_per_mm2
    assert b_value is None or (0 <= b_value <= 100_000 and found.kind in {*WEIGHTED, Kind.B0, Kind.UNCLEAR})
    assert found.direction is None or sum(part**2 for part in found.direction) == pytest.approx(1)
