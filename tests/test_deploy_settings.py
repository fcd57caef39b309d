"""Names and values of settings in the deployment's files and pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pirtad.daemon.cli.common import CONFIG_VARIABLE
from pirtad.worker.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
# Everything with a PIRTAD_ name in it that an operator reads or a machine runs.
FILES = sorted(
    path
    for path in [*DEPLOY.rglob("*"), ROOT / "docs" / "deployment.md", ROOT / "SECURITY.md"]
    if path.is_file() and "__pycache__" not in path.parts
)


def variables() -> set[str]:
    """Every environment variable that sets something."""
    return {
        f"PIRTAD_{section}__{key}".upper()
        for section, field in Settings.model_fields.items()
        for key in field.annotation.model_fields
    } | {CONFIG_VARIABLE}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_named_is_a_setting(path):
    named = set(re.findall(r"\bPIRTAD_[A-Z][A-Z0-9_]*\b", path.read_text(encoding="utf-8")))
    assert named - variables() == set()


def test_there_is_something_to_check():
    found = sum(len(re.findall(r"\bPIRTAD_\w+__", path.read_text(encoding="utf-8"))) for path in FILES)
    assert found > 40


def test_the_production_example_is_usable():
    settings = load_settings(DEPLOY / "pirtad.example.toml")
    assert settings.listener.host == "0.0.0.0"
    assert settings.web.host == "127.0.0.1"
    assert settings.queue.redis_url.startswith("redis://")
    assert settings.storage.data_dir == Path("/var/lib/pirtad")
    assert settings.assembly.waiting_times_s("SLOWSCANNER") == (60, 1800)
    assert settings.assembly.waiting_times_s("OTHER") == (10, 900)


def test_what_the_production_example_leaves_commented_is_usable_too(tmp_path):
    # Given every commented setting made live
    text = (DEPLOY / "pirtad.example.toml").read_text(encoding="utf-8")
    text = text.replace('database_url = ""\n', "")
    live = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    assert live.count("\n# ") < text.count("\n# ")
    path = tmp_path / "pirtad.toml"
    path.write_text(live, encoding="utf-8")

    # Then it is still a settings file
    settings = load_settings(path)
    assert settings.inference.weights_dir == Path("/srv/pirtad/encoder")
    assert settings.storage.database_url.startswith("postgresql+psycopg://")


def test_the_production_example_holds_no_password():
    assert "api_key" not in (DEPLOY / "pirtad.example.toml").read_text(encoding="utf-8")
    assert not re.search(r"://[^/\s@]+:[^/\s@]+@", (DEPLOY / "pirtad.example.toml").read_text(encoding="utf-8"))
