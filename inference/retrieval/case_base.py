"""The case base: which cases look like this one (PIRTA sections 2.2 and 2.3.2).

A directory of index.faiss (exact inner product over unit vectors, which is cosine similarity), cases.jsonl (line n
belongs to vector n) and manifest.json (which encoder made the vectors, and digests of both files).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.files import StoredCaseBase, read_case_base, write_case_base

_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class CaseBaseInfo:
    """What an operator asks about a case base. sha256: of its manifest, so of all it holds; "" before it is saved."""

    sha256: str
    encoder_sha256: str
    preprocessing_version: str
    cases: int
    cases_by_territory: dict[Territory, int]


class CaseBase:
    """Cases and their vectors. Not changed once made: `add` gives a new one, `save` writes it."""

    def __init__(
        self,
        cases: tuple[Case, ...],
        vectors: NDArray[np.float32],
        encoder_sha256: str,
        preprocessing_version: str,
        sha256: str = "",
    ) -> None:
        _check(cases, vectors)
        self._cases = cases
        self._vectors = vectors
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)
        self._encoder_sha256 = encoder_sha256
        self._preprocessing_version = preprocessing_version
        self._sha256 = sha256

    @classmethod
    def build(cls, cases: Sequence[Case], vectors: NDArray[np.float32], encoder: EncoderManifest) -> CaseBase:
        """A case base of these cases; vectors: float32 (N, D), unit length, row n belonging to case n.

        Raises ValueError when they do not fit together or an id occurs twice.
        """
        return cls(tuple(cases), vectors, encoder.weights_sha256, encoder.preprocessing_version)

    @classmethod
    def load(cls, directory: Path, encoder: EncoderManifest) -> CaseBase:
        """The case base in `directory`, for use with this encoder.

        Raises ModelMismatch when a file is missing or altered, or another encoder or preprocessing made the vectors.
        """
        stored, sha256 = read_case_base(directory, encoder)
        return cls(stored.cases, stored.vectors, stored.encoder_sha256, stored.preprocessing_version, sha256)

    def add(self, cases: Iterable[Case], vectors: NDArray[np.float32]) -> CaseBase:
        """A case base with these cases too. Raises ValueError like `build`."""
        return CaseBase(
            (*self._cases, *cases),
            np.concatenate([self._vectors, vectors]),
            self._encoder_sha256,
            self._preprocessing_version,
        )

    def save(self, directory: Path) -> CaseBase:
        """Write the directory, replacing what lies there, and return the case base as `load` would."""
        stored = StoredCaseBase(self._cases, self._vectors, self._encoder_sha256, self._preprocessing_version)
        sha256 = write_case_base(directory, stored)
        return CaseBase(self._cases, self._vectors, self._encoder_sha256, self._preprocessing_version, sha256)

    def search(self, vector: NDArray[np.float32], k: int = 5) -> tuple[SimilarCase, ...]:
        """The k most similar cases (all, where there are fewer), best first; PIRTA takes five.

        vector: unit, float32 (D,). Raises ValueError for anything else.
        """
        if vector.shape != (self._vectors.shape[1],):
            raise ValueError(f"a vector of shape {vector.shape} for a case base of {self._vectors.shape[1]} dimensions")
        _check_unit(vector[None])
        if k < 1:
            raise ValueError(f"{k} similar cases asked for")
        query = np.ascontiguousarray(vector[None], dtype=np.float32)
        similarities, rows = self._index.search(query, min(k, len(self._cases)))
        return tuple(
            SimilarCase(
                case_id=self._cases[row].case_id,
                similarity=float(np.clip(similarity, -1.0, 1.0)),
                territory=self._cases[row].finding.territory,
                finding=self._cases[row].finding.sentence(),
            )
            for similarity, row in zip(similarities[0], rows[0], strict=True)
        )

    def info(self) -> CaseBaseInfo:
        """Counts and digests."""
        counted = Counter(case.finding.territory for case in self._cases)
        return CaseBaseInfo(
            sha256=self._sha256,
            encoder_sha256=self._encoder_sha256,
            preprocessing_version=self._preprocessing_version,
            cases=len(self._cases),
            cases_by_territory={territory: counted[territory] for territory in Territory},
        )

    @property
    def cases(self) -> tuple[Case, ...]:
        """All cases, in the order of the index."""
        return self._cases


def _check(cases: tuple[Case, ...], vectors: NDArray[np.float32]) -> None:
    if not cases:
        raise ValueError("a case base without cases")
    if vectors.ndim != 2 or len(vectors) != len(cases) or vectors.dtype != np.float32:
        raise ValueError(f"{len(cases)} cases with vectors of shape {vectors.shape}, {vectors.dtype}")
    _check_unit(vectors)
    twice = [case_id for case_id, times in Counter(case.case_id for case in cases).items() if times > 1]
    if twice:
        raise ValueError(f"case ids that occur twice: {', '.join(sorted(twice)[:5])}")


def _check_unit(vectors: NDArray[np.float32]) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.abs(lengths - 1.0) <= _UNIT_TOLERANCE).all():
        raise ValueError("vectors must have length 1")
