"""Which business day a round plans for. Reads order_lines."""

from __future__ import annotations

from datetime import date, timedelta

from aimwell.core.time import business_day, now
from aimwell.engine.workspace import Workspace


def find_as_of(workspace: Workspace) -> date:
    """The day after the newest order: everything before it is known. Today where there is no order."""
    with workspace.read() as reader:
        found = reader.query("SELECT MAX(ordered_on) AS last_on FROM order_lines")
    last: date | None = found["last_on"][0].as_py()
    if last is None:
        return business_day(now(), workspace.settings.business.zone)
    return last + timedelta(days=1)
