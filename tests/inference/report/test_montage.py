"""The picture as a radiologist looks at it: sides, slices, marks, words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageDraw

from pirtad.inference.findings import Territory
from pirtad.inference.report import montage as module
from pirtad.inference.report.montage import (
    CAPTION_PX,
    COLUMNS,
    MARK_PX,
    MOST_SLICES,
    TILE_PX,
    choose_slices,
    montage,
)
from pirtad.inference.report.report import DRAFT_MARK, Basis, Provenance, Report
from pirtad.inference.report.wording import NO_RELIABLE_DRAFT
from pirtad.inference.volume import DiffusionPair, Volume

ORANGE = (230, 159, 0)
PITCH = MARK_PX + TILE_PX[1] + CAPTION_PX
BRAIN_RADII_MM = np.array([65.0, 80.0, 60.0])
LEFT_POSTERIOR_MM = np.array([30.0, 40.0, 0.0])  # LPS

AXIAL = np.diag([1.0, 1.0, 1.0])
UPSIDE_DOWN = np.diag([1.0, 1.0, -1.0])
MIRRORED = np.diag([-1.0, 1.0, 1.0])
SAGITTAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # i to posterior, j to inferior, k to left
CORONAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
TILTED = np.array([[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]])
DIRECTIONS = {
    "axial": AXIAL,
    "flipped k": UPSIDE_DOWN,
    "mirrored i": MIRRORED,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "tilted": TILTED,
}


def report(**changes: object) -> Report:
    made = Report(
        territory=Territory.ANTERIOR,
        clinical_presentation="PRESENTATION of Ada Specimen",
        nihss="7",
        past_medical_history="HISTORY",
        findings="The findings.",
        impression="The impression.",
        similar=(),
        provenance=Provenance("encoder", "a" * 64, "1", "b" * 64, "llm", "c" * 64, "d" * 64, "0.1.0"),
        measured=("The measurement.",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def volume(
    direction: NDArray[np.float64] = AXIAL, thickness_mm: float = 6.0, spot_mm: NDArray[np.float64] | None = None
) -> Volume:
    """A bright ellipsoid with, where wanted, a ball twice as bright around `spot_mm` (LPS)."""
    shape, spacing = np.array([64, 64, int(180 / thickness_mm)]), np.array([3.0, 3.0, thickness_mm])
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    points = np.einsum("ab,b...->a...", affine[:3, :3], np.indices(shape)) + affine[:3, 3][:, None, None, None]
    inside = ((points / BRAIN_RADII_MM[:, None, None, None]) ** 2).sum(axis=0) < 1
    values = np.where(inside, 400.0, 5.0)
    if spot_mm is not None:
        values[((points - spot_mm[:, None, None, None]) ** 2).sum(axis=0) < 15**2] = 900.0
    return Volume(values.astype(np.float32), affine)


def pair_of(dwi: Volume, adc: Volume | None = None) -> DiffusionPair:
    adc = adc or dwi
    return DiffusionPair(dwi, Volume((adc.array * 2e-6).astype(np.float32), adc.affine), 1000.0)


def tile(picture: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    """Rows 0, 2 are DWI and 1, 3 ADC; the mark's strip left out."""
    top, left = row * PITCH + MARK_PX, column * TILE_PX[0]
    return picture[top : top + TILE_PX[1], left : left + TILE_PX[0]]


def orange(part: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (part == ORANGE).all(axis=-1)
    return found


def centre_of_gain(one: NDArray[np.uint8], other: NDArray[np.uint8], kind: int) -> tuple[float, float]:
    """(row, column), as fractions of a tile, of where `one` is brighter, in the tile where it is most so."""
    gains = [
        (tile(one, row + kind, column).astype(float) - tile(other, row + kind, column)).clip(min=0).sum(axis=2)
        for row in (0, 2)
        for column in range(COLUMNS)
    ]
    gain = max(gains, key=lambda g: float(g.sum()))
    assert gain.sum() > 0
    rows, columns = np.indices(gain.shape)
    share = gain / gain.sum()
    return float((rows * share).sum() / gain.shape[0]), float((columns * share).sum() / gain.shape[1])


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float]]:
    """Every text that is drawn, in order: (text, x, its length in pixels)."""
    texts: list[tuple[str, float, float]] = []
    draw = ImageDraw.ImageDraw.text

    def record(self, xy, text, fill=None, font=None, **more):
        texts.append((text, xy[0], font.getlength(text)))
        draw(self, xy, text, fill, font, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return texts


@pytest.mark.parametrize(("name", "thickness_mm"), [("axial", 4.0), *((name, 6.0) for name in DIRECTIONS)])
def test_patients_left_is_right_and_anterior_is_up(name: str, thickness_mm: float) -> None:
    # Given a spot left and posterior in the middle of the brain, whatever the acquisition
    spot = volume(DIRECTIONS[name], thickness_mm, LEFT_POSTERIOR_MM)
    opposite = volume(DIRECTIONS[name], thickness_mm, LEFT_POSTERIOR_MM * (-1, -1, 1))
    # When both are drawn
    one, other = (montage(pair_of(v), None, report()) for v in (spot, opposite))
    # Then on DWI and ADC the spot is in the lower right quadrant, and its mirror image in the upper left
    for kind in (0, 1):
        assert min(centre_of_gain(one, other, kind)) > 0.6
        assert max(centre_of_gain(other, one, kind)) < 0.4


def test_adc_of_another_grid_shows_the_same_places() -> None:
    dwi, adc = volume(AXIAL, 6.0, LEFT_POSTERIOR_MM), volume(SAGITTAL, 4.0, LEFT_POSTERIOR_MM)
    picture = montage(pair_of(dwi, adc), dwi.array > 800, report())
    # Given the spot's own fullest slice: the DWI's outline and the ADC's bright spot lie on one another
    column = max(range(2 * COLUMNS), key=lambda n: int(orange(tile(picture, n // COLUMNS * 2, n % COLUMNS)).sum()))
    top, left = column // COLUMNS * 2, column % COLUMNS
    outline = np.argwhere(orange(tile(picture, top, left))).mean(axis=0).round().astype(int)
    assert tile(picture, top + 1, left)[tuple(outline)].min() > 200


def test_draft_mark_is_above_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(volume())
    marked = montage(pair, None, report())
    monkeypatch.setattr(module, "DRAFT_MARK", "")
    unmarked = montage(pair, None, report())
    # Then each tile of each row has the mark in its own strip, so that a crop of one tile still shows it
    for row in range(4):
        for column in range(COLUMNS):
            top, left = row * PITCH, column * TILE_PX[0]
            strip = np.s_[top : top + MARK_PX, left : left + TILE_PX[0]]
            assert (marked[strip] != unmarked[strip]).any(axis=-1).sum() > 300
            assert not unmarked[strip].any()


def test_outline_surrounds_the_lesion_and_hides_none_of_it() -> None:
    dwi = volume(AXIAL, 6.0, LEFT_POSTERIOR_MM)
    lesion = dwi.array > 800
    with_outline, without = (montage(pair_of(dwi), mask, report()) for mask in (lesion, np.zeros_like(lesion)))
    best = max(range(2 * COLUMNS), key=lambda n: int(orange(tile(with_outline, n // COLUMNS * 2, n % COLUMNS)).sum()))
    on_dwi, on_adc = (orange(tile(with_outline, best // COLUMNS * 2 + kind, best % COLUMNS)) for kind in (0, 1))
    # Then the ADC's is thinner, and the spot's middle is as bright as without
    assert 0 < on_adc.sum() < on_dwi.sum() / 2
    row, column = np.argwhere(on_dwi).mean(axis=0).round().astype(int)
    assert not on_dwi[row - 8 : row + 9, column - 8 : column + 9].any()
    assert not any(orange(tile(without, r, c)).any() for r in range(4) for c in range(COLUMNS))


def test_a_single_voxel_is_outlined_however_fine_the_matrix() -> None:
    fine = np.full((1024, 1024, 5), 100.0, dtype=np.float32)
    mask = np.zeros(fine.shape, dtype=np.bool_)
    mask[700, 600, 2] = True
    picture = montage(pair_of(Volume(fine, np.diag([0.2, 0.2, 4.0, 1.0]))), mask, report())
    assert orange(picture).any()


def test_without_lesion_slices_spread_evenly_through_the_brain() -> None:
    brain = np.zeros((20, 20, 60), dtype=np.bool_)
    brain[5:15, 5:15, 12:50] = True
    chosen = choose_slices(brain, np.zeros_like(brain))
    assert len(chosen) == MOST_SLICES
    assert (chosen[0], chosen[-1]) == (12, 49)
    assert set(np.diff(chosen)) <= {4, 5}


def test_with_lesion_every_focus_and_the_fullest_slice_are_shown() -> None:
    # Given thin slices, a large lesion over thirty of them and a small one far away
    brain = np.ones((20, 20, 80), dtype=np.bool_)
    lesion = np.zeros_like(brain)
    for k in range(20, 50):
        lesion[2 : 2 + 10 - abs(k - 35) // 2, 2:10, k] = True
    lesion[15, 15, 70] = True
    chosen = choose_slices(brain, lesion)
    # Then both foci are there, the fullest slice, and the large one from end to end
    assert 70 in chosen
    assert chosen.count(70) == 1
    assert {34, 35, 36} & set(chosen)
    assert len(chosen) == MOST_SLICES
    assert chosen[0] < 25
    assert 45 < chosen[-2] < 50


def test_a_small_lesion_leaves_room_for_the_rest_of_the_brain() -> None:
    brain = np.ones((8, 8, 26), dtype=np.bool_)
    lesion = np.zeros_like(brain)
    lesion[3, 3, 12:14] = True
    chosen = choose_slices(brain, lesion)
    assert {12, 13} <= set(chosen)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 25, MOST_SLICES)
    assert max(np.diff(chosen)) <= 7


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (8, 8, 2), (5, 5, 40), (640, 480, 3), (16, 512, 4)])
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_any_matrix_is_drawn(shape: tuple[int, int, int], value: float) -> None:
    array = np.full(shape, value, dtype=np.float32)
    mask = np.zeros(shape, dtype=np.bool_)
    mask[0, 0, 0] = True
    picture = montage(pair_of(Volume(array, np.diag([0.5, 1.0, 4.0, 1.0]))), mask, report())
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (COLUMNS * TILE_PX[0] + 560, 3)
    if shape != (1, 1, 1):  # around a lesion that fills the slice there is no place for an outline
        assert orange(picture).any()


def test_a_mask_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="a mask of shape"):
        montage(pair_of(volume()), np.zeros((3, 3, 3), dtype=np.bool_), report())


def test_words_come_in_the_order_of_reading(written: list[tuple[str, float, float]]) -> None:
    abstained = report(
        basis=Basis.ABSTENTION,
        impression=NO_RELIABLE_DRAFT,
        abstained_because=("The age is outside.", "Head and cases disagree."),
    )
    montage(pair_of(volume()), None, abstained)
    texts = [text for text, x, _ in written if x == 14]  # the panel's margin; tiles write elsewhere
    wanted = [DRAFT_MARK, "Findings", "The findings.", "The measurement.", "Impression", NO_RELIABLE_DRAFT]
    wanted += ["No draft because", "The age is outside.", "Head and cases disagree."]
    assert [text for text in texts if text in wanted] == wanted
    assert "Not assessed: haemorrhage" in " ".join(texts[len(wanted) :])
    # and nothing that could tell who it is
    everything = " ".join(text for text, _, _ in written)
    assert "Specimen" not in everything
    assert "PRESENTATION" not in everything
    assert "HISTORY" not in everything


def test_letters_position_and_windows_are_said(written: list[tuple[str, float, float]]) -> None:
    montage(pair_of(volume()), None, report())
    texts = [text for text, _, _ in written]
    tiles = 2 * MOST_SLICES
    assert [texts.count(text) for text in ("R", "L", "A", "P", "50 mm", DRAFT_MARK)] == [tiles] * 5 + [tiles + 1]
    assert (texts.count("DWI"), texts.count("ADC")) == (MOST_SLICES, MOST_SLICES)
    assert "z = S 3.0 mm" in texts or "z = I 3.0 mm" in texts
    assert any("0 (black) to 2.0 (white) x 10^-3 mm2/s" in text for text in texts)


def test_long_and_foreign_words_are_kept_within_the_panel(written: list[tuple[str, float, float]]) -> None:
    strange = report(
        basis=Basis.ABSTENTION, abstained_because=("x" * 500, "환자 사유\r\n\x1b日本語 עברית 👩‍⚕️ ok", "word " * 300)
    )
    picture = montage(pair_of(volume()), None, strange)
    panel = [(text, length) for text, x, length in written if x == 14]
    assert all(length <= 560 - 2 * 14 for _, length in panel)
    assert any("? " in text and "ok" in text for text, _ in panel)
    assert any(text.startswith("A question mark may stand") for text, _ in panel)
    assert "".join(text for text, _ in panel).count("x") >= 500
    assert picture.shape[0] >= 4 * PITCH


def test_the_same_study_gives_the_same_picture_and_is_not_changed() -> None:
    pair = pair_of(volume(spot_mm=LEFT_POSTERIOR_MM))
    before = pair.dwi.array.copy()
    first, second = (montage(pair, before > 800, report()) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert (pair.dwi.array == before).all()
