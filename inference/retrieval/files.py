"""A case base on disk: read with every digest checked, written as a whole."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.index import IndexKind, kind_of, open_index
from pirtad.inference.retrieval.patients import Pseudonyms

INDEX_FILE = "index.faiss"
CASES_FILE = "cases.jsonl"
MANIFEST_FILE = "manifest.json"
_SCHEMA = 2
_READABLE = (1, 2)
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class StoredCaseBase:
    """cases and the index's rows in the same order, and what the vectors were made with.

    pseudonyms: what made hospital numbers into patients. version, sha256 (of the manifest): as last read or written.
    origin: directory and digest of what it was read from or written as, for `write_case_base` to tell a change.
    """

    cases: tuple[Case, ...]
    index: Any
    kind: IndexKind
    encoder_sha256: str
    preprocessing_version: str
    pseudonyms: Pseudonyms | None = None
    version: int = 0
    sha256: str = ""
    origin: tuple[Path, str] | None = None


def write_case_base(directory: Path, stored: StoredCaseBase) -> StoredCaseBase:
    """Write all files beside `directory`, put them in its place, and return what a read would now give.

    A reader finds the old one, the new one, or for an instant none (ModelMismatch), never a mixture. Should the machine
    stop between the two renames, the old one is `<directory>.old`. Raises ModelMismatch `case_base_changed` when
    `directory` is where it came from and holds something else by now.
    """
    fresh = directory.with_name(f"{directory.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a write that failed half-way
    fresh.mkdir(parents=True)
    faiss.write_index(stored.index, str(fresh / INDEX_FILE))
    with (fresh / CASES_FILE).open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(case.to_json() + "\n" for case in stored.cases)
    manifest = {
        "schema": _SCHEMA,
        "version": 0,
        "kind": stored.kind,
        "encoder_sha256": stored.encoder_sha256,
        "preprocessing_version": stored.preprocessing_version,
        "index_sha256": sha256_of(fresh / INDEX_FILE),
        "cases_sha256": sha256_of(fresh / CASES_FILE),
        "cases": len(stored.cases),
        "cases_by_territory": dict(sorted(Counter(str(case.finding.territory) for case in stored.cases).items())),
        "patient_salt": None if stored.pseudonyms is None else stored.pseudonyms.salt,
    }
    with _alone(directory.parent):
        _refuse_if_changed(directory, stored)
        manifest["version"] = version = max(stored.version, _version_at(directory)) + 1
        (fresh / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for name in (INDEX_FILE, CASES_FILE, MANIFEST_FILE):
            _sync(fresh / name)
        _sync(fresh)
        sha256 = sha256_of(fresh / MANIFEST_FILE)
        _swap(fresh, directory)
    return replace(stored, version=version, sha256=sha256, origin=(directory.resolve(), sha256))


def read_case_base(directory: Path, encoder: EncoderManifest) -> StoredCaseBase:
    """The case base, its vectors mapped from the file. Raises ModelMismatch: `case_base_missing`, `case_base_manifest`,
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
    return _content(directory, manifest)


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelMismatch("case_base_manifest", f"the case base's manifest can not be read: {error}") from error
    wanted = {"encoder_sha256", "preprocessing_version", "index_sha256", "cases_sha256", "cases"}
    if not isinstance(manifest, dict) or manifest.get("schema") not in _READABLE or not wanted <= manifest.keys():
        raise ModelMismatch("case_base_manifest", f"the case base's manifest is not of schema {_SCHEMA}")
    # Schema 1 knew exact indexes alone, no versions and no patients.
    manifest = {"version": 1, "kind": IndexKind.EXACT, "patient_salt": None, **manifest}
    if not isinstance(manifest["version"], int):
        raise ModelMismatch("case_base_manifest", "the case base's manifest has a version that is no number")
    return manifest


def _content(directory: Path, manifest: dict[str, Any]) -> StoredCaseBase:
    try:
        with (directory / CASES_FILE).open(encoding="utf-8") as lines:
            cases = tuple(Case.from_json(line) for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelMismatch("case_base_content", f"{CASES_FILE} of the case base can not be read") from error
    try:
        index = open_index(directory / INDEX_FILE)
    except RuntimeError as error:
        raise ModelMismatch("case_base_content", f"{INDEX_FILE} of the case base can not be read") from error
    kind = kind_of(index)
    if kind is None or kind != manifest["kind"]:
        raise ModelMismatch("case_base_content", f"{INDEX_FILE} of the case base is no {manifest['kind']} index")
    if not index.ntotal == len(cases) == manifest["cases"]:
        raise ModelMismatch("case_base_content", f"the case base holds {len(cases)} cases, {index.ntotal} vectors")
    sha256 = sha256_of(directory / MANIFEST_FILE)
    return StoredCaseBase(
        cases,
        index,
        kind,
        manifest["encoder_sha256"],
        manifest["preprocessing_version"],
        Pseudonyms.stored(manifest["patient_salt"]),
        manifest["version"],
        sha256,
        (directory.resolve(), sha256),
    )


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """No other writer of a case base in this directory meanwhile; the lock goes with the process that holds it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            # NFS locks no directory (flock(2)): what remains is the moment between the check and the renames.
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def _refuse_if_changed(directory: Path, stored: StoredCaseBase) -> None:
    if stored.origin is None or stored.origin[0] != directory.resolve():
        return
    manifest = directory / MANIFEST_FILE
    if manifest.is_file() and sha256_of(manifest) != stored.origin[1]:
        raise ModelMismatch(
            "case_base_changed",
            "the case base was changed by another process meanwhile; nothing was written",
            "run the command again",
        )


def _version_at(directory: Path) -> int:
    """The version of what is about to be replaced; 0 where there is nothing that can be read."""
    try:
        return int(_manifest(directory)["version"])
    except (ModelMismatch, OSError):
        return 0


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
