"""dicom-ai-router 0.3.0 from PyPI as a receiver: its own program (`python -m airouter serve`), on loopback.

`tests/bench/receive_router.py` installs it with pip into an environment of its own, .cache/dicom-ai-router (300 MB).
It has no routing rule here and a quiet period of an hour, so it receives and does nothing else. Its AE takes
pynetdicom's default of ten associations at a time.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".cache" / "dicom-ai-router"
PACKAGE = "dicom-ai-router==0.3.0"
AE_TITLE = "AIROUTER"


def install() -> None:
    """Make the environment; subprocess.CalledProcessError if that fails."""
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, PACKAGE], check=True)


def missing() -> str:
    """Why it can't be run; "" if it can."""
    return "" if (ENVIRONMENT / "bin" / "dicom-ai-router").exists() else "not installed (make bench-peers)"


def prepare(directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The command, and what it needs in its environment: it starts only with a secret for pseudonyms."""
    config = directory / "router.yaml"
    config.write_text(
        json.dumps(  # JSON is YAML
            {
                "router": {
                    "ae_title": AE_TITLE,
                    "port": port,
                    "bind_address": "127.0.0.1",
                    "study_quiet_seconds": 3600,
                    "workdir": str(directory / "data"),
                },
                "pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": 1},
                "ai_endpoints": {},
                "rules": [],
                "deid": {},
            }
        )
    )
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "airouter", "serve", "--config", str(config)]
    return command, {"AIROUTER_DEID_SALT": secrets.token_hex(32)}


if __name__ == "__main__":
    install()
