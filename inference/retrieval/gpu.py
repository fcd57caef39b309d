"""The index on a graphics card, where the installed FAISS can use one."""

from __future__ import annotations

from typing import Any

import faiss

from pirtad.inference.retrieval.index import IndexKind, kind_of


def on_gpu(index: Any) -> Any | None:  # noqa: ANN401 - faiss has no types
    """A copy of the index on the first GPU; None where there is none, or for a graph, which stays on the processor.

    faiss-cpu says 0 GPUs. index_cpu_to_gpu takes flat and inverted-file indexes, no HNSW (FAISS's wiki, "Faiss on the
    GPU").
    """
    if kind_of(index) is IndexKind.HNSW or faiss.get_num_gpus() == 0:
        return None
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
