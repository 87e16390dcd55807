"""Lifecycle flows: who moved from one stage to another between two days, and what is at stake with them.

The stages are those of ``analysis.lifecycle``, measured as if it were each of the two days. Where nothing was bought,
days with events take the place of days with orders, and the number of events that of revenue.
Reads customers, order_lines, events; writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

from aimwell.analysis.activity import Activity, find_activity
from aimwell.analysis.lifecycle import STAGES, find_usual_rhythm, render_stage
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.specification import Aggregate, DaysSince, Expression, Measure, TagSpec, Trend, Window
from aimwell.engine.workspace import Reader

RANKS = {stage: rank for rank, stage in enumerate(STAGES)}
GOOD = ("new", "active")
_MOST_LISTED = 1_000
# The same people as in ``tags``: whoever is known, has bought or has done anything.
_PEOPLE = """\
SELECT customer_id FROM customers
UNION
SELECT customer_id FROM order_lines WHERE ordered_on < $end
UNION
SELECT customer_id FROM events WHERE occurred_on < $end"""
_MOVES = """\
SELECT
    a.stage AS stage_from,
    b.stage AS stage_to,
    COUNT(*) AS customers,
    SUM(a.stake) AS stake
FROM stages_from AS a
JOIN stages_to AS b ON b.customer_id = a.customer_id
GROUP BY a.stage, b.stage
ORDER BY a.stage, b.stage"""
_MOVERS = """\
SELECT a.customer_id, a.stake
FROM stages_from AS a
JOIN stages_to AS b ON b.customer_id = a.customer_id
WHERE a.stage = $stage_from AND b.stage = $stage_to
ORDER BY a.stake DESC, a.customer_id
LIMIT $count"""


def measure_flows(
    reader: Reader, *, start: date, end: date, movers: tuple[str, str] | None = None, count: int = 20
) -> dict[str, Any]:
    """The transition matrix between the stages of ``start`` and of ``end``; money as float.

    ``stake`` says what is counted in the 365 days before ``start``, and under which name: ``revenue``, or ``events``
    where nothing was bought. ``movers`` names two stages whose customers are listed, those with most at stake first.
    BadInput when the days are not in order or a stage is unknown.
    """
    if start >= end:
        raise BadInput(
            "analysis.flow_days",
            say("{start} is not before {end}.", start=start.isoformat(), end=end.isoformat()),
            remedy=say("Choose an end after the start."),
            where={"value": start.isoformat()},
        )
    for stage in movers or ():
        _check_stage(stage)
    activity = find_activity(reader)
    stake = "revenue" if activity == "orders" else "events"
    reader.register("flow_people", reader.query(_PEOPLE, {"end": end}))
    for name, day in (("stages_from", start), ("stages_to", end)):
        _register_stages(reader, name, day, activity)
    moves = [_name_stake(row, stake) | {"direction": _judge(row)} for row in reader.query(_MOVES).to_pylist()]
    moves.sort(key=lambda row: (RANKS[row["stage_from"]], RANKS[row["stage_to"]]))
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "activity": activity,
        "stake": stake,
        "stages": [{"stage": stage, "title": title.both()} for stage, title in STAGES.items()],
        "moves": moves,
        "from": _add_up(moves, "stage_from"),
        "to": _add_up(moves, "stage_to"),
        "worse": _sum_direction(moves, "worse", stake),
        "better": _sum_direction(moves, "better", stake),
        "movers": _list_movers(reader, movers, count, stake) if movers else [],
    }


def _register_stages(reader: Reader, name: str, as_of: date, activity: Activity) -> None:
    """Make ``name`` a table of customer_id, stage and stake as of a day."""
    query = compile_tags(_list_specs(activity), as_of=as_of)
    measured = reader.query(query.sql, query.parameters)
    reader.register(f"{name}_measured", measured)
    # Whoever comes only later is a prospect on the earlier day.
    sql = f"""\
SELECT
    p.customer_id,
    COALESCE(m.stake, 0) AS stake,
    {render_stage(find_usual_rhythm(measured))} AS stage
FROM flow_people AS p
LEFT JOIN {name}_measured AS m ON m.customer_id = p.customer_id"""
    reader.register(name, reader.query(sql))


def _list_specs(activity: Activity) -> dict[str, TagSpec]:
    """What the stage is read from, by the names that it expects."""
    day = "ordered_on" if activity == "orders" else "occurred_on"
    recent, before = Window(30), Window(60, 30)
    specs: dict[str, TagSpec] = {
        "recency_days": DaysSince(activity, "last"),
        "tenure_days": DaysSince(activity, "first"),
        "order_days_total": Measure(Aggregate(activity, "count_distinct", day)),
        "days_between_orders": Expression(
            "(tenure_days - recency_days) * 1.0 / NULLIF(order_days_total - 1, 0)", Type.REAL
        ),
        "orders_90d": Measure(Aggregate(activity, "count", None, (), Window(90))),
        "orders_trend": Trend(
            Aggregate(activity, "count", None, (), recent), Aggregate(activity, "count", None, (), before)
        ),
    }
    if activity == "orders":
        specs["stake"] = Measure(Aggregate("order_lines", "sum", "revenue", (), Window(365)))
    else:
        specs["stake"] = Measure(Aggregate("events", "count", None, (), Window(365)))
    return specs


def _judge(row: dict[str, Any]) -> str:
    """Whether the move is for the better or the worse: towards buying, or away from it."""
    if row["stage_from"] == row["stage_to"]:
        return "same"
    if row["stage_to"] in GOOD:
        return "same" if row["stage_from"] in GOOD else "better"
    return "worse" if RANKS[row["stage_to"]] > RANKS[row["stage_from"]] else "better"


def _add_up(moves: list[dict[str, Any]], side: str) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for row in moves:
        sums[row[side]] += row["customers"]
    return {stage: sums[stage] for stage in STAGES}


def _name_stake(row: dict[str, Any], stake: str) -> dict[str, Any]:
    """``row`` with its stake under the name of what it is."""
    value = row.pop("stake") or 0
    return row | {stake: round(float(value), 2) if stake == "revenue" else int(value)}


def _sum_direction(moves: list[dict[str, Any]], direction: str, stake: str) -> dict[str, Any]:
    rows = [row for row in moves if row["direction"] == direction]
    return {
        "customers": sum(row["customers"] for row in rows),
        stake: round(sum(row[stake] for row in rows), 2),
    }


def _list_movers(reader: Reader, movers: tuple[str, str], count: int, stake: str) -> list[dict[str, Any]]:
    bound = {"stage_from": movers[0], "stage_to": movers[1], "count": min(count, _MOST_LISTED)}
    return [_name_stake(row, stake) for row in reader.query(_MOVERS, bound).to_pylist()]


def _check_stage(stage: str) -> None:
    if stage not in STAGES:
        raise BadInput(
            "analysis.unknown_stage",
            say("There is no lifecycle stage '{stage}'.", stage=stage),
            remedy=say("The stages are: {stages}.", stages=join_list(STAGES)),
            where={"value": stage},
        )
