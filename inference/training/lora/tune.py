"""Tune the language model on simulated cases that the product's own encoder retrieved neighbours for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pirtad.inference.models.encoder import Encoder
from pirtad.inference.report.report import Registry
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.simulation.lesion_masks import LesionFiles, open_masks
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import CaseRecipe, balanced_recipes, ensure_cases
from pirtad.inference.training.device import device_of
from pirtad.inference.training.lora.base import Base, bundled, of_directory
from pirtad.inference.training.lora.configuration import TuneConfig, recipe_sha256
from pirtad.inference.training.lora.examples import Example, Taught, examples_of
from pirtad.inference.training.lora.export import export
from pirtad.inference.training.lora.fit import fit
from pirtad.inference.training.lora.held_out import HeldOut
from pirtad.inference.training.lora.registries import Participant, draw_registry, read_participants
from pirtad.inference.training.lora.tokens import tokens_of
from pirtad.inference.training.run_directory import CONFIG_FILE


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is trained on and watched. origin: digests of encoder and case base."""

    training: list[Example]
    held_out: list[Example]
    origin: dict[str, str]


def tune_lora(config: TuneConfig) -> dict[str, Any]:
    """Simulate what is missing, retrieve, tune, write the adapter to `config.out`; returns its manifest.

    Progress goes to stdout and metrics.jsonl. Raises ValueError when the run's directory belongs to another
    configuration or a setting does not fit the model or the data; ModelMismatch when models do not belong together;
    OSError when a file is not there.
    """
    device = device_of(config.device)
    base = bundled(config.models) if config.base is None else of_directory(config.base)
    encoder = Encoder.load(config.weights, device=device.type)
    case_base = CaseBase.load(config.case_base, encoder.manifest)
    origin = {"encoder_sha256": encoder.manifest.weights_sha256, "case_base_sha256": case_base.info().sha256}
    claim(config, base, origin)
    chosen = seeds.TRAINING[config.first_case : config.first_case + config.training_cases]
    if len(chosen) < config.training_cases:
        raise ValueError(f"{config.training_cases} cases from the one numbered {config.first_case} on are too many")
    corpus = Corpus(
        _examples(config, chosen, encoder, case_base),
        _examples(config, seeds.first(seeds.VALIDATION, config.held_out_cases), encoder, case_base),
        origin,
    )
    return tune(config, base, corpus)


def tune(config: TuneConfig, base: Base, corpus: Corpus) -> dict[str, Any]:
    """Tune on examples that are there already; as `tune_lora` else."""
    if not corpus.training or not corpus.held_out:
        raise ValueError("no case to train on, or none to watch, has neighbours that agree on a territory")
    digest = claim(config, base, corpus.origin)
    torch.set_num_threads(config.threads)
    tokenizer = AutoTokenizer.from_pretrained(base.directory, local_files_only=True)
    if not tokenizer.chat_template:
        raise ValueError(f"{base.name} has no chat template: it is no instruct model")
    trained = [tokens_of(one, tokenizer) for one in corpus.training]
    model = _model(config, base)
    watched = HeldOut(model, tokenizer, corpus.held_out, config.micro_batch_size)
    longest, context = max(watched.longest, *(len(one.ids) for one in trained)), model.config.max_position_embeddings
    if longest > context:
        raise ValueError(f"an example of {longest} tokens for a model with a context of {context}")
    scores = fit(config, model, trained, watched.scores)
    import peft  # noqa: PLC0415 - the extra `train`, which a worker has not

    settings = model.peft_config["default"]
    weights = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    taught = Counter(one.taught for one in corpus.training)
    return export(
        weights,
        settings.to_dict(),
        base,
        config,
        {
            "recipe_sha256": digest,
            **corpus.origin,
            "examples": {"training": len(trained), "held_out": len(corpus.held_out)},
            "taught": {str(one): taught[one] for one in Taught},
            "held_out": scores,
        },
    )


def claim(config: TuneConfig, base: Base, origin: Mapping[str, str]) -> str:
    """Make the run's directory, write config.json and return the settings' digest; ValueError if a run with other
    decisive settings, or other models, was started there."""
    digest = recipe_sha256(config, {"base_sha256": base.sha256, **origin})
    config.run.mkdir(parents=True, exist_ok=True)
    path = config.run / CONFIG_FILE
    if path.exists() and json.loads(path.read_text(encoding="utf-8")).get("recipe_sha256") != digest:
        raise ValueError(f"{config.run} holds a run with another configuration; give another directory")
    written = json.dumps(asdict(config) | {"recipe_sha256": digest}, indent=2, default=str)
    path.write_text(written + "\n", encoding="utf-8")
    return digest


def _examples(config: TuneConfig, chosen: range, encoder: Encoder, case_base: CaseBase) -> list[Example]:
    files = None if config.lesions is None else LesionFiles(config.lesions, config.territories)
    recipes = balanced_recipes(chosen, None if files is None else open_masks(files))
    paths: Sequence[Path] = ensure_cases(config.cache, recipes, config.workers, files)
    participants = None if config.participants is None else read_participants(config.participants)
    made = examples_of(encoder, case_base, paths, partial(_registry, config.seed, participants))
    print(f"{len(made)} examples of {len(recipes)} cases", flush=True)
    return made


def _registry(seed: int, participants: tuple[Participant, ...] | None, recipe: CaseRecipe) -> Registry:
    return draw_registry((seed, recipe.seed), participants)


def _model(config: TuneConfig, base: Base) -> Any:  # noqa: ANN401 - peft has no types
    model = AutoModelForCausalLM.from_pretrained(
        base.directory, local_files_only=True, dtype=torch.bfloat16 if config.bfloat16 else torch.float32
    )
    torch.manual_seed(config.seed)  # the update's first weights
    import peft  # noqa: PLC0415 - as above

    wanted = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, wanted).to(device_of(config.device))
