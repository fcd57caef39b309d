"""How many volumes a second the encoder takes: `python tests/bench/encoder_speed.py [--seconds S] [--weights DIR]`.

Brains of the size of real ones (a sixth of the grid) go through the shipped ViT, one at a time and at the best of a few
batch sizes: eager float32 as the product runs it, bfloat16 autocast, and both with the blocks compiled, on the CPU and
on a GPU where there is one. All variants of a device run in turn in one process, so read the ratios to eager float32. A
variant that this machine can not run is named with the reason. Prints a table in the form of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from pirtad.inference.engine import SHIPPED_WEIGHTS
from pirtad.inference.models.manifest import WEIGHTS_FILE, EncoderManifest
from pirtad.inference.models.vit import ViT
from pirtad.inference.training.device import autocast, compile_blocks

BATCHES = {"cpu": (1, 4, 8), "cuda": (1, 8, 32, 128)}
# Half axes of an ellipsoid in voxels of 2 x 2 x 4 mm, 70 x 85 x 66 mm: 1.6 l, a head's brain.
HALF_AXES = (35, 42.5, 16.5)
# What torch raises where a compiler, or a kernel for this machine, is missing.
NOT_POSSIBLE = (RuntimeError, ImportError, OSError)


def brain(count: int) -> torch.Tensor:
    """float32 (count, 2, 96, 112, 48), zero outside an ellipsoid."""
    where = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (96, 112, 48)), indexing="ij"), axis=-1)
    inside = ((where / HALF_AXES) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).uniform(0.6, 1.4, (count, 2, 96, 112, 48)).astype(np.float32)
    return torch.from_numpy(noise * inside)


def network(weights: Path, device: torch.device) -> tuple[ViT, str]:
    """The encoder of a weights directory, and its name."""
    manifest = EncoderManifest.read(weights)
    model = ViT(manifest.config)
    model.load_state_dict(load_file(weights / WEIGHTS_FILE))
    return model.to(device).eval(), manifest.name


def volumes_per_second(model: ViT, x: torch.Tensor, bfloat16: bool, seconds: float) -> float:
    """Median rate over at least three calls; the first call, which compiles, does not count."""
    device = x.device
    with torch.inference_mode(), autocast(device, True) if bfloat16 else nullcontext():
        taken: list[float] = []
        model(x)
        while len(taken) < 3 or sum(taken) < seconds:
            wait(device)
            begun = time.perf_counter()
            model(x)
            wait(device)
            taken.append(time.perf_counter() - begun)
    return len(x) / float(np.median(taken))


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows_of(device: torch.device, weights: Path, seconds: float) -> Iterator[str]:
    """A line of the table for each variant."""
    volumes = brain(max(BATCHES[device.type])).to(device)
    reference = (0.0, 0.0)
    for name, bfloat16, compiled in (
        ("eager float32 (the product)", False, False),
        ("eager bfloat16", True, False),
        ("compiled float32", False, True),
        ("compiled bfloat16", True, True),
    ):
        model, _ = network(weights, device)
        compile_blocks(model, compiled, device)
        try:
            rates = {n: volumes_per_second(model, volumes[:n], bfloat16, seconds) for n in BATCHES[device.type]}
        except NOT_POSSIBLE as error:
            yield f"| {device.type} | {name} | not possible here: {type(error).__name__} | | | |"
            continue
        best = max(rates, key=lambda size: rates[size])
        if not any(reference):
            reference = (rates[1], rates[best])
        yield (
            f"| {device.type} | {name} | {rates[1]:.1f} | {rates[1] / reference[0]:.2f} "
            f"| {rates[best]:.1f} ({best}) | {rates[best] / reference[1]:.2f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="least time for each variant and batch size")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch._inductor")
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    name = network(given.weights, devices[0])[1]
    gpu = f", {torch.cuda.get_device_name()}" if len(devices) > 1 else ", no GPU"
    print(f"Encoder {name}, torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads{gpu};")
    print(f"load of the machine before {os.getloadavg()[0]:.1f}. Volumes a second, median.\n")
    print("| device | variant | one at a time | ratio | best batch (size) | ratio |\n|---|---|---|---|---|---|")
    for device in devices:
        for line in rows_of(device, given.weights, given.seconds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
