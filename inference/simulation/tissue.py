"""Signal of tissue: S(b) = PD exp(-TE/T2) exp(-b ADC), one compartment each for gray matter, white matter and fluid.

ADC at body temperature: gray 0.75-0.95, white 0.65-0.85, fluid 2.7-3.2 times 1e-3 mm2/s (Helenius et al., AJNR 23,
2002; Le Bihan et al., Radiology 161, 1986); T2 at 1.5 and 3 T: gray 80-115 ms, white 62-92 ms (Stanisz et al., MRM 54,
2005), fluid over 1 s; proton density gray 0.80-0.88, white 0.66-0.74, fluid 1 (Tofts, Quantitative MRI of the Brain,
2003). Ranges are drawn a little wider than published so that other scanners are covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pirtad.inference.simulation.atlas import Atlas
from pirtad.inference.simulation.draw import Draw, blurred
from pirtad.inference.simulation.scanners import Scanners


@dataclass(slots=True)
class TissueMaps:
    """Maps (I, J, K) on the atlas grid, float32: signal without diffusion weighting (fluid and parenchyma apart, since
    an infarct changes the parenchyma only) and ADC of each in mm2/s."""

    parenchyma_s0: torch.Tensor
    parenchyma_adc_mm2_per_s: torch.Tensor
    fluid_s0: torch.Tensor
    fluid_adc_mm2_per_s: torch.Tensor

    def signals(self, b_value_s_per_mm2: float) -> torch.Tensor:
        """Signal (2, I, J, K) without and with diffusion weighting."""
        weighted = self.parenchyma_s0 * torch.exp(-b_value_s_per_mm2 * self.parenchyma_adc_mm2_per_s)
        weighted += self.fluid_s0 * torch.exp(-b_value_s_per_mm2 * self.fluid_adc_mm2_per_s)
        return torch.stack([self.parenchyma_s0 + self.fluid_s0, weighted])


def draw_tissue(atlas: Atlas, scanners: Scanners, draw: Draw) -> TissueMaps:
    """Healthy brain, fluid around it, and a faint rim of scalp."""
    gray, white, fluid = _folded(atlas, *_with_atrophy(atlas, draw), draw)
    echo_time_ms = draw.uniform(*scanners.echo_time_ms)
    s0_gray = draw.uniform(0.78, 0.90) * _decay(echo_time_ms, draw.uniform(*scanners.t2_gray_ms))
    s0_white = draw.uniform(0.64, 0.76) * _decay(echo_time_ms, draw.uniform(*scanners.t2_white_ms))
    s0_fluid = _decay(echo_time_ms, draw.uniform(600, 2000))
    adc_gray, adc_white = draw.uniform(0.74, 0.98), draw.uniform(0.65, 0.88)

    parenchyma = (gray + white).clamp(min=1e-6)
    s0 = gray * s0_gray + white * s0_white
    adc = (gray * adc_gray + white * adc_white) / parenchyma
    s0 = s0 * torch.exp(draw.uniform(0.03, 0.12) * draw.smooth_field(atlas.shape, (14, 16, 14)))
    s0 = s0 * torch.exp(draw.uniform(0.0, 0.12) * gray * draw.smooth_field(atlas.shape, (34, 38, 34)))
    adc = adc * torch.exp(draw.uniform(0.02, 0.08) * draw.smooth_field(atlas.shape, (14, 16, 14)))
    deep = (atlas.territory == 2) & (gray > 0.5)
    s0 = torch.where(deep, s0 * draw.uniform(0.65, 1.08), s0)  # iron shortens T2 there, with age

    rim_s0, rim_adc = _rim(atlas, draw, s0_gray)
    outside = ~atlas.brain
    return TissueMaps(
        parenchyma_s0=torch.where(outside, rim_s0, s0),
        parenchyma_adc_mm2_per_s=torch.where(outside, rim_adc, adc * 1e-3),
        fluid_s0=torch.where(outside & (atlas.outside_mm < draw.uniform(0, 4.5)), s0_fluid, fluid * s0_fluid),
        fluid_adc_mm2_per_s=torch.full(atlas.shape, draw.uniform(2.7, 3.2) * 1e-3),
    )


def _decay(echo_time_ms: float, t2_ms: float) -> float:
    return float(torch.exp(torch.tensor(-echo_time_ms / t2_ms)))


def _with_atrophy(atlas: Atlas, draw: Draw) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Wider ventricles and sulci, more in some patients and places than in others; the tissue shrinks in proportion.

    The atlas is an average: single sulci are blurred away in it, so a crooked pattern stands in for them.
    """
    power = draw.uniform(1.2, 2.4)
    sharp = atlas.fluid**power
    fluid = sharp + draw.uniform(0.0, 0.6) * (atlas.sulci**power - sharp)
    if draw.chance(0.5):
        fluid = torch.maximum(fluid, draw.uniform(0.0, 1.0) * blurred(atlas.ventricles, draw.choice((3, 5))))
    sulci = (draw.smooth_field(atlas.shape, (28, 32, 28)) - draw.uniform(0.3, 1.0)).clamp(min=0)
    shell = ((atlas.outside_mm + 20) / 12).clamp(0, 1)
    fluid = fluid + draw.uniform(0.0, 0.8) * sulci * shell * (1 - atlas.white)
    fluid = torch.where(atlas.brain, fluid.clamp(0, 1), torch.zeros(()))
    keep = (1 - fluid) / (atlas.gray + atlas.white).clamp(min=1e-3)
    return (atlas.gray * keep).clamp(0, 1), (atlas.white * keep).clamp(0, 1), fluid


def _folded(
    atlas: Atlas, gray: torch.Tensor, white: torch.Tensor, fluid: torch.Tensor, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gyri and sulci. The atlas shows their mean; here the sheets on which a random field is 0 become sulci, the tissue
    beside them becomes ribbon and the rest white matter, more or less of it, in the outer 22 mm of the cerebrum."""
    amount = draw.choice((0.0, 1.0), (0.15, 0.85)) * draw.uniform(0.3, 1.0)
    fold = draw.smooth_field(atlas.shape, [round(length * 2 / draw.uniform(9, 15)) for length in atlas.shape])
    shell = ((atlas.outside_mm + 22) / 6).clamp(0, 1) * (1 - atlas.hindbrain) * (atlas.territory != 2)
    depth = ((atlas.outside_mm + 16) / 10).clamp(0, 1)  # sulci narrow inwards
    sulcus = torch.exp(-((fold / draw.uniform(0.08, 0.22)) ** 2)) * depth * draw.uniform(0.3, 1.0)
    fluid = torch.maximum(fluid, amount * shell * sulcus * atlas.brain)
    share = gray / (gray + white).clamp(min=1e-3)
    ribbon = torch.exp(-((fold / draw.uniform(0.45, 0.8)) ** 4))
    ribbon = torch.maximum(ribbon, ((atlas.outside_mm + 5) / 2).clamp(0, 1))
    share = share + amount * shell * draw.uniform(0.4, 1.0) * (ribbon - share)
    tissue = (1 - fluid) * atlas.brain
    return share * tissue, (1 - share) * tissue, fluid


def _rim(atlas: Atlas, draw: Draw, s0_gray: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Scalp and muscle beyond the dark skull: fat suppression leaves them faint (signal, ADC in mm2/s)."""
    crooked = draw.smooth_field(atlas.shape, (8, 8, 8))
    skull_mm = draw.uniform(6, 10) + 1.5 * crooked
    scalp = (atlas.outside_mm > skull_mm) & (atlas.outside_mm < skull_mm + draw.uniform(4, 9))
    faint = s0_gray * draw.uniform(0.05, 0.45) * torch.exp(0.4 * crooked)
    adc = (1.1 - 0.4 * crooked).clamp(0.3, 2.0) * 1e-3
    return torch.where(scalp, faint, torch.zeros(())), adc
