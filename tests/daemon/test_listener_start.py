"""A listener says that it is up once its own port answers a C-ECHO, and closes it again where that never comes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.live import free_port
from support.receiving import receiving_side

from pirtad.daemon.errors import ListenerNotReady
from pirtad.daemon.listener import Listener


def _echoes(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[int]:
    """Have the own C-ECHO fail at the tries for which that is said; the tries so far."""
    real, tries = Listener._answers, []

    def answers(listener: Listener) -> bool:
        tries.append(len(tries) + 1)
        return not fails(tries[-1]) and real(listener)

    monkeypatch.setattr(Listener, "_answers", answers)
    return tries


def test_two_echoes_that_fail_do_not_keep_it_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = _echoes(monkeypatch, lambda number: number < 3)
    with receiving_side(tmp_path, port=free_port()) as side:
        listener = Listener(side.receiver.settings, side.receiver, side.notices)
        listener.start()
        try:
            assert tries == [1, 2, 3]
            with socket.create_connection(("127.0.0.1", side.receiver.settings.port), timeout=10):
                pass
        finally:
            listener.stop(5)


def test_a_port_that_never_answers_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = _echoes(monkeypatch, lambda _: True)
    port = free_port()
    with receiving_side(tmp_path, port=port) as side:
        listener = Listener(side.receiver.settings, side.receiver, side.notices)
        with pytest.raises(ListenerNotReady, match=f"port {port} is bound and does not answer"):
            listener.start()
        assert tries == [1, 2, 3]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
        assert not listener._accepting.is_alive()
