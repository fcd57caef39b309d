"""The systemd units: systemd's own check, and what they promise."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pirtad.worker.contract import Stage

SYSTEMD = Path(__file__).resolve().parents[1] / "deploy" / "systemd"
SERVICES = sorted(SYSTEMD.glob("*.service"))
BINARY = "/opt/pirtad/bin/pirtad"

services = pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)


def section(path: Path, name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=["="], comment_prefixes=["#"])
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return dict(parser[name])


def analyze(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not on this machine")
    return subprocess.run([tool, *arguments], cwd=directory, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def units(tmp_path):
    """The units with a binary that is on this machine; systemd asks for that."""
    for path in SYSTEMD.iterdir():
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(text.replace(BINARY, shutil.which("true") or ""), encoding="utf-8")
    instances = [f"./pirtad-worker@{stage}.service" for stage in Stage]
    return tmp_path, ["./pirtad-listener.service", "./pirtad-web.service", *instances, "./pirtad.target"]


def test_systemd_finds_nothing_to_say(units):
    directory, names = units
    result = analyze("verify", "--man=no", *names, directory=directory)
    said = [line for line in result.stderr.splitlines() if "pirtad" in line]
    assert (result.returncode, said) == (0, [])


def test_systemd_would_say_something(units):
    directory, names = units
    unit = directory / "pirtad-web.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("Restart=always", "Restart=sometimes"), encoding="utf-8")
    result = analyze("verify", "--man=no", *names, directory=directory)
    assert "pirtad-web.service" in result.stderr
    assert "sometimes" in result.stderr


def test_systemd_calls_the_exposure_low(units):
    # 2.0 of 10, in `systemd-analyze security`'s count; a plain service has 9.6.
    directory, names = units
    for name in names[:3]:
        result = analyze("security", "--offline=true", "--threshold=20", "--no-pager", name, directory=directory)
        assert result.returncode == 0, result.stdout[-300:] + result.stderr


def test_the_target_starts_every_part():
    text = (SYSTEMD / "pirtad.target").read_text(encoding="utf-8")
    wanted = [unit for line in re.findall(r"^Wants=(.+)$", text, re.MULTILINE) for unit in line.split()]
    assert sorted(wanted) == sorted(
        ["pirtad-listener.service", "pirtad-web.service", *(f"pirtad-worker@{stage}.service" for stage in Stage)]
    )
    for path in SERVICES:
        assert section(path, "Unit")["PartOf"] == "pirtad.target"


@services
def test_it_comes_back_and_stops_in_order(path):
    unit, service = section(path, "Unit"), section(path, "Service")
    assert service["Restart"] == "always"
    assert unit["StartLimitIntervalSec"] == "0"
    # control-group, the default, would send SIGTERM to Celery's processes too and cut their work off.
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 0


@services
def test_it_runs_with_few_rights(path):
    service = section(path, "Service")
    assert service["User"] == service["StateDirectory"] == "pirtad"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["UMask"] == "0077"


@services
def test_binary_and_settings_are_the_same_in_all(path):
    service = section(path, "Service")
    assert service["ExecStart"].split()[0] == BINARY
    assert "PIRTAD_CONFIG=/etc/pirtad/pirtad.toml" in service["Environment"].split()
    page = (SYSTEMD.parents[1] / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert BINARY.removesuffix("/bin/pirtad") in page
    assert "/etc/pirtad/pirtad.toml" in page


def test_a_worker_may_lose_a_process_and_its_stop_outlasts_a_stage():
    worker = section(SYSTEMD / "pirtad-worker@.service", "Service")
    assert worker["OOMPolicy"] == "continue"
    compose = (SYSTEMD.parent / "compose.yaml").read_text(encoding="utf-8")
    assert re.search(rf"stop_grace_period: {worker['TimeoutStopSec']}s", compose)
