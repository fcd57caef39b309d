"""The Dockerfiles, read as text: there is no container engine where the tests run."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))

pytestmark = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


@dataclass(frozen=True)
class Instruction:
    name: str
    rest: str


def instructions(path: Path) -> list[Instruction]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def sources_copied(path: Path, **arguments: str) -> list[str]:
    """What COPY takes from the build context, with build arguments put in."""
    defaults = dict(i.rest.partition("=")[::2] for i in instructions(path) if i.name == "ARG")
    values = {name: value.strip('"') for name, value in defaults.items()} | arguments
    found = []
    for instruction in instructions(path):
        if instruction.name == "COPY" and "--from=" not in instruction.rest:
            words = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], instruction.rest).split()
            found += [word for word in words[:-1] if not word.startswith("--")]
    return found


def test_there_are_two(path):
    assert len(DOCKERFILES) == 2
    assert instructions(path)[0].name == "FROM"


def test_everything_copied_is_there(path):
    sources = sources_copied(path)
    assert len(sources) >= 8
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_everything_copied_reaches_the_builder(path):
    lines = path.with_name(path.name + ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert rules[0] == "*"
    sources = [*sources_copied(path)]
    if path.name.startswith("worker"):
        sources += sources_copied(path, REQUIREMENTS="deploy/gpu.requirements.txt")
    for source in sources:
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source
    assert [pattern for pattern in let_in if not list(ROOT.glob(pattern))] == []


def test_all_packages_of_the_project_are_copied(path):
    # setuptools refuses to build without the folders, the readme and the licence files that pyproject names.
    assert {"daemon", "inference", "worker", "pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= set(
        sources_copied(path)
    )


def test_base_images_are_tagged(path):
    stages = set()
    for instruction in (i for i in instructions(path) if i.name == "FROM"):
        image, _, stage = instruction.rest.partition(" AS ")
        assert image in stages or re.fullmatch(r"python:3\.\d+-slim", image), image
        stages.add(stage)


def test_it_does_not_run_as_root_and_both_images_share_one_account(path):
    users = [i.rest for i in instructions(path) if i.name == "USER"]
    assert users == ["10001:10001"]
    made = " ".join(i.rest for i in instructions(path) if i.name == "RUN")
    assert "--uid 10001" in made
    assert "--gid 10001" in made
    assert "--owner pirtad --group pirtad --mode 0700 /var/lib/pirtad" in made


def test_signals_reach_the_process(path):
    # The shell form would put a shell in between, which passes no SIGTERM on.
    for name in ("ENTRYPOINT", "CMD"):
        (only,) = [i.rest for i in instructions(path) if i.name == name]
        assert isinstance(json.loads(only), list)


def test_torch_is_in_the_workers_image_alone(path):
    text = " ".join(sources_copied(path)) + " ".join(i.rest for i in instructions(path) if i.name == "RUN")
    assert ("torch" in text or "worker.requirements" in text) == path.name.startswith("worker")


def test_dependencies_come_from_the_requirements_alone(path):
    for command in (i.rest for i in instructions(path) if i.name == "RUN"):
        if re.search(r"pip install --no-deps \.", command):
            return
    pytest.fail("the package is installed with its whole list of dependencies")
