"""Measure pirtad beside its peers on this machine: `make bench`. Prints tables in the form of docs/benchmarks.md.

Receiving: images a second, every receiver in turn in one run, sender DCMTK's storescu as it comes (Nagle's algorithm
on) and with TCP_NODELAY=1 in the environment of both ends. Peers: DCMTK's storescp and Debian's Orthanc.
Latency: seconds from a study's last image to its report in Orthanc, by stage, from the ledger's event log.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from support import live
from support.live import Orthanc, Stack

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.simulation.study import simulate_clear
from pirtad.inference.training.seeds import TEST
from pirtad.inference.volume import Volume

IMAGES_NAGLE = 60
IMAGES_NODELAY = 400
ROUNDS = 3
STUDIES = 5


def main() -> None:
    live.enter_private_network()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        if "latency" not in sys.argv[1:]:  # `run.py latency` leaves out the receivers, which take minutes
            receiving(Path(scratch))
        latency(Path(scratch))


def receiving(scratch: Path) -> None:
    """Images a second into each receiver, in turn, several rounds."""
    few, many = images(scratch / "few", IMAGES_NAGLE), images(scratch / "many", IMAGES_NODELAY)
    rates: dict[tuple[str, str], list[float]] = {}
    for round_number in range(ROUNDS):
        for nodelay in (False, True):
            folder, count = (many, IMAGES_NODELAY) if nodelay else (few, IMAGES_NAGLE)
            for name, receiver in (("pirtad", pirtad), ("storescp", storescp), ("Orthanc", orthanc)):
                with receiver(scratch / f"{name}-{round_number}-{nodelay}", nodelay) as (port, ae_title):
                    seconds = send(folder, port, ae_title, nodelay=nodelay)
                rates.setdefault((name, "TCP_NODELAY" if nodelay else "as it comes"), []).append(count / seconds)
    print(f"Received images/s (256x256, 131 kB, one association, median of {ROUNDS} rounds, min-max)\n")
    print("| receiver | storescu as it comes | storescu with TCP_NODELAY=1 | ratio to Orthanc (NODELAY) |")
    print("|---|---|---|---|")
    base = statistics.median(rates["Orthanc", "TCP_NODELAY"])
    for name in ("pirtad", "storescp", "Orthanc"):
        cells = [spread(rates[name, mode]) for mode in ("as it comes", "TCP_NODELAY")]
        print(f"| {name} | {cells[0]} | {cells[1]} | {statistics.median(rates[name, 'TCP_NODELAY']) / base:.2f} |")
    print()


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def images(folder: Path, count: int) -> Path:
    """One study of `count` slices, 256 x 256, 16 bit."""
    noise = np.random.default_rng(0).integers(0, 4000, (256, 256, count)).astype(np.float32)
    write_study(folder, Volume(noise, np.diag([1.0, 1.0, 5.0, 1.0])), None, StudyHeader(f"2.25.{count}", "BENCH"))
    return folder


def environment(*, nodelay: bool) -> dict[str, str]:
    return {**os.environ, **({"TCP_NODELAY": "1"} if nodelay else {})}


def send(folder: Path, port: int, ae_title: str, *, nodelay: bool) -> float:
    command = [live.tool("storescu"), "-R", "+sd", "-aec", ae_title, "127.0.0.1", str(port), str(folder)]
    started = time.perf_counter()
    subprocess.run(command, check=True, timeout=300, env=environment(nodelay=nodelay), capture_output=True)
    return time.perf_counter() - started


@contextmanager
def pirtad(directory: Path, nodelay: bool) -> Iterator[tuple[int, str]]:
    # The listener alone; nobody works on the studies, and the queue's server is not there.
    stack = Stack(directory, redis_port=live.free_port(), pacs_port=live.free_port())
    with stack.listener():
        yield stack.listener_port, "PIRTAD"


@contextmanager
def storescp(directory: Path, nodelay: bool) -> Iterator[tuple[int, str]]:
    directory.mkdir()
    port = live.free_port()
    command = [live.tool("storescp"), "+B", "-pdu", "131072", "-od", str(directory), str(port)]
    with live.process(command, directory / "storescp.log", env=environment(nodelay=nodelay)):
        live.wait_for(lambda: live.answers(port), 20, "storescp")
        yield port, "ANY-SCP"


@contextmanager
def orthanc(directory: Path, nodelay: bool) -> Iterator[tuple[int, str]]:
    with Orthanc(directory, environment(nodelay=nodelay)).running() as server:
        yield server.dicom_port, "ORTHANC"


def latency(scratch: Path) -> None:
    """Seconds from the last image to the report, by stage."""
    redis_port = live.free_port()
    command = [live.tool("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    pacs = Orthanc(scratch / "pacs")
    stack = Stack(scratch / "stack", redis_port, pacs.dicom_port)
    timelines = []
    with ExitStack() as servers:
        servers.enter_context(live.process(command, scratch / "redis.log"))
        for server in (pacs.running(), stack.listener(), *(stack.worker(q) for q in ("prepare", "infer", "deliver"))):
            servers.enter_context(server)
        seeds = iter(TEST)
        for number in range(STUDIES + 1):
            case = simulate_clear(seeds, Territory.ANTERIOR)
            header = StudyHeader(f"2.25.55{number}", f"B{number}", "Bench^Patient", age="070Y")
            write_study(scratch / f"study{number}", case.dwi, case.adc_mm2_per_s, header)
            send(scratch / f"study{number}", stack.listener_port, "PIRTAD", nodelay=True)
            stack.wait_until([header.study_uid], "reported", 300)
            if number:  # the first one waits for the models to load
                timelines.append(timeline(json.loads(stack.call("show", header.study_uid, "--json"))))
    print(f"Seconds from the last image to the report in Orthanc, {STUDIES} studies in turn, median (min-max)\n")
    print("| step | seconds |")
    print("|---|---|")
    for step in timelines[0]:
        values = [one[step] for one in timelines]
        print(f"| {step} | {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f}) |")


def timeline(shown: dict[str, Any]) -> dict[str, float]:
    last_image = shown["study"]["last_received_at"]
    at: dict[str, float] = {}
    for event in shown["events"]:
        key = event["text"].split(",")[0] if event["kind"] in ("started", "finished") else ""
        at[f"{event['kind']} {key}".strip()] = event["at"]
    return {
        "study complete (quiet period 1 s)": at["complete"] - last_image,
        "prepare: read series, preprocess": at["finished prepare"] - at["started prepare"],
        "infer: encode, retrieve, generate": at["finished infer"] - at["started infer"],
        "deliver: compose, send": at["delivered"] - at["started deliver"],
        "waiting between stages": (at["started prepare"] - at["complete"])
        + (at["started infer"] - at["finished prepare"])
        + (at["started deliver"] - at["finished infer"]),
        "last image to report": at["delivered"] - last_image,
    }


if __name__ == "__main__":
    main()
