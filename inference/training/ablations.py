"""The paper's three columns (tables 4 and 6: no pretraining, small set, large set) and each departure from its recipe
added to the ones before, at one budget.

Each row is a published configuration (configs/), or one with a few settings changed, with the budget's steps and cases,
trained into a directory of its own, so that a stopped comparison goes on where it was; all rows are scored on the same
held-out cases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.simulation.lesion_masks import LesionFiles
from pirtad.inference.training.cases import ensure_cases
from pirtad.inference.training.configuration import MaeConfig, TrainingConfig, configure, named_settings, origin_of
from pirtad.inference.training.device import device_of
from pirtad.inference.training.held_out import HeldOutScore, held_out_recipes, score
from pirtad.inference.training.pretrain import train_mae
from pirtad.inference.training.train import train_encoder

JSON_FILE = "ablations.json"
TEXT_FILE = "ablations.txt"


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """The budget of a comparison."""

    cache: Path
    run: Path
    out: Path
    steps: int
    """Of fine-tuning, the same for every row."""
    mae_steps: int
    """Of pretraining, the same for both sets."""
    batch_size: int
    training_cases: int = 800
    """The small set, which every row is fine-tuned on."""
    large_set_cases: int = 1600
    """The large set, of which the small one is part."""
    validation_cases: int = 32
    test_cases: int = 200
    test_scanners: str = "shifted"
    """Scanners of the held-out cases, a name of simulation/scanners.toml."""
    lesions: Path | None = None
    territories: Path | None = None
    seed: int = 0
    workers: int = 2
    threads: int = 2
    loaders: int = 0
    device: str = "auto"
    bfloat16: bool = True
    vit: Mapping[str, Any] | None = None
    """Another shape for all rows than the configurations' own; for tests."""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """recipe: of the last stage. pretraining_cases: 0 for none. failure: why there is no score, if there is none."""

    label: str
    recipe: str
    pretraining_cases: int
    score: HeldOutScore | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """changes: settings other than the recipe's, those of the network under "vit". directory: "": the recipe's name."""

    label: str
    recipe: str
    pretraining_recipe: str = ""
    pretraining_cases: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    directory: str = ""


def run_ablations(config: AblationConfig) -> list[Row]:
    """Train and score what is missing; write ablations.json and ablations.txt to `config.out` after every row.

    A row that can not be trained is told in the table and does not stop the others. Raises ValueError for a device
    that is not there or too few held-out cases.
    """
    device = device_of(config.device)
    torch.set_num_threads(config.threads)
    files = None if config.lesions is None else LesionFiles(config.lesions, config.territories)
    recipes = held_out_recipes(config.test_cases, config.test_scanners, files)
    tests = ensure_cases(config.cache, recipes, config.workers, files)
    rows: list[Row] = []
    for plan in _plans(config):
        try:
            out = _train(plan, config)
            row = Row(plan.label, plan.recipe, plan.pretraining_cases, score(Encoder.load(out, str(device)), tests))
        except (ValueError, ModelMismatch) as error:
            row = Row(plan.label, plan.recipe, plan.pretraining_cases, None, str(error))
        rows.append(row)
        _write(rows, config)
    print(table(rows, config), flush=True)
    return rows


def _plans(config: AblationConfig) -> tuple[_Plan, ...]:
    ours = {"vit": named_settings("small")["vit"]}
    without_map = {"vit": ours["vit"] | {"map_width": 0}}
    wide = {"augmentation": "full"}
    none = "paper_small_no_pretraining"
    return (
        _Plan("paper, no pretraining", none),
        _Plan("paper, small set", "paper_small_small_set", "paper_small_small_set_mae", config.training_cases),
        _Plan("paper, large set", "paper_small", "paper_small_mae", config.large_set_cases),
        _Plan("no pretraining + our network", none, changes=without_map, directory="network"),
        _Plan("+ wide augmentation", none, changes=without_map | wide, directory="augmentation"),
        _Plan("+ dense supervision", "small", changes=without_map, directory="dense"),
        _Plan("+ lesion map (ours)", "small"),
        _Plan("ours + contrastive loss", "small", changes={"contrastive_weight": 0.1}, directory="contrastive"),
        _Plan(
            "ours, after the large set", "small", "paper_small_mae", config.large_set_cases,
            changes=ours, directory="pretrained",
        ),
    )  # fmt: skip


def _train(plan: _Plan, config: AblationConfig) -> Path:
    """The directory of the row's finished encoder."""
    start = None
    if plan.pretraining_recipe:
        vit = {"vit": plan.changes["vit"] | {"map_width": 0}} if "vit" in plan.changes else {}
        given = _given(plan.pretraining_recipe, config, plan.pretraining_cases, config.mae_steps, vit, plan.directory)
        pretraining = configure(MaeConfig, named_settings(plan.pretraining_recipe), given)
        if not _finished(pretraining):
            print(f"{plan.label}: {plan.pretraining_recipe}", flush=True)
            train_mae(pretraining)
        start = pretraining.out
    given = _given(plan.recipe, config, config.training_cases, config.steps, plan.changes, plan.directory)
    training = configure(TrainingConfig, named_settings(plan.recipe), given | {"start": start})
    if not _finished(training):
        print(f"{plan.label}: {plan.recipe}", flush=True)
        train_encoder(training)
    return training.out


def _given(
    recipe: str, config: AblationConfig, cases: int, steps: int, changes: Mapping[str, Any], directory: str
) -> dict[str, Any]:
    """What the budget, and the row, set in a published configuration."""
    warmup = int(named_settings(recipe)["warmup_steps"])
    where = f"{directory}-{recipe}" if directory else recipe
    given: dict[str, Any] = {
        "run": config.run / where,
        "out": config.out / where,
        "training_cases": cases,
        "steps": steps,
        "warmup_steps": max(1, min(warmup, steps // 10)),
    }
    shared = ("cache", "lesions", "territories", "validation_cases", "batch_size", "seed", "workers", "threads")
    given |= {name: getattr(config, name) for name in (*shared, "loaders", "device", "bfloat16", "command")}
    given |= changes
    if config.vit is not None:
        given["vit"] = config.vit
    return given


def _finished(config: TrainingConfig | MaeConfig) -> bool:
    """Whether the encoder of exactly this run lies there, whole."""
    try:
        return EncoderManifest.read(config.out).recipe_sha256 == origin_of(config).recipe_sha256
    except ModelMismatch:
        return False


def table(rows: list[Row], config: AblationConfig) -> str:
    """The rows as a table, in percent with 95 % intervals, under the budget that they hold for."""
    lines = [
        f"Fine-tuning {config.steps} steps, pretraining {config.mae_steps} steps, {config.batch_size} cases a step; "
        f"{config.training_cases} cases for fine-tuning; seed {config.seed}.",
        f"Held out: scanners {config.test_scanners}, retrieval among them with each left out once.",
        "",
        "| row | pretraining cases | held out | head Acc@1 | mAP@1 | mAP@5 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.score is None:
            lines.append(f"| {row.label} | {row.pretraining_cases} | failed: {row.failure} | | | |")
            continue
        head, first = (
            f"{100 * share.value:.1f} ({100 * share.low:.1f}-{100 * share.high:.1f})"
            for share in (row.score.head_accuracy, row.score.map_at_1)
        )
        lines.append(
            f"| {row.label} | {row.pretraining_cases} | {row.score.cases} | {head} | {first} | "
            f"{100 * row.score.map_at_5:.1f} |"
        )
    return "\n".join(lines)


def _write(rows: list[Row], config: AblationConfig) -> None:
    paths = ("cache", "run", "out", "lesions", "territories", "command", "vit")
    budget = {name: value for name, value in asdict(config).items() if name not in paths}
    content = {"schema": 1, "budget": budget, "rows": [asdict(row) for row in rows]}
    config.out.mkdir(parents=True, exist_ok=True)
    texts = {JSON_FILE: json.dumps(content, indent=2), TEXT_FILE: table(rows, config)}
    for name, text in texts.items():
        part = config.out / f"{name}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(config.out / name)
