"""Logs of every process of pirtad: to standard error, as text for people or JSON for collectors, no patient data.

Light: no torch, no DICOM. `study_uid` and `job_id` are bound with `structlog.contextvars.bound_contextvars` and then
stand on every line of that thread, whoever wrote it.

The libraries' own loggers pass through the same output. Two of them are held back, since their messages quote what
they read: pynetdicom would dump associations and datasets below WARNING, pydicom quotes element values in its
warnings.
"""

from __future__ import annotations

import logging
import sys
import warnings

import structlog
from structlog.typing import Processor

from pirtad.worker.settings import LogSettings


def configure_logging(settings: LogSettings) -> None:
    """Send structlog's and the standard library's log lines to standard error. Called once, by a process's `main`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a logger made at import must follow a configuration made later
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings.format)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    _quieten_libraries()


def _rendering(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The default traceback prints local variables, and a dataset may be one of them.
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]


def _quieten_libraries() -> None:
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    for noisy in ("urllib3", "httpx", "httpcore", "alembic", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.captureWarnings(True)
