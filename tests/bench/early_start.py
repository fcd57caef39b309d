"""Time from the last needed image's receipt to the queued job: python tests/bench/early_start.py [repeats].

A listener, a prepare worker and an embedded queue of their own; classic slices of 112 x 96, 24 of each volume, headers
that declare their number. Three ways to send: DWI and ADC in an association that is released; the same, and then 300
images of other series in the same association; and without declared numbers, so that the timer starts it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import live

from pirtad.daemon.embedded_redis import running
from pirtad.inference.simulation.dicom_writer import T2, ExtraSeries, SeriesHeader, StudyHeader, write_study
from pirtad.inference.volume import Volume
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.ledger.tables import Job, Study

SLICES = 24
OTHER_SERIES, OTHER_SLICES = 10, 30


def _volume(slices: int, scale: float) -> Volume:
    values = np.random.default_rng(1).uniform(0.5, 1.0, (112, 96, slices)).astype(np.float32)
    return Volume(values * np.float32(scale), np.diag([-2.0, -2.0, 5.0, 1.0]))


def _study(directory: Path, study_uid: str, *, is_declared: bool) -> tuple[list[Dataset], list[Dataset]]:
    """(DWI and ADC, the others)."""
    headers = [SeriesHeader(f"t2-{n}", 20 + n, f"AX T2 {n}", T2.image_type) for n in range(OTHER_SERIES)]
    files = write_study(
        directory, _volume(SLICES, 1000.0), _volume(SLICES, 1e-3), StudyHeader(study_uid=study_uid, patient_id="BENCH"),
        extra=[ExtraSeries(_volume(OTHER_SLICES, 1000.0), header) for header in headers],
    )  # fmt: skip
    images = [dcmread(path) for path in files]
    pair, others = images[-2 * SLICES :], images[: -2 * SLICES]
    if is_declared:
        for image in pair:
            image.ImagesInAcquisition = SLICES
    return pair, others


def _send(port: int, images: list[Dataset], directory: Path) -> None:
    """Over one association, in this order."""
    directory.mkdir()
    paths = [directory / f"{number:04d}.dcm" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save_as(path)
    command = [live.tool("storescu"), "-R", "-aec", "PIRTAD", "127.0.0.1", str(port)]
    subprocess.run([*command, *map(str, paths)], check=True, timeout=120, env={**os.environ, "TCP_NODELAY": "1"})


def _queued(ledger: Database, study_uid: str) -> tuple[str, float, float] | None:
    """(what started it, its opening, its last image)."""
    with ledger.reading() as session:
        of_study = select(Job).join(Study, Study.id == Job.study_id).where(Study.study_uid == study_uid)
        job = session.scalar(of_study.order_by(Job.created_at))
        return None if job is None or job.images_at is None else (job.started_by, job.created_at, job.images_at)


def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pirtad-") as name, running(Path(name)):
        directory, port = Path(name), live.free_port()
        config = directory / "pirtad.toml"
        config.write_text(f'[listener]\nport = {port}\n[storage]\ndata_dir = "{directory}"\n')
        command = [sys.executable, "-m", "pirtad.daemon.cli", "--config", str(config)]
        log = directory / "log"
        with (
            live.process([*command, "listen"], log),
            live.process([*command, "worker", "--queue", "prepare"], log),
        ):
            live.wait_for(lambda: live.answers(port) and b" ready." in log.read_bytes(), 120, "listener and worker")
            ledger = open_ledger(f"sqlite:///{directory / 'ledger.sqlite'}")
            for number, way in enumerate(("released", "goes on", "timer"), start=1):
                waits, started = [], set()
                for repeat in range(repeats):
                    study_uid = f"2.25.{number}{repeat:03d}"
                    pair, others = _study(directory / study_uid, study_uid, is_declared=way != "timer")
                    _send(port, [*pair, *(others if way == "goes on" else ())], directory / f"{study_uid}-sent")
                    found = live.wait_for(lambda uid=study_uid: _queued(ledger, uid), 60, "the job", 0.05)
                    started.add(found[0])
                    waits.append(found[1] - found[2])
                told = f"{way:9} median {statistics.median(waits):6.2f} s"
                print(f"{told}  least {min(waits):.2f}  most {max(waits):.2f}  {sorted(started)}")
            ledger.close()
        looks = [line for line in log.read_text().splitlines() if " looked " in line]
        print(f"{len(looks)} looks; of them:")
        for line in looks[:6]:
            print("   ", line[line.index("looked") :].split("]", 1)[-1].strip())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
