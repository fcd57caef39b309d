"""What an installed pirtad needs is packaged; a missing entry shows only in a wheel, never in an editable install."""

from __future__ import annotations

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOL = PROJECT["tool"]["setuptools"]
# Read by people or by the command that makes new revisions, never by an installed pirtad.
NOT_NEEDED = {"worker/ledger/migrations/script.py.mako"}


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in listed.splitlines() if line.split("/")[0] in ("daemon", "inference", "worker")]


def test_every_package_is_listed() -> None:
    found = {"pirtad." + ".".join(path.parent.parts) for path in tracked() if path.suffix == ".py"}
    assert found == set(TOOL["packages"])


def test_every_data_file_is_packaged() -> None:
    def is_packaged(path: Path) -> bool:
        for package, patterns in TOOL["package-data"].items():
            folder = Path(*package.split(".")[1:])
            if path.is_relative_to(folder):
                inner = str(path.relative_to(folder))
                if any(fnmatch(inner, pattern.replace("**/*", "*")) for pattern in patterns):
                    return True
        return False

    data = [path for path in tracked() if path.suffix != ".py" and str(path) not in NOT_NEEDED]
    assert [str(path) for path in data if not is_packaged(path)] == []


def test_the_makefile_installs_the_torch_that_the_project_pins() -> None:
    pinned = next(entry for entry in PROJECT["project"]["dependencies"] if entry.startswith("torch=="))
    assert pinned in (ROOT / "Makefile").read_text(encoding="utf-8")
