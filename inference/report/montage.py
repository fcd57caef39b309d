"""A picture for the reader: this patient's own DWI and ADC slices beside the words of the draft.

Nobody else's images ever, and neither name nor identifier nor date: whose picture it is stands in its header alone (see
ADR 11). The font is the one that Pillow brings, so that a picture does not depend on the machine. Colours are of Okabe
and Ito's palette, which colour-blind readers tell apart; nothing is said by colour alone.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pirtad.inference.preprocess.brain_mask import brain_mask
from pirtad.inference.preprocess.resample import resample
from pirtad.inference.report.report import DRAFT_MARK, NOT_ASSESSED, Report
from pirtad.inference.volume import DiffusionPair, Volume

MOST_SLICES = 10
ADC_WINDOW_MM2_PER_S = (0.0, 2.0e-3)

# Layout, chosen: all of it fits the 2048 x 1536 pixels of a reading monitor, unscaled.
COLUMNS = 5
TILE_PX = (240, 270)  # width, height
MARK_PX = 20  # the strip with the draft mark above each tile
CAPTION_PX = 22  # below each row
_PANEL_PX = 560
_MARGIN_PX = 14
_MARGIN_MM = 10.0  # of skull around the brain
_MOST_PX_PER_MM = 4.0
_DWI_PERCENTILES = (1.0, 99.5)  # of the brain, lesion included: without it a large one is a white patch
_LEAST_BRAIN_SHARE = 0.25  # of the largest slice's brain, so that the ends of the head are not shown
_TILTED_DEGREES = 10.0
_SMALL, _MARK, _TEXT, _HEADING, _TITLE = 14, 16, 19, 16, 28  # font sizes in pixels

_ORANGE, _YELLOW, _BLUE = (230, 159, 0), (240, 228, 66), (86, 180, 233)
_WHITE, _GREY = (235, 235, 235), (170, 170, 170)

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Arrays (I, J, K) whose axes run closest to left, posterior, superior; nothing is interpolated but the ADC map.

    affine: (4, 4), to LPS mm. is_reformatted: whether the scanner's slices were not axial.
    """

    dwi: NDArray[np.float32]
    adc_mm2_per_s: NDArray[np.float32]
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    affine: NDArray[np.float64]
    is_reformatted: bool

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing


@dataclass(frozen=True, slots=True)
class _View:
    """The part of every slice that is shown: a box in voxels (left, upper, right, lower edge), and its scale."""

    box: tuple[float, float, float, float]
    px_per_mm: float
    size_px: tuple[int, int]


def montage(pair: DiffusionPair, lesion_mask: NDArray[np.bool_] | None, report: Report) -> NDArray[np.uint8]:
    """The picture, RGB, (rows, columns, 3): axial slices as a radiologist sees them, patient's left on the right.

    lesion_mask: bool on the grid of `pair.dwi`, outlined; None for none. Deterministic. Raises ValueError for a mask of
    another shape. A character that the font lacks is drawn as a question mark, and the picture says so.
    """
    if lesion_mask is not None and lesion_mask.shape != pair.dwi.array.shape:
        raise ValueError(f"a mask of shape {lesion_mask.shape} for a DWI of shape {pair.dwi.array.shape}")
    stack = _upright(pair, lesion_mask)
    slices = choose_slices(stack.brain, stack.lesion)
    window = _dwi_window(stack)
    images = _image_rows(stack, slices, window, pair.b_value_s_per_mm2)
    panel = _panel(report, _about(stack, slices, is_measured=report.lesion is not None))
    canvas = Image.new("RGB", (images.width + panel.width, max(images.height, panel.height)))
    canvas.paste(images, (0, 0))
    canvas.paste(panel, (images.width, 0))
    return np.asarray(canvas, dtype=np.uint8)


def choose_slices(brain: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> list[int]:
    """At most `MOST_SLICES` indices along the last axis of the two masks (I, J, K), ascending.

    First the fullest slice of each focus, largest focus first; then more of the lesion's slices, between equal parts of
    its volume; then the slices of the brain farthest from those chosen. Without a lesion, evenly through the brain.
    """
    areas = brain.sum(axis=(0, 1))
    inside = np.flatnonzero(areas >= max(1.0, _LEAST_BRAIN_SHARE * areas.max()))
    shown = np.arange(inside[0], inside[-1] + 1) if inside.size else np.arange(brain.shape[2])
    if not lesion.any():
        return sorted(set(np.linspace(shown[0], shown[-1], min(MOST_SLICES, shown.size)).round().astype(int).tolist()))
    extent = lesion.sum(axis=(0, 1))
    fullest = list(dict.fromkeys(_fullest_of_each_focus(lesion)))
    parts = (np.arange(MOST_SLICES - len(fullest)) + 0.5) / max(1, MOST_SLICES - len(fullest))
    between = np.searchsorted(extent.cumsum(), parts * extent.sum()).tolist()
    by_extent = [int(k) for k in np.argsort(-extent, kind="stable") if extent[k]]
    chosen = list(dict.fromkeys([*fullest, *between, *by_extent]))[:MOST_SLICES]
    while len(chosen) < MOST_SLICES and (left := [int(k) for k in shown if k not in chosen]):
        chosen.append(max(left, key=lambda k: min(abs(k - other) for other in chosen)))
    return sorted(chosen)


def _fullest_of_each_focus(lesion: NDArray[np.bool_]) -> list[int]:
    labels, _ = ndimage.label(lesion, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:MOST_SLICES]
    return [int((labels == label).sum(axis=(0, 1)).argmax()) for label in largest if sizes[label]]


def _upright(pair: DiffusionPair, lesion_mask: NDArray[np.bool_] | None) -> _Stack:
    dwi, adc = pair.dwi, pair.adc_mm2_per_s
    i, j, k = dwi.array.shape
    same_grid = adc.array.shape == dwi.array.shape and np.allclose(adc.affine, dwi.affine, atol=1e-3)
    values = adc.array if same_grid else resample(adc, dwi.affine, (i, j, k))
    lesion = np.zeros((i, j, k), dtype=np.bool_) if lesion_mask is None else lesion_mask
    turn = io_orientation(dwi.affine)  # of each voxel axis: the closest of left, posterior, superior; and its sense
    arrays = (np.nan_to_num(dwi.array, posinf=0.0, neginf=0.0), np.nan_to_num(values, posinf=0.0, neginf=0.0))
    weighted, diffusivity = (np.ascontiguousarray(apply_orientation(a, turn), dtype=np.float32) for a in arrays)
    brain, outlined = (np.ascontiguousarray(apply_orientation(m, turn)) for m in (_brain(dwi), lesion))
    affine = dwi.affine @ inv_ornt_aff(turn, (i, j, k))
    return _Stack(weighted, diffusivity, brain, outlined, affine, is_reformatted=int(turn[2, 0]) != 2)


def _brain(dwi: Volume) -> NDArray[np.bool_]:
    """The brain; where the volume is too small for its filters (four voxels of 2 mm) or has none, the signal."""
    counts = [n // max(1, round(2.0 / spacing)) for n, spacing in zip(dwi.array.shape, dwi.spacing_mm, strict=True)]
    found = brain_mask(dwi) if min(counts) >= 4 else np.zeros(dwi.array.shape, dtype=np.bool_)
    return found if found.any() else np.isfinite(dwi.array) & (dwi.array > 0)


def _dwi_window(stack: _Stack) -> tuple[float, float]:
    values = stack.dwi[stack.brain]
    if not values.size:
        values = stack.dwi.ravel()
    low, high = (float(p) for p in np.percentile(values, _DWI_PERCENTILES))
    return low, high if high > low else low + 1.0


def _image_rows(stack: _Stack, slices: list[int], window: tuple[float, float], b_value_s_per_mm2: float) -> Image.Image:
    """A row of DWI tiles and below it one of the same slices' ADC, until no slice is left."""
    view = _view(stack)
    rows = [slices[start : start + COLUMNS] for start in range(0, len(slices), COLUMNS)]
    pitch = MARK_PX + TILE_PX[1] + CAPTION_PX
    picture = Image.new("RGB", (COLUMNS * TILE_PX[0], 2 * len(rows) * pitch))
    draw = ImageDraw.Draw(picture)
    low, high = ADC_WINDOW_MM2_PER_S
    captions = (
        f"DWI, b = {b_value_s_per_mm2:.0f} s/mm2. Grey levels: {window[0]:.4g} (black) to {window[1]:.4g} (white)",
        f"ADC. Grey levels: {low * 1e3:.0f} (black) to {high * 1e3:.1f} (white) x 10^-3 mm2/s",
    )
    for number, row in enumerate(rows):
        for kind in (0, 1):
            top = (2 * number + kind) * pitch
            for column, k in enumerate(row):
                left = column * TILE_PX[0]
                tile = _tile(stack, k, view, window if kind == 0 else None)
                draw.text((left + TILE_PX[0] // 2, top + 2), DRAFT_MARK, _YELLOW, _font(_MARK), anchor="ma")
                picture.paste(tile, (left, top + MARK_PX))
            foot = top + MARK_PX + TILE_PX[1]
            draw.text((6, foot + 3), _drawable(captions[kind]), _GREY, _font(_SMALL))
    return picture


def _view(stack: _Stack) -> _View:
    spacing = stack.spacing_mm
    wanted = stack.brain | stack.lesion  # an outline is never cut off
    edges = []
    for axis in (0, 1):
        seen = np.flatnonzero(wanted.any(axis=(1 - axis, 2)))
        first, last = (seen[0], seen[-1] + 1) if seen.size else (0, wanted.shape[axis])
        margin = _MARGIN_MM / spacing[axis]
        edges.append((max(0.0, first - margin), min(float(wanted.shape[axis]), last + margin)))
    size_mm = [(last - first) * spacing[axis] for axis, (first, last) in enumerate(edges)]
    px_per_mm = min(_MOST_PX_PER_MM, *(pixels / mm for pixels, mm in zip(TILE_PX, size_mm, strict=True)))
    width, height = (max(1, round(mm * px_per_mm)) for mm in size_mm)
    (left, right), (upper, lower) = edges
    return _View((float(left), float(upper), float(right), float(lower)), float(px_per_mm), (width, height))


def _tile(stack: _Stack, k: int, view: _View, dwi_window: tuple[float, float] | None) -> Image.Image:
    """One slice with its marks; ADC where no DWI window is given."""
    is_dwi = dwi_window is not None
    low, high = dwi_window or ADC_WINDOW_MM2_PER_S
    plane = _scaled((stack.dwi if is_dwi else stack.adc_mm2_per_s)[:, :, k], view)
    grey = np.rint((plane.clip(low, high) - low) / (high - low) * 255).astype(np.uint8)
    colours = np.repeat(grey[:, :, None], 3, axis=2)
    outline = _outline(_scaled(stack.lesion[:, :, k], view), is_dotted=not is_dwi)
    colours[outline] = _ORANGE
    tile = Image.new("RGB", TILE_PX)
    tile.paste(Image.fromarray(colours), ((TILE_PX[0] - view.size_px[0]) // 2, (TILE_PX[1] - view.size_px[1]) // 2))
    _annotate(tile, stack, k, view, "DWI" if is_dwi else "ADC")
    return tile


def _scaled(plane: NDArray[np.float32] | NDArray[np.bool_], view: _View) -> NDArray[np.float32]:
    """The shown part of a plane (I, J) in isotropic pixels (rows, columns): rows to posterior, columns to the left."""
    image = Image.fromarray(np.ascontiguousarray(plane.T, dtype=np.float32))
    return np.asarray(image.resize(view.size_px, Image.Resampling.BILINEAR, box=view.box), dtype=np.float32)


def _outline(share: NDArray[np.float32], *, is_dotted: bool) -> NDArray[np.bool_]:
    """Pixels just outside the lesion, so that none of it is hidden; two thick, or one and dotted."""
    highest = float(share.max())
    if highest <= 0:
        return np.zeros(share.shape, dtype=np.bool_)
    inside = share >= min(0.5, highest / 2)  # a focus smaller than a pixel is still outlined
    ring: NDArray[np.bool_] = ndimage.binary_dilation(inside, np.ones((3, 3)), 1 if is_dotted else 2) & ~inside
    if is_dotted:
        rows, columns = np.indices(share.shape)
        ring &= (rows + columns) % 4 < 2
    return ring


def _annotate(tile: Image.Image, stack: _Stack, k: int, view: _View, kind: str) -> None:
    """Kind, position, sides and a scale bar; black rims keep them legible on white."""
    draw = ImageDraw.Draw(tile)
    width, height = tile.size

    def write(at: tuple[int, int], text: str, anchor: str, colour: Colour = _WHITE) -> None:
        draw.text(at, text, colour, _font(_SMALL), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))

    write((5, 4), kind, "la", _BLUE)
    for at, letter, anchor in (
        ((5, height // 2), "R", "lm"),
        ((width - 5, height // 2), "L", "rm"),
        ((width // 2, 4), "A", "ma"),
        ((width // 2, height - 4), "P", "md"),
    ):
        write(at, letter, anchor)
    write((5, height - 4), _position(stack, k, view), "ld")
    length_mm = next(mm for mm in (50, 20, 10, 5, 2, 1, 0) if mm * view.px_per_mm <= 0.4 * width)
    length, right, foot = round(length_mm * view.px_per_mm), width - 8, height - 8
    draw.rectangle((right - length - 1, foot - 1, right + 1, foot + 2), fill=(0, 0, 0))
    draw.rectangle((right - length, foot, right, foot + 1), fill=_WHITE)
    write((right, foot - 3), f"{length_mm} mm", "rd")


def _position(stack: _Stack, k: int, view: _View) -> str:
    """Patient coordinate along the head at the middle of what is shown, e.g. "z = S 32.4 mm"."""
    left, upper, right, lower = view.box
    z_mm = float((stack.affine @ ((left + right - 1) / 2, (upper + lower - 1) / 2, k, 1.0))[2])
    return f"z = {'S' if z_mm >= 0 else 'I'} {abs(z_mm):.1f} mm"


def _about(stack: _Stack, slices: list[int], *, is_measured: bool) -> list[str]:
    """What the slices are, how they were chosen, and what the outline means."""
    total = stack.dwi.shape[2]
    part = "" if len(slices) == total else " Not all of the study is shown."
    kind = "axial planes" if stack.is_reformatted else "slices"
    lines = [f"{len(slices)} of {total} {kind}, which lie {stack.spacing_mm[2]:.1f} mm apart.{part}"]
    normal = np.cross(stack.affine[:3, 0], stack.affine[:3, 1])
    tilt = float(np.degrees(np.arccos(min(1.0, abs(normal[2]) / np.linalg.norm(normal)))))
    if stack.is_reformatted:
        lines.append("The scanner's slices were not axial: these are axial reformats.")
    if tilt >= _TILTED_DEGREES:
        lines.append(f"Tilted {tilt:.0f} degrees from axial; positions are of each slice's middle.")
    if stack.lesion.any():
        marked = np.flatnonzero(stack.lesion.any(axis=(0, 1)))
        shown = len(set(marked.tolist()) & set(slices))
        lines.append(
            f"Outlined, dotted on ADC: reduced ADC, measured by software and not verified; "
            f"{shown} of the {marked.size} slices it reaches."
        )
    elif not is_measured:
        lines.append("No lesion was measured by these weights, so none is outlined; slices spread evenly.")
    else:
        lines.append("Nothing is outlined; slices spread evenly through the brain.")
    lines.append("Patient's left is on the right. Windows are fixed by rule: look at the images themselves.")
    return lines


def _panel(report: Report, about: list[str]) -> Image.Image:
    """The words, in the order of reading."""
    provenance = report.provenance
    blocks = [
        ("Findings", [report.findings]),
        ("Measured by software on these images", list(report.measured)),
        ("Impression", [report.impression, *report.beside_impression]),
        ("No draft because", list(report.abstained_because)),
        ("Images", list(report.image_notes)),
        ("Limits", [*report.assessed, NOT_ASSESSED, report.caution()]),
        ("This picture", about),
        (
            "Written by",
            [f"pirtad {provenance.pirtad_version}, encoder {provenance.encoder_name}. Basis: {report.basis}."],
        ),
    ]
    words = [(heading, [line for text in texts for line in _wrapped(text)]) for heading, texts in blocks if texts]
    if any(not _draws(character) for _, texts in blocks for text in texts for character in _plain(text)):
        words.append(("", _wrapped("A question mark may stand for a character that this picture cannot draw.")))
    height = 3 * _MARGIN_PX + _TITLE + sum(_HEADING + 16 + len(lines) * (_TEXT + 5) for _, lines in words)
    panel = Image.new("RGB", (_PANEL_PX, height))
    draw = ImageDraw.Draw(panel)
    draw.text((_MARGIN_PX, _MARGIN_PX), DRAFT_MARK, _YELLOW, _font(_TITLE))
    y = 2 * _MARGIN_PX + _TITLE
    for heading, lines in words:
        draw.text((_MARGIN_PX, y), heading, _BLUE, _font(_HEADING))
        y += _HEADING + 6
        for line in lines:
            draw.text((_MARGIN_PX, y), line, _WHITE, _font(_TEXT))
            y += _TEXT + 5
        y += 10
    return panel


def _wrapped(text: str) -> list[str]:
    """Lines that fit the panel; a word longer than a line is parted."""
    font, room = _font(_TEXT), _PANEL_PX - 2 * _MARGIN_PX
    lines = [""]
    for word in _drawable(text).split():
        if font.getlength(f"{lines[-1]} {word}".strip()) <= room:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        lines += [""] if lines[-1] else []
        for character in word:
            if font.getlength(lines[-1] + character) > room:
                lines.append("")
            lines[-1] += character
    return lines


def _plain(text: str) -> str:
    return "".join(
        " " if unicodedata.category(c).startswith(("C", "Z")) else c for c in unicodedata.normalize("NFC", text)
    )


def _drawable(text: str) -> str:
    return "".join(character if _draws(character) else "?" for character in _plain(text))


@cache
def _draws(character: str) -> bool:
    """Whether the font has the character: what it lacks looks like a noncharacter, which no font has."""
    font = _font(_TEXT)
    drawn, missing = font.getmask(character), font.getmask("\uffff")
    return (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
