"""`python -m pirtad.daemon.cli` is `pirtad`."""

from __future__ import annotations

from pirtad.daemon.cli.main import app

if __name__ == "__main__":
    app(prog_name="pirtad")
