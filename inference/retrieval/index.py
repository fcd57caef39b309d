"""The FAISS index behind a case base: which kind for how many cases, made, extended, opened and searched.

| kind | for | what it is |
|---|---|---|
| exact | up to EXACT_UP_TO cases | every vector compared: IndexFlatIP |
| hnsw | up to HNSW_UP_TO cases | a graph of neighbours: IndexHNSWFlat (Malkov and Yashunin, arXiv 1603.09320) |
| ivf | more | lists about centroids, PROBES of them looked through: IndexIVFFlat |

All compare by inner product, which is the cosine of unit vectors; none compresses the vectors, so that a similarity is
exact whichever kind found it. What approximate kinds miss is measured by tests/bench/retrieval_speed.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from enum import StrEnum
from math import isqrt
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 50_000
HNSW_UP_TO = 500_000
"""Chosen, after what each kind costs: exact reads every vector, a graph is slow to build and holds links on top."""

_LINKS = 32
_BUILD_BREADTH = 64
_SEARCH_BREADTH = 128
PROBES = 64
"""Lists looked through of about 4 sqrt(n). Chosen; tests/bench/retrieval_speed.py shows what is missed."""
_TRAINING_VECTORS_PER_LIST = 64
_LEAST_VECTORS_PER_LIST = 39  # below this FAISS warns that centroids are not worth their name
_TRAINING_ROUNDS = 10
_BLOCK = 65_536
MOST_NEIGHBOURS_ON_GPU = 2048
"""GPU indexes find no more at once (FAISS's wiki, "Faiss on the GPU")."""


class IndexKind(StrEnum):
    """How vectors are searched."""

    EXACT = "exact"
    HNSW = "hnsw"
    IVF = "ivf"


_CLASSES = {IndexKind.EXACT: "IndexFlatIP", IndexKind.HNSW: "IndexHNSWFlat", IndexKind.IVF: "IndexIVFFlat"}


def kind_for(count: int) -> IndexKind:
    """The kind for so many cases, unless an operator chose one."""
    if count <= EXACT_UP_TO:
        return IndexKind.EXACT
    return IndexKind.HNSW if count <= HNSW_UP_TO else IndexKind.IVF


def kind_of(index: Any) -> IndexKind | None:  # noqa: ANN401 - faiss has no types
    """The kind an index is of; None for one that is none of ours."""
    name = type(index).__name__
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        return None
    return next((kind for kind, expected in _CLASSES.items() if name == expected), None)


def make_index(vectors: NDArray[np.float32], kind: IndexKind) -> Any:  # noqa: ANN401
    """An index of unit vectors (N, D), which it copies; row n is found as n."""
    index = _empty(vectors, kind)
    _append(index, vectors)
    return index


def extended(index: Any, more: NDArray[np.float32], kind: IndexKind) -> Any:  # noqa: ANN401
    """A new index of `kind` with these vectors (M, D) as further rows; `index` stays as it is.

    One of the same kind keeps what was built; lists far fewer than the number of cases asks for are made anew.
    """
    total = index.ntotal + len(more)
    outgrown = kind is IndexKind.IVF and kind_of(index) is kind and 2 * index.nlist < _lists(total)
    if kind_of(index) is not kind or outgrown:
        return make_index(np.concatenate([*vector_blocks(index), more]), kind)
    # By way of a file: adding to a mapped index or to its clone_index ends the process in FAISS 1.15.1, and
    # serialize_index fails wherever SimpleITK was imported (both register std::vector<unsigned char> with SWIG).
    with tempfile.TemporaryDirectory() as scratch:
        faiss.write_index(index, str(Path(scratch) / "index"))
        grown = faiss.read_index(str(Path(scratch) / "index"))
    _append(grown, more)
    return grown


def open_index(path: Path) -> Any:  # noqa: ANN401
    """The index in a file, its vectors mapped: processes that open it share the pages. RuntimeError if it is none.

    IO_FLAG_MMAP alone maps inverted lists and nothing else; IO_FLAG_MMAP_IFC maps all three kinds (FAISS 1.15.1).
    """
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def vector_blocks(index: Any) -> Iterator[NDArray[np.float32]]:  # noqa: ANN401
    """The vectors in the order of the rows, float32 (at most 65,536, D) at a time."""
    if kind_of(index) is IndexKind.IVF and index.direct_map.no():
        index.make_direct_map()
    for start in range(0, index.ntotal, _BLOCK):
        yield index.reconstruct_n(start, min(_BLOCK, index.ntotal - start))


def nearest(
    index: Any,  # noqa: ANN401
    query: NDArray[np.float32],
    count: int,
    *,
    effort: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Similarities and rows (at most `count` each), best first, of the vectors most similar to query (D,).

    effort: how many times as much of an approximate index is looked through; the exact one knows no difference.
    """
    similarities, rows = index.search(
        np.ascontiguousarray(query[None], dtype=np.float32),
        min(count, index.ntotal),
        params=_breadth(index, count, effort),
    )
    found = rows[0] >= 0  # an approximate index that found fewer fills up with -1
    return similarities[0][found], rows[0][found]


def _breadth(index: Any, count: int, effort: int) -> Any:  # noqa: ANN401
    if hasattr(index, "hnsw"):
        return faiss.SearchParametersHNSW(efSearch=min(index.ntotal, max(_SEARCH_BREADTH, 2 * count) * effort))  # type: ignore[attr-defined]  # not in its stubs
    if hasattr(index, "nlist"):
        return faiss.SearchParametersIVF(nprobe=min(index.nlist, PROBES * effort))  # type: ignore[call-arg]  # wrong in its stubs
    return None


def _empty(vectors: NDArray[np.float32], kind: IndexKind) -> Any:  # noqa: ANN401
    dimension = vectors.shape[1]
    if kind is IndexKind.EXACT:
        return faiss.IndexFlatIP(dimension)
    if kind is IndexKind.HNSW:
        graph = faiss.IndexHNSWFlat(dimension, _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = _BUILD_BREADTH
        return graph
    lists = _lists(len(vectors))
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFFlat(quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = _TRAINING_ROUNDS
    index.cp.max_points_per_centroid = _TRAINING_VECTORS_PER_LIST
    index.cp.spherical = True  # centroids are compared by inner product too, so they must be of one length
    index.train(vectors)
    return index


def _lists(count: int) -> int:
    return max(1, min(4 * isqrt(count), count // _LEAST_VECTORS_PER_LIST))


def _append(index: Any, vectors: NDArray[np.float32]) -> None:  # noqa: ANN401
    index.add(np.ascontiguousarray(vectors))
