"""`pirtad train`: models from simulated studies."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pirtad.daemon.cli import train_lora
from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, printable, stop

app = typer.Typer(help="Train models on simulated studies.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[
    Path, typer.Argument(metavar="RUN", file_okay=False, help="Checkpoints and metrics; a run there goes on.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT", file_okay=False, help="Folder for weights and manifest.")]
Config = Annotated[str | None, typer.Option(help="Published run (e.g. small, paper_small_mae) or TOML file.")]
Cache = Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")]
Lesions = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Zip of real lesion masks to show.")]
Territories = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Table of the masks' territories.")]
Name = Annotated[str | None, typer.Option(help="Name of the encoder in manifest and reports.")]
Cases = Annotated[int | None, typer.Option(min=4, help="Simulated cases to train on.")]
ValidationCases = Annotated[int | None, typer.Option(min=4, help="Simulated cases to watch.")]
Augmentation = Annotated[
    Literal["none", "light", "full"] | None, typer.Option(help="How cases are varied for every batch.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Optimiser steps; wins over epochs.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the cases instead of steps.")]
BatchSize = Annotated[int | None, typer.Option(min=4, help="Cases a step.")]
WarmupSteps = Annotated[int | None, typer.Option(min=1, help="Steps until the learning rate has its peak.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the initial weights and of every batch.")]
Device = Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to train; auto: cuda if there.")]
BFloat16 = Annotated[bool | None, typer.Option("--bfloat16/--no-bfloat16", help="Mixed precision, or float32.")]
Compile = Annotated[bool | None, typer.Option("--compile/--no-compile", help="torch.compile.  [default: on cuda]")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that simulate.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that train on a CPU.")]
Loaders = Annotated[int | None, typer.Option(min=0, help="Processes that prepare batches, for a GPU.")]


@app.callback()
def _group() -> None:
    return


train_lora.app_command(app)


@app.command(
    epilog="\b\nExamples:\n  pirtad train encoder runs/small ./weights --config small\n"
    "  pirtad train encoder runs/paper ./weights --config paper_small --start ./mae"
)
def encoder(
    run: Run,
    out: Out,
    config: Config = None,
    cache: Cache = DEFAULT_CACHE,
    lesions: Lesions = None,
    territories: Territories = None,
    start: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Encoder to begin with, of the same shape.")
    ] = None,
    name: Name = None,
    cases: Cases = None,
    validation_cases: ValidationCases = None,
    objective: Annotated[
        Literal["dense", "paper"] | None, typer.Option(help="paper: cross-entropy of the linear head alone.")
    ] = None,
    contrastive_weight: Annotated[
        float | None, typer.Option(min=0, help="Of the supervised contrastive loss of the embedding.")
    ] = None,
    augmentation: Augmentation = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak of the schedule.")] = None,
    warmup_steps: WarmupSteps = None,
    seed: Seed = None,
    device: Device = None,
    bfloat16: BFloat16 = None,
    compile_blocks: Compile = None,
    workers: Workers = None,
    threads: Threads = None,
    loaders: Loaders = None,
) -> None:
    """Train the encoder on simulated studies, to a folder that inference.weights_dir can name.

    What is not given is as in the configuration, or as in pirtad.inference.training.configuration.TrainingConfig.
    Exit 4 if RUN belongs to another configuration, or --start does not fit.
    """
    given: dict[str, Any] = {
        "run": run,
        "out": out,
        "cache": cache,
        "lesions": lesions,
        "territories": territories,
        "start": start,
    }
    given |= {"name": name, "training_cases": cases, "validation_cases": validation_cases, "objective": objective}
    given |= {"contrastive_weight": contrastive_weight, "augmentation": augmentation, "steps": steps, "epochs": epochs}
    given |= {"batch_size": batch_size, "learning_rate": learning_rate, "warmup_steps": warmup_steps, "seed": seed}
    given |= {"device": device, "bfloat16": bfloat16, "compile": compile_blocks, "workers": workers, "threads": threads}
    with _refusals_told():
        from pirtad.inference.training import train
        from pirtad.inference.training.configuration import TrainingConfig, configure, named_settings

        settings = {} if config is None else named_settings(config)
        given |= {"loaders": loaders, "command": _command_line()}
        manifest = train.train_encoder(configure(TrainingConfig, settings, given))
    typer.echo(f"{manifest.name} in {out}, sha256 {manifest.weights_sha256}")


@app.command(
    epilog="\b\nExample:\n  pirtad train mae runs/mae ./mae --config paper_small_mae\n"
    "  pirtad train encoder runs/paper ./weights --config paper_small --start ./mae"
)
def mae(
    run: Run,
    out: Out,
    config: Config = None,
    cache: Cache = DEFAULT_CACHE,
    lesions: Lesions = None,
    territories: Territories = None,
    name: Name = None,
    cases: Cases = None,
    validation_cases: ValidationCases = None,
    augmentation: Augmentation = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak of the schedule for a batch of 256; scaled with the batch.")
    ] = None,
    warmup_steps: WarmupSteps = None,
    keep_share: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Share of a brain's patches that is shown.")
    ] = None,
    normalised_targets: Annotated[
        bool | None,
        typer.Option("--normalised-targets/--plain-targets", help="Rebuild patches up to their mean and spread."),
    ] = None,
    seed: Seed = None,
    device: Device = None,
    bfloat16: BFloat16 = None,
    compile_blocks: Compile = None,
    workers: Workers = None,
    threads: Threads = None,
    loaders: Loaders = None,
) -> None:
    """Pretrain the encoder by a masked autoencoder (PIRTA section 2.3.2), for `pirtad train encoder --start`.

    What is not given is as in the configuration, or as in pirtad.inference.training.configuration.MaeConfig. The
    product refuses an encoder that is only pretrained. Exit 4 if RUN belongs to another configuration.
    """
    given: dict[str, Any] = {"run": run, "out": out, "cache": cache, "lesions": lesions, "territories": territories}
    given |= {"name": name, "training_cases": cases, "validation_cases": validation_cases, "augmentation": augmentation}
    given |= {"steps": steps, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    given |= {"warmup_steps": warmup_steps, "keep_share": keep_share, "normalised_targets": normalised_targets}
    given |= {"seed": seed, "device": device, "bfloat16": bfloat16, "compile": compile_blocks, "workers": workers}
    with _refusals_told():
        from pirtad.inference.training import pretrain
        from pirtad.inference.training.configuration import MaeConfig, configure, named_settings

        settings = {} if config is None else named_settings(config)
        given |= {"threads": threads, "loaders": loaders, "command": _command_line()}
        manifest = pretrain.train_mae(configure(MaeConfig, settings, given))
    typer.echo(f"{manifest.name} in {out}, sha256 {manifest.weights_sha256}")


@app.command(
    epilog="\b\nExample:\n"
    "  pirtad train ablations runs/ablations ./ablations --steps 600 --mae-steps 600 --batch-size 32"
)
def ablations(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="OUT", file_okay=False, help="Folder for weights and the table.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of fine-tuning, for every row.")],
    mae_steps: Annotated[int, typer.Option(min=1, help="Steps of pretraining, for both sets.")],
    batch_size: Annotated[int, typer.Option(min=4, help="Cases a step.")],
    cache: Cache = DEFAULT_CACHE,
    lesions: Lesions = None,
    territories: Territories = None,
    cases: Annotated[int, typer.Option(min=4, help="The small set, which every row is fine-tuned on.")] = 800,
    large_set_cases: Annotated[int, typer.Option(min=4, help="The large set, the small one included.")] = 1600,
    validation_cases: Annotated[int, typer.Option(min=4, help="Simulated cases to watch.")] = 32,
    test_cases: Annotated[int, typer.Option(min=8, help="Held-out cases that every row is scored on.")] = 200,
    test_scanners: Annotated[
        Literal["training", "shifted"], typer.Option(help="Scanners of the held-out cases.")
    ] = "shifted",
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of every batch.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train; auto: cuda if there.")] = (
        "auto"
    ),
    bfloat16: Annotated[bool, typer.Option(help="Mixed precision, or float32.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads that train on a CPU.")] = 2,
    loaders: Annotated[int, typer.Option(min=0, help="Processes that prepare batches, for a GPU.")] = 0,
) -> None:
    """Compare the paper's recipe without pretraining, after a small and a large set, and ours, at one budget.

    Writes ablations.json and ablations.txt to OUT and prints the table. A stopped comparison goes on. Exit 1 if a row
    could not be trained.
    """
    with _refusals_told():
        from pirtad.inference.training import ablations as comparison

        rows = comparison.run_ablations(
            comparison.AblationConfig(
                cache=cache,
                run=run,
                out=out,
                steps=steps,
                mae_steps=mae_steps,
                batch_size=batch_size,
                training_cases=cases,
                large_set_cases=large_set_cases,
                validation_cases=validation_cases,
                test_cases=test_cases,
                test_scanners=test_scanners,
                lesions=lesions,
                territories=territories,
                seed=seed,
                workers=workers,
                threads=threads,
                loaders=loaders,
                device=device,
                bfloat16=bfloat16,
                command=_command_line(),
            )
        )
    if failed := [row for row in rows if row.score is None]:
        stop(Exit.FAILED, "\n".join(f"{row.label}: {row.failure}" for row in failed))


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Exit 4 for a run that is not possible as asked."""
    from pirtad.inference.errors import ModelMismatch

    try:
        yield
    except ModelMismatch as error:
        stop(Exit.NOT_POSSIBLE, f"{printable(error.reason)} [{error.code}]")
    except ValueError as error:
        stop(Exit.NOT_POSSIBLE, str(error))


def _command_line() -> str:
    return shlex.join(["pirtad", *sys.argv[1:]])
