"""How long retrieval takes and what it misses: `python tests/bench/retrieval_speed.py [CASES ...]`.

For 1,000, 100,000 and 1,000,000 cases unless told: `CaseBase.search` for five cases, with the kind of index that so
many cases get, beside FAISS's own exact search over the same vectors in the same run, one query at a time. Recall is
the share of FAISS's exact five that `CaseBase.search` gives too. Prints the table of docs/benchmarks.md, and the peak
resident memory.

The vectors are 192-dimensional unit vectors about 200 centres, spread over 24 directions and a little over all: vectors
of an encoder cluster by class and vary in far fewer directions than they have numbers. Uniform ones would have no
neighbours worth the name.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase

SIZES = (1_000, 100_000, 1_000_000)
DIMENSION, CENTRES, DIRECTIONS = 192, 200, 24
QUERIES, K = 100, 5
ENCODER = EncoderManifest("bench", "a" * 64, "1", ViTConfig(), "none", "2026-01-01")


def unit_vectors(count: int, seed: int) -> NDArray[np.float32]:
    """float32 (count, 192) about the same centres whatever the seed."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = fixed.standard_normal((CENTRES, DIMENSION)).astype(np.float32) / np.float32(DIMENSION**0.5)
    basis = fixed.standard_normal((DIRECTIONS, DIMENSION)).astype(np.float32) / np.float32(DIMENSION**0.5)
    made = np.empty((count, DIMENSION), dtype=np.float32)
    for start in range(0, count, 50_000):
        stop = min(count, start + 50_000)
        block = centres[rng.integers(CENTRES, size=stop - start)]
        block += rng.standard_normal((stop - start, DIRECTIONS), dtype=np.float32) @ basis * np.float32(0.15)
        block += rng.standard_normal((stop - start, DIMENSION), dtype=np.float32) * np.float32(0.01)
        made[start:stop] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def milliseconds(search: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32]) -> tuple[float, float]:
    """Median and 95th percentile of one query's wall time."""
    taken = []
    for query in queries:
        begun = time.perf_counter()
        search(query)
        taken.append((time.perf_counter() - begun) * 1000)
    return float(np.median(taken)), float(np.percentile(taken, 95))


def measured(count: int) -> str:
    """One line of the table."""
    vectors, queries = unit_vectors(count, seed=1), unit_vectors(QUERIES, seed=2)
    normal = Finding(Territory.NORMAL)
    cases = [Case(f"bench-{number}", normal, "", "bench") for number in range(count)]
    begun, begun_cpu = time.perf_counter(), time.process_time()
    base = CaseBase.build(cases, vectors, ENCODER)
    build_s, build_cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(vectors)
    del vectors
    truth = [{f"bench-{row}" for row in rows} for rows in flat.search(queries, K)[1]]
    found = [{case.case_id for case in base.search(query, K)} for query in queries]
    recall = sum(len(one & other) for one, other in zip(truth, found, strict=True)) / (K * QUERIES)
    ours, slow = milliseconds(lambda query: base.search(query, K), queries)
    exact, exact_slow = milliseconds(lambda query: flat.search(query[None], K), queries)
    return (
        f"| {count:,} | {base.info().kind} | {ours:.2f} ({slow:.2f}) | {exact:.2f} ({exact_slow:.2f}) | "
        f"{exact / ours:.1f} | {recall:.3f} | {build_s:.0f} ({build_cpu_s:.0f}) |"
    )


def main() -> None:
    """Measure every size, print the table."""
    print("| cases | index | CaseBase.search, ms: median (p95) | FAISS exact | ratio | recall@5 | build, s (CPU) |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for count in [int(argument) for argument in sys.argv[1:]] or SIZES:
        print(measured(count), flush=True)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
