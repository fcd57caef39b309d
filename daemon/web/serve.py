"""Serves the page with uvicorn until SIGTERM or SIGINT."""

from __future__ import annotations

import uvicorn

from pirtad.daemon.web.app import make_app
from pirtad.worker.ledger.database import open_ledger
from pirtad.worker.logs import configure_logging
from pirtad.worker.settings import Settings

_FINISH_S = 5  # requests are short; the page's own refresh comes from new ones


def serve(settings: Settings) -> int:
    """Run the server; returns the exit code. SQLAlchemyError or LedgerOutOfDate if the ledger can't be opened."""
    configure_logging(settings.log)
    database = open_ledger(settings.storage.ledger_url())
    try:
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(settings, database),
                host=settings.web.host,
                port=settings.web.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_FINISH_S,
            )
        )
        server.run()
        return 0 if server.started else 1
    finally:
        database.close()
