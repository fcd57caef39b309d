"""Settings on the command line: which file is read, what a broken one does, and the example."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pirtad.daemon.cli.example_config import example_toml
from pirtad.daemon.cli.main import app
from pirtad.worker.settings import Settings, load_settings

runner = CliRunner()


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)


def test_the_example_loads_and_says_what_the_defaults_are(tmp_path: Path) -> None:
    printed = runner.invoke(app, ["config", "example"])
    assert printed.exit_code == 0
    (tmp_path / "example.toml").write_text(printed.stdout)

    assert load_settings(tmp_path / "example.toml") == Settings()


def test_the_example_has_every_setting_with_its_meaning() -> None:
    text = example_toml()
    raw = tomllib.loads(text)
    assert list(raw) == list(Settings.model_fields)
    for name, section in Settings.model_fields.items():
        assert section.annotation is not None
        assert str(section.annotation.__doc__) in text
        for key, setting in section.annotation.model_fields.items():
            assert f"# {setting.description}" in text
            # What TOML can't say is there as a comment.
            assert key in raw[name] or f"# {key} = " in text or f"# [[{name}.{key}]]" in text


def test_the_example_changed_in_every_place_is_read_back(tmp_path: Path) -> None:
    # The commented lines are usable as well, once their marks are gone.
    text = example_toml()
    before, table, after = text.partition("# [[assembly.senders]]")
    text = before + table.removeprefix("# ") + after.replace('# ae_title = "..."', 'ae_title = "CT1"', 1)
    text = text.replace('# weights_dir = "/path"', 'weights_dir = "/models/base"')
    (tmp_path / "example.toml").write_text(text)

    settings = load_settings(tmp_path / "example.toml")

    assert settings.assembly.senders[0].ae_title == "CT1"
    assert settings.inference.weights_dir == Path("/models/base")


def test_check_reads_the_file_that_is_named_or_lies_here_or_none(tmp_path: Path, monkeypatch) -> None:
    assert "defaults" in runner.invoke(app, ["config", "check"]).stdout

    (tmp_path / "pirtad.toml").write_text("[listener]\nport = 11113\n")
    assert runner.invoke(app, ["config", "check"]).stdout.startswith("pirtad.toml: usable")

    (tmp_path / "named.toml").write_text("[listener]\nport = 11114\n")
    monkeypatch.setenv("PIRTAD_CONFIG", "named.toml")
    assert runner.invoke(app, ["config", "check"]).stdout.startswith("named.toml: usable")
    assert runner.invoke(app, ["-c", "pirtad.toml", "config", "check"]).stdout.startswith("pirtad.toml: usable")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[listener]\nport = 0\n", "pirtad.toml:2: listener.port"),
        ("[listener]\nporte = 1\n", "pirtad.toml:2: listener.porte: no such setting"),
        ("[listener\n", "pirtad.toml"),
    ],
)
def test_unusable_settings_end_every_command_with_2(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "pirtad.toml").write_text(content)
    for command in (["config", "check"], ["status"], ["retry", "1.2"], ["listen"], ["up"], ["doctor"]):
        result = runner.invoke(app, command)
        assert result.exit_code == 2, command
        assert told in result.output


def test_a_file_that_is_not_there_is_no_default(tmp_path: Path) -> None:
    result = runner.invoke(app, ["-c", "nowhere.toml", "config", "check"])
    assert result.exit_code == 2
    assert "nowhere.toml: No such file" in result.stderr


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("pirtad 0.")
