"""Several service processes are one to whoever asks: one rate for a key, one sum of figures."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aimwell.engine.workspace import Workspace
from aimwell.service.rates import SECONDS
from tests.service.scene import Service, make_key, make_workspace, running, wait_until


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Workspace]:
    made = make_workspace(tmp_path / "w")
    yield made
    made.close()


def list_services(pid: int) -> list[int]:
    """The children that serve."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # One that has died may be gone by now.
        with suppress(OSError):
            if b"service" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Whoever connects meanwhile comes to the other process."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def read_figures(service: Service, key: str) -> dict[str, float]:
    lines = service.call("/metrics", key=key).body.decode().splitlines()
    found = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in found}


def test_two_processes_hold_one_limit_and_tell_one_sum(fresh: Workspace) -> None:
    rate, name = 1, 'aimwell_requests_total{method="POST",route="/v1/track",status="%d"}'
    slow, reader = make_key(fresh, "write", rate=rate), make_key(fresh, "read")
    statuses: list[int] = []
    with running(fresh.path, "--workers", "2") as service:
        wait_until(lambda: service.call("/readyz").status == 200)
        both = wait_until(lambda: len(found := list_services(service.process.pid)) == 2 and found)

        def send() -> bool:
            event = {"event": "Seen", "userId": "u", "messageId": f"m{len(statuses)}"}
            statuses.append(service.call("/v1/track", event, key=slow).status)
            return statuses[-1] == 429

        started = time.monotonic()
        for one in both:
            with stopped(one):
                wait_until(send)
        through, refused = statuses.count(200), statuses.count(429)
        assert rate * SECONDS <= through <= rate * (SECONDS + time.monotonic() - started)
        assert refused == 2
        # An answer is counted once it was sent.
        wait_until(lambda: read_figures(service, reader).get(name % 429) == refused)
        for one in both:
            with stopped(one):
                figures = read_figures(service, reader)
            assert figures[name % 200] == figures['aimwell_events_total{status="accepted"}'] == through
            assert figures[name % 429] == refused
            assert figures["aimwell_events_waiting"] == 0
        os.kill(both[0], signal.SIGKILL)
        wait_until(lambda: len(found := list_services(service.process.pid)) == 2 and found != both)
        figures = wait_until(lambda: read_figures(service, reader))
        assert figures[name % 200] == through
        assert figures["aimwell_events_waiting"] == 0
        assert service.end() == 0
