"""Somebody holds the store's lock for longer than anybody waits: whoever waits is told, and goes on afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.data.event_intake import take_events
from aimwell.engine import store_engine
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.service.app import create_app
from tests.deployment.tracking.scene import ask, open_tracking, send
from tests.deployment.tracking.test_endpoints import click
from tests.faults.event_process import build_message
from tests.faults.test_store_outage import wait_for_more
from tests.faults.working import Working
from tests.service.scene import make_key, read_events, serving, wait_until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of a second in place of half a minute."""
    monkeypatch.setattr(store_engine, "PATIENCE", 0.2)


def test_a_worker_tells_it_and_goes_on(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    # Something to move: whoever has nothing to do asks for no lock.
    take_events(workspace, [build_message("a", 1)])
    worker = Working(workspace, "members", "answers", "move", "journeys")
    with workspace.store.begin():
        worker.start()
        wait_for_more(worker.told, 0, "the worker waits for ever")
    assert worker.is_alive()
    worker.stop.set()
    worker.join()
    assert worker.ended == [None]
    assert set(worker.told) == {"engine.store_busy"}


def test_a_service_says_when_to_come_again(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    key, event = make_key(workspace), {"userId": "u", "event": "e", "messageId": "m1"}
    with serving(create_app(workspace)) as service:
        with workspace.store.begin():
            refused = service.call("/v1/track", event, key=key)
        assert (refused.status, refused.code) == (503, "engine.store_busy")
        assert int(refused.headers["retry-after"]) >= 1
        wait_until(lambda: service.call("/v1/track", event, key=key).status == 200)
    assert [row["event_id"] for row in read_events(workspace)] == ["m1"]


def test_a_click_leads_on_though_it_cannot_be_written_down(tmp_path: Path) -> None:
    store = Store.open_file(tmp_path / "store.sqlite")
    send(store)
    token = click(store)
    with store.begin():
        answer = open_tracking(store).handle_click(token, ask())
    assert answer.status == 302
    store.close()
