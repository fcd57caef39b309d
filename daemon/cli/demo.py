"""`pirtad demo`: the main job end to end on this machine, with simulated patients and a PACS of its own."""

# ruff: noqa: PLC0415 - the simulator brings torch; importing this module must not
from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pirtad.daemon.cli.demo_pacs import AE_TITLE, DemoPacs
from pirtad.daemon.cli.sending import send_directory
from pirtad.inference.findings import NORMAL_FINDING, Territory
from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.settings import Settings, load_settings

_QUIET_PERIOD_S = 2
# The first run converts the language model, which takes about a minute on two cores.
_TIMEOUT_S = 600.0
_ENDED = (StudyState.REPORTED, StudyState.SET_ASIDE, StudyState.FAILED, StudyState.CANCELLED)


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study of the demo and what must come of it: a report that names `territory`, or none (no DWI series)."""

    name: str
    study_uid: str
    directory: Path
    territory: Territory | None


def run_demo(directory: Path, *, keep: bool) -> int:
    """Simulate, send, wait, compare; exit code 0 only if every report is there and names what was simulated."""
    console = Console()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    pacs_port, listener_port, web_port = _free_ports(3)
    config = _write_config(directory, pacs_port, listener_port, web_port)
    settings = load_settings(config)

    console.print("Simulating five studies: anterior, deep gray matter, posterior, normal, and one without DWI ...")
    studies = _simulated(directory / "studies")
    pacs = DemoPacs(directory / "pacs", pacs_port)
    pacs.start()
    console.print(
        f"Demo PACS listens on 127.0.0.1:{pacs_port}; starting `pirtad up` (log: {directory / 'pirtad.log'}) ..."
    )
    try:
        with _running(config, directory / "pirtad.log") as process:
            _wait_until_ready(settings, process)
            for study in studies:
                sent = send_directory(
                    study.directory, "127.0.0.1", listener_port, called_ae="PIRTAD", calling_ae=AE_TITLE
                )
                console.print(f"  sent {study.name}: {sent.stored} images")
            database = open_ledger(settings.storage.ledger_url())
            _watch(console, database, studies, process)
            code = _judge(console, database, studies, pacs)
            database.close()
            if keep:
                console.print(
                    f"Left running: page http://127.0.0.1:{web_port}/ , DICOM port {listener_port}. Ctrl-C ends it."
                )
                console.print(f"Try: pirtad --config {config} status")
                _wait_for_interrupt(process)
    finally:
        pacs.stop()
    return code


def _write_config(directory: Path, pacs_port: int, listener_port: int, web_port: int) -> Path:
    config = directory / "pirtad.toml"
    config.write_text(
        f"""# Written by `pirtad demo`.
[listener]
port = {listener_port}

[assembly]
quiet_period_s = {_QUIET_PERIOD_S}

[storage]
data_dir = "{directory / "data"}"

[language_model]
cache_dir = "{directory.parent / ".cache" / "models"}"

[pacs]
ae_title = "{AE_TITLE}"
port = {pacs_port}

[web]
port = {web_port}
""",
        encoding="utf-8",
    )
    return config


def _simulated(directory: Path) -> list[DemoStudy]:
    from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
    from pirtad.inference.simulation.study import simulate_clear
    from pirtad.inference.training.seeds import DEMO

    seeds = iter(DEMO)
    studies = []
    for number, territory in enumerate((*_LESIONS_THEN_NORMAL, None), start=1):
        case = simulate_clear(seeds, territory or Territory.NORMAL)
        header = StudyHeader(
            patient_id=f"DEMO{number}",
            patient_name=f"Demo^Patient {number}",
            study_uid=f"2.25.3141592653589793{number}",
            accession_number=f"A{number}",
            birth_date="19510203",
            sex="F" if number % 2 else "M",
            age="075Y",
            reason="Altered mentality",
            additional_history="HTN, Afib",
        )
        target = directory / f"{number}"
        if territory is None:
            # What a scanner sends when the diffusion series was forgotten: everything but the DWI.
            write_study(target, None, case.adc_mm2_per_s, header)
        else:
            write_study(target, case.dwi, case.adc_mm2_per_s, header, b_value_s_per_mm2=case.b_value_s_per_mm2)
        name = "no DWI series" if territory is None else territory.value.replace("_", " ")
        studies.append(DemoStudy(name, header.study_uid, target, territory))
    return studies


_LESIONS_THEN_NORMAL = (Territory.ANTERIOR, Territory.DEEP_GRAY_MATTER, Territory.POSTERIOR, Territory.NORMAL)


@contextmanager
def _running(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pirtad.daemon.cli", "--config", str(config), "up"], stdout=out, stderr=out
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"`pirtad up` ended with exit code {process.returncode}; see its log")
        with socket.socket() as probe:
            if probe.connect_ex((settings.listener.host, settings.listener.port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError("`pirtad up` did not open its DICOM port in time; see its log")


def _watch(console: Console, database: Database, studies: list[DemoStudy], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    shown = ""
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while time.monotonic() < deadline and process.poll() is None:
            seen = {view.study_uid: view for view in views.studies(database)}
            if console.is_terminal:
                live.update(_table(studies, seen))
            states = ", ".join(f"{s.name}: {_state(seen.get(s.study_uid))}" for s in studies)
            if states != shown and not console.is_terminal:
                live.console.print(f"  {states}")
            shown = states
            if all(s.study_uid in seen and seen[s.study_uid].state in _ENDED for s in studies):
                return
            time.sleep(0.25)


def _state(view: views.StudyView | None) -> str:
    return "sending" if view is None else f"{view.state} {view.stage}".strip()


def _table(studies: list[DemoStudy], seen: dict[str, views.StudyView]) -> Table:
    table = Table("Study", "Images", "State", "Territory in the report", "Reason")
    for study in studies:
        view = seen.get(study.study_uid)
        images = "" if view is None else str(view.images)
        table.add_row(
            study.name,
            images,
            _state(view),
            "" if view is None else view.territory,
            "" if view is None else view.reason,
        )
    return table


def _judge(console: Console, database: Database, studies: list[DemoStudy], pacs: DemoPacs) -> int:
    """Print what came back, and hold it against what was simulated."""
    returned, set_aside, wrong = 0, 0, []
    for study in studies:
        detail = views.study(database, study.study_uid)
        if detail is None:
            wrong.append(f"{study.name}: never arrived")
            continue
        objects = [delivery for delivery in detail.deliveries if pacs.received.get(delivery.sop_instance_uid)]
        if study.territory is None:
            set_aside += detail.study.state is StudyState.SET_ASIDE
            console.rule(f"{study.name}: set aside")
            console.print(f"{detail.study.reason}. {detail.study.hint}")
            if detail.study.reason_code != "no_dwi" or objects:
                wrong.append(f"{study.name}: {detail.study.state} {detail.study.reason_code}, {len(objects)} reports")
            continue
        console.rule(f"simulated: {study.name}")
        if not objects or len(objects) != len(detail.deliveries):
            wrong.append(f"{study.name}: {len(objects)} objects, state {detail.study.state} {detail.study.reason}")
            continue
        returned += 1
        # Read from the object that the PACS holds, not from our own books.
        narrative = next(one for one in objects if one.role == "narrative")
        text = "\n".join(_texts(pacs.path(narrative.sop_instance_uid)))
        console.print(detail.report_text, markup=False, highlight=False)
        if _named(text) != study.territory:
            wrong.append(f"{study.name}: the report names {_named(text)}")
    lost = len(studies) - returned - set_aside
    for line in wrong:
        console.print(f"WRONG  {line}", style="bold red", markup=False)
    console.rule()
    print(
        f"demo: {len(studies)} studies sent, {returned} reports returned, "
        f"{set_aside} set aside (no DWI series), {lost} lost"
    )
    return 1 if wrong or lost else 0


def _texts(path: Path) -> list[str]:
    """Every text value of an SR document, in reading order."""
    found: list[str] = []

    def walk(items: object) -> None:
        for item in items:  # type: ignore[attr-defined]
            if "TextValue" in item:
                found.append(str(item.TextValue))
            walk(item.get("ContentSequence", []))

    walk(dcmread(path).get("ContentSequence", []))
    return found


def _named(text: str) -> Territory | None:
    """The territory that a report's statements of its own name (the similar cases' lines are not its own)."""
    own = text.partition("Similarity Score")[0]
    if NORMAL_FINDING in own:
        return Territory.NORMAL
    named = [territory for territory in _LESIONS_THEN_NORMAL[:3] if territory.phrase in own]
    return named[0] if len(named) == 1 else None


def _wait_for_interrupt(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        return


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
