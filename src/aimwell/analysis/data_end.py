"""Whether the data reach the day from which windows count: in data that ended before, "in the last 30 days" is nobody.

Reads order_lines and events; writes nothing.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace

_FRESH = timedelta(days=7)
"""Many deliver once a week; the shortest usual window is a week, too."""


def find_last_day(reader: Queryable) -> date | None:
    """The newest business day with an order or an event; None where there is neither."""
    rows = reader.query(
        "SELECT MAX(ordered_on) AS last_on FROM order_lines UNION ALL SELECT MAX(occurred_on) AS last_on FROM events"
    )
    days: list[date | None] = rows["last_on"].to_pylist()
    return max((day for day in days if day is not None), default=None)


def tell_old_data(workspace: Workspace, at: datetime | None = None) -> Text | None:
    """That windows which count from the day of ``at`` (now) begin after the data end; None where they reach them."""
    today = business_day(at or now(), workspace.settings.business.zone)
    with workspace.read() as reader:
        last = find_last_day(reader)
    if last is None or today - last <= _FRESH:
        return None
    return say(
        "The data end on {last}, but windows count from today, {today}: the last {days} days hold nothing, and "
        "whoever did something within them is not found. Deliver newer data, or count from the end of the data: "
        "aimwell analysis run --as-of {next}",
        last=last.isoformat(),
        today=today.isoformat(),
        days=f"{(today - last).days:,}",
        next=(last + timedelta(days=1)).isoformat(),
    )
