"""A header to the planes in its pixel data, however they are packed.

Positions decide where a plane lies. Where a tile stands in its image, which dimension index or instance number a frame
has, only says where its pixels are found.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from pirtad.inference.dicom.frames import Layout, Plane, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One plane of pixels in a file. header: what is said about it, as one flat dataset; tiles of an image share one.

    index, tile, plane: as in `Frame`.
    """

    index: int
    tile: tuple[int, int] | None
    plane: Plane | Problem
    header: Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Unpacked:
    """problem: why the packing cannot be undone; the places then have no plane."""

    layout: Layout
    places: tuple[Place, ...]
    problem: Problem | None = None


def unsupported(layout: Layout, header: Dataset, why: str) -> Unpacked:
    """A packing that cannot be undone: one frame that stands for the whole file, without a place."""
    problem = Problem("unsupported_layout", why)
    return Unpacked(layout, (Place(0, None, problem, header),), problem)


def tile_corners(size: tuple[int, int], grid: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """The upper left pixels (row, column) of the first `count` tiles, row by row.

    size: rows and columns of the whole image. grid: tiles below and beside each other.
    """
    rows, columns = size[0] // grid[0], size[1] // grid[1]
    return [(at // grid[1] * rows, at % grid[1] * columns) for at in range(count)]
