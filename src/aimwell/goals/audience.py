"""Whom a goal is about: all known customers, or the members of a segment on a day.

Reads segment_members.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.session import Queryable

NOW = date(2200, 1, 1)
"""A day after all others: who is in a segment then is in it now."""

_MEMBERS = """
SELECT customer_id
FROM segment_members
WHERE segment = $segment AND entered_on <= $day AND (left_on IS NULL OR left_on > $day)
"""


def filter_members(segment: str | None, column: str = "customer_id") -> str:
    """SQL that goes on after WHERE … : only members of ``$segment`` on ``$day``; nothing for everybody."""
    return "" if segment is None else f"AND {column} IN ({_MEMBERS})"


def bind_members(segment: str | None, day: date) -> dict[str, Any]:
    """What ``filter_members`` binds."""
    return {} if segment is None else {"segment": segment, "day": day}


def read_members(reader: Queryable, segment: str, day: date) -> frozenset[str]:
    """Who was in the segment on ``day``; nobody before it was first decided."""
    found = reader.query(_MEMBERS, {"segment": segment, "day": day})
    return frozenset(found["customer_id"].to_pylist())


def find_member_day(reader: Queryable, segment: str | None, day: date) -> date:
    """``day``, or ``NOW`` where the segment was not decided by then; BadInput when nobody is in it now either."""
    if segment is None or read_members(reader, segment, day):
        return day
    if not read_members(reader, segment, NOW):
        raise BadInput(
            "goals.empty_segment",
            say("Nobody is in a segment '{segment}'.", segment=segment),
            remedy=say("Look at the spelling: aimwell analysis segments"),
            where={"value": segment},
        )
    return NOW


def count_shared(reader: Queryable, one: str | None, other: str | None) -> int:
    """How many customers two audiences (segments as they are now, or everybody) have in common."""
    if one is None and other is None:
        return int(reader.query("SELECT COUNT(*) AS n FROM customers")["n"][0].as_py())
    sides = [read_members(reader, name, NOW) for name in (one, other) if name is not None]
    return len(frozenset.intersection(*sides))
