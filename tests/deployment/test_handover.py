"""What the ledger holds arrives in the warehouse: each row once, by whatever channel; only what changed is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.core.tables import CHANNELS
from aimwell.deployment import handover
from aimwell.deployment.handover import Handover, place_in_time, read_parts
from aimwell.deployment.ledger_rows import Intended, enqueue_in
from aimwell.engine.files import is_patch
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY
from tests.deployment.stores import BOTH, find_address
from tests.postgres import postgres  # noqa: F401 (a fixture)

WAYS = ("email", "sms", "web", "webhook", "robot:sales")
NOON_MS = 1_504_540_800_000
"""Noon of the day in New York."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    with closing(
        Workspace.create(tmp_path / "shop", name="Shop", zone="America/New_York", currency="USD")
    ) as made:
        yield made


def intend(
    number: int, source: str = "p1", channel: str = "email", days: int = 0, purpose: Any = "marketing"
) -> Intended:
    day = DAY + timedelta(days=days)
    return Intended(source, f"c{number}", "offer", channel, day, 250, True, purpose=purpose)


def enqueue(shop: Workspace, items: list[Intended]) -> None:
    with shop.store.begin() as connection:
        enqueue_in(connection, items, NOON_MS)


def settle(
    shop: Workspace, items: list[Intended], state: str, reason: str | None = None, at: int = NOON_MS
) -> None:
    values = {"state": state, "reason": reason, "finished_at_ms": at if state != "queued" else None}
    with shop.store.begin() as connection:
        for item in items:
            this = DELIVERIES.c.delivery_id == item.delivery_id
            connection.execute(sa.update(DELIVERIES).where(this).values(**values))


def read(shop: Workspace, sql: str) -> list[dict[str, Any]]:
    with shop.read() as reader:
        rows: list[dict[str, Any]] = reader.query(sql).to_pylist()
        return rows


def check_equal(shop: Workspace) -> None:
    """The warehouse holds the ledger's rows, each once, and one event for each that was sent to a customer."""
    with shop.store.snapshot() as connection:
        rows = (
            connection.execute(sa.select(DELIVERIES).where(DELIVERIES.c.purpose != "test")).mappings().all()
        )
    there = read(shop, "SELECT * FROM deliveries")
    assert Counter(row["delivery_id"] for row in there) == Counter(row["delivery_id"] for row in rows)
    by_id = {row["delivery_id"]: row for row in there}
    for row in rows:
        found = by_id[row["delivery_id"]]
        names = ("plan_id", "customer_id", "action_id", "channel", "state", "reason", "attempts")
        assert {name: found[name] for name in names} == {name: row[name] for name in names}
        assert found["unit_cost"] * 100 == (row["unit_cost_cents"] if row["state"] == "sent" else 0)
        at = row["finished_at_ms"]
        assert found["finished_at"] == (at and place_in_time(row["contact_on"], at, "America/New_York"))
    events = Counter(row["event_id"] for row in read(shop, "SELECT event_id FROM events"))
    assert max(events.values(), default=1) == 1
    sent = {
        f"sent:{row['delivery_id']}" for row in rows if row["state"] == "sent" and row["channel"] in CHANNELS
    }
    assert sent <= set(events)


def test_rows_of_every_channel_arrive_and_tests_stay_out(shop: Workspace) -> None:
    items = [intend(n, channel=way, source=f"s{n % 2}") for n, way in enumerate(WAYS)]
    enqueue(shop, [*items, intend(99, "test:1", purpose="test")])
    settle(shop, items[:4], "sent")
    assert Handover(shop).step() == len(WAYS)
    check_equal(shop)
    costs = read(shop, "SELECT channel, SUM(unit_cost) AS cost FROM deliveries GROUP BY channel")
    assert {row["channel"]: float(row["cost"]) for row in costs} == {
        "email": 2.5, "sms": 2.5, "web": 2.5, "webhook": 2.5, "robot:sales": 0.0
    }  # fmt: skip
    told = {row["channel"] for row in read(shop, "SELECT channel FROM events WHERE name = 'Message Sent'")}
    assert told == {"email", "sms", "web"}


def test_only_what_changed_is_written(shop: Workspace) -> None:
    before = [intend(n, days=-n % 3) for n in range(60)]
    enqueue(shop, before)
    settle(shop, before[:50], "sent")
    steps = Handover(shop)
    assert steps.step() == 60
    files = list_files(shop)
    assert steps.step() == 0 and list_files(shop) == files
    # New rows are added; what was written stays as it is.
    enqueue(shop, later := [intend(n, "journey:x", "webhook") for n in range(5)])
    assert steps.step() == 5
    assert set(files) < set(list_files(shop))
    # Another state, a bounce, another channel: these rows alone are laid over the others.
    settle(shop, before[50:52], "sent")
    settle(shop, before[:1], "failed", "bounced")
    settle(shop, later[:1], "skipped", "expired")
    assert steps.step() == 4
    patches = [path for path in list_files(shop) if is_patch(path)]
    assert len(patches) == 1 and set(files) < set(list_files(shop))
    check_equal(shop)
    # A process that begins anew compares all, and writes nothing.
    assert Handover(shop).step() == 0
    # Sent once more, by another channel: one event tells it.
    settle(shop, before[:1], "sent", at=NOON_MS + 1_000)
    assert steps.step() == 1
    check_equal(shop)


def test_a_patch_that_grows_is_written_into_one(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_SMALL_PATCH", 4)
    items = [intend(n) for n in range(20)]
    enqueue(shop, items)
    steps = Handover(shop)
    assert steps.step() == 20
    for start in range(0, 20, 5):
        settle(shop, items[start : start + 5], "sent")
        assert steps.step() == 5
        patched = [path for path in list_files(shop) if is_patch(path)]
        assert bool(patched) is (start in (0, 5, 15))
        check_equal(shop)


def list_files(shop: Workspace) -> list[str]:
    with shop.run("deployment", as_of=DAY) as run:
        return run.list_files("deliveries")


STATES = st.sampled_from(["queued", "sent", "failed", "skipped", "in_doubt"])
CHANGES = st.lists(st.tuples(st.integers(0, 11), STATES, st.integers(0, 3), st.booleans()), max_size=12)


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_rows_in_are_rows_out_whatever_happens_between(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[int, str, int, bool]]]
) -> None:
    place = tmp_path_factory.mktemp("shop") / "shop"
    items = [intend(n, f"s{n % 3}", WAYS[n % 5], n % 2) for n in range(12)]
    with closing(Workspace.create(place, name="Shop", zone="America/New_York", currency="USD")) as shop:
        steps = Handover(shop)
        for changes in rounds:
            for number, state, hours, anew in changes:
                enqueue(shop, items[number : number + 1])
                settle(shop, items[number : number + 1], state, at=NOON_MS + 3_600_000 * hours)
                steps = Handover(shop) if anew else steps
            steps.step()
            check_equal(shop)


@pytest.mark.parametrize("kind", BOTH)
def test_figures_and_rows_read_alike_on_both_stores(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = Store(find_address(kind, tmp_path, request))
    items = [intend(n, f"s{n % 2}", WAYS[n % 5], n % 3) for n in range(12)]
    with store.begin() as connection:
        enqueue_in(connection, items, NOON_MS)
        first = DELIVERIES.c.delivery_id == items[0].delivery_id
        connection.execute(sa.update(DELIVERIES).where(first).values(state="sent", finished_at_ms=NOON_MS))
    with store.snapshot() as connection:
        before = handover._read_figures(connection)
        rows = read_parts(connection, {("s0", DAY)}, "America/New_York")
    assert sorted(rows["customer_id"].to_pylist()) == ["c0", "c6"]
    assert sorted(rows["state"].to_pylist()) == ["queued", "sent"]
    assert set(before) == {(f"s{n}", DAY + timedelta(days=day)) for n in range(2) for day in range(3)}
    with store.begin() as connection:
        connection.execute(sa.update(DELIVERIES).where(first).values(finished_at_ms=NOON_MS + 1))
    with store.snapshot() as connection:
        after = handover._read_figures(connection)
    assert {part for part in after if after[part] != before[part]} == {("s0", DAY)}
    store.close()
