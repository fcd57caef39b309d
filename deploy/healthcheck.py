"""Whether the process in this container does its work: exit status 0, or 1 with a line that says why.

    python healthcheck.py listener    C-ECHO to the listener
    python healthcheck.py worker      Celery's ping to a worker of this container, through Redis
    python healthcheck.py web         GET /healthz

Reads the same settings as the process: the environment and, where PIRTAD_CONFIG names one, the file.
"""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kombu.exceptions import OperationalError
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from redis.exceptions import RedisError

from pirtad.worker.queue import make_celery, redis_client
from pirtad.worker.settings import Settings, SettingsError, load_settings

_TIMEOUT_S = 5.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_CALLING_AE_TITLE = "PIRTADHEALTH"


class Unhealthy(Exception):
    """The text says what was asked and what came of it."""


def check_listener(settings: Settings) -> None:
    """C-ECHO (PS3.4 annex A) under a calling AE title that the listener lets in."""
    listener = settings.listener
    entity = AE(ae_title=next(iter(listener.allowed_calling_ae_titles), _CALLING_AE_TITLE))
    entity.add_requested_context(Verification)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    association = entity.associate(_reachable(listener.host), listener.port, ae_title=listener.ae_title)
    if not association.is_established:
        raise Unhealthy("no association with the listener")
    try:
        status = association.send_c_echo().get("Status")
    finally:
        association.release()
    if status != 0x0000:
        raise Unhealthy(f"C-ECHO was answered with {status}")


def check_worker(settings: Settings) -> None:
    """A worker of this host (in a container: of this container) answers a ping."""
    try:
        # First by itself: Celery would try for longer than a health check may take.
        with closing(redis_client(settings, _TIMEOUT_S)) as client:
            client.ping()
        with make_celery(settings) as app:
            answers = app.control.broadcast(
                "ping", pattern=f"*@{socket.gethostname()}", matcher="glob", reply=True, timeout=_TIMEOUT_S, limit=1
            )
    except (OperationalError, RedisError, OSError) as error:
        raise Unhealthy(f"the queue can't be reached: {type(error).__name__}") from error
    if not answers:
        raise Unhealthy("no worker of this host answers")


def check_web(settings: Settings) -> None:
    """The page's process answers."""
    host = _reachable(settings.web.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.web.port}/healthz"
    # No proxy from the environment: the page is in this container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=_TIMEOUT_S).close()
    except (urllib.error.URLError, OSError) as error:
        raise Unhealthy(f"/healthz: {type(error).__name__}") from error


CHECKS: dict[str, Callable[[Settings], None]] = {
    "listener": check_listener,
    "worker": check_worker,
    "web": check_web,
}


def main(arguments: list[str]) -> int:
    """The command; returns the exit status."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        print(f"usage: healthcheck.py {'|'.join(CHECKS)}", file=sys.stderr)
        return 1
    config = os.environ.get("PIRTAD_CONFIG", "")
    try:
        CHECKS[arguments[0]](load_settings(Path(config) if config else None))
    except (Unhealthy, SettingsError) as error:
        print(error)
        return 1
    return 0


def _reachable(host: str) -> str:
    return _ANY.get(host, host)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
