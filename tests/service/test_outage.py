"""The database goes away under a running service: it says so, and goes on when the database is back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from aimwell.engine.workspace import Workspace
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.service.live_world import open_today, read_decisions
from tests.service.scene import Service, make_key, make_workspace, read_events, running, wait_until


def test_a_lost_database_is_told_and_what_was_answered_is_there(
    postgres: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres.run("DROP DATABASE IF EXISTS outage", "CREATE DATABASE outage")
    make_workspace(tmp_path / "w").close()
    monkeypatch.setenv("AIMWELL_STORE__URL", postgres.address("outage"))
    made = Workspace.open(tmp_path / "w")
    open_today(made.store, people=1_000)
    key = make_key(made)
    answered: list[str] = []
    with running(made.path) as service:
        stop = threading.Event()
        thread = threading.Thread(target=send_on, args=(service, key, stop, answered))
        thread.start()
        wait_until(lambda: len(answered) > 10)
        # Nobody gets in any more, and who is in is thrown out.
        postgres.run(
            "ALTER DATABASE outage WITH ALLOW_CONNECTIONS false",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'outage'",
        )
        refused = wait_until(lambda: (one := service.call("/readyz")).status == 503 and one)
        assert refused.code in ("engine.store_unreachable", "service.store_unreachable")
        event = service.call("/v1/track", {"userId": "u", "event": "e"}, key=key)
        assert event.status == 503 and int(event.headers["retry-after"]) >= 1
        assert service.call("/v1/decide", {"customer_id": "c1"}, key=key).status == 503
        assert service.call("/healthz").status == 200
        postgres.run("ALTER DATABASE outage WITH ALLOW_CONNECTIONS true")
        wait_until(lambda: service.call("/readyz").status == 200)
        before = len(answered)
        wait_until(lambda: len(answered) > before + 10)
        stop.set()
        thread.join()
    known = {row["event_id"] for row in read_events(made)} | {
        row["request_id"] for row in read_decisions(made.store)
    }
    assert set(answered) <= known
    made.close()


def send_on(service: Service, key: str, stop: threading.Event, answered: list[str]) -> None:
    """Events and decisions by turns; the names of those that were answered with success."""
    number = 0
    while not stop.is_set():
        number += 1
        event = {"userId": "u", "event": "e", "messageId": f"m{number}"}
        if service.call("/v1/track", event, key=key).status == 200:
            answered.append(f"m{number}")
        question = {"customer_id": f"c{number % 1_000}", "request_id": f"r{number}"}
        if service.call("/v1/decide", question, key=key).status == 200:
            answered.append(f"r{number}")
