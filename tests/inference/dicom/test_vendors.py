"""Every vendor's private encoding, as written to a file and read back: explicit, implicit, big endian, moved blocks."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.dicom.meaning.diffusion import diffusion_of
from pirtad.inference.dicom.meaning.vendors.csa import csareader

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
Element = tuple[int, str, int, str, object]
"""Group, creator, element, VR, value."""

GE_B, GE_FLAG = (0x0043, "GEMS_PARM_01", 0x39, "IS"), (0x0043, "GEMS_PARM_01", 0x30, "SS")
GE_PULSE = (0x0019, "GEMS_ACQU_01", 0x9E, "LO", "EPI2")
GE_GRADIENT = [(0x0019, "GEMS_ACQU_01", element, "DS") for element in (0xBB, 0xBC, 0xBD)]
SIEMENS_B, SIEMENS_CODE = (0x0019, "SIEMENS MR HEADER", 0x0C, "IS"), (0x0019, "SIEMENS MR HEADER", 0x0D, "CS")
SIEMENS_GRADIENT = (0x0019, "SIEMENS MR HEADER", 0x0E, "FD")
XA_SEQUENCE = (0x0021, "SIEMENS MR SDI 02", 0x77, "LO")
PHILIPS_B, PHILIPS_CODE = (0x2001, "Philips Imaging DD 001", 0x03, "FL"), (0x2001, "Philips Imaging DD 001", 0x04, "CS")
PHILIPS_TECHNIQUE = (0x2001, "Philips Imaging DD 001", 0x20, "LO")
PHILIPS_GRADIENT = [(0x2005, "Philips MR Imaging DD 001", element, "FL") for element in (0xB0, 0xB1, 0xB2)]
UIH_B, UIH_CHOSEN = (0x0065, "Image Private Header", 0x09, "FD"), (0x0065, "Image Private Header", 0x0A, "FD")
UIH_SEQUENCE, UIH_GRADIENT = (
    (0x0065, "Image Private Header", 0x2D, "ST"),
    (0x0065, "Image Private Header", 0x37, "FD"),
)


def written(
    elements: list[Element], syntax: str = ExplicitVRLittleEndian, blocks_before: int = 0, **attributes: object
) -> Dataset:
    """A header with private elements, through a file. `blocks_before`: blocks others reserved in each group first."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "2.25.1"
    made.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    for group in {element[0] for element in elements}:
        for number in range(blocks_before):
            made.private_block(group, f"SOMEBODY ELSE {number}", create=True).add_new(0x0C, "LO", "4000")
    for group, creator, element, vr, value in elements:
        made.private_block(group, creator, create=True).add_new(element, vr, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return dcmread(stream)


CASES: dict[str, tuple[list[Element], Kind, float | None]] = {
    "siemens b0": ([(*SIEMENS_B, 0), (*SIEMENS_CODE, "NONE")], Kind.B0, 0),
    "siemens direction": (
        [(*SIEMENS_B, 1000), (*SIEMENS_CODE, "DIRECTIONAL"), (*SIEMENS_GRADIENT, [0.0, 0.6, 0.8])],
        Kind.DIRECTION,
        1000,
    ),
    "siemens trace": ([(*SIEMENS_B, 1000), (*SIEMENS_CODE, "ISOTROPIC")], Kind.TRACE, 1000),
    "siemens XA sequence": ([(*XA_SEQUENCE, "ep_b1000t")], Kind.TRACE, 1000),
    "siemens XA map's sequence": ([(*XA_SEQUENCE, "ep_b0_1000")], Kind.OTHER, None),
    "ge direction": (
        [(*GE_B, [1000, 8, 0, 0]), *((*tag, part) for tag, part in zip(GE_GRADIENT, [0, 0.6, 0.8], strict=True))],
        Kind.DIRECTION,
        1000,
    ),
    "ge combined, biased": ([(*GE_B, [1000001000, 8, 0, 0]), (*GE_FLAG, 15)], Kind.TRACE, 1000),
    "ge biased by 2**30": ([(*GE_B, [1073741824 + 1000, 8, 0, 0]), (*GE_FLAG, 15)], Kind.TRACE, 1000),
    "ge own bias": (
        [(*GE_B, [5000700, 8, 0, 0]), (0x0043, "GEMS_PARM_01", 0x7F, "IS", 5000000), (*GE_FLAG, 15)],
        Kind.TRACE,
        700,
    ),
    "ge T2": ([(*GE_B, [0, 8, 0, 0]), (*GE_FLAG, 14)], Kind.B0, 0),
    "ge one of three": ([(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 43)], Kind.DIRECTION, 1000),
    "ge axis without a vector": ([(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 3)], Kind.DIRECTION, 1000),
    "ge axis with a zero vector": (
        [(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 5), *((*tag, 0) for tag in GE_GRADIENT)],
        Kind.DIRECTION,
        1000,
    ),
    "ge unknown shape": ([(*GE_B, [1000, 8, 0, 0]), GE_PULSE], Kind.DWI, 1000),
    "ge T2 with a b value": ([(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 14)], Kind.UNCLEAR, None),
    "ge mislabelled b0": (
        [(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 16), *((*tag, 0) for tag in GE_GRADIENT)],
        Kind.UNCLEAR,
        None,
    ),
    "ge phase": ([(*GE_B, [1000, 8, 0, 0]), (0x0043, "GEMS_PARM_01", 0x2F, "SS", 1)], Kind.OTHER, None),
    "ge no b value": ([(*GE_B, [999999999, 8, 0, 0]), (*GE_FLAG, 0)], Kind.OTHER, None),
    "philips trace": (
        [(*PHILIPS_B, 1000.0), (*PHILIPS_CODE, "I"), *((*tag, 0.0) for tag in PHILIPS_GRADIENT)],
        Kind.TRACE,
        1000,
    ),
    "philips direction": (
        [(*PHILIPS_B, 1000.0), (*PHILIPS_CODE, "O"), *((*tag, 0.577) for tag in PHILIPS_GRADIENT)],
        Kind.DIRECTION,
        1000,
    ),
    "philips b0": ([(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "O"), (*PHILIPS_TECHNIQUE, "DwiSE")], Kind.B0, 0),
    "philips b0 called isotropic": (
        [(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "I"), (*PHILIPS_TECHNIQUE, "DwiSE")],
        Kind.B0,
        0,
    ),
    "philips T1 called isotropic": (
        [(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "I"), (*PHILIPS_TECHNIQUE, "T1TFE")],
        Kind.OTHER,
        None,
    ),
    "philips T1": ([(*PHILIPS_B, 0.0), (*PHILIPS_CODE, ""), (*PHILIPS_TECHNIQUE, "T1TFE")], Kind.OTHER, None),
    "philips unset": ([(*PHILIPS_B, 3.4e38), (*PHILIPS_TECHNIQUE, "TSE")], Kind.OTHER, None),
    "uih b0": ([(*UIH_B, 1.25), (*UIH_CHOSEN, 0.0), (*UIH_SEQUENCE, "epi_dti_b0")], Kind.B0, 1.25),
    "uih direction": (
        [
            (*UIH_B, 929.75),
            (*UIH_CHOSEN, 1000.0),
            (*UIH_SEQUENCE, "epi_dti_b1000#2"),
            (*UIH_GRADIENT, [0.6, 0.0, -0.8]),
        ],
        Kind.DIRECTION,
        929.75,
    ),
    "uih sequence alone": ([(*UIH_SEQUENCE, "epi_dwi_b1000")], Kind.DWI, 1000),
}


@pytest.mark.parametrize("blocks_before", [0, 2])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("case", CASES)
def test_every_encoding_says_the_same(case: str, syntax: str, blocks_before: int) -> None:
    elements, kind, b_value = CASES[case]
    found = diffusion_of(written(elements, syntax, blocks_before))
    assert (found.kind, found.b_value_s_per_mm2) == (kind, pytest.approx(b_value))
    assert (found.direction is None) or kind is Kind.DIRECTION


def test_the_last_block_of_a_group() -> None:
    found = diffusion_of(written([(*SIEMENS_B, 1000), (*SIEMENS_CODE, "ISOTROPIC")], blocks_before=0xFF - 0x10))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.TRACE, 1000)


@pytest.mark.parametrize("case", CASES)
def test_unknown_types_are_decoded_by_what_is_known(case: str) -> None:
    # Given a file that passed through a system that knows no private elements: VR UN, bytes as they were
    elements, kind, b_value = CASES[case]
    implicit = written(elements, ImplicitVRLittleEndian)
    for group in {element[0] for element in elements}:
        for tag in [tag for tag in implicit.keys() if tag.group == group and tag.element >= 0x1000]:  # noqa: SIM118
            raw = implicit.get_item(tag)
            if raw.value:
                implicit._dict[tag] = raw._replace(VR="UN", is_implicit_VR=False)

    found = diffusion_of(implicit)

    assert (found.kind, found.b_value_s_per_mm2) == (kind, pytest.approx(b_value))


@pytest.mark.parametrize(
    ("manufacturer", "kind"), [("GE MEDICAL SYSTEMS", Kind.TRACE), ("SIEMENS", Kind.OTHER), ("", Kind.OTHER)]
)
def test_creators_that_an_anonymiser_dropped(manufacturer: str, kind: Kind) -> None:
    made = written([(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 15)], Manufacturer=manufacturer)
    del made[0x00430010]
    assert diffusion_of(made).kind is kind


def test_a_block_that_somebody_else_reserved_is_not_the_vendors() -> None:
    theirs = [(group, "SOMEBODY ELSE", *rest) for group, _, *rest in [(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 15)]]
    assert diffusion_of(written(theirs, Manufacturer="GE MEDICAL SYSTEMS")).kind is Kind.OTHER


@pytest.mark.parametrize(
    ("standard", "elements", "kind", "b_value"),
    [
        (1000.0, [(*SIEMENS_B, 1005)], Kind.DWI, 1000),
        (1000.0, [(*SIEMENS_B, 0)], Kind.UNCLEAR, None),
        (0.0, [(*SIEMENS_B, 1000)], Kind.UNCLEAR, None),
        (500.0, [(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 15)], Kind.UNCLEAR, None),
        (1000.0, [(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "I")], Kind.TRACE, 1000),
        (1000.0, [(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "I"), (*PHILIPS_TECHNIQUE, "DwiSE")], Kind.TRACE, 1000),
        (1000.0, [(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "O")], Kind.UNCLEAR, None),
        (0.0, [(*PHILIPS_B, 0.0), (*PHILIPS_TECHNIQUE, "T1TFE")], Kind.OTHER, None),
        (1000.0, [(*UIH_B, 929.75), (*UIH_CHOSEN, 1000.0)], Kind.DWI, 929.75),
        (800.0, [(*UIH_B, 929.75), (*UIH_CHOSEN, 1000.0)], Kind.UNCLEAR, None),
        (-1.0, [(*SIEMENS_B, 1000)], Kind.DWI, 1000),
    ],
)
def test_standard_against_private(standard: float, elements: list[Element], kind: Kind, b_value: float | None) -> None:
    found = diffusion_of(written(elements, DiffusionBValue=standard))
    assert (found.kind, found.b_value_s_per_mm2) == (kind, b_value)


def test_a_philips_placeholder_does_not_outweigh_the_name() -> None:
    # Given a b of 0 that may be a placeholder, for the name speaks of a weighting alone
    elements = [(*PHILIPS_B, 0.0), (*PHILIPS_CODE, "I"), (*PHILIPS_TECHNIQUE, "DwiSE")]
    found = diffusion_of(written(elements, SeriesDescription="sB1000"))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.TRACE, None)
    assert diffusion_of(written(elements, SeriesDescription="DWI b0 b1000")).kind is Kind.B0


def test_ge_axes_by_their_flag() -> None:
    def direction(flag: int, parts: list[float] | None) -> tuple[float, float, float] | None:
        vector = zip(GE_GRADIENT, parts or [], strict=parts is not None)
        gradient = [(*tag, part) for tag, part in vector]
        return diffusion_of(written([(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, flag), *gradient])).direction

    axes = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert [direction(flag, None) for flag in (3, 4, 5)] == axes
    assert [direction(flag, [0, 0, 0]) for flag in (3, 4, 5)] == axes
    # A vector that is there wins, and other flags stand for no axis
    assert direction(3, [0, 0.6, 0.8]) == pytest.approx((0, 0.6, 0.8))
    assert direction(43, None) is None


def test_a_ge_map_with_the_b_value_of_its_sources() -> None:
    calculated = {"ImageType": ["DERIVED", "SECONDARY", "PROCESSED"], "DiffusionBValue": 1000.0}
    name = "Apparent Diffusion Coefficient (mm2/s)"
    found = diffusion_of(written([(*GE_B, [1000, 8, 0, 0]), GE_PULSE], SeriesDescription=name, **calculated))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.ADC, None)
    # The flag of a trace beside it is a contradiction
    flagged = [(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 15)]
    assert diffusion_of(written(flagged, SeriesDescription=name, **calculated)).kind is Kind.UNCLEAR


@pytest.mark.parametrize(
    ("elements", "inferred"),
    [
        ([(*PHILIPS_B, 1000.0), (*PHILIPS_CODE, "I")], False),
        ([(*PHILIPS_B, 1000.0)], True),
        ([(*SIEMENS_B, 1000), (*SIEMENS_CODE, "ISOTROPIC")], False),
        ([(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, 15)], False),
        ([(*GE_B, [1000, 8, 0, 0]), GE_PULSE], True),
    ],
)
def test_a_trace_by_a_private_code_is_not_inferred(elements: list[Element], inferred: bool) -> None:
    found = diffusion_of(written(elements, SeriesDescription="sB1000"))
    assert (found.kind, found.b_value_s_per_mm2, found.inferred) == (Kind.TRACE, 1000, inferred)


@pytest.mark.parametrize(
    ("flag", "kind"), [(17, Kind.EADC), (18, Kind.FA), (20, Kind.ADC), (31, Kind.COLOUR_FA), (19, Kind.TRACE)]
)
def test_ge_maps(flag: int, kind: Kind) -> None:
    elements = [(*GE_B, [1000, 8, 0, 0]), (*GE_FLAG, flag)]
    assert diffusion_of(written(elements, ImageType=["DERIVED", "SECONDARY", "PROCESSED"])).kind is kind


def test_ge_writes_its_b_field_on_every_image() -> None:
    # Given a gradient echo with something in the field: no diffusion; echo-planar images without a gradient are
    elements = [(*GE_B, [1000, 8, 0, 0])]
    assert diffusion_of(written(elements, ScanningSequence=["GR"])).kind is Kind.OTHER
    assert diffusion_of(written([(*GE_B, [0, 0, 0, 0])], ScanningSequence=["GR"])).kind is Kind.OTHER
    assert diffusion_of(written([(*GE_B, [0, 8, 0, 0])], ScanningSequence=["EP", "SE"])).kind is Kind.B0
    # A raw image of a protocol that is called ADC is no map
    raw = written([(*GE_B, [0, 8, 0, 0]), (*GE_FLAG, 14)], SeriesDescription="Ax DWI ADC")
    assert diffusion_of(raw).kind is Kind.B0


@pytest.mark.parametrize(
    ("attributes", "kind", "b_value"),
    [
        ({"ImageComments": "b=1500(0.445,0.000,0.895)"}, Kind.DIRECTION, 1500),
        ({"ImageComments": "b=1500(0.445,0.000,0.895)", "DiffusionBValue": 1500.0}, Kind.DIRECTION, 1500),
        ({"ImageComments": "b=1000"}, Kind.DWI, 1000),
        ({"ImageComments": "b=1000", "DiffusionBValue": 500.0}, Kind.UNCLEAR, None),
        ({"ImageComments": "b=0(0,0,0)"}, Kind.B0, 0),
        ({"SeriesDescription": "DWI", "ScanningSequence": ["EP", "SE"]}, Kind.B0, 0),
        ({"SeriesDescription": "DWI b1000", "ScanningSequence": ["EP", "SE"]}, Kind.DWI, None),
        ({"SeriesDescription": "T2", "ImageComments": "large field, b=1"}, Kind.OTHER, None),
    ],
)
@pytest.mark.parametrize("manufacturer", ["TOSHIBA", "Canon Medical Systems"])
def test_canon(manufacturer: str, attributes: dict[str, object], kind: Kind, b_value: float | None) -> None:
    found = diffusion_of(written([], Manufacturer=manufacturer, **attributes))
    assert (found.kind, found.b_value_s_per_mm2) == (kind, b_value)


def csa(tags: dict[str, tuple[str, list[str]]]) -> bytes:
    """A Siemens CSA2 header, as nipy.org/nibabel/dicom/siemens_csa.html describes it."""
    made = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, (vr, values) in tags.items():
        count = 6 if values else 0
        made += struct.pack("<64si4sii", name.encode(), len(values) or 1, vr.encode(), 6, count) + struct.pack("<i", 77)
        for value in [*values, *[""] * (count - len(values))]:
            octets = value.encode() + b"\0" if value else b""
            made += struct.pack("<4i", len(octets), len(octets), 77, len(octets)) + octets
            made += bytes(-len(octets) % 4)
    return made


DIRECTIONAL = csa(
    {
        "EchoLinePosition": ("IS", ["64"]),
        "B_value": ("IS", ["1000"]),
        "DiffusionDirectionality": ("CS", ["DIRECTIONAL"]),
        "DiffusionGradientDirection": ("FD", ["0.0", "0.6", "0.8"]),
    }
)
CSA = (0x0029, "SIEMENS CSA HEADER", 0x10, "OB")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit", "big endian"])
def test_csa_header(syntax: str) -> None:
    found = diffusion_of(written([(*CSA, DIRECTIONAL)], syntax))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.DIRECTION, 1000)
    assert found.direction == pytest.approx((0, 0.6, 0.8))
    assert "CSA" in found.because

    isotropic = csa({"B_value": ("IS", ["1000"]), "DiffusionDirectionality": ("CS", ["ISOTROPIC"])})
    assert diffusion_of(written([(*CSA, isotropic)], syntax)).kind is Kind.TRACE
    without = csa({"B_value": ("IS", []), "DiffusionDirectionality": ("CS", [])})
    assert diffusion_of(written([(*CSA, without)], syntax)).kind is Kind.OTHER


def test_csa_header_is_read_only_where_the_rest_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    read = csareader.read
    monkeypatch.setattr(csareader, "read", lambda octets: parsed.append(octets) or read(octets))
    found = diffusion_of(written([(*CSA, DIRECTIONAL), (*SIEMENS_B, 500)]))
    assert (found.kind, found.b_value_s_per_mm2) == (Kind.DWI, 500)
    # nor where its table has B_value without items, as on every Siemens image that is no diffusion
    assert diffusion_of(written([(*CSA, csa({"B_value": ("IS", [])}))])).kind is Kind.OTHER
    assert parsed == []
    assert diffusion_of(written([(*CSA, DIRECTIONAL)])).b_value_s_per_mm2 == 1000
    assert len(parsed) == 1


@settings(deadline=None)
@given(st.integers(0, len(DIRECTIONAL)), st.integers(0, len(DIRECTIONAL) - 1), st.binary(min_size=1, max_size=8))
def test_a_broken_csa_header_is_survived(length: int, place: int, garbage: bytes) -> None:
    # Given a CSA header cut short and overwritten somewhere, though its table still promises a b value
    broken = (DIRECTIONAL[:place] + garbage + DIRECTIONAL[place + len(garbage) :])[:length]
    found = diffusion_of(written([(*CSA, broken + bytes(len(broken) % 2))]))
    assert found.kind in {Kind.OTHER, Kind.DIRECTION, Kind.TRACE, Kind.DWI, Kind.B0}
