"""Steps and durations as people write them: ``Product Viewed[channel = app]``, ``orders[revenue >= 100]``, ``7d``.

Reads and writes no table.
"""

from __future__ import annotations

import re
from datetime import timedelta

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.funnel import LONGEST, TABLES_IN_ORDER, FunnelTable, Step, find_column_type, validate_step
from aimwell.engine.specification import NUMERIC, Condition, Operator, Value

_STEP = re.compile(r"\s*(?P<name>[^\[\]]+?)\s*(?:\[(?P<conditions>[^\[\]]*)\])?\s*")
_CONDITION = re.compile(r"\s*(?P<column>[^=<>!]+?)\s*(?P<operator>!=|<=|>=|=|<|>)\s*(?P<value>.*?)\s*")
_DURATION = re.compile(r"\s*(?P<number>\d{1,6})\s*(?P<unit>[mhdw])\s*")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_step(text: str) -> Step:
    """The step that ``text`` says; BadInput when it cannot be read or names an unknown column.

    A bare name is an event's; ``orders`` and ``order_lines`` are tables. Conditions stand in brackets, with ``and``.
    """
    found = _STEP.fullmatch(text)
    if found is None:
        raise _unreadable(text)
    name = found["name"]
    table: FunnelTable = next((one for one in TABLES_IN_ORDER if one == name and one != "events"), "events")
    conditions = [] if table != "events" else [Condition("name", "=", name)]
    for part in re.split(r"\s+and\s+", found["conditions"].strip()) if found["conditions"] else ():
        conditions.append(_parse_condition(part, table))
    step = Step(table, tuple(conditions), text.strip())
    validate_step(step)
    return step


def parse_duration(text: str) -> timedelta:
    """``30m``, ``48h``, ``7d`` or ``2w``; BadInput when it is none or longer than 36,500 days."""
    found = _DURATION.fullmatch(text)
    length = timedelta(**{_UNITS[found["unit"]]: int(found["number"])}) if found else timedelta(0)
    if not timedelta(0) < length <= LONGEST:
        raise BadInput(
            "analysis.bad_duration",
            say("'{text}' is not a length of time.", text=text),
            remedy=say("Write it as minutes, hours, days or weeks, such as 30m, 48h, 7d or 2w."),
            where={"value": text},
        )
    return length


def _parse_condition(text: str, table: FunnelTable) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise _unreadable(text)
    column = found["column"]
    operator: Operator = found["operator"]  # type: ignore[assignment]  # the pattern allows no other
    return Condition(column, operator, _read_value(found["value"], find_column_type(table, column)))


def _read_value(text: str, kind: Type) -> Value:
    bare = text.strip("\"'")
    if kind is Type.BOOLEAN and bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if kind in NUMERIC:
        try:
            return float(bare) if not bare.lstrip("-").isdigit() else int(bare)
        except ValueError:
            return bare
    return bare


def _unreadable(text: str) -> BadInput:
    return BadInput(
        "analysis.step_unreadable",
        say("The step '{text}' cannot be read.", text=text),
        remedy=say("Write an event's name, or a table with conditions, such as orders[revenue >= 100]."),
        where={"value": text},
    )
