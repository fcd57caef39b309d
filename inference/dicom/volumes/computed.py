"""Trace and ADC computed from other images, voxel by voxel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def geometric_mean(volumes: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The geometric mean of volumes (I, J, K), float64; 0 wherever one of them is not positive.

    One volume is held at a time. ValueError for none at all.
    """
    logs: NDArray[np.float64] | None = None
    count = 0
    for volume in volumes:
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.where(volume > 0, np.log(volume, dtype=np.float64), -np.inf)
        logs = log if logs is None else np.add(logs, log, out=logs)
        count += 1
    if logs is None:
        raise ValueError("no volumes")
    mean: NDArray[np.float64] = np.exp(logs / count)
    return mean


def arithmetic_mean(volumes: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The mean of volumes (I, J, K), float64, one held at a time. ValueError for none at all."""
    total: NDArray[np.float64] | None = None
    count = 0
    for volume in volumes:
        total = volume.astype(np.float64) if total is None else np.add(total, volume, out=total)
        count += 1
    if total is None:
        raise ValueError("no volumes")
    return total / count


def adc_fit(b_values_s_per_mm2: Sequence[float], signals: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """ADC in mm2/s, float64 (I, J, K): minus the least squares slope of ln S over b.

    signals: one (I, J, K) for each b value, in the same order. 0 wherever a signal is not positive, and where noise
    makes the signal rise with b: a negative diffusivity means nothing. ValueError for fewer than two b values.
    """
    b = np.asarray(b_values_s_per_mm2, dtype=np.float64)
    if len(b) < 2 or len(b) != len(signals) or np.ptp(b) == 0:
        raise ValueError(f"{len(signals)} signals at b values {b.tolist()} make no line")
    weights = (b - b.mean()) / ((b - b.mean()) ** 2).sum()
    usable = np.ones(signals[0].shape, dtype=np.bool_)
    slope = np.zeros(signals[0].shape, dtype=np.float64)
    for weight, signal in zip(weights, signals, strict=True):
        positive = signal > 0
        usable &= positive
        slope += weight * np.log(signal, out=np.zeros_like(slope), where=positive)
    adc: NDArray[np.float64] = np.where(usable, -slope, 0.0).clip(min=0.0)
    return adc
