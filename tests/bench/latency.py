"""Measure the time to a report: `tests/bench/latency.py [--studies 50]`. Tables in the form of docs/benchmarks.md.

Seconds from a study's last image to its three objects in Orthanc, by stage, from the ledger; every object is looked up
in Orthanc, and the second it noted for its arrival compared. Studies come one after the other, first with the timer
alone, then with counts declared, so that DWI and ADC are known to be whole when their association is released. Rows
said to be computed: the same with another wait in the timer's place.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from calendar import timegm
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from pydicom import dcmread
from support import live
from support.live import Orthanc, Stack

from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.simulation.study import simulate_clear
from pirtad.inference.training.seeds import TEST, territory_of
from pirtad.worker.contract import StartedBy
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.views import StudyDetail

STUDIES = 5
DIFFERENT = 8  # simulated cases, each sent several times as other patients' studies: one takes seconds to simulate

# Computed rows: what others wait for after the last image before they begin. mercure: `series_complete_trigger`, of
# each series; Orthanc: `StableAge`. Both 60 s unless configured.
QUIET_MEASURED_S = 1.0
WAITS_S = {
    "pirtad's timer at its default, 10 s": 10.0,
    "mercure's 60 s a series": 60.0,
    "Orthanc's StableAge, 60 s": 60.0,
}
OBJECTS = {"narrative", "measurements", "picture"}
RECEPTION_TOLERANCE_S = 2.0  # Orthanc notes whole seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES, help="for each of the two settings")
    options = parser.parse_args()
    live.enter_private_network()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        latency(Path(scratch), options.studies)


def send(folder: Path, stack: Stack) -> None:
    command = [live.tool("storescu"), "-R", "+sd", "-aec", "PIRTAD", "127.0.0.1", str(stack.listener_port), str(folder)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    subprocess.run(command, check=True, timeout=300, env=environment, capture_output=True)


def latency(scratch: Path, studies: int) -> None:
    """Seconds from the last image to the three objects in Orthanc, by stage, in both settings."""
    began_at = time.monotonic()
    redis_port = live.free_port()
    command = [live.tool("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    pacs = Orthanc(scratch / "pacs")
    stack = Stack(scratch / "stack", redis_port, pacs.dicom_port)
    config = stack.config.read_text()
    settings = {
        "timer alone": (f"quiet_period_s = {QUIET_MEASURED_S:g}\nearly_start = false", StartedBy.QUIET),
        "declared counts": ("quiet_period_s = 10\nearly_start = true", StartedBy.WHOLE),
    }
    seen: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as servers:
        servers.enter_context(live.process(command, scratch / "redis.log"))
        for server in (pacs.running(), *(stack.worker(queue) for queue in ("prepare", "infer", "deliver"))):
            servers.enter_context(server)
        cases = [(f"2.25.55{number}", f"2.25.66{number}") for number in range(studies + 1)]
        write_cases(scratch, cases)
        for way, (setting, (assembly, started_by)) in enumerate(settings.items()):
            stack.config.write_text(config.replace("quiet_period_s = 1\n", f"{assembly}\n"))
            with stack.listener():
                timelines = [arrival(scratch / uids[way], stack, pacs, started_by) for uids in cases]
            seen[setting] = timelines[1:]  # the first one waits for models to load and connections to be made
    print(f"Seconds from the last image to the three objects in Orthanc, {studies} studies in turn each way\n")
    print("| step |" + "".join(f" {setting}: median | p95 | min-max |" for setting in seen))
    print("|---|" + "---|---|---|" * len(seen))
    row("study complete", seen, lambda one: one["complete"])
    for step in ("prepare", "infer", "deliver", "waiting"):
        row(STEPS[step], seen, lambda one, step=step: one[step])
    row("**last image to three objects in Orthanc**", seen, lambda one: one["all"])
    timer = {setting: seen[setting] if setting == "timer alone" else [] for setting in seen}
    for what, wait_s in WAITS_S.items():
        row(f"the same with {what} (computed)", timer, lambda one, s=wait_s: one["all"] - one["complete"] + s)
    print(f"\nAll {2 * studies * len(OBJECTS)} objects are in Orthanc; it took {time.monotonic() - began_at:.0f} s.")


STEPS = {
    "prepare": "prepare: read series, preprocess",
    "infer": "infer: encode, retrieve, measure, generate",
    "deliver": "deliver: compose, send three objects",
    "waiting": "waiting between stages",
}


def row(name: str, seen: dict[str, list[dict[str, float]]], seconds: Callable[[dict[str, float]], float]) -> None:
    cells = []
    for timelines in seen.values():
        values = [seconds(one) for one in timelines]
        if values:
            low, middle, high = min(values), statistics.median(values), max(values)
            cells += [f"{middle:.2f}", f"{np.percentile(values, 95):.2f}", f"{low:.2f}-{high:.2f}"]
        else:
            cells += ["", "", ""]
    print(f"| {name} | " + " | ".join(cells) + " |")


def write_cases(scratch: Path, cases: list[tuple[str, str]]) -> None:
    """Each case under two study UIDs: as simulated, and with its slices' number declared."""
    seeds = iter(TEST)
    drawn = [simulate_clear(seeds, territory_of(number)) for number in range(min(len(cases), DIFFERENT))]
    for number, (plain, declared) in enumerate(cases):
        case = drawn[number % len(drawn)]
        for study_uid in (plain, declared):
            header = StudyHeader(study_uid, f"B{study_uid[5:]}", "Bench^Patient", age="070Y")
            files = write_study(scratch / study_uid, case.dwi, case.adc_mm2_per_s, header)
        for path in files:
            image = dcmread(path)
            image.ImagesInAcquisition = len(files) // 2
            image.save_as(path)


def arrival(folder: Path, stack: Stack, pacs: Orthanc, started_by: StartedBy) -> dict[str, float]:
    """Send a study, wait for its report, and tell how long each step took."""
    send(folder, stack)
    database = Database(f"sqlite:///{stack.directory / 'data' / 'ledger.sqlite'}")
    try:
        detail = live.wait_for(lambda: reported(database, folder.name), 300, f"the report; log {stack.log}")
    finally:
        database.close()
    if detail.study.started_by != started_by:
        raise SystemExit(f"{folder.name} was started by {detail.study.started_by!r}, not by {started_by!r}")
    confirm(detail, pacs)
    return timeline(detail)


def reported(database: Database, study_uid: str) -> StudyDetail | None:
    found = views.study(database, study_uid)
    if found is not None and found.study.state in ("set_aside", "failed"):
        raise SystemExit(f"{study_uid} is {found.study.state}: {found.study.reason}")
    return found if found is not None and found.study.state == "reported" else None


def confirm(detail: StudyDetail, pacs: Orthanc) -> None:
    """Orthanc has the three objects, since the second in which the ledger says that it took them."""
    if {one.role for one in detail.deliveries} != OBJECTS:
        raise SystemExit(f"not the three objects: {[one.role for one in detail.deliveries]}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for one in detail.deliveries:
        url = f"http://127.0.0.1:{pacs.http_port}/tools/lookup"
        with opener.open(url, data=one.sop_instance_uid.encode(), timeout=10) as answer:
            found = [match["ID"] for match in json.loads(answer.read()) if match["Type"] == "Instance"]
        if len(found) != 1 or one.delivered_at is None:
            raise SystemExit(f"Orthanc has {len(found)} of the {one.role} of {detail.study.study_uid}")
        noted = pacs.get(f"/instances/{found[0]}/metadata/ReceptionDate").decode()
        received_at = timegm(time.strptime(noted, "%Y%m%dT%H%M%S"))
        if abs(received_at - one.delivered_at) > RECEPTION_TOLERANCE_S:
            raise SystemExit(f"Orthanc received it at {received_at}, the ledger says {one.delivered_at}")


def timeline(detail: StudyDetail) -> dict[str, float]:
    """Seconds of each step; `all`: from the last image to the last of the objects that Orthanc acknowledged."""
    at: dict[str, float] = {}
    for event in detail.events:
        key = event.text.split(",")[0] if event.kind in ("started", "finished") else ""
        at[f"{event.kind} {key}".strip()] = event.at
    last_image = detail.study.last_received_at
    in_orthanc = max(one.delivered_at for one in detail.deliveries if one.delivered_at is not None)
    return {
        "complete": at["complete"] - last_image,
        "prepare": at["finished prepare"] - at["started prepare"],
        "infer": at["finished infer"] - at["started infer"],
        "deliver": in_orthanc - at["started deliver"],
        "waiting": (at["started prepare"] - at["complete"])
        + (at["started infer"] - at["finished prepare"])
        + (at["started deliver"] - at["finished infer"]),
        "all": in_orthanc - last_image,
    }


if __name__ == "__main__":
    main()
