"""Live tests talk to real servers: Debian's Orthanc, DCMTK and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import live
from support.live import Orthanc, Stack, WrittenStudy

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.simulation.study import simulate_clear
from pirtad.inference.training.seeds import TEST


@pytest.fixture(scope="session")
def private_network() -> None:
    """This process and its children see loopback alone from here on."""
    live.enter_private_network()


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name."""
    return tmp_path_factory.mktemp("live")


@pytest.fixture
def redis_port(private_network: None, short_tmp: Path) -> Iterator[int]:
    """Debian's Redis server."""
    port = live.free_port()
    command = [
        live.tool("redis-server"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(short_tmp),
    ]
    with live.process(command, short_tmp / "redis.log"):
        live.wait_for(lambda: live.answers(port), 20, "redis-server")
        yield port


@pytest.fixture
def orthanc(private_network: None, short_tmp: Path) -> Iterator[Orthanc]:
    """A running Orthanc."""
    with Orthanc(short_tmp / "orthanc").running() as pacs:
        yield pacs


@pytest.fixture
def stack(redis_port: int, orthanc: Orthanc, short_tmp: Path) -> Stack:
    """pirtad configured for them; nothing of it runs yet."""
    return Stack(short_tmp / "pirtad", redis_port, orthanc.dicom_port)


@pytest.fixture(scope="session")
def ten_studies(tmp_path_factory: pytest.TempPathFactory) -> list[WrittenStudy]:
    """Ten simulated studies: two patients' images, five patients' headers each."""

    root = tmp_path_factory.mktemp("studies")
    cases = {territory: simulate_clear(iter(TEST), territory) for territory in (Territory.ANTERIOR, Territory.NORMAL)}
    written = []
    for number in range(10):
        territory = Territory.NORMAL if number % 2 else Territory.ANTERIOR
        case = cases[territory]
        header = StudyHeader(
            patient_id=f"LIVE{number}", patient_name=f"Live^Patient{number}", study_uid=f"2.25.271828{number}",
            accession_number=f"A{number}", age="070Y",
        )  # fmt: skip
        write_study(root / str(number), case.dwi, case.adc_mm2_per_s, header, b_value_s_per_mm2=case.b_value_s_per_mm2)
        written.append(WrittenStudy(header.study_uid, root / str(number), str(territory)))
    return written
