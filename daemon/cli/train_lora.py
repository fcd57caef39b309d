"""`pirtad train lora`: tune the language model on simulated cases with really retrieved neighbours."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, printable, settings_of, stop

_EXAMPLES = (
    "\b\nExamples:\n  pirtad train lora runs/lora ./adapter --config lora_small\n"
    "  pirtad train lora runs/lora ./adapter --config lora_paper --base Meta-Llama-3-8B-Instruct"
)


def app_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command("lora", epilog=_EXAMPLES)(lora)


def lora(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", file_okay=False, help="Checkpoint and metrics; a run there goes on.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", file_okay=False, help="Folder for adapter and manifest.")],
    base: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default="the bundled model",
            help="Folder of an instruct model, as save_pretrained writes it.",
        ),
    ] = None,
    config: Annotated[str | None, typer.Option(help="Published run (lora_small, lora_paper) or TOML file.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, show_default="inference.weights_dir", help="Folder of the encoder."),
    ] = None,
    case_base: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default="case_base in --weights, else inference.case_base_dir",
            help="Folder of the case base.",
        ),
    ] = None,
    cache: Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")] = DEFAULT_CACHE,
    lesions: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Zip of real lesion masks to show.")
    ] = None,
    territories: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Table of the masks' territories.")
    ] = None,
    participants: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="TSV with age, sex and nihss to draw patients from."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the adapter in manifest and reports.")] = None,
    cases: Annotated[int | None, typer.Option(min=1, help="Simulated cases to train on.")] = None,
    first_case: Annotated[int | None, typer.Option(min=0, help="Number of the first of them.")] = None,
    held_out_cases: Annotated[int | None, typer.Option(min=1, help="Simulated cases to watch.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the examples.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; wins over epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples a step.")] = None,
    micro_batch_size: Annotated[int | None, typer.Option(min=1, help="Examples at once in memory.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak of the schedule.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of the update.")] = None,
    alpha: Annotated[int | None, typer.Option(min=1, help="The update counts alpha / rank.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order, patients and dropout.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to train; auto: cuda if there.")
    ] = None,
    bfloat16: Annotated[
        bool | None, typer.Option("--bfloat16/--no-bfloat16", help="Base model in bfloat16, or float32.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that simulate.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that train on a CPU.")] = None,
) -> None:
    """Tune the language model on the product's prompt with retrieved cases, to a folder that language_model.adapter_dir
    can name and vLLM can serve (PIRTA section 2.3.2).

    What is not given is as in the configuration, or as in pirtad.inference.training.lora.configuration.TuneConfig.
    Exit 4 if RUN belongs to another configuration, models don't belong together, or the extra "train" is not installed.
    """
    if find_spec("peft") is None:
        stop(Exit.NOT_POSSIBLE, "this needs peft: pip install 'pirtad[train]'")
    settings = settings_of(context)
    from pirtad.inference.engine import SHIPPED_CASE_BASE, SHIPPED_WEIGHTS
    from pirtad.inference.errors import ModelMismatch
    from pirtad.inference.training.configuration import named_settings
    from pirtad.inference.training.lora import tune
    from pirtad.inference.training.lora.configuration import configure_tuning

    if case_base is None:
        # The configured case base belongs to the configured encoder, not to one given here.
        configured = settings.inference.case_base_dir or SHIPPED_CASE_BASE
        case_base = configured if weights is None else weights / "case_base"
    given: dict[str, Any] = {"run": run, "out": out, "cache": cache, "base": base, "case_base": case_base}
    given |= {"weights": weights or settings.inference.weights_dir or SHIPPED_WEIGHTS}
    given |= {"models": settings.language_model.cache_dir or settings.storage.data_dir / "models"}
    given |= {"lesions": lesions, "territories": territories, "participants": participants, "name": name}
    given |= {"training_cases": cases, "first_case": first_case, "held_out_cases": held_out_cases, "epochs": epochs}
    given |= {"steps": steps, "batch_size": batch_size, "micro_batch_size": micro_batch_size, "seed": seed}
    given |= {"learning_rate": learning_rate, "rank": rank, "alpha": alpha, "device": device, "bfloat16": bfloat16}
    given |= {"workers": workers, "threads": threads, "command": shlex.join(["pirtad", *sys.argv[1:]])}
    try:
        manifest = tune.tune_lora(configure_tuning({} if config is None else named_settings(config), given))
    except ModelMismatch as error:
        stop(Exit.NOT_POSSIBLE, f"{printable(error.reason)} [{error.code}]")
    except (ValueError, OSError) as error:
        stop(Exit.NOT_POSSIBLE, str(error))
    held_out = manifest["held_out"]
    typer.echo(
        f"{manifest['name']} for {manifest['base']['name']} in {out}: {held_out['pass_rate']:.0%} of "
        f"{manifest['examples']['held_out']} held-out answers supported by their evidence"
    )
