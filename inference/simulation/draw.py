"""Random draws from one seeded generator, so that a study is a function of its seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch.nn import functional

T = TypeVar("T")


def blurred(image: torch.Tensor, width: int) -> torch.Tensor:
    """Moving average of a 3D map over `width` voxels (odd) along each axis, 0 beyond its edges."""
    result = torch.zeros_like(image)
    occupied = image.nonzero()
    if len(occupied) == 0:
        return result
    # Most maps are empty but for a blob: the work is done on its neighbourhood.
    low = (occupied.min(0).values - width).clamp(min=0).tolist()
    high = (occupied.max(0).values + width + 1).tolist()
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    part = image[box][None, None]
    for axis in range(3):
        size = [1, 1, 1]
        size[axis] = width
        part = functional.avg_pool3d(part, size, 1, [one // 2 for one in size])
    result[box] = part[0, 0]
    return result


class Draw:
    """All randomness of one study, from `generator`."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def normal(self, mean: float, deviation: float, limit: float = 2.5) -> float:
        """One normal number, cut at `limit` deviations."""
        one = float(torch.randn((), generator=self.generator).clamp(-limit, limit))
        return mean + deviation * one

    def integer(self, low: int, high: int) -> int:
        """One whole number in [low, high]."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform(0.0, 1.0) < probability

    def choice(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options."""
        odds = torch.tensor(weights if weights is not None else [1.0] * len(options))
        return options[int(torch.multinomial(odds, 1, generator=self.generator))]

    def noise(self, shape: Sequence[int]) -> torch.Tensor:
        """Independent standard normal numbers, float32."""
        return torch.randn(tuple(shape), generator=self.generator)

    def smooth_field(self, shape: Sequence[int], cells: Sequence[int]) -> torch.Tensor:
        """A smooth random field of `shape` (3D): independent standard normal numbers on a lattice of `cells` nodes per
        axis, interpolated; about -2 to 2 at the nodes, less between them."""
        lattice = self.noise((1, 1, *cells))
        return functional.interpolate(lattice, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
