"""The help of every command, and docs/cli.md, which is made from it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from pirtad.daemon.cli.common import EXIT_CODES, Exit
from pirtad.daemon.cli.main import app
from pirtad.daemon.cli.reference import reference

CLI_MD = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
GROUPS = ("cases", "train", "evaluate", "config")


def commands() -> list[list[str]]:
    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        found += [[name, inner] for inner in command.commands] if name in GROUPS else [[name]]
    return found


def test_the_documentation_is_what_the_commands_say() -> None:
    assert CLI_MD.read_text(encoding="utf-8") == reference(), (
        "make it again: python -m pirtad.daemon.cli.reference > docs/cli.md"
    )


def test_every_command_has_help_with_an_example_of_itself() -> None:
    listed = commands()
    assert len(listed) >= 18
    for command in listed:
        shown = CliRunner().invoke(app, [*command, "--help"])
        assert shown.exit_code == 0
        example = shown.stdout.partition("Example")[2]
        assert re.search(r"pirtad (-\S+ \S+ )?" + " ".join(command), example), command


def test_the_exit_codes_are_told() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    for code in Exit:
        assert f"  {code.value}  {EXIT_CODES[code]}" in shown


def test_help_needs_neither_torch_nor_dicom() -> None:
    # A slow help and a listener that loads a gigabyte are what the late imports are there against.
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from pirtad.daemon.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'pydicom', 'numpy', 'SimpleITK', 'celery', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
