"""What has outlived its time goes, in small transactions, on both databases; everything else stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.data.event_intake import take_events
from aimwell.engine.channel_tables import PROVIDER_MESSAGES
from aimwell.engine.compaction import compact
from aimwell.engine.hot_tables import LIVE_CHANGES
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_PLANS, LIVE_PROFILES, LIVE_TURNS
from aimwell.engine.settings import ContactSettings, RetentionSettings, Settings, StoreSettings
from aimwell.engine.store_tables import AUDIT_LOG, RUNS, TABLE_VERSIONS
from aimwell.engine.workspace import Workspace
from aimwell.loop import retention
from aimwell.loop.retention import delete_slowly, forget_old
from tests.deployment.scene import fill, open_ledger
from tests.faults.event_process import build_message
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def workspace(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    store = StoreSettings()
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
        name = f"r{abs(hash(tmp_path.name))}"
        store = StoreSettings(url=server.address(password=None), schema_name=name)
    settings = Settings(store=store, retention=RetentionSettings(), contact=ContactSettings(cap_days=90))
    opened = Workspace.create(tmp_path / "w", settings=settings)
    yield opened
    opened.close()


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def insert(workspace: Workspace, table: sa.Table, *rows: dict[str, Any]) -> None:
    with workspace.store.begin() as connection:
        connection.execute(sa.insert(table), list(rows))


def read(workspace: Workspace, column: sa.Column[Any]) -> list[Any]:
    with workspace.store.snapshot() as connection:
        return sorted(connection.execute(sa.select(column)).scalars())


def build_run(name: str, days: float, status: str = "done") -> dict[str, Any]:
    return {
        "run_id": name,
        "step": "goals",
        "as_of": ago(days).date(),
        "parameters": {},
        "inputs": {},
        "seed": 1,
        "code_version": "1",
        "process": "elsewhere:1",
        "status": status,
        "started_at": ago(days),
    }


def test_runs_go_unless_something_rests_on_them(workspace: Workspace) -> None:
    insert(
        workspace,
        RUNS,
        build_run("old", 401),
        build_run("failed", 500, "failed"),
        build_run("running", 500, "running"),
        build_run("young", 399),
        build_run("rested on", 900),
    )
    version = {"table_name": "t", "version": 1, "run_id": "rested on", "mode": "replace", "rows": 1}
    insert(workspace, TABLE_VERSIONS, version | {"created_at": ago(900)})
    assert forget_old(workspace, NOW) == 2
    assert read(workspace, RUNS.c.run_id) == ["rested on", "running", "young"]


def test_live_days_go_when_they_are_closed_and_no_cap_looks_back_to_them(workspace: Workspace) -> None:
    for name, closed in (("long ago", 95), ("within the cap", 88), ("open", None)):
        insert(
            workspace,
            LIVE_PLANS,
            {
                "plan_id": name,
                "day": ago(closed or 200).date(),
                "body": {},
                "opened_at": ago(200),
                "opened_turn": 1,
                "closed_at": None if closed is None else ago(closed),
                "swept_turn": 0,
            },
        )
        turn = {
            "plan_id": name,
            "day": ago(100).date(),
            "at_ms": 1,
            "requests": b"",
            "contacts": b"",
            "released": b"",
        }
        batch = {"long ago": 1, "within the cap": 2, "open": 3}[name]
        insert(workspace, LIVE_TURNS, turn | {"batch": batch})
        decision = {
            "request_id": "r",
            "customer_id": "c",
            "at_ms": 1,
            "segment": 0,
            "probability": 1.0,
            "choices": 1,
        }
        rest = {"reason": "best", "expected_profit": 1.0, "cost_cents": 1, "plan_id": name, "batch": batch}
        insert(workspace, LIVE_DECISIONS, *(decision | rest | {"place": place} for place in range(5)))
        profile = {"plan_id": name, "customer_id": "c", "segment": 0, "prior_contacts": 0, "pairs": {}}
        insert(workspace, LIVE_PROFILES, profile)
    assert forget_old(workspace, NOW) == 1 + 5 + 1
    assert read(workspace, LIVE_TURNS.c.plan_id) == ["open", "within the cap"]
    assert set(read(workspace, LIVE_DECISIONS.c.plan_id)) == {"open", "within the cap"}
    # A day's name never comes again.
    assert read(workspace, LIVE_PLANS.c.plan_id) == ["long ago", "open", "within the cap"]


def test_changes_and_messages_go_by_their_age(workspace: Workspace) -> None:
    change = {"consumer": "s", "rule": "r", "customer_id": "c", "inside": True}
    insert(workspace, LIVE_CHANGES, *({**change, "at": ago(days)} for days in (31, 30.5, 29, 0)))
    ms = [int(ago(days).timestamp() * 1000) for days in (181, 179, 181)]
    message = {"provider": "p", "part": 1, "parts": 1}
    insert(
        workspace,
        PROVIDER_MESSAGES,
        message | {"message_id": "old", "taken_at_ms": ms[0], "status_at_ms": ms[0]},
        message | {"message_id": "young", "taken_at_ms": ms[1], "status_at_ms": None},
        message | {"message_id": "answered late", "taken_at_ms": ms[2], "status_at_ms": ms[1]},
    )
    assert forget_old(workspace, NOW) == 3
    assert len(read(workspace, LIVE_CHANGES.c.change)) == 2
    assert read(workspace, PROVIDER_MESSAGES.c.message_id) == ["answered late", "young"]


def test_what_must_stay_stays_however_old_it_is(workspace: Workspace) -> None:
    fill(open_ledger(workspace.store), ["a", "b"])
    workspace.store.audit("test.done", "x")
    take_events(workspace, [build_message("a", number) for number in range(40)])
    compact(workspace)
    before = (read(workspace, DELIVERIES.c.delivery_id), read(workspace, AUDIT_LOG.c.entry))
    forget_old(workspace, datetime(2090, 1, 1, tzinfo=UTC))
    assert (read(workspace, DELIVERIES.c.delivery_id), read(workspace, AUDIT_LOG.c.entry)) == before
    with workspace.read() as reader:
        assert reader.query("SELECT COUNT(*) AS n FROM events")["n"][0].as_py() == 40


def test_each_transaction_deletes_few_rows(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    change = {"consumer": "s", "rule": "r", "customer_id": "c", "inside": True, "at": ago(40)}
    insert(workspace, LIVE_CHANGES, *(change for _ in range(95)))
    deleted: list[int] = []

    @sa.event.listens_for(workspace.store.engine, "after_cursor_execute")
    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM live_changes"):
            deleted.append(cursor.rowcount)

    assert delete_slowly(workspace.store, LIVE_CHANGES, LIVE_CHANGES.c.at < ago(30)) == 95
    assert deleted == [10] * 9 + [5]
    assert delete_slowly(workspace.store, LIVE_CHANGES, LIVE_CHANGES.c.at < ago(30)) == 0
