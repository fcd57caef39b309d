"""Tuning a Llama of two layers, and serving what comes of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.report.constrained import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ConstrainedDecoder
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE
from pirtad.inference.report.gguf_cache import converted, file_sha256
from pirtad.inference.report.local_model import ADAPTER_MANIFEST, LocalModel
from pirtad.inference.report.prompt import SYSTEM
from pirtad.inference.report.report import Registry, SimilarCase
from pirtad.inference.report.schema import possible_answers
from pirtad.inference.report.wording import ALL_IMPRESSIONS
from pirtad.inference.training.configuration import named_settings
from pirtad.inference.training.lora.base import Base, of_directory
from pirtad.inference.training.lora.configuration import TuneConfig, configure_tuning
from pirtad.inference.training.lora.examples import Example, example
from pirtad.inference.training.lora.export import without_folders
from pirtad.inference.training.lora.fit import order_of
from pirtad.inference.training.lora.tokens import IGNORED, answer_loss, collate, tokens_of
from pirtad.inference.training.lora.tune import Corpus, tune
from pirtad.inference.training.progress import METRICS_FILE, Progress

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ORIGIN = {"encoder_sha256": "e" * 64, "case_base_sha256": "c" * 64}


def an_example(number: int, territory: Territory) -> Example:
    finding = Finding(territory, SignalClass.MILD, InfarctType.SMALL_LACUNE)
    similar = tuple(SimilarCase(f"sim-{n}", 0.9, territory, finding.sentence()) for n in range(5))
    return example(f"case {number}", Registry(60 + number, "Male", "Dizziness", float(number)), similar, finding)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    lesions = [Territory.ANTERIOR, Territory.POSTERIOR, Territory.DEEP_GRAY_MATTER]
    return [an_example(n, lesions[n % 3]) for n in range(3)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Base:
    """A randomly initialised instruct model with a tokeniser trained on what it will read."""
    directory = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [SYSTEM, *FINDING_OF_SENTENCE, *ALL_IMPRESSIONS, *(one.answer for one in examples)]
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, eos_token_id=2, pad_token_id=2, tie_word_embeddings=True,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return of_directory(directory)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TuneConfig:
    root = tmp_path_factory.mktemp("run")
    return TuneConfig(
        cache=root, run=root / "run", out=root / "out", weights=root, case_base=root, models=root,
        steps=28, batch_size=4, micro_batch_size=2, warmup_steps=2, learning_rate=2e-2, rank=8, alpha=16, device="cpu",
        checkpoint_every_steps=8, name="tiny-lora", threads=1, targets=LAYERS,
        command="pirtad train lora /home/someone/run out --base=/data/models/tiny-llama",
    )  # fmt: skip


@pytest.fixture(scope="module")
def corpus(examples: list[Example]) -> Corpus:
    """One example to memorise, and others that make a step's choice matter."""
    return Corpus([*[examples[0]] * 14, *examples[1:]], examples[:1], ORIGIN)


@pytest.fixture(scope="module")
def tuned(config: TuneConfig, tiny: Base, corpus: Corpus) -> dict:
    """The manifest of a run that was never stopped; its adapter is in config.out."""
    return tune(config, tiny, corpus)


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]


def test_only_the_answer_s_tokens_are_learnt(tiny: Base, examples: list[Example]) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny.directory)
    tokens = [tokens_of(one, tokenizer) for one in examples[:2]]
    batch = collate(tokens)
    for row, one in enumerate(examples[:2]):
        learnt = batch.labels[row][batch.labels[row] != IGNORED].tolist()
        assert tokenizer.decode(learnt) == one.answer + "<|im_end|>"
        assert (batch.labels[row, : tokens[row].prompt] == IGNORED).all()
        assert int(batch.attention[row].sum()) == len(tokens[row].ids)
    # A batch counts what its examples count: neither padding nor the other's tokens.
    model = LlamaForCausalLM.from_pretrained(tiny.directory).eval()
    with torch.inference_mode():
        whole = float(answer_loss(model, batch))
        parts = [float(answer_loss(model, collate([one]))) for one in tokens]
    assert whole == pytest.approx(sum(parts), rel=1e-4)


def test_the_loss_falls_and_memorised_answers_pass_the_fact_check(tuned: dict, config: TuneConfig) -> None:
    before, *_, after = metrics(config.run)
    assert before["step"] == 0
    assert after["step"] == 28
    assert after["held_out_loss"] < 0.6 * before["held_out_loss"]
    assert after["pass_rate"] == after["as_taught"] == 1.0
    assert before["as_taught"] == 0.0
    assert tuned["held_out"]["pass_rate"] == 1.0


def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tuned: dict,
    config: TuneConfig,
    tiny: Base,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = dataclasses.replace(config, run=tmp_path / "run", out=tmp_path / "out")
    advance = Progress.advance

    def stop(self: Progress, done: int) -> None:
        advance(self, done)
        if done == 11:
            raise KeyboardInterrupt

    # Given a run that is stopped three steps after its checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(again, tiny, corpus)
    assert not (again.out / ADAPTER_MANIFEST).exists()
    # When it goes on
    manifest = tune(again, tiny, corpus)
    # Then adapter and metrics are those of the run that never stopped
    assert manifest["files"] == tuned["files"]
    assert metrics(again.run) == metrics(config.run)


def test_a_run_of_another_configuration_is_refused(tuned: dict, config: TuneConfig, tiny: Base, corpus: Corpus) -> None:
    for other, base, origin in (
        (dataclasses.replace(config, seed=1), tiny, ORIGIN),
        (config, dataclasses.replace(tiny, sha256="0" * 64), ORIGIN),
        (config, tiny, {**ORIGIN, "case_base_sha256": "d" * 64}),
    ):
        with pytest.raises(ValueError, match="another configuration"):
            tune(other, base, dataclasses.replace(corpus, origin=origin))


def test_the_manifest_says_what_it_was_made_of_and_not_whose_machine(
    tuned: dict, config: TuneConfig, tiny: Base
) -> None:
    assert json.loads((config.out / ADAPTER_MANIFEST).read_text()) == tuned
    assert tuned["base"] == {"name": "tiny-llama", "sha256": tiny.sha256}
    assert tuned["encoder_sha256"] == ORIGIN["encoder_sha256"]
    assert tuned["examples"] == {"training": 16, "held_out": 1}
    assert tuned["taught"]["the truth"] == 16
    assert tuned["files"] == {name: file_sha256(config.out / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    assert tuned["command"] == "pirtad train lora run out --base=tiny-llama"
    assert json.loads((config.out / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == "tiny-llama"
    assert sorted(path.name for path in config.out.iterdir()) == sorted([*tuned["files"], ADAPTER_MANIFEST])


def test_merging_is_what_peft_does(tuned: dict, config: TuneConfig, tiny: Base) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny.directory)
    theirs = peft.PeftModel.from_pretrained(base, config.out).merge_and_unload().state_dict()
    ours = ConstrainedDecoder.load(tiny.directory, config.out)._model.state_dict()
    untouched = ConstrainedDecoder.load(tiny.directory)._model.state_dict()
    assert ours.keys() == theirs.keys()
    changed = Counter()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-7)
        changed[name.split(".")[-2]] += not torch.equal(value, untouched[name])
    assert {name for name, times in changed.items() if times} == set(LAYERS)


@pytest.fixture
def served(tiny: Base, config: TuneConfig, tuned: dict, tmp_path: Path) -> tuple[Path, Path, Path]:
    """cache, model file and adapter: the tiny model where LocalModel finds a converted one."""
    gguf = tmp_path / "Tiny.gguf"
    gguf.write_bytes(b"a model file")
    digest = file_sha256(gguf)
    converted(gguf, digest, tmp_path / "models", lambda _, to: shutil.copytree(tiny.directory, to, dirs_exist_ok=True))
    adapter = tmp_path / "adapter"
    shutil.copytree(config.out, adapter)
    rewrite(adapter, base={"name": "Tiny", "sha256": digest})
    return tmp_path / "models", gguf, adapter


def rewrite(adapter: Path, **changes: object) -> None:
    manifest = json.loads((adapter / ADAPTER_MANIFEST).read_text())
    (adapter / ADAPTER_MANIFEST).write_text(json.dumps(manifest | changes))


def test_an_adapter_changes_what_the_local_model_says_and_how_it_is_called(
    served: tuple[Path, Path, Path], examples: list[Example]
) -> None:
    cache, gguf, adapter = served
    plain, tuned = LocalModel(cache, gguf), LocalModel(cache, gguf, adapter)
    one = examples[0]
    allowed = possible_answers(one.registry)
    question = (one.messages, allowed.json_schema(), allowed.max_tokens, 60.0)
    assert plain.complete(*question) != one.answer
    assert tuned.complete(*question) == one.answer
    assert (plain.name, tuned.name) == ("Tiny", "Tiny + tiny-lora")
    assert plain.digest == file_sha256(gguf)
    assert tuned.digest != plain.digest
    assert len(tuned.digest) == 64


def test_an_adapter_that_does_not_belong_here_is_refused(served: tuple[Path, Path, Path]) -> None:
    cache, gguf, adapter = served
    rewrite(adapter, system_sha256="0" * 64)
    with pytest.raises(ModelMismatch, match="another system message"):
        LocalModel(cache, gguf, adapter).load()
    rewrite(adapter, base={"name": "Other", "sha256": "0" * 64})
    with pytest.raises(ModelMismatch, match="another base model"):
        LocalModel(cache, gguf, adapter).load()
    with (adapter / ADAPTER_WEIGHTS).open("ab") as weights:
        weights.write(b" ")
    with pytest.raises(ModelMismatch, match="not as it was written"):
        LocalModel(cache, gguf, adapter)
    with pytest.raises(ModelMismatch, match="can't be read"):
        LocalModel(cache, gguf, adapter / "nowhere")


@pytest.mark.parametrize(
    ("setting", "tensor", "complaint"),
    [
        ({"alpha_pattern": {"q_proj": 3}}, None, "alpha_pattern"),
        ({"alora_invocation_tokens": [1]}, None, "alora_invocation_tokens"),
        ({"init_lora_weights": "pissa"}, None, "init_lora_weights"),
        ({}, "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "more than low-rank"),
        ({}, "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight", "other layers"),
        ({}, "base_model.model.lm_head.lora_A.weight", "other layers"),  # no B
    ],
)
def test_what_is_no_plain_low_rank_update_is_not_merged(
    tuned: dict, config: TuneConfig, tiny: Base, tmp_path: Path, setting: dict, tensor: str | None, complaint: str
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(config.out, adapter)
    described = json.loads((adapter / ADAPTER_CONFIG).read_text())
    (adapter / ADAPTER_CONFIG).write_text(json.dumps(described | setting))
    if tensor is not None:
        weights = load_file(adapter / ADAPTER_WEIGHTS)
        save_file(weights | {tensor: torch.zeros(8, 32)}, adapter / ADAPTER_WEIGHTS)
    with pytest.raises(ModelMismatch, match=complaint):
        ConstrainedDecoder.load(tiny.directory, adapter)


def test_every_example_comes_once_an_epoch(config: TuneConfig) -> None:
    epochs = [[order_of(5, config, step) for step in steps] for steps in ((0, 1), (2, 3))]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [4, 1]
        assert sorted(one for batch in batches for one in batch) == list(range(5))
    assert epochs[0] != epochs[1]


PLACES = {name: Path(name) for name in ("cache", "run", "out", "weights", "case_base", "models")}


@pytest.mark.parametrize("name", ["lora_paper", "lora_small"])
def test_the_published_tunings_have_the_papers_figures(name: str) -> None:
    config = configure_tuning(named_settings(name), PLACES)
    assert (config.epochs, config.batch_size, config.steps, config.recipe) == (10, 16, None, name)
    assert config.first_case >= max(827, 1200, 4096)  # beyond what published encoders are trained on
    assert configure_tuning(named_settings(name), PLACES | {"steps": 5, "rank": 4}).rank == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('kind = "mae"\n', "pirtad train mae"),
        ("ranks = 3\n", "unknown settings ranks"),
        ('base = "elsewhere"\n', "unknown settings base"),
        ('rank = "many"\n', "setting rank"),
        ("rank = 0\n", "rank: 0, at least 1"),
        ("steps = 0\n", "steps: 0, at least 1"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        configure_tuning(named_settings(str(path)), PLACES)


def test_a_command_line_loses_its_folders() -> None:
    assert without_folders("pirtad train lora runs/a '/x y/out' --base=/m/z") == "pirtad train lora runs/a out --base=z"


def test_a_directory_without_a_model_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        of_directory(tmp_path)
