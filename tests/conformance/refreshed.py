"""Tags that were computed once and refreshed: after events, after orders, a day later; as each engine has them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from aimwell.analysis import tags
from aimwell.analysis.tags import compute_tags
from aimwell.core.tables import TABLES
from aimwell.engine.files import is_overlay, is_patch
from aimwell.engine.workspace import Workspace
from tests.conformance.world import AS_OF

_DAY = AS_OF - timedelta(days=1)
_AT = datetime(_DAY.year, _DAY.month, _DAY.day, 8, tzinfo=UTC)
_PEOPLE = ("c03", "客户一", "z", "first seen")


def refresh(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, pa.Table]]:
    """What was done, and all tags after it, as the engine reads them."""
    monkeypatch.setattr(tags, "_MOST_PATCHED", 99.0)
    monkeypatch.setattr(tags, "_MOST_COLUMNS", 1.0)
    yield "at first", _compute(workspace, 0)
    _append_events(workspace)
    yield "a patch", _compute(workspace, 0)
    _append_orders(workspace)
    found = _compute(workspace, 0)
    with workspace.run("look", as_of=AS_OF) as run:
        files = run.list_files("tags")
    assert [sum(map(is_patch, files)), sum(map(is_overlay, files))] == [1, 1]
    yield "a patch and an overlay", found
    yield "a day later", _compute(workspace, 1)
    found = _compute(workspace, 2)
    with workspace.run("look", as_of=AS_OF) as run:
        assert any(map(is_overlay, run.list_files("tags")))
    yield "columns of another day", found


def _compute(workspace: Workspace, days: int) -> pa.Table:
    with workspace.run("analysis", as_of=AS_OF + timedelta(days=days)) as run:
        compute_tags(workspace, run)
    with workspace.read("analysis") as reader:
        return reader.query("SELECT * FROM tags ORDER BY customer_id").drop_columns(["run_id"])


def _append_events(workspace: Workspace) -> None:
    rows = [
        {"event_id": f"new{number}", "customer_id": customer, "name": "Product Viewed", "occurred_at": _AT}
        | {"occurred_on": _DAY, "product_id": "p1", "channel": "web", "source": "web", "simulated": False}
        for number, customer in enumerate(_PEOPLE)
    ]
    with workspace.run("data", as_of=AS_OF) as run:
        run.append("events", TABLES["events"].build(rows))


def _append_orders(workspace: Workspace) -> None:
    rows = [
        {"line_id": f"new{number}", "order_id": f"new{number}", "customer_id": customer, "ordered_at": _AT}
        | {"ordered_on": _DAY, "ordered_hour": 8, "product_id": "p2", "quantity": 2.0, "store_id": "S2"}
        | {"revenue": Decimal("41.50"), "discount": Decimal("0.05"), "source": "web", "simulated": False}
        for number, customer in enumerate(("c03", "010", "bought first"))
    ]
    with workspace.run("data", as_of=AS_OF) as run:
        run.append("order_lines", TABLES["order_lines"].build(rows))
