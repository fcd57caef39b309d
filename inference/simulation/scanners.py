"""Scanners to simulate: named ranges from scanners.toml, "training" and the disjoint "shifted"."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pirtad.inference.simulation.draw import Draw

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scanners:
    """Ranges (low, high) of what a scanner and its protocol decide; the file says what each means."""

    name: str
    snr: Range
    b_values_s_per_mm2: tuple[Range, ...]
    slice_thickness_mm: Range
    echo_time_ms: Range
    t2_gray_ms: Range
    t2_white_ms: Range
    coil_bias: Range
    adc_unit_mm2_per_s: float

    def draw_b_value(self, draw: Draw) -> float:
        """A b value in s/mm2: often the middle of the range, as protocols have round numbers."""
        low, high = draw.choice(self.b_values_s_per_mm2)
        return (low + high) / 2 if draw.chance(1 / 3) else draw.uniform(low, high)

    def draw_snr(self, draw: Draw) -> float:
        """Signal of brain over the deviation of the noise."""
        return math.exp(draw.uniform(math.log(self.snr[0]), math.log(self.snr[1])))


@cache
def scanners(name: str) -> Scanners:
    """The ranges of this name. Raises ValueError for an unknown one."""
    text = (files("pirtad.inference.simulation") / "scanners.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)
    if name not in known:
        raise ValueError(f"no scanners of the name {name}; there are {', '.join(known)}")
    raw = known[name]
    b_values = tuple((float(low), float(high)) for low, high in raw.pop("b_values_s_per_mm2"))
    unit = float(raw.pop("adc_unit_mm2_per_s"))
    ranges = {key: (float(low), float(high)) for key, (low, high) in raw.items()}
    return Scanners(name=name, b_values_s_per_mm2=b_values, adc_unit_mm2_per_s=unit, **ranges)


TRAINING = "training"
SHIFTED = "shifted"
