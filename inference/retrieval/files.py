"""A case base on disk: read with every digest checked, written as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.retrieval.case import Case

INDEX_FILE = "index.faiss"
CASES_FILE = "cases.jsonl"
MANIFEST_FILE = "manifest.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class StoredCaseBase:
    """cases and vectors (N, D) in the same order, and what the vectors were made with."""

    cases: tuple[Case, ...]
    vectors: NDArray[np.float32]
    encoder_sha256: str
    preprocessing_version: str


def write_case_base(directory: Path, stored: StoredCaseBase) -> str:
    """Write all files beside `directory` and then put them in its place; returns the manifest's sha256.

    A reader finds the old one, the new one, or for an instant none (ModelMismatch), never a mixture. Should the machine
    stop between the two renames, the old one is `<directory>.old`.
    """
    fresh = directory.with_name(f"{directory.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a write that failed half-way
    fresh.mkdir(parents=True)
    index = faiss.IndexFlatIP(stored.vectors.shape[1])
    index.add(stored.vectors)
    faiss.write_index(index, str(fresh / INDEX_FILE))
    lines = "".join(case.to_json() + "\n" for case in stored.cases)
    (fresh / CASES_FILE).write_text(lines, encoding="utf-8")
    manifest = {
        "schema": _SCHEMA,
        "encoder_sha256": stored.encoder_sha256,
        "preprocessing_version": stored.preprocessing_version,
        "index_sha256": sha256_of(fresh / INDEX_FILE),
        "cases_sha256": sha256_of(fresh / CASES_FILE),
        "cases": len(stored.cases),
        "cases_by_territory": dict(sorted(Counter(str(case.finding.territory) for case in stored.cases).items())),
    }
    (fresh / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for name in (INDEX_FILE, CASES_FILE, MANIFEST_FILE):
        _sync(fresh / name)
    _sync(fresh)
    sha256 = sha256_of(fresh / MANIFEST_FILE)
    _swap(fresh, directory)
    return sha256


def read_case_base(directory: Path, encoder: EncoderManifest) -> tuple[StoredCaseBase, str]:
    """The case base and its manifest's sha256. Raises ModelMismatch: `case_base_missing`, `case_base_manifest`,
    `case_base_encoder`, `preprocessing_version`, `case_base_digest`, `case_base_content`."""
    for name in (MANIFEST_FILE, INDEX_FILE, CASES_FILE):
        if not (directory / name).is_file():
            raise ModelMismatch(
                "case_base_missing",
                f"no {name} in the case base {directory}",
                f"build a case base, or look whether {directory.name}.old was left by an interrupted write",
            )
    manifest = _manifest(directory)
    if manifest["encoder_sha256"] != encoder.weights_sha256:
        raise ModelMismatch(
            "case_base_encoder",
            f"the case base was made with encoder {manifest['encoder_sha256'][:12]}, "
            f"the encoder in use is {encoder.weights_sha256[:12]}",
            "build the case base again with this encoder",
        )
    if manifest["preprocessing_version"] != encoder.preprocessing_version:
        raise ModelMismatch(
            "preprocessing_version",
            f"the case base was made with preprocessing {manifest['preprocessing_version']}, "
            f"the encoder with {encoder.preprocessing_version}",
            "build the case base again with this encoder",
        )
    for name, key in ((INDEX_FILE, "index_sha256"), (CASES_FILE, "cases_sha256")):
        if sha256_of(directory / name) != manifest[key]:
            raise ModelMismatch("case_base_digest", f"{name} of the case base is not what its manifest says")
    stored = _content(directory, manifest)
    return stored, sha256_of(directory / MANIFEST_FILE)


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelMismatch("case_base_manifest", f"the case base's manifest can not be read: {error}") from error
    wanted = {"encoder_sha256", "preprocessing_version", "index_sha256", "cases_sha256", "cases"}
    if not isinstance(manifest, dict) or manifest.get("schema") != _SCHEMA or not wanted <= manifest.keys():
        raise ModelMismatch("case_base_manifest", f"the case base's manifest is not of schema {_SCHEMA}")
    return manifest


def _content(directory: Path, manifest: dict[str, Any]) -> StoredCaseBase:
    try:
        with (directory / CASES_FILE).open(encoding="utf-8") as lines:
            cases = tuple(Case.from_json(line) for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelMismatch("case_base_content", f"{CASES_FILE} of the case base can not be read") from error
    index = faiss.read_index(str(directory / INDEX_FILE))
    if not isinstance(index, faiss.IndexFlatIP) or not index.ntotal == len(cases) == manifest["cases"]:
        raise ModelMismatch("case_base_content", f"the case base holds {len(cases)} cases, {index.ntotal} vectors")
    vectors = index.reconstruct_n(0, index.ntotal)
    return StoredCaseBase(cases, vectors, manifest["encoder_sha256"], manifest["preprocessing_version"])


def _swap(fresh: Path, directory: Path) -> None:
    old = directory.with_name(f"{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    fresh.rename(directory)
    _sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
