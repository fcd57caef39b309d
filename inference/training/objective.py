"""What training minimises: the paper's cross-entropy, and help that is thrown away after training.

PIRTA (section 2.3.2) fine-tunes with cross-entropy on the four classes after pretraining on 39,259 studies. Without
such pretraining the transformer learns where to look from dense supervision instead: every patch is asked for the
infarct in it and for the arterial territory it lies in. Two further linear layers ask the embedding for the words of
the finding (infarct type, signal class), so that similar vectors mean similar findings. See docs/adr/0004-encoder.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.models.vit import CLASSES, Encoded, ViTConfig, voxels_of_patches
from pirtad.inference.simulation.atlas import LABEL_OF
from pirtad.inference.training.voxels import BrainVoxels

_TERRITORIES = tuple(Territory)
_TYPES = (None, *InfarctType)
_SIGNALS = (None, *SignalClass)
# A patch with a quarter of its voxels infarcted counts as an infarct; patches without are a hundred times more common.
_FULL_AT = 0.25
_WEIGHT_OF_INFARCT = 12.0
_SMOOTHING = 0.05
_WEIGHTS = {"class": 1.0, "patch": 1.0, "anatomy": 0.3, "type": 0.2, "signal": 0.2, "lesion": 1.0}
# Infarcted voxels are a hundredth of the brain.
_WEIGHT_OF_LESION_VOXEL = 5.0


@dataclass(frozen=True, slots=True)
class Batch:
    """x: float32 (B, 2, 96, 112, 48). territory, infarct_type, signal: int64 (B,). infarct: float32 (B, P, 4),
    what to find in each patch (none, or the infarct's class); anatomy: float32 (B, P, 4), share of each patch by
    territory (none first); lesion: float32 (B, 96, 112, 48), 1 in the infarct."""

    x: torch.Tensor
    territory: torch.Tensor
    infarct_type: torch.Tensor
    signal: torch.Tensor
    infarct: torch.Tensor
    anatomy: torch.Tensor
    lesion: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch there."""
        return Batch(*(getattr(self, one.name).to(device, non_blocking=True) for one in fields(self)))


def images_of(cases: Sequence[BrainVoxels], config: ViTConfig) -> torch.Tensor:
    """Batch.x of cases, which is all that pretraining needs."""
    x = np.zeros((len(cases), config.channels, *config.image_shape), dtype=np.float32)
    for row, case in enumerate(cases):
        where = tuple(case.place.T)
        x[row, 0][where], x[row, 1][where] = case.dwi, case.adc
    return torch.from_numpy(x)


def collate(cases: Sequence[BrainVoxels], config: ViTConfig) -> Batch:
    """A batch of cases with the targets of every patch."""
    infarct = np.zeros((len(cases), config.patches, CLASSES), dtype=np.float32)
    anatomy = np.zeros((len(cases), config.patches, CLASSES), dtype=np.float32)
    lesion = np.zeros((len(cases), *config.image_shape), dtype=np.float32)
    for row, case in enumerate(cases):
        lesion[row][tuple(case.place[case.lesion].T)] = 1.0
        patch = np.ravel_multi_index(tuple((case.place // np.asarray(config.patch_shape)).T), config.grid)
        found = np.minimum(1.0, _shares(patch[case.lesion], config) / _FULL_AT)
        infarct[row, :, 0] = 1 - found
        infarct[row, :, _TERRITORIES.index(case.finding.territory)] += found
        for territory, label in LABEL_OF.items():
            anatomy[row, :, _TERRITORIES.index(territory)] = _shares(patch[case.territories == label], config)
        anatomy[row, :, 0] = 1 - anatomy[row].sum(-1)
    return Batch(
        x=images_of(cases, config),
        territory=torch.tensor([_TERRITORIES.index(case.finding.territory) for case in cases]),
        infarct_type=torch.tensor([_TYPES.index(case.finding.infarct_type) for case in cases]),
        signal=torch.tensor([_SIGNALS.index(case.finding.signal_class) for case in cases]),
        infarct=torch.from_numpy(infarct),
        anatomy=torch.from_numpy(anatomy),
        lesion=torch.from_numpy(lesion),
    )


def _shares(patch: NDArray[np.int64], config: ViTConfig) -> NDArray[np.float64]:
    """Share (P,) of each patch's voxels that a list of patch numbers, one for each voxel, covers."""
    return np.bincount(patch, minlength=config.patches) / math.prod(config.patch_shape)


class PaperObjective(nn.Module):
    """The paper's fine-tuning objective: cross-entropy of the linear head, and nothing else (section 2.3.2)."""

    def forward(self, encoded: Encoded, batch: Batch) -> dict[str, torch.Tensor]:
        """The loss as "loss"."""
        return {"loss": functional.cross_entropy(encoded.logits.float(), batch.territory)}


class TrainingHeads(nn.Module):
    """The layers that exist in training only, and the loss."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self._config = config
        self.anatomy = nn.Linear(config.width, CLASSES)
        self.infarct_type = nn.Linear(config.width, len(_TYPES))
        self.signal = nn.Linear(config.width, len(_SIGNALS))

    def forward(self, encoded: Encoded, batch: Batch) -> dict[str, torch.Tensor]:
        """The parts of the loss, and their weighted sum as "loss"."""
        take = encoded.kept[..., None].expand(-1, -1, CLASSES)
        infarct, anatomy = batch.infarct.gather(1, take), batch.anatomy.gather(1, take)  # (B, T, 4)
        weight = encoded.real * (1 + (_WEIGHT_OF_INFARCT - 1) * (1 - infarct[..., 0]))
        parts = {
            "class": functional.cross_entropy(encoded.logits.float(), batch.territory, label_smoothing=_SMOOTHING),
            "patch": _soft_cross_entropy(encoded.patch_logits, infarct, weight),
            "anatomy": _soft_cross_entropy(self.anatomy(encoded.tokens), anatomy, encoded.real.float()),
            "type": functional.cross_entropy(self.infarct_type(encoded.embedding).float(), batch.infarct_type),
            "signal": functional.cross_entropy(self.signal(encoded.embedding).float(), batch.signal),
        }
        if encoded.lesion_logits is not None:
            parts["lesion"] = _lesion_loss(
                encoded.lesion_logits.float(), voxels_of_patches(batch.lesion, encoded.kept, self._config), encoded.real
            )
        parts["loss"] = torch.stack([_WEIGHTS[name] * value for name, value in parts.items()]).sum()
        return parts


def _lesion_loss(logits: torch.Tensor, target: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy over the voxels of real patches, and one minus the soft Dice (Milletari et al., 3DV 2016)
    over the cases that have an infarct. logits, target: (B, T, cells, 8); real: (B, T)."""
    inside = real[..., None, None].float()
    each = functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none", pos_weight=logits.new_tensor(_WEIGHT_OF_LESION_VOXEL)
    )
    entropy = (each * inside).sum() / inside.expand_as(each).sum().clamp(min=1)
    probability = logits.sigmoid() * inside
    overlap = (probability * target).sum((1, 2, 3))
    total = (probability + target).sum((1, 2, 3))
    infarct = target.sum((1, 2, 3)) > 0
    dice = (2 * overlap + 1) / (total + 1)
    return 2 * entropy + ((1 - dice) * infarct).sum() / infarct.sum().clamp(min=1)


def _soft_cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """logits, target (B, T, C), weight (B, T) -> weighted mean."""
    each = -(target * logits.float().log_softmax(-1)).sum(-1)
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)
