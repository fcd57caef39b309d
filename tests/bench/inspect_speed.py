"""How long the headers of a large study take, and how much memory: `python tests/bench/inspect_speed.py [FILES]`.

Copies one classic brain (shared/data/dicom/philips_classic.zip beside the repository, 440 attributes a header; a
simulated study where it is absent) under new SOP Instance and Series UIDs into a temporary folder until there are FILES
of them, 10,000 unless told, and reads them with `read_series`. Prints seconds, processor seconds, the peak resident
memory of this process, and that of the largest helper process.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from pydicom import dcmread

from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.volume import Volume

FILES = 10_000
WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
SOURCE = Path(__file__).resolve().parents[2].parent / "shared/data/dicom/philips_classic.zip"


def originals(folder: Path) -> list[Path]:
    """Real images where they are at hand, simulated ones elsewhere."""
    if not SOURCE.exists():
        volume = Volume(np.full((112, 112, 32), 500, dtype=np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
        return write_study(
            folder, volume, Volume(volume.array * np.float32(1e-6), volume.affine), StudyHeader("2.25.1")
        )
    with zipfile.ZipFile(SOURCE) as archive:
        archive.extractall(folder)
    return sorted(path for path in folder.rglob("IM_*") if path.is_file())


def copies(sources: list[Path], folder: Path, count: int) -> list[Path]:
    """`count` files under SOP Instance and Series UIDs of their own."""
    folder.mkdir()
    kept = []
    for path in sources:
        dataset = dcmread(path, stop_before_pixels=True)
        uids = [str(dataset.SOPInstanceUID).encode(), str(dataset.SeriesInstanceUID).encode()]
        kept.append((path.read_bytes(), uids))
    made = []
    for at in range(count):
        content, uids = kept[at % len(kept)]
        for uid in uids:
            # The same length, so that the rest of the file stays as it is; one more than the original says which copy.
            digest = hashlib.sha256(uid + str(at // len(kept)).encode()).hexdigest()
            digits = str(int(digest, 16) + 10**80)[: len(uid) - 5].encode()
            content = content.replace(uid, b"2.25." + digits)
        path = folder / f"{at:06d}.dcm"
        path.write_bytes(content)
        made.append(path)
    return made


def main() -> None:
    """Make the study, read it, print what it took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = copies(originals(folder / "originals"), folder / "study", count)
        begun, begun_cpu = time.perf_counter(), cpu_s()
        series = read_series(files)
        took_s, took_cpu_s = time.perf_counter() - begun, cpu_s() - begun_cpu
        assert sum(len(one.instances) for one in series) == count
        frames = sum(len(one.frames) for one in series)
        print(f"{count} files, {frames} frames, {len(series)} series")
        print(f"{took_s:.1f} s, of all processors {took_cpu_s:.1f} s")
        own, helpers = (resource.getrusage(who).ru_maxrss / 1024 for who in WHOSE)
        print(f"peak memory {own:.0f} MiB, of a helper process {helpers:.0f} MiB")


def cpu_s() -> float:
    """Processor time of this process and of helpers that have ended, in seconds."""
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, WHOSE))


if __name__ == "__main__":
    main()
