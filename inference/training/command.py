"""Command line of training, until the program's own command line wraps it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pirtad.inference.training.build import CaseBaseConfig, build_simulated_case_base
from pirtad.inference.training.train import TrainingConfig, train_encoder


def main(arguments: list[str] | None = None) -> None:
    """`encoder` trains, `cases` builds the case base and scores retrieval on held-out cases."""
    parser = argparse.ArgumentParser(prog="python -m pirtad.inference.training.train", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    encoder = commands.add_parser("encoder", help="train the encoder on simulated studies")
    encoder.add_argument("--cache", type=Path, required=True, help="directory of preprocessed cases, made if missing")
    encoder.add_argument("--run", type=Path, required=True, help="directory of checkpoint and metrics")
    encoder.add_argument("--out", type=Path, required=True, help="directory for weights and manifest")
    encoder.add_argument("--training-cases", type=int, default=TrainingConfig.training_cases)
    encoder.add_argument("--steps", type=int, default=TrainingConfig.steps)
    encoder.add_argument("--seed", type=int, default=TrainingConfig.seed)
    encoder.add_argument("--workers", type=int, default=TrainingConfig.workers)
    encoder.add_argument("--threads", type=int, default=TrainingConfig.threads)
    encoder.add_argument("--no-bfloat16", action="store_true", help="train in float32")
    cases = commands.add_parser("cases", help="build the simulated case base and score it on held-out cases")
    cases.add_argument("--cache", type=Path, required=True)
    cases.add_argument("--encoder", type=Path, required=True, help="directory of the encoder")
    cases.add_argument("--out", type=Path, required=True, help="directory of the case base, replaced")
    cases.add_argument("--cases", type=int, default=CaseBaseConfig.cases)
    cases.add_argument("--test-cases", type=int, default=CaseBaseConfig.test_cases)
    cases.add_argument("--workers", type=int, default=CaseBaseConfig.workers)
    given = parser.parse_args(arguments)
    if given.command == "encoder":
        shown = " ".join(sys.argv[1:] if arguments is None else arguments)
        config = TrainingConfig(
            cache=given.cache,
            run=given.run,
            out=given.out,
            training_cases=given.training_cases,
            steps=given.steps,
            seed=given.seed,
            workers=given.workers,
            threads=given.threads,
            bfloat16=not given.no_bfloat16,
            command=f"{parser.prog} {shown}",
        )
        train_encoder(config)
    else:
        build_simulated_case_base(
            CaseBaseConfig(
                cache=given.cache,
                encoder=given.encoder,
                out=given.out,
                cases=given.cases,
                test_cases=given.test_cases,
                workers=given.workers,
            )
        )
