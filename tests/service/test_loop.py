"""``aimwell serve``: everything in one process group; events reach the customer's page; what is killed comes again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from requests.exceptions import RequestException
from segment.analytics.client import Client
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.engine.workspace import Workspace
from aimwell.service.supervising import Program, Supervisor
from tests.service.scene import PATIENCE, Service, make_key, make_workspace, read_events, running, wait_until


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Workspace]:
    made = make_workspace(tmp_path / "w")
    yield made
    made.close()


def show_customer(folder: Path, customer: str) -> dict[str, Any] | None:
    """``aimwell customer``: everything known about one customer."""
    done = CliRunner().invoke(app, ["-w", str(folder), "--json", "customer", customer, "--show-personal"])
    found: dict[str, Any] | None = json.loads(done.stdout) if done.exit_code == 0 else None
    return found


def list_children(pid: int) -> dict[str, int]:
    """The child processes by what they run."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if int(state[1]) == pid and state[0] != "Z":
            found["worker" if "worker" in words else "service" if "service" in words else "other"] = int(
                folder.name
            )
    return found


def send(service: Service, key: str, customer: str) -> None:
    """As a client does that tries again: a connection to a process that was killed is of no use."""

    def is_sent() -> bool:
        client = Client(key, host=service.url, sync_mode=True, timeout=PATIENCE)
        try:
            client.identify(customer, {"city": "Hangzhou", "first_name": "Ann"}, message_id=f"{customer}-i")
            client.track(customer, "Product Viewed", {"product_id": "p1"}, message_id=f"{customer}-t")
        except RequestException:
            return False
        return True

    wait_until(is_sent)


def test_events_reach_the_customers_page_whatever_is_killed(fresh: Workspace) -> None:
    key = make_key(fresh, "write")
    with running(fresh.path, command="serve") as service:
        wait_until(lambda: service.call("/readyz").status == 200)
        send(service, key, "ann")
        page = wait_until(lambda: show_customer(fresh.path, "ann"))
        assert "Product Viewed" in json.dumps(page)
        before = wait_until(
            lambda: (found := list_children(service.process.pid)).keys() >= {"service", "worker"} and found
        )
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        # The socket stays open: who connects meanwhile waits, and is answered.
        send(service, key, "bob")
        assert wait_until(lambda: show_customer(fresh.path, "bob")) is not None
        after = wait_until(
            lambda: (found := list_children(service.process.pid)).keys() >= {"service", "worker"} and found
        )
        assert not set(before.values()) & set(after.values())
        assert service.end() == 0
        assert list_children(service.process.pid) == {}
        for pid in after.values():
            assert not Path(f"/proc/{pid}/cmdline").exists()
    assert len(read_events(fresh)) == 4


def test_a_supervisor_that_is_killed_takes_its_children_along(fresh: Workspace) -> None:
    with running(fresh.path, command="serve") as service:
        children = wait_until(
            lambda: (found := list_children(service.process.pid)).keys() >= {"service", "worker"} and found
        )
        service.end(signal.SIGKILL)
        for pid in children.values():
            assert wait_until(lambda pid=pid: not _is_alive(pid))


def test_what_dies_at_once_is_started_again_later_each_time(tmp_path: Path) -> None:
    log, stop = tmp_path / "log", Event()
    code = f"open({str(log)!r}, 'a').write('.'); raise SystemExit(7)"
    told: list[tuple[str, int]] = []
    supervisor = Supervisor([Program("mayfly", [sys.executable, "-c", code])], lambda *one: told.append(one))
    thread = Thread(target=supervisor.run, args=(stop,))
    started = time.monotonic()
    thread.start()
    wait_until(lambda: len(told) >= 3)
    # Half a second, then a whole one.
    assert time.monotonic() - started >= 1.5
    stop.set()
    thread.join()
    assert set(told) == {("mayfly", 7)}
    assert 3 <= len(log.read_text()) <= 4


def test_who_does_not_end_when_told_is_ended(tmp_path: Path) -> None:
    stop, log = Event(), tmp_path / "log"
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN)"
    code = f"{deaf}; open({str(log)!r}, 'w').write('x'); time.sleep(600)"
    program = Program("deaf", [sys.executable, "-c", code])
    supervisor = Supervisor([program], lambda *_: None, end_seconds=0.5)
    thread = Thread(target=supervisor.run, args=(stop,))
    thread.start()
    wait_until(log.exists)
    pid = supervisor.list_processes()["deaf"]
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not _is_alive(pid)


def test_an_address_that_is_taken_is_told(fresh: Workspace) -> None:
    with running(fresh.path) as service:
        line = [
            sys.executable,
            "-m",
            "aimwell",
            "--json",
            "-w",
            str(fresh.path),
            "service",
            "--port",
            str(service.port),
        ]
        done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "service.address_taken"


def test_a_log_tells_refusals_without_what_was_sent(fresh: Workspace) -> None:
    key = make_key(fresh, "write")
    line = [sys.executable, "-m", "aimwell", "--json", "-w", str(fresh.path), "service", "--port", "0"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    service = Service(fresh.path, json.loads(process.stdout.readline())["url"], process)
    sent = {"userId": "ann@example.com", "event": "", "traits": {"name": "Ann Secret"}}
    assert service.call("/v1/track", sent, key=key, headers={"X-Request-Id": "find-me"}).status == 400
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=PATIENCE)
    lines = [json.loads(one) for one in told.decode().splitlines()]
    (refused,) = [one for one in lines if one["event"] == "request.refused"]
    assert refused["code"] == "data.event_without_name"
    assert (refused["status"], refused["route"], refused["request_id"]) == (400, "/v1/track", "find-me")
    assert not {"ann@example.com", "Ann Secret", key} & set(json.dumps(lines).split('"'))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
