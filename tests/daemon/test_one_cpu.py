"""The listener's threads keep to one processor, and only they."""

from __future__ import annotations

import os
import threading

import pytest

from pirtad.daemon.one_cpu import on_one_cpu

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="a system without processor affinity")


def test_threads_started_inside_keep_to_one_processor_and_outside_all_is_as_before():
    before, seen = os.sched_getaffinity(0), []
    with on_one_cpu():
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
    assert [len(one) for one in seen] == [1]
    assert seen[0] <= before
    assert os.sched_getaffinity(0) == before


def test_where_it_is_forbidden_all_goes_on(monkeypatch):
    def forbidden(*_):
        raise PermissionError(1, "no")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    with on_one_cpu():
        pass
