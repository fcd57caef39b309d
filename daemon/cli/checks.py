"""The checks of `pirtad doctor` that need no model: each looks at one thing and changes nothing."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon import embedded_redis
from pirtad.daemon.cli.common import connectable, web_address
from pirtad.worker.deliver import Destination, echo
from pirtad.worker.delivery_settings import DestinationSettings
from pirtad.worker.errors import WorkerError
from pirtad.worker.ledger import migrations
from pirtad.worker.ledger.database import Database
from pirtad.worker.queue import embedded_socket, redis_client
from pirtad.worker.settings import EMBEDDED, Settings
from pirtad.worker.stow import StowService, reach

_MIN_FREE_BYTES = 2 * 10**9  # the converted language model is 0.5 GB, a study 10 to 200 MB
_TIMEOUT_S = 3.0
_CALLING_AE = "PIRTADDOCTOR"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's outcome; `advice` says what to do about a failure."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def data_dir(settings: Settings) -> Finding:
    """The data directory, or the one it will be made in, can be written and has room."""
    path = settings.storage.data_dir.absolute()
    existing = next(candidate for candidate in (path, *path.parents) if candidate.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(
            "data directory", False, f"{existing}: {error.strerror}", "give pirtad's user a writable storage.data_dir"
        )
    detail = f"{path}, {free / 1e9:.1f} GB free" + ("" if path.exists() else ", made at the first start")
    return Finding("data directory", free >= _MIN_FREE_BYTES, detail, "make room, or move storage.data_dir")


def space(settings: Settings) -> Finding:
    """Images are not refused for want of room, now or before retention makes some."""
    path = settings.storage.data_dir.absolute()
    existing = next(candidate for candidate in (path, *path.parents) if candidate.exists())
    least, removing = settings.storage.min_free_bytes, settings.retention.free_below_bytes
    usage = shutil.disk_usage(existing)
    told = f"images are refused with less than {least / 1e9:.1f} GB free"
    told += f", the oldest delivered removed with less than {removing / 1e9:.1f} GB" if removing else ""
    if usage.free < least:
        advice = "make room, turn on [retention], or lower storage.min_free_bytes"
        return Finding("space", False, f"{told}: that is so now, with {usage.free / 1e9:.1f} GB", advice)
    if 0 < removing <= least:
        advice = "set retention.free_below_bytes above storage.min_free_bytes"
        return Finding("space", False, f"{told}: too late", advice)
    if usage.total <= removing:
        advice = "lower retention.free_below_bytes"
        return Finding("space", False, f"{told}, and the disk has {usage.total / 1e9:.1f} GB: nothing is kept", advice)
    return Finding("space", True, told)


def ledger(settings: Settings) -> Finding:
    """The ledger answers and this version can use its schema."""
    url = settings.storage.ledger_url()
    shown = make_url(url).render_as_string(hide_password=True)
    file = make_url(url).database or ""
    if url.startswith("sqlite") and not Path(file).exists():
        return Finding("ledger", True, f"{shown}, made at the first start")
    script = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
    head = script.get_current_head()
    try:
        database = Database(url)
        try:
            with database.engine.execution_options(pirtad_read_only=True).connect() as connection:
                found = MigrationContext.configure(connection).get_current_revision()
        finally:
            database.close()
        if found is not None and found != head:
            script.get_revision(found)
    except CommandError:
        return Finding(
            "ledger", False, f"{shown} has schema {found}, unknown to this version", "install a newer pirtad"
        )
    except (SQLAlchemyError, ImportError) as error:
        advice = "check storage.database_url, and that the database runs; PostgreSQL needs pirtad[postgres]"
        return Finding("ledger", False, f"{shown} can't be opened ({type(error).__name__})", advice)
    later = "" if found == head else f", brought up to {head} at the next start"
    return Finding("ledger", True, f"{shown}, schema {found}{later}")


def queue(settings: Settings) -> Finding:
    """The queue's server answers, or is the embedded one and can be started."""
    embedded = settings.queue.redis_url == EMBEDDED
    where = str(embedded_socket(settings.storage.data_dir)) if embedded else "queue.redis_url"
    client = redis_client(settings, timeout_s=_TIMEOUT_S)
    try:
        server = client.info("server")
        version = server.get("valkey_version") or server.get("redis_version")
        return Finding("queue", True, f"{where} answers, version {version}")
    except redis.RedisError as error:
        if not embedded:
            advice = "start the Redis server, or correct queue.redis_url"
            return Finding("queue", False, f"{where} does not answer ({type(error).__name__})", advice)
    finally:
        client.close()
    try:
        return Finding("queue", True, f"embedded, not running; `pirtad up` starts {embedded_redis.server_binary()}")
    except embedded_redis.EmbeddedServerError as error:
        return Finding("queue", False, str(error), "")


def listener(settings: Settings) -> Finding:
    """The listener's port is free, or the listener answers C-ECHO on it."""
    host, port = settings.listener.host, settings.listener.port
    problem = _bind_problem(host, port)
    if problem is None:
        return Finding("listener", True, f"{host}:{port} is free; the listener does not run")
    allowed = settings.listener.allowed_calling_ae_titles
    calling = allowed[0] if allowed else _CALLING_AE
    failure = _echo_failure(settings.listener.ae_title, connectable(host), port, calling)
    if failure is None:
        return Finding("listener", True, f"{settings.listener.ae_title} answers C-ECHO on {host}:{port}")
    advice = "another program has the port, or the listener hangs; see `ss -tlnp`, or change listener.port"
    return Finding("listener", False, f"{host}:{port}: {problem}; {failure.reason}", advice)


def page(settings: Settings) -> Finding:
    """The page's port is free, or the page answers on it."""
    host, port = settings.web.host, settings.web.port
    problem = _bind_problem(host, port)
    if problem is None:
        return Finding("page", True, f"{host}:{port} is free; the page is not served")
    url = f"{web_address(settings)}/healthz"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_TIMEOUT_S) as response:
            answer = json.load(response)
        if isinstance(answer, dict) and answer.get("name") == "pirtad":
            return Finding("page", True, f"{host}:{port} answers, version {answer.get('version')}")
    except (OSError, ValueError):
        pass  # whoever has the port, it is not the page
    return Finding("page", False, f"{host}:{port}: {problem}, not by pirtad's page", "change web.port, see `ss -tlnp`")


def pacs(settings: Settings) -> Finding:
    """The PACS, or each named destination, answers."""
    named = settings.delivery.destinations
    if named:
        failures = [(one.name, failure) for one in named if (failure := _destination_failure(one)) is not None]
        if not failures:
            return Finding("PACS", True, f"all destinations answer: {', '.join(one.name for one in named)}")
        told = "; ".join(f"{name}: {failure.reason}" for name, failure in failures)
        return Finding("PACS", False, told, failures[0][1].hint or "check [[delivery.destinations]]")
    peer = settings.pacs
    failure = _echo_failure(peer.ae_title, peer.host, peer.port, peer.calling_ae_title)
    if failure is None:
        return Finding("PACS", True, f"{peer.ae_title} at {peer.host}:{peer.port} answers C-ECHO")
    advice = failure.hint or f"check [pacs], and that the PACS knows the AE title {peer.calling_ae_title}"
    return Finding("PACS", False, failure.reason, advice)


ALL: tuple[Callable[[Settings], Finding], ...] = (data_dir, space, ledger, queue, listener, page, pacs)


def _bind_problem(host: str, port: int) -> str | None:
    """Why the port can't be listened on; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT don't count
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or type(error).__name__
    return None


def _destination_failure(one: DestinationSettings) -> WorkerError | None:
    if one.kind == "dicom":
        return _echo_failure(one.ae_title, one.host, one.port, one.calling_ae_title)
    try:
        reach(StowService(one.url, one.token_file, one.ca_file, _TIMEOUT_S))
    except WorkerError as error:
        return error
    return None


def _echo_failure(called: str, host: str, port: int, calling: str) -> WorkerError | None:
    try:
        echo(
            Destination(
                called, host, port, calling,
                connect_timeout_s=_TIMEOUT_S, association_timeout_s=_TIMEOUT_S, answer_timeout_s=_TIMEOUT_S,
            )
        )  # fmt: skip
    except WorkerError as error:
        return error
    return None
