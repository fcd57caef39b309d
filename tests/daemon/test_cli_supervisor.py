"""Order, restarts and the end of children, with real processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.live import wait_for

from pirtad.daemon import supervisor as supervisor_module
from pirtad.daemon.supervisor import Child, Restarts, Supervisor


def child(log: Path, name: str, **kwargs) -> Child:
    """Writes `start NAME` and, on SIGTERM, `stop NAME`; it answers once it has started."""
    script = f"trap 'echo stop {name} >> {log}; exit 0' TERM; echo start {name} >> {log}; while :; do sleep 0.02; done"
    kwargs.setdefault("answers", lambda: f"start {name}" in lines(log))
    return Child(name, ("/bin/sh", "-c", script), **kwargs)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def run(groups: list[list[Child]], on_ready=None) -> list[str]:
    """Supervise until everything is ready (and `on_ready` was called), then stop; what was said."""
    said: list[str] = []

    def ready() -> None:
        if on_ready is not None:
            on_ready(supervisor)
        supervisor.stop()

    supervisor = Supervisor(groups, said.append, ready)
    supervisor.run()
    assert supervisor.pids() == {}
    return said


def gone(pid: int) -> bool:
    """No such process, or only what is left of it until its parent looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_starts_in_order_and_stops_in_reverse(tmp_path: Path) -> None:
    # Given a queue that the others wait for
    log = tmp_path / "log"
    groups = [[child(log, "queue", others_wait=True)], [child(log, "worker")], [child(log, "listener")]]

    said = run(groups)

    # Then the queue was first up and last down, and the listener was down before the worker
    assert lines(log)[0] == "start queue"
    assert lines(log)[3:] == ["stop listener", "stop worker", "stop queue"]
    assert said == []


def test_a_child_that_does_not_answer_holds_up_readiness_not_the_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # Given a first child that only answers after the second one has started
    first = child(log, "web", answers=lambda: "start listener" in lines(log))

    run([[first], [child(log, "listener")]])

    assert {"start web", "start listener"} <= set(lines(log))


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    # Given a child whose first life ends at once
    marker = tmp_path / "marker"
    script = f"[ -e {marker} ] || {{ touch {marker}; exit 3; }}; touch {marker}.second; sleep 60"
    mortal = Child("mortal", ("/bin/sh", "-c", script), answers=Path(f"{marker}.second").exists)

    said = run([[mortal]])

    assert said == ["mortal ended with status 3; starting it again in 1 s"]


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    up = tmp_path / "up"
    stubborn = Child(
        "stubborn",
        ("/bin/sh", "-c", f"trap '' TERM; touch {up}; while :; do sleep 0.02; done"),
        stop_grace_s=0.1,
        answers=up.exists,
    )
    pids: list[int] = []

    said = run([[stubborn]], lambda supervisor: pids.append(supervisor.pids()["stubborn"]))

    assert said == ["stubborn does not stop; killing it"]
    assert gone(pids[0])


def test_sigterm_stops_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    supervisor = Supervisor([[child(log, "only")]], lambda _: None, lambda: os.kill(os.getpid(), signal.SIGTERM))

    supervisor.run()

    assert lines(log) == ["start only", "stop only"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_no_child_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    # Given a supervisor in a process of its own, with a child that ignores SIGTERM
    pid_file = tmp_path / "pid"
    program = (
        "from pirtad.daemon.supervisor import Child, Supervisor\n"
        f"script = \"trap '' TERM; echo $$ > {pid_file}.part; mv {pid_file}.part {pid_file}; \"\n"
        "script += 'while :; do sleep 1; done'\n"
        "Supervisor([[Child('one', ('/bin/sh', '-c', script))]], print, lambda: None).run()\n"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", program]) as supervisor:
        wait_for(pid_file.exists, 15, "the child")
        pid = int(pid_file.read_text())
        assert not gone(pid)

        # When the supervisor is killed and can do nothing any more
        supervisor.kill()

    # Then its child is gone as well
    wait_for(lambda: gone(pid), 5, "the child's end")


def test_waits_grow_to_a_cap_and_start_over_after_a_healthy_life() -> None:
    restarts = Restarts()
    assert [restarts.died(started_at=0, now=1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert restarts.due_at == 31
    assert restarts.died(started_at=100, now=200) == 1


def test_a_child_that_can_not_be_started_is_tried_again_and_the_others_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a moment without room for another process
    real, log, refused = supervisor_module._start, tmp_path / "log", []

    def start(child: Child) -> subprocess.Popen[bytes]:
        if child.name == "worker" and not refused:
            refused.append(child.name)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(child)

    monkeypatch.setattr(supervisor_module, "_start", start)
    monkeypatch.setattr(supervisor_module, "BACKOFF_BASE_S", 0.0)
    said = run([[child(log, "listener")], [child(log, "worker")]])
    assert sorted(lines(log)[:2]) == ["start listener", "start worker"]
    assert said == ["worker can't be started (Resource temporarily unavailable); trying again in 0 s"]
