"""UK Biobank's diffusion MRI (field 20250): one zip a participant and visit, `<eid>_20250_<visit>_0.zip`.

A participant's eid leads to the participant for whoever has the same application's data, so neither it nor a part of it
is kept: case_id and patient are made of a salted digest.
"""

from __future__ import annotations

import re
from pathlib import Path

from pirtad.inference.datasets.record import DatasetError, DiffusionArchive, Found, ImageCase
from pirtad.inference.retrieval.patients import Pseudonyms

_ARCHIVE = re.compile(r"(?P<eid>\d{4,9})_20250_\d+_\d+\.zip", re.IGNORECASE)


def ukb(root: Path, pseudonyms: Pseudonyms) -> Found:
    """Every such zip below `root`; a table says 1234567_20250_2_0, or the eid alone where it has one visit.

    The zips are opened when their images are read. Raises DatasetError if there are none.
    """
    archives: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and (matched := _ARCHIVE.fullmatch(path.name)):
            archives.setdefault(matched["eid"], []).append(path)
    if not archives:
        raise DatasetError(f"no <eid>_20250_<visit>_0.zip in {root.name}")
    cases = tuple(
        ImageCase(
            names=(path.stem, eid) if len(paths) == 1 else (path.stem,),
            case_id=f"ukb-{pseudonyms.number_of(path.stem)}",
            patient=pseudonyms.of(eid),
            images=DiffusionArchive(path),
            provenance="UK Biobank, field 20250",
        )
        for eid, paths in archives.items()
        for path in paths
    )
    return Found(cases, {})
