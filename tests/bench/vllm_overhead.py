"""What the product's client costs beside bare requests to the same vLLM server: `python tests/bench/vllm_overhead.py`.

In one run, against one server and with the same prompts, schemas and limits: `OpenAIModel` called by N threads, and
httpx alone with N asynchronous requests, in turn and changing places each round, for N = 1, 4 and 8. Prints requests
and tokens a second (the server's own counter) and the ratio of each round, median (min-max).

The server is started here (deploy/vllm-cpu, `make vllm` sets it up) with a Llama of two layers and random weights: the
faster the model, the more a client's cost shows. `--bundled` takes the bundled model instead, which is minutes slower.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import live, vllm_server
from support.vllm_cases import questions
from support.vllm_server import VllmServer

from pirtad.inference.report.openai_model import OpenAIModel
from pirtad.inference.report.schema import supported_answers
from pirtad.inference.training.lora.base import bundled

CONCURRENT = (1, 4, 8)
NAME = "model"
TIMEOUT_S = 600.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=8, help="in each round of each client")
    parser.add_argument("--concurrent", type=int, nargs="+", default=CONCURRENT, help="requests at a time")
    parser.add_argument("--bundled", action="store_true", help="the bundled model, not a tiny one")
    given = parser.parse_args()
    if not vllm_server.PROGRAM.exists():
        sys.exit("no vLLM on this machine: `make vllm` sets it up")
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        model_dir = bundled(live.MODEL_CACHE).directory
        if not given.bundled:
            model_dir = tiny(model_dir, Path(scratch) / "tiny")
        with VllmServer(model_dir, NAME, Path(scratch) / "vllm.log").running() as server:
            print(f"vLLM {'bundled model' if given.bundled else 'Llama of two layers'}, CPU, one core for the server;")
            print(
                f"{given.rounds} rounds of {given.requests} requests; load of the machine {os.getloadavg()[0]:.1f}.\n"
            )
            print("| at a time | pirtad: req/s | tok/s | httpx alone: req/s | tok/s | ratio, pirtad to httpx |")
            print("|---|---|---|---|---|---|")
            bodies = payloads(given.requests)
            product(server, bodies, 8)  # not counted: connections, caches and grammars for both
            for concurrent in given.concurrent:
                print(row(server, bodies, concurrent, given.rounds), flush=True)


def tiny(tokeniser_of: Path, directory: Path) -> Path:
    """A Llama of two layers and random weights that reads the bundled model's tokens."""
    tokenizer = AutoTokenizer.from_pretrained(tokeniser_of, local_files_only=True)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(directory)
    for path in tokeniser_of.glob("tokenizer*"):
        shutil.copy(path, directory)
    for path in tokeniser_of.glob("*.jinja"):
        shutil.copy(path, directory)
    return directory


def payloads(count: int) -> list[dict[str, Any]]:
    """Request bodies, as the product sends them (tests/inference/report/test_openai_model.py holds it to this)."""
    made = []
    for number in range(count):
        one = questions()[number % len(questions())]
        allowed = supported_answers(one.registry, one.evidence, acute=True)
        wanted = {"name": "report", "strict": True, "schema": allowed.json_schema()}
        made.append(
            {
                "model": NAME,
                "messages": list(one.messages),
                "temperature": 0,
                "max_tokens": allowed.max_tokens,
                "response_format": {"type": "json_schema", "json_schema": wanted},
            }
        )
    return made


def product(server: VllmServer, bodies: Sequence[dict[str, Any]], concurrent: int) -> float:
    """Seconds of the product's client. Making a client, which a worker does once, does not count for either."""
    model = OpenAIModel(server.base_url, NAME, max_concurrent_requests=concurrent)

    def ask(body: dict[str, Any]) -> str:
        schema = body["response_format"]["json_schema"]["schema"]
        return model.complete(body["messages"], schema, body["max_tokens"], TIMEOUT_S)

    begun = time.perf_counter()
    with ThreadPoolExecutor(concurrent) as callers:
        assert all(callers.map(ask, bodies))
    return time.perf_counter() - begun


def bare(server: VllmServer, bodies: Sequence[dict[str, Any]], concurrent: int) -> float:
    """Seconds of httpx and nothing else."""

    async def every() -> float:
        turns = asyncio.Semaphore(concurrent)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:

            async def ask(body: dict[str, Any]) -> None:
                async with turns:
                    response = await client.post(f"{server.base_url}/chat/completions", json=body)
                assert response.json()["choices"][0]["finish_reason"] == "stop"

            begun = time.perf_counter()
            await asyncio.gather(*(ask(body) for body in bodies))
            return time.perf_counter() - begun

    return asyncio.run(every())


Client = Callable[[VllmServer, Sequence[dict[str, Any]], int], float]


def row(server: VllmServer, bodies: Sequence[dict[str, Any]], concurrent: int, rounds: int) -> str:
    """A line of the table."""
    clients: list[Client] = [product, bare]
    requests: dict[Client, list[float]] = {product: [], bare: []}
    tokens: dict[Client, list[float]] = {product: [], bare: []}
    for number in range(rounds):
        for client in clients if number % 2 == 0 else clients[::-1]:
            before = server.metric("vllm:generation_tokens_total")
            seconds = client(server, bodies, concurrent)
            requests[client].append(len(bodies) / seconds)
            tokens[client].append((server.metric("vllm:generation_tokens_total") - before) / seconds)
    ratios = [a / b for a, b in zip(requests[product], requests[bare], strict=True)]
    cells = [
        *(spread(requests[product], 2), spread(tokens[product], 0)),
        *(spread(requests[bare], 2), spread(tokens[bare], 0), spread(ratios, 3)),
    ]
    return f"| {concurrent} | {' | '.join(cells)} |"


def spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
