"""The logging of every process: what comes out, and what must not. Run in a process of its own, as in real life."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, warnings
import structlog
from pirtad.worker.logs import configure_logging
from pirtad.worker.settings import LogSettings
configure_logging(LogSettings(format={format!r}, level={level!r}))
log = structlog.get_logger("pirtad.test")
{body}
"""


def _run(body: str, log_format: str = "json", level: str = "info") -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM.format(format=log_format, level=level, body=body)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""
    return done.stderr


def test_json_lines_carry_level_time_logger_and_what_is_bound():
    body = """
with structlog.contextvars.bound_contextvars(study_uid="1.2", job_id="abc"):
    log.info("stage done", seconds=1.5)
    logging.getLogger("a.library").warning("of %d", 3)
log.debug("not shown")
"""
    ours, theirs = [json.loads(line) for line in _run(body).splitlines()]
    assert (ours["event"], ours["level"], ours["logger"], ours["seconds"]) == ("stage done", "info", "pirtad.test", 1.5)
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("of 3", "warning")
    assert {line["study_uid"] for line in (ours, theirs)} == {"1.2"}
    assert {line["job_id"] for line in (ours, theirs)} == {"abc"}


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_shows_no_local_variables(log_format):
    body = """
def work(patient):
    raise ValueError("no")
try:
    work("Sample^" + "Patience")
except ValueError:
    log.exception("failed")
"""
    text = _run(body, log_format)
    assert "ValueError: no" in text
    assert "Sample^Patience" not in text


def test_libraries_do_not_quote_what_they_read():
    body = """
from pydicom.dataset import Dataset
dataset = Dataset()
dataset.PatientID = "Sample^Patience " * 10      # too long: pydicom warns, and quotes it
logging.getLogger("pynetdicom.dimse").info("Sample^Patience")
logging.getLogger("pynetdicom.dimse").warning("a warning")
warnings.warn("another warning")
"""
    text = _run(body, level="debug")
    assert "Sample^Patience" not in text
    assert "a warning" in text
    assert "another warning" in text
