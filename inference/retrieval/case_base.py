"""The case base: which cases look like this one (PIRTA sections 2.2 and 2.3.2).

A directory of index.faiss (inner product over unit vectors, which is cosine similarity), cases.jsonl (line n belongs to
vector n) and manifest.json (which encoder made the vectors, the kind of index, a version that rises with every write,
and digests of both files).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.files import StoredCaseBase, read_case_base, write_case_base
from pirtad.inference.retrieval.gpu import on_gpu
from pirtad.inference.retrieval.index import (
    MOST_NEIGHBOURS_ON_GPU,
    IndexKind,
    extended,
    kind_for,
    make_index,
    nearest,
    vector_blocks,
)
from pirtad.inference.retrieval.patients import Pseudonyms

_UNIT_TOLERANCE = 1e-3
_WIDER = 4  # how much wider the next look is, when the first gave too few patients


@dataclass(frozen=True, slots=True)
class CaseBaseInfo:
    """What an operator asks about a case base. sha256: of its manifest, so of all it holds; "" before it is saved.

    patients: cases of which no patient is known count as one each. version: as last read or written, 0 before."""

    sha256: str
    encoder_sha256: str
    preprocessing_version: str
    cases: int
    cases_by_territory: dict[Territory, int]
    patients: int
    kind: IndexKind
    version: int


class CaseBase:
    """Cases and their vectors. Not changed once made: `add` gives a new one, `save` writes it."""

    def __init__(self, stored: StoredCaseBase) -> None:
        """For `build`, `load`, `add` and `save`, which check what they hand over."""
        self._stored = stored
        self._cases = stored.cases
        self._cases_of = Counter(case.patient for case in stored.cases if case.patient is not None)
        self._shared = any(number > 1 for number in self._cases_of.values())

    @classmethod
    def build(
        cls,
        cases: Sequence[Case],
        vectors: NDArray[np.float32],
        encoder: EncoderManifest,
        *,
        kind: IndexKind | None = None,
        pseudonyms: Pseudonyms | None = None,
    ) -> CaseBase:
        """A case base of these cases; vectors: float32 (N, D), unit length, row n belonging to case n.

        kind: of the index, by the number of cases if None. pseudonyms: what made the cases' patients of hospital
        numbers, if they were made so. Raises ValueError when they do not fit together or an id occurs twice.
        """
        held = tuple(cases)
        if not held:
            raise ValueError("a case base without cases")
        _check_vectors(held, vectors)
        _check_ids(held)
        kind = kind or kind_for(len(held))
        return cls(
            StoredCaseBase(
                held,
                make_index(vectors, kind),
                kind,
                encoder.weights_sha256,
                encoder.preprocessing_version,
                pseudonyms,
            )
        )

    @classmethod
    def load(cls, directory: Path, encoder: EncoderManifest) -> CaseBase:
        """The case base in `directory`, for use with this encoder.

        Raises ModelMismatch when a file is missing or altered, or another encoder or preprocessing made the vectors.
        """
        return cls(read_case_base(directory, encoder))

    def add(
        self,
        cases: Iterable[Case],
        vectors: NDArray[np.float32],
        *,
        kind: IndexKind | None = None,
        pseudonyms: Pseudonyms | None = None,
    ) -> CaseBase:
        """A case base with these cases too. Raises ValueError like `build`, and for other pseudonyms than it has.

        kind: of the new index; if None, the one for so many cases, but never a lesser one than it has.
        """
        more = tuple(cases)
        _check_vectors(more, vectors)
        if vectors.shape[1] != self._stored.index.d:
            raise ValueError(f"vectors of {vectors.shape[1]} dimensions for a case base of {self._stored.index.d}")
        held = (*self._cases, *more)
        _check_ids(held)
        known = self._stored.pseudonyms
        if known is not None and pseudonyms is not None and known != pseudonyms:
            raise ValueError("other pseudonyms than this case base has: one patient would count as two")
        if kind is None:
            order = list(IndexKind)
            kind = max(kind_for(len(held)), self._stored.kind, key=order.index)
        index = extended(self._stored.index, vectors, kind)
        return CaseBase(
            replace(self._stored, cases=held, index=index, kind=kind, pseudonyms=known or pseudonyms, sha256="")
        )

    def save(self, directory: Path) -> CaseBase:
        """Write the directory, replacing what lies there, and return the case base as `load` would.

        Raises ModelMismatch `case_base_changed` when it was loaded from this directory, or saved to it, and something
        else lies there by now: what another process added would be lost.
        """
        return CaseBase(write_case_base(directory, self._stored))

    def search(
        self, vector: NDArray[np.float32], k: int = 5, *, exclude_patient: str | None = None
    ) -> tuple[SimilarCase, ...]:
        """The most similar case of each of the k most similar patients (all, where there are fewer), best first.

        PIRTA takes five. Two cases of one patient are no two opinions, and a patient's earlier study none at all.
        vector: unit, float32 (D,). exclude_patient: the query's own, as a pseudonym (see `pseudonyms`).
        Raises ValueError for another vector or a k below 1.
        """
        if vector.shape != (self._stored.index.d,):
            raise ValueError(f"a vector of shape {vector.shape} for a case base of {self._stored.index.d} dimensions")
        _check_unit(vector[None])
        if k < 1:
            raise ValueError(f"{k} similar cases asked for")
        own = self._cases_of.get(exclude_patient, 0) if exclude_patient is not None else 0
        count, effort = (2 * k if self._shared else k) + own, 1
        while True:
            chosen = self._one_of_each(self._nearest(vector, count, effort), k, exclude_patient)
            if len(chosen) == k or count >= len(self._cases):
                break
            count, effort = count * _WIDER, effort * _WIDER
        return tuple(
            SimilarCase(
                case_id=self._cases[row].case_id,
                similarity=float(np.clip(similarity, -1.0, 1.0)),
                territory=self._cases[row].finding.territory,
                finding=self._cases[row].finding.sentence(),
            )
            for similarity, row in chosen
        )

    def vectors(self) -> Iterator[NDArray[np.float32]]:
        """The vectors in the order of `cases`, float32 (at most 65,536, D) at a time: all at once may be gigabytes."""
        return vector_blocks(self._stored.index)

    def info(self) -> CaseBaseInfo:
        """Counts and digests."""
        counted = Counter(case.finding.territory for case in self._cases)
        stored = self._stored
        return CaseBaseInfo(
            sha256=stored.sha256,
            encoder_sha256=stored.encoder_sha256,
            preprocessing_version=stored.preprocessing_version,
            cases=len(self._cases),
            cases_by_territory={territory: counted[territory] for territory in Territory},
            patients=len(self._cases) - self._cases_of.total() + len(self._cases_of),
            kind=stored.kind,
            version=stored.version,
        )

    @property
    def cases(self) -> tuple[Case, ...]:
        """All cases, in the order of the index."""
        return self._cases

    @property
    def pseudonyms(self) -> Pseudonyms | None:
        """What makes a patient's pseudonym of a hospital number; None when the case base holds no such patients."""
        return self._stored.pseudonyms

    @cached_property
    def _on_gpu(self) -> Any | None:  # noqa: ANN401 - faiss has no types
        """Made at the first search: what only describes or extends a case base needs no graphics card."""
        return on_gpu(self._stored.index)

    def _nearest(self, vector: NDArray[np.float32], count: int, effort: int) -> Iterator[tuple[float, int]]:
        index = self._stored.index if self._on_gpu is None or count > MOST_NEIGHBOURS_ON_GPU else self._on_gpu
        if count >= len(self._cases):
            effort = len(self._cases)  # the last look: every list, the whole graph
        similarities, rows = nearest(index, vector, count, effort=effort)
        return zip(similarities.tolist(), rows.tolist(), strict=True)

    def _one_of_each(
        self, ranked: Iterator[tuple[float, int]], k: int, exclude_patient: str | None
    ) -> list[tuple[float, int]]:
        chosen: list[tuple[float, int]] = []
        seen: set[str] = set() if exclude_patient is None else {exclude_patient}
        for similarity, row in ranked:
            patient = self._cases[row].patient
            if patient is not None:
                if patient in seen:
                    continue
                seen.add(patient)
            chosen.append((similarity, row))
            if len(chosen) == k:
                break
        return chosen


def _check_vectors(cases: tuple[Case, ...], vectors: NDArray[np.float32]) -> None:
    if vectors.ndim != 2 or len(vectors) != len(cases) or vectors.dtype != np.float32:
        raise ValueError(f"{len(cases)} cases with vectors of shape {vectors.shape}, {vectors.dtype}")
    _check_unit(vectors)


def _check_ids(cases: tuple[Case, ...]) -> None:
    if len({case.case_id for case in cases}) < len(cases):
        twice = [case_id for case_id, times in Counter(case.case_id for case in cases).items() if times > 1]
        raise ValueError(f"case ids that occur twice: {', '.join(sorted(twice)[:5])}")


def _check_unit(vectors: NDArray[np.float32]) -> None:
    squares = np.einsum("nd,nd->n", vectors, vectors)  # no second array of that size, as norm() would make
    if not (np.abs(np.sqrt(squares) - 1.0) <= _UNIT_TOLERANCE).all():
        raise ValueError("vectors must have length 1")
