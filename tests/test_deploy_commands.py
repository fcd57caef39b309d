"""Every pirtad command in the deployment's files and pages is one that exists, with options that exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pirtad.daemon.cli.main import app
from pirtad.worker.contract import Stage

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def from_compose() -> list[list[str]]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return [body["command"] for body in services.values() if body["image"].startswith("pirtad/")]


def from_dockerfiles() -> list[list[str]]:
    texts = [path.read_text(encoding="utf-8") for path in DEPLOY.glob("*.Dockerfile")]
    return [json.loads(line) for text in texts for line in re.findall(r"^CMD (.+)$", text, re.MULTILINE)]


def from_units() -> list[list[str]]:
    found = []
    for path in DEPLOY.glob("systemd/*.service"):
        for line in re.findall(r"^ExecStart=\S+/pirtad (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            found += [shlex.split(line.replace("%i", stage)) for stage in Stage] if "%i" in line else [line.split()]
    return found


def from_pages() -> list[list[str]]:
    """Lines of code blocks, and `pirtad ...` in the text and in comments."""
    found = []
    for path in (ROOT / "docs" / "deployment.md", ROOT / "SECURITY.md", DEPLOY / "pirtad.example.toml",
                 DEPLOY / "vllm-cpu" / "README.md"):  # fmt: skip
        text = path.read_text(encoding="utf-8")
        lines = re.findall(r"^#? {2,}(?:sudo -u pirtad )?(?:\S+/bin/)?pirtad ([a-z-][^#\n]*)", text, re.MULTILINE)
        found += [shlex.split(line) for line in [*lines, *re.findall(r"`pirtad ([a-z-][^`]*)`", text)]]
    return found


COMMANDS = sorted({" ".join(words) for words in from_compose() + from_dockerfiles() + from_units() + from_pages()})


def parse(words: list[str]) -> None:
    """Parse a command line, without running it; a UsageError of click's if it could not be run."""
    command: Any = typer.main.get_command(app)
    if words[0] in {"--config", "-c"}:
        words = words[2:]
    path = []
    while hasattr(command, "commands"):
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    command.make_context(" ".join(path), words)


def test_all_places_were_looked_at():
    assert len(from_compose()) == 6
    assert len(from_dockerfiles()) == 2
    assert len(from_units()) == 5
    assert len(from_pages()) >= 5


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_exists(line, tmp_path, monkeypatch):
    (tmp_path / "study").mkdir()  # what the examples send
    monkeypatch.chdir(tmp_path)
    parse(shlex.split(line))


def test_a_wrong_command_would_be_noticed():
    with pytest.raises(KeyError):
        parse(["lisen"])
    for words in (["worker", "--queue", "nosuchqueue"], ["worker", "--nosuchoption"], ["web", "surplus"]):
        with pytest.raises(Exception, match=r"nosuch|surplus"):
            parse(words)
