"""Which business day a round plans for. Reads order_lines; events where there are no orders."""

from __future__ import annotations

from datetime import date, timedelta

from aimwell.core.time import business_day, now
from aimwell.engine.workspace import Workspace


def find_as_of(workspace: Workspace) -> date:
    """The day after the newest order: everything before it is known. Without orders: after the newest event.

    Never later than tomorrow: a clock that ran ahead must not move the business into the future. Today where there is
    nothing.
    """
    today = business_day(now(), workspace.settings.business.zone)
    with workspace.read() as reader:
        for table, day in (("order_lines", "ordered_on"), ("events", "occurred_on")):
            sql = f"SELECT MAX({day}) AS last_on FROM {table} WHERE {day} <= $today"
            last: date | None = reader.query(sql, {"today": today})["last_on"][0].as_py()
            if last is not None:
                return last + timedelta(days=1)
    return today
