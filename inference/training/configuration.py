"""Everything a training run depends on, from a TOML file and the command line.

The published runs are the files in `configs/`, named by their stem; `named_settings("small")` reads one.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViTConfig

CONFIGS = Path(__file__).with_name("configs")

Augmentation = Literal["none", "light", "full"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every run has."""

    cache: Path
    """Directory of simulated and preprocessed cases; made where missing."""
    run: Path
    """Directory for checkpoint.pt, metrics.jsonl and config.json; an interrupted run goes on from there."""
    out: Path
    """Directory for weights.safetensors and manifest.json."""
    lesions: Path | None = None
    """Archive of lesion masks that the simulation draws from; None simulates with its own shapes."""
    territories: Path | None = None
    """Table of the territories of those masks; None derives them."""
    recipe: str = ""
    """Name of the file that the settings come from; the manifest carries it."""
    name: str = ""
    """Name of the encoder, for the manifest and the reports."""
    training_cases: int = 1200
    """Simulated cases to train on, the first of seeds.TRAINING."""
    validation_cases: int = 96
    """Simulated cases to watch, the first of seeds.VALIDATION; nothing is chosen by them."""
    augmentation: Augmentation = "full"
    """Anew for every batch. light: mirrored, moved, other gain and noise; full: other scanners and healthy brains too,
    and infarcts put into normal cases."""
    steps: int = 2000
    """Optimiser steps, unless `epochs` says otherwise."""
    epochs: int | None = None
    """Passes over the training cases; None leaves it to `steps`."""
    batch_size: int = 32
    """Cases a step."""
    learning_rate: float = 1e-3
    """Peak of the schedule at the batch size given."""
    weight_decay: float = 0.05
    """Of AdamW (PIRTA section 2.3.2, both stages)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    warmup_steps: int = 60
    """Linear rise before the cosine falls to zero."""
    checkpoint_every_steps: int = 200
    """After how many steps the run is saved and the validation cases are tried."""
    report_every_steps: int = 25
    """After how many steps progress is written."""
    seed: int = 0
    """Of the initial weights and of every batch."""
    bfloat16: bool = True
    """Mixed precision, for machines with AMX, AVX512-BF16 or a GPU; inference is float32 everywhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    compile: bool | None = None
    """torch.compile of the transformer's blocks; None compiles on cuda only."""
    workers: int = 2
    """Processes that simulate."""
    threads: int = 2
    """Threads that train on a CPU."""
    loaders: int = 0
    """Processes that prepare batches, for a GPU; each holds up to 0.5 GB of /dev/shm. 0: a thread of this one."""
    tensorboard: bool = True
    """Metrics for TensorBoard too, where the package is installed (extra `train`)."""
    vit: ViTConfig = field(default_factory=lambda: ViTConfig(map_width=32))
    """Shape of the network."""
    command: str = ""
    """The command line, for the manifest."""

    def __post_init__(self) -> None:
        if self.territories is not None and self.lesions is None:
            raise ValueError("a table of territories without the lesion masks that it is of")

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps if self.epochs is None else self.epochs * math.ceil(self.training_cases / self.batch_size)

    @property
    def peak_learning_rate(self) -> float:
        """What the optimiser gets."""
        return self.learning_rate


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(RunConfig):
    """Fine-tuning to the four classes, from nothing or from `start`."""

    name: str = "pirtad-vit-small-sim"
    start: Path | None = None
    """Directory of an encoder of the same shape whose weights training begins with; None begins with nothing."""
    starts_from: str = ""
    """Recipe that the encoder in `start` must come from; "" takes any, or none."""
    objective: Literal["dense", "paper"] = "dense"
    """paper: cross-entropy of the linear head alone (PIRTA section 2.3.2); dense: see training.objective."""
    contrastive_weight: float = 0.0
    """Of the supervised contrastive loss on the embedding (training.contrastive), added to the objective."""


@dataclass(frozen=True, kw_only=True)
class MaeConfig(RunConfig):
    """Pretraining by a masked autoencoder (PIRTA section 2.3.2; He et al., arXiv 2111.06377)."""

    name: str = "pirtad-vit-small-mae"
    augmentation: Augmentation = "light"
    learning_rate: float = 6.4e-3
    """For a batch of 256, see `peak_learning_rate`."""
    betas: tuple[float, float] = (0.9, 0.95)
    epochs: int | None = 500
    vit: ViTConfig = field(default_factory=ViTConfig)
    keep_share: float = 0.25
    """Share of a brain's patches that the encoder sees. The paper masks "to remove (1-q) of the patches" with "a mask
    ratio q of 0.25": read as a quarter kept, which is also He's choice."""
    decoder_width: int = 96
    """Length of the decoder's tokens; divisible by 6 and by decoder_heads."""
    decoder_depth: int = 2
    """Blocks of the decoder."""
    decoder_heads: int = 3
    """Attention heads of a block of the decoder."""
    normalised_targets: bool = False
    """Whether each patch is to be rebuilt up to its mean and spread (He, table 1d) instead of as it is."""

    @property
    def peak_learning_rate(self) -> float:
        """The rate times batch_size / 256.

        The paper gives 6.4e-3 and no batch size. MAE gives its rate for a batch of 256 and scales it linearly (He,
        appendix A.1), and so is the paper's read here: 8e-4 at a batch of 32. Taken as it is, a batch of 32 diverges.
        """
        return self.learning_rate * self.batch_size / 256


# What a run's result does not depend on: paths, the machine, and how progress is told.
_NOT_DECISIVE = frozenset(
    {"cache", "run", "out", "start", "lesions", "territories", "command", "workers", "threads", "loaders", "device"}
    | {"compile", "tensorboard", "checkpoint_every_steps", "report_every_steps"}
)
_FROM_COMMAND_LINE = frozenset({"cache", "run", "out", "start", "lesions", "territories", "command", "recipe", "kind"})

Config = TypeVar("Config", TrainingConfig, MaeConfig)
KINDS: dict[str, type[RunConfig]] = {"encoder": TrainingConfig, "mae": MaeConfig}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a manifest says of where weights come from: EncoderManifest's fields of the same names."""

    recipe_sha256: str
    started_from_sha256: str


def origin_of(config: RunConfig) -> Origin:
    """The digest of the settings that decide a run's result, files counting by their content.

    Two runs with the same digest are the same experiment. Read before training: the run may replace the encoder that
    it begins with. Raises ModelMismatch or OSError when a file named by the configuration is not there.
    """
    kept: dict[str, Any] = {name: value for name, value in asdict(config).items() if name not in _NOT_DECISIVE}
    start = getattr(config, "start", None)
    kept["started_from_sha256"] = EncoderManifest.read(start).weights_sha256 if start is not None else ""
    for name in ("lesions", "territories"):
        path: Path | None = getattr(config, name)
        kept[f"{name}_sha256"] = sha256_of(path) if path is not None else ""
    text = json.dumps(kept, sort_keys=True)
    return Origin(hashlib.sha256(text.encode()).hexdigest(), kept["started_from_sha256"])


def named_settings(name: str) -> dict[str, Any]:
    """The settings of a published run (the stem of a file in configs/) or of the TOML file at a path; "recipe" is its
    stem. Raises ValueError when there is none, or it is not TOML.
    """
    published = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    path = CONFIGS / f"{name}.toml" if name in published else Path(name)
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"no configuration {name}; published ones: {', '.join(published)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not TOML: {error}") from error
    return read | {"recipe": path.stem}


def configure(kind: type[Config], settings: Mapping[str, Any], given: Mapping[str, Any]) -> Config:
    """A configuration from a file's settings and, before them, what the command line gave (None: nothing).

    `steps` on the command line wins over the file's `epochs`. Raises ValueError for a file of another kind of run, an
    unknown setting, or a value of the wrong type.
    """
    expected = next(name for name, known in KINDS.items() if known is kind)
    if settings.get("kind", expected) != expected:
        raise ValueError(f"{settings['recipe']} is a configuration for `pirtad train {settings['kind']}`")
    known = {one.name for one in fields(kind)} - _FROM_COMMAND_LINE
    if strange := sorted(set(settings) - known - {"kind", "recipe"}):
        raise ValueError(f"{settings['recipe']}: unknown settings {', '.join(strange)}")
    vit = settings.get("vit", {})
    if strange := sorted(set(vit) - {one.name for one in fields(ViTConfig)}):
        raise ValueError(f"{settings['recipe']}: unknown settings of the network {', '.join(strange)}")
    merged = {name: value for name, value in settings.items() if name != "kind"}
    merged |= {name: value for name, value in given.items() if value is not None}
    if given.get("steps") is not None and given.get("epochs") is None:
        merged["epochs"] = None
    try:
        return TypeAdapter(kind).validate_python(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"setting {where}: {first['msg']}") from error
