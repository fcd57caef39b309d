"""A real Redis server, two worker processes, and what goes wrong around them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from pydicom import dcmread
from support import live
from support.live import Orthanc, Stack, WrittenStudy


def send(stack: Stack, directory: Path) -> None:
    command = [live.tool("storescu"), "-R", "+sd", "+r", "-aec", "PIRTAD", "127.0.0.1", str(stack.listener_port)]
    subprocess.run([*command, str(directory)], check=True, timeout=120)


def test_ten_studies_from_four_senders_give_ten_reports(
    stack: Stack, orthanc: Orthanc, ten_studies: list[WrittenStudy]
) -> None:
    # Given two worker processes on one Redis
    with stack.listener(), stack.worker(), stack.worker():
        # When four senders send ten studies at once
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(lambda study: send(stack, study.directory), ten_studies))
        seen = stack.wait_until([study.study_uid for study in ten_studies], "reported", 280)

    # Then each study has its one report, and it names what was simulated
    reports = [dcmread(path) for path in as_files(orthanc.reports(), stack.directory)]
    assert sorted(str(report.StudyInstanceUID) for report in reports) == sorted(s.study_uid for s in ten_studies)
    assert len({report.SOPInstanceUID for report in reports}) == 10
    assert {uid: row["territory"] for uid, row in seen.items()} == {s.study_uid: s.territory for s in ten_studies}


def test_a_report_waits_for_a_pacs_that_is_down(
    redis_port: int, short_tmp: Path, ten_studies: list[WrittenStudy]
) -> None:
    study = ten_studies[0]
    pacs = Orthanc(short_tmp / "orthanc")
    stack = Stack(short_tmp / "pirtad", redis_port, pacs.dicom_port)
    with stack.listener(), stack.worker():
        # Given a PACS that is down
        send(stack, study.directory)
        waiting = stack.wait_until([study.study_uid], "waiting", 120)
        assert "127.0.0.1" in waiting[study.study_uid]["last_error"]

        # When it comes back
        with pacs.running():
            stack.wait_until([study.study_uid], "reported", 60)

            # Then it holds the one report
            assert len(pacs.reports(study.study_uid)) == 1


@pytest.mark.slow
def test_a_killed_worker_and_a_wiped_redis_lose_and_double_nothing(
    stack: Stack, orthanc: Orthanc, redis_port: int, ten_studies: list[WrittenStudy]
) -> None:
    study = ten_studies[1]
    with stack.listener():
        # Given a worker that is killed, with all its children, in mid-study
        with stack.worker() as first:
            send(stack, study.directory)
            live.wait_for(
                lambda: stack.studies().get(study.study_uid, {}).get("state") == "running", 120, "work to begin", 0.05
            )
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()

        # and a queue that is emptied
        redis.Redis(port=redis_port).flushall()

        # When another worker starts
        with stack.worker():
            stack.wait_until([study.study_uid], "reported", 120)

    # Then there is exactly one report
    assert len(orthanc.reports(study.study_uid)) == 1
    events = [event["kind"] for event in show(stack, study.study_uid)["events"]]
    assert "owner_lost" in events
    assert events.count("delivered") == 1


@pytest.mark.slow
def test_a_killed_child_of_a_worker_is_replaced(
    stack: Stack, orthanc: Orthanc, ten_studies: list[WrittenStudy]
) -> None:
    study = ten_studies[2]
    with stack.listener(), stack.worker():
        send(stack, study.directory)
        owner = live.wait_for(lambda: working_child(stack, study.study_uid), 120, "work to begin", 0.05)
        os.kill(owner, signal.SIGKILL)
        stack.wait_until([study.study_uid], "reported", 120)
    assert len(orthanc.reports(study.study_uid)) == 1


def working_child(stack: Stack, study_uid: str) -> int | None:
    """Process id of the claim's owner, from the ledger."""
    with sqlite3.connect(f"file:{stack.directory / 'data' / 'ledger.sqlite'}?mode=ro", uri=True) as ledger:
        row = ledger.execute(
            "SELECT owner FROM jobs JOIN studies ON studies.id = jobs.study_id WHERE study_uid = ?", (study_uid,)
        ).fetchone()
    ledger.close()
    return int(row[0].split(":")[-2]) if row and row[0] else None


def show(stack: Stack, study_uid: str) -> dict:
    return json.loads(stack.call("show", study_uid, "--json"))


def as_files(contents: list[bytes], directory: Path) -> list[Path]:
    paths = []
    for number, content in enumerate(contents):
        path = directory / f"report-{number}.dcm"
        path.write_bytes(content)
        paths.append(path)
    return paths
