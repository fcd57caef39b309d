"""Subjects, sessions and images of a set kept in the manner of BIDS, without regard to case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pirtad.inference.datasets.record import DatasetError, images_below, stem_of


def subjects_below(root: Path) -> list[Path]:
    """The folders sub-* in `root` or in its folder `rawdata`, sorted. DatasetError if there are none."""
    raw = next((path for path in folders(root) if path.name.lower() == "rawdata"), root)
    found = [path for path in folders(raw) if path.name.lower().startswith("sub-")]
    if not found:
        raise DatasetError(f"no folder sub-* in {root.name} or in its rawdata")
    return found


def sessions_of(subject: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each session; the subject's own folder under "" where there are no sessions."""
    sessions = [path for path in folders(subject) if path.name.lower().startswith("ses-")]
    yield from ((path.name, path) for path in sessions)
    if not sessions:
        yield "", subject


def folders(parent: Path) -> list[Path]:
    """The folders in a folder, sorted."""
    return sorted(path for path in parent.iterdir() if path.is_dir())


def only(folder: Path, endings: tuple[str, ...]) -> Path | None:
    """The one image below `folder` whose name ends so, in lower case and without .nii.gz; None if there is none.

    DatasetError for several: which of them is meant can't be told.
    """
    found = [path for path in images_below(folder) if stem_of(path).endswith(endings)]
    if len(found) > 1:
        raise DatasetError(f"{folder.name}: several images {' or '.join(endings)}")
    return found[0] if found else None


def derivative(root: Path, subject: str, session: str, endings: tuple[str, ...]) -> Path | None:
    """The image of this subject and session below `root`/derivatives, wherever its set keeps it; None if none."""
    below = next((path for path in folders(root) if path.name.lower() == "derivatives"), None)
    if below is None:
        return None
    # sub-1 must not find sub-10: whole folder names, not beginnings.
    wanted = {name.lower() for name in (subject, session) if name}
    found = [
        path
        for folder in (below, *folders(below))
        for one in folders(folder)
        if one.name.lower() == subject.lower()
        for path in images_below(one)
        if stem_of(path).endswith(endings) and wanted <= {part.lower() for part in path.relative_to(below).parts}
    ]
    if len(found) > 1:
        raise DatasetError(f"{subject}: several masks")
    return found[0] if found else None
