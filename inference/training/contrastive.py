"""Supervised contrastive loss: Khosla et al., NeurIPS 2020, arXiv 2004.11362, equation 2 (L_out)."""

from __future__ import annotations

import torch
from torch.nn import functional

_TEMPERATURE = 0.1  # Khosla, section 4.4


def supervised_contrastive(embedding: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Mean over the cases that share their class with another: embedding (B, D), of any length; label int64 (B,).

    It asks of the embedding what retrieval uses it for: that the cosine to cases of the same class is the larger one.
    0 where no two cases share a class.
    """
    unit = functional.normalize(embedding.float(), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    similarity = (unit @ unit.T / _TEMPERATURE).masked_fill(itself, -torch.inf)
    log_share = similarity - similarity.logsumexp(1, keepdim=True)
    same = (label[:, None] == label[None, :]) & ~itself
    each = -log_share.masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp(min=1)
    anchors = same.any(1)
    return (each * anchors).sum() / anchors.sum().clamp(min=1)
