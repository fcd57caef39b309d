"""Figure 4 of PIRTA: queries and the cases retrieved for them, as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.evaluation.answers import Answer
from pirtad.inference.evaluation.figure_colours import LESION, RIGHT, WRONG
from pirtad.inference.findings import Territory
from pirtad.inference.training.cases import SimulatedCase

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One image: heading, the slice of the case, None where its image can not be made again, and the frame's colour,
    None for a query."""

    heading: str
    case: SimulatedCase | None
    frame: str | None


def shown(answers: Sequence[Answer], rows: int) -> list[Answer]:
    """The answers to show: the classes in turn, infarcts first, each class in the order of the answers."""
    order = [*(one for one in Territory if one is not Territory.NORMAL), Territory.NORMAL]
    waiting = {one: [answer for answer in answers if answer.truth is one] for one in order}
    chosen: list[Answer] = []
    while len(chosen) < rows and any(waiting.values()):
        for territory in order:
            if waiting[territory] and len(chosen) < rows:
                chosen.append(waiting[territory].pop(0))
    return chosen


def row_of(answer: Answer, query: SimulatedCase, cases: dict[str, SimulatedCase | None]) -> list[Panel]:
    """The query and its five neighbours; cases: the image of each case id, None where there is none."""
    return [
        Panel(f"query: {answer.truth.phrase}", query, None),
        *(
            Panel(
                f"{one.case_id}  {one.similarity:.2f}\n{one.territory.phrase}",
                cases[one.case_id],
                RIGHT if one.territory is answer.truth else WRONG,
            )
            for one in answer.similar[:NEIGHBOURS]
        ),
    ]


def middle_slice(case: SimulatedCase) -> int:
    """The slice in the middle of the lesion's voxels; of the brain's without a lesion."""
    mask = case.lesion if case.lesion.any() else (case.array != 0).any(axis=0)
    return int(np.median(np.nonzero(mask)[2]))


def draw(rows: Sequence[Sequence[Panel]], title: str, path: Path) -> None:
    """A PNG at `path`: the DWI on the network's grid, the patient's left on the right as radiologists have it, lesions
    in red outline, neighbours framed green where of the query's class and red where not. Needs matplotlib."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.9 * columns, 2.5 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    figure.suptitle(title, fontsize=9)
    for axes_of_row, row in zip(grid, rows, strict=True):
        for place, axes in enumerate(axes_of_row):
            axes.set_xticks([])
            axes.set_yticks([])
            if place >= len(row):
                axes.axis("off")
                continue
            panel = row[place]
            axes.set_title(panel.heading, fontsize=7)
            for spine in axes.spines.values():
                spine.set_visible(panel.frame is not None)
                spine.set(color=panel.frame or "black", linewidth=3)
            if panel.case is None:
                axes.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=7, transform=axes.transAxes)
                axes.set_box_aspect(112 / 96)
                continue
            image, lesion = _slice(panel.case)
            axes.imshow(image, cmap="gray", vmin=0, vmax=max(float(np.percentile(image, 99.5)), 1e-3))
            if lesion.any():
                axes.contour(lesion.astype(np.float64), levels=[0.5], colors=[LESION], linewidths=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _slice(case: SimulatedCase) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """DWI and lesion (112, 96): rows to posterior, columns to the patient's left."""
    k = middle_slice(case)
    return case.array[0, :, :, k].T.astype(np.float32), case.lesion[:, :, k].T
