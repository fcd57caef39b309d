"""What each vendor's headers say about diffusion: names, ImageType, standard and private attributes of one image.

Sources: the vendors' conformance statements as far as public, dcm2niix's notes on private attributes, and headers of
real scanners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom import Dataset

from support.vendor_writer.csa import csa_header, diffusion_tags
from support.vendor_writer.raster import Raster
from support.vendor_writer.shots import Role, Shot

GE_OFFSET = 1_000_000_000
"""Some releases add it to the b value in (0043,1039)."""


@dataclass(frozen=True)
class Vendor:
    """manufacturer, model: as real scanners write them. mark: writes what tells the shot into a classic header.
    names: SeriesDescription of weighted and of map series; a pair of braces stands for the b value."""

    manufacturer: str
    model: str
    weighted_name: str
    map_name: str
    mark: Callable[[Dataset, Shot, Raster], None]


def private(dataset: Dataset, group: int, creator: str, values: dict[int, tuple[str, object]]) -> None:
    """Write private elements into the block of `creator`, reserving one where there is none."""
    block = dataset.private_block(group, creator, create=True)
    for offset, (vr, value) in values.items():
        block.add_new(offset, vr, value)


def mark_siemens(dataset: Dataset, shot: Shot, where: Raster) -> None:
    """(0019,100C) and its block, SequenceName, CSA image header."""
    normal = (float(where.normal[0]), float(where.normal[1]), float(where.normal[2]))
    tags = diffusion_tags(shot.b_value, shot.direction, normal)
    private(dataset, 0x0029, "SIEMENS CSA HEADER", {0x10: ("OB", csa_header(tags))})
    if shot.role is Role.ADC:
        dataset.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"]
        dataset.SequenceName = "*ep_b0_1000"
        return
    trace = shot.role is Role.TRACE
    dataset.ImageType = [
        "DERIVED" if trace else "ORIGINAL",
        "PRIMARY",
        "DIFFUSION",
        "TRACEW" if trace else "NONE",
        "ND",
    ]
    suffix = {Role.TRACE: "t", Role.DIRECTION: f"#{shot.number}"}.get(shot.role, "")
    dataset.SequenceName = f"*ep_b{shot.b_value:.0f}{suffix}"
    values: dict[int, tuple[str, object]] = {
        0x0C: ("IS", f"{shot.b_value:.0f}"),
        0x0D: ("CS", "DIRECTIONAL" if shot.direction else "ISOTROPIC" if trace else "NONE"),
    }
    if shot.direction:
        values[0x0E] = ("FD", list(shot.direction))
    private(dataset, 0x0019, "SIEMENS MR HEADER", values)


def mark_philips(dataset: Dataset, shot: Shot, where: Raster) -> None:
    """(2001,1003) b factor, (2001,1004) direction, standard attributes beside them; maps are called ORIGINAL."""
    if shot.role is Role.ADC:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "ADC", "UNSPECIFIED", "ADC", "UNSPECIFIED"]
        return
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE", "M", "SE"]
    dataset.DiffusionBValue = shot.b_value
    letter = "O" if shot.role is Role.DIRECTION else "I"
    private(dataset, 0x2001, "Philips Imaging DD 001", {0x03: ("FL", shot.b_value), 0x04: ("CS", letter)})
    x, y, z = shot.direction or (0.0, 0.0, 0.0)
    if shot.role is Role.DIRECTION:
        dataset.DiffusionGradientOrientation = [x, y, z]
    private(
        dataset,
        0x2005,
        "Philips MR Imaging DD 001",
        {0xB0: ("FL", x), 0xB1: ("FL", y), 0xB2: ("FL", z)},
    )


def mark_ge(dataset: Dataset, shot: Shot, where: Raster) -> None:
    """(0043,1039) with the b value as its first number, (0043,1030) what was combined, (0019,10BB..BD) direction."""
    if shot.role is Role.ADC:
        dataset.ImageType = ["DERIVED", "PRIMARY", "ADC", "ADC"]
        return
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    b_value = int(shot.b_value or 0)
    first = b_value + GE_OFFSET if b_value else 0
    code = {Role.B0: 14, Role.TRACE: 15, Role.DIRECTION: 16}[shot.role]
    if shot.direction in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        code = 3 + shot.direction.index(1.0)
    private(
        dataset,
        0x0043,
        "GEMS_PARM_01",
        {0x30: ("SS", code), 0x39: ("IS", [str(first), "8", "0", "0"])},
    )
    x, y, z = shot.direction or (0.0, 0.0, 0.0)
    private(
        dataset,
        0x0019,
        "GEMS_ACQU_01",
        {0xBB: ("DS", f"{x:.6f}"), 0xBC: ("DS", f"{y:.6f}"), 0xBD: ("DS", f"{z:.6f}")},
    )
    dataset.DiffusionBValue = float(b_value)


def mark_uih(dataset: Dataset, shot: Shot, where: Raster) -> None:
    """(0065,1009) the b value reached, (0065,1037) direction, (0065,102D) the sequence's name."""
    if shot.role is Role.ADC:
        dataset.ImageType = ["DERIVED", "PRIMARY", "ADC", "NONE"]
        return
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.SequenceName = "epi_dti" if shot.role is Role.DIRECTION else "epi_dwi"
    suffix = f"#{shot.number}" if shot.role is Role.DIRECTION else ""
    values: dict[int, tuple[str, object]] = {
        0x09: ("FD", shot.b_value),
        0x2D: ("ST", f"{dataset.SequenceName}_b{shot.b_value:.0f}{suffix}"),
    }
    if shot.direction:
        values[0x37] = ("FD", list(shot.direction))
    private(dataset, 0x0065, "Image Private Header", values)


def mark_canon(dataset: Dataset, shot: Shot, where: Raster) -> None:
    """The standard's attributes, and the b value and direction in ImageComments as older releases wrote them."""
    if shot.role is Role.ADC:
        dataset.ImageType = ["DERIVED", "SECONDARY", "ADC"]
        return
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    mark_standard(dataset, shot)
    if shot.direction:
        x, y, z = shot.direction
        dataset.ImageComments = f"b={shot.b_value:.0f}({x:.3f},{y:.3f},{z:.3f})"


def mark_standard(dataset: Dataset, shot: Shot) -> None:
    """The attributes of the MR Diffusion macro (PS3.3 C.8.13.5.9), all of them at the dataset's top."""
    dataset.DiffusionBValue = shot.b_value
    words = {Role.B0: "NONE", Role.TRACE: "ISOTROPIC", Role.DIRECTION: "DIRECTIONAL"}
    dataset.DiffusionDirectionality = words[shot.role]
    if shot.direction:
        dataset.DiffusionGradientOrientation = list(shot.direction)


SIEMENS = Vendor("SIEMENS", "Prisma_fit", "ep2d_diff_TRACEW", "ep2d_diff_ADC", mark_siemens)
PHILIPS = Vendor("Philips", "Ingenia", "s{}", "dADC", mark_philips)
GE = Vendor("GE MEDICAL SYSTEMS", "SIGNA Pioneer", "Ax DWI", "Apparent Diffusion Coefficient (mm2/s)", mark_ge)
UIH = Vendor("UIH", "uMR 770", "dwi_tra", "dwi_tra_ADC", mark_uih)
CANON = Vendor("CANON_MEC", "Vantage Galan 3T", "DWI", "ADC Map", mark_canon)
