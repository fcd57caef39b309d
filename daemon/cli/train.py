"""`pirtad train`: models from simulated studies."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, stop

app = typer.Typer(help="Train models on simulated studies.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    # With a callback of its own the group keeps its one command's name.
    return


@app.command(epilog="\b\nExample:\n  pirtad train encoder runs/small ./weights --cases 1200 --steps 2000")
def encoder(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", file_okay=False, help="Checkpoints and metrics; a run there goes on.")
    ],
    out: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Folder for weights and manifest.")],
    cache: Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")] = DEFAULT_CACHE,
    start: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Encoder to begin with, of the same shape.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the encoder in manifest and reports.")] = None,
    cases: Annotated[int | None, typer.Option(min=4, help="Simulated cases to train on.")] = None,
    validation_cases: Annotated[int | None, typer.Option(min=4, help="Simulated cases to watch.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=4, help="Cases a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak of the schedule.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights and of every batch.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that simulate.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that train.")] = None,
    bfloat16: Annotated[bool, typer.Option(help="Mixed precision, or float32 throughout.")] = True,
) -> None:
    """Train the encoder on simulated studies, from nothing to a folder that inference.weights_dir can name.

    What is not given is as in pirtad.inference.training.train.TrainingConfig.
    """
    from dataclasses import replace

    from pirtad.inference.training.train import TrainingConfig, train_encoder

    config = TrainingConfig(cache=cache, run=run, out=out, command=shlex.join(["pirtad", *sys.argv[1:]]))
    config = replace(
        config,
        start=start,
        name=config.name if name is None else name,
        training_cases=config.training_cases if cases is None else cases,
        validation_cases=config.validation_cases if validation_cases is None else validation_cases,
        steps=config.steps if steps is None else steps,
        batch_size=config.batch_size if batch_size is None else batch_size,
        learning_rate=config.learning_rate if learning_rate is None else learning_rate,
        seed=config.seed if seed is None else seed,
        workers=config.workers if workers is None else workers,
        threads=config.threads if threads is None else threads,
        bfloat16=bfloat16,
    )
    try:
        manifest = train_encoder(config)
    except ValueError as error:
        stop(Exit.NOT_POSSIBLE, str(error))
    typer.echo(f"{manifest.name} in {out}, sha256 {manifest.weights_sha256}")
