"""Ordered funnels: who goes how far, how long it takes, where people are lost and what they do instead.

A sales process is the same thing with an event per stage. Reads events, order_lines, products, tags, customers;
writes nothing.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.analysis.funnel_scan import NEVER, Attempts, find_attempts
from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.compile_funnel import compile_next_rows
from aimwell.engine.funnel import Funnel
from aimwell.engine.sql_text import quote_name
from aimwell.engine.workspace import Reader
from aimwell.stats.mean import estimate_share

QUANTILES = (0.25, 0.5, 0.75, 0.9)
STUCK_BEYOND = 0.9
"""Who waits longer than this share of those who went on is stuck."""
MOST_PARTS = 12
MOST_NEXT = 5
_SECOND = 1_000_000


def measure_funnel(
    reader: Reader, funnel: Funnel, *, zone_end: datetime, with_next: bool = True, scan: bool = True
) -> dict[str, Any]:
    """The funnel's figures: per step, what was done instead, and by the breakdown's values.

    ``zone_end`` is the first instant of the business day ``funnel.end``: waiting is counted up to it. Durations are
    seconds. NotReady when nobody has the first step.
    """
    attempts = find_attempts(reader, funnel, scan=scan)
    if not len(attempts.level):
        raise NotReady(
            "analysis.empty_funnel",
            say("Nobody has the first step '{step}' in these days.", step=funnel.steps[0].name),
            remedy=say("See which events there are with: aimwell analysis events"),
            where={"value": funnel.steps[0].name},
        )
    parts = _read_parts(reader, funnel, attempts)
    instead = _count_next(reader, funnel, attempts) if with_next else {}
    end = int(zone_end.timestamp() * _SECOND)
    return {
        "window_seconds": funnel.window.total_seconds(),
        "start": funnel.start.isoformat() if funnel.start else None,
        "end": funnel.end.isoformat(),
        "customers": len(attempts.level),
        "still_open": _count_open(attempts, len(funnel.steps), end, funnel.window),
        "steps": [
            _measure_step(funnel, attempts, number, instead.get(number + 1, Counter()), end)
            for number in range(len(funnel.steps))
        ],
        "breakdown": _break_down(funnel, attempts, parts),
    }


def list_events(reader: Reader, *, end: date) -> list[dict[str, Any]]:
    """The names of events before ``end`` with their number and customers, the most frequent first."""
    sql = """\
SELECT name, COUNT(*) AS events, COUNT(DISTINCT customer_id) AS customers,
    MIN(occurred_on) AS first_on, MAX(occurred_on) AS last_on
FROM events
WHERE occurred_on < $end
GROUP BY name
ORDER BY events DESC, name"""
    rows: list[dict[str, Any]] = reader.query(sql, {"end": end}).to_pylist()
    return rows


def _measure_step(
    funnel: Funnel, attempts: Attempts, number: int, instead: Counter[str | None], end: int
) -> dict[str, Any]:
    here = attempts.level > number
    reached = int(here.sum())
    before = int((attempts.level >= number).sum()) if number else reached
    gone_on = attempts.level > number + 1
    taken = (
        (attempts.reached[here, number] - attempts.reached[here, number - 1]) / _SECOND if number else None
    )
    since_first = (attempts.reached[here, number] - attempts.reached[here, 0]) / _SECOND if number else None
    lost = reached - int(gone_on.sum()) if number + 1 < len(funnel.steps) else 0
    row = {
        "name": funnel.steps[number].name,
        "table": funnel.steps[number].table,
        "customers": reached,
        "from_previous": dict(estimate_share(reached, before).to_dict()),
        "from_first": dict(estimate_share(reached, len(attempts.level)).to_dict()),
        "seconds_from_previous": _describe_times(taken),
        "seconds_from_first": _describe_times(since_first),
        "lost": lost,
        "next": _list_next(instead, lost),
    }
    return {**row, **_measure_waiting(attempts, number, end)}


def _measure_waiting(attempts: Attempts, number: int, end: int) -> dict[str, Any]:
    """Who stands at this step now, for how long, and how many of them longer than nearly all who went on took."""
    if number + 1 == attempts.reached.shape[1]:
        return {"waiting_seconds": _describe_times(None), "stuck": 0, "stuck_after_seconds": None}
    waiting = (end - attempts.reached[attempts.level == number + 1, number]) / _SECOND
    on = attempts.level > number + 1
    took = (attempts.reached[on, number + 1] - attempts.reached[on, number]) / _SECOND
    limit = float(np.quantile(took, STUCK_BEYOND)) if len(took) else None
    return {
        "waiting_seconds": _describe_times(waiting),
        "stuck": int((waiting > limit).sum()) if limit is not None else 0,
        "stuck_after_seconds": limit,
    }


def _describe_times(seconds: NDArray[np.float64] | None) -> dict[str, float | None]:
    names = [f"p{round(100 * share)}" for share in QUANTILES]
    if seconds is None or not len(seconds):
        return dict.fromkeys(names)
    return dict(zip(names, [round(float(one), 3) for one in np.quantile(seconds, QUANTILES)], strict=True))


def _count_open(attempts: Attempts, steps: int, end: int, window: timedelta) -> int:
    """Incomplete attempts whose window had not ended: they may still go on."""
    begun = attempts.reached[:, 0]
    return int(((attempts.level < steps) & (end - begun < window // timedelta(microseconds=1))).sum())


def _count_next(reader: Reader, funnel: Funnel, attempts: Attempts) -> dict[int, Counter[str | None]]:
    """Level → what those who got no further did next; None: nothing within the window from there on."""
    lost = np.flatnonzero(attempts.level < len(funnel.steps))
    if not len(lost):
        return {}
    where = pa.array(lost)
    table = pa.table(
        {
            "customer_id": attempts.customers.take(where),
            "last_at": pa.array(attempts.last_at[lost], pa.timestamp("us", tz="UTC")),
            "last_name": pa.array([_name_rows(funnel, level) for level in attempts.level[lost].tolist()]),
        }
    )
    reader.register("attempts", table)
    query = compile_next_rows(funnel)
    found = reader.query(query.sql, query.parameters)
    named = dict(zip(found["customer_id"].to_pylist(), found["next_name"].to_pylist(), strict=True))
    counted: dict[int, Counter[str | None]] = {}
    for customer, level in zip(table["customer_id"].to_pylist(), attempts.level[lost].tolist(), strict=True):
        counted.setdefault(level, Counter())[named.get(customer)] += 1
    return counted


def _name_rows(funnel: Funnel, level: int) -> str:
    """What rows of the step that was reached are called: doing the same again is not something else."""
    step = funnel.steps[level - 1]
    named = [str(one.value) for one in step.conditions if (one.column, one.operator) == ("name", "=")]
    return named[0] if named else step.table


def _list_next(instead: Counter[str | None], lost: int) -> list[dict[str, Any]]:
    ordered = sorted(instead.items(), key=lambda pair: (-pair[1], pair[0] or ""))[:MOST_NEXT]
    return [{"name": name, "customers": count, "share": round(count / lost, 4)} for name, count in ordered]


def _read_parts(reader: Reader, funnel: Funnel, attempts: Attempts) -> tuple[str | None, ...] | None:
    """The breakdown's value of each customer; a tag or attribute that is not there is BadInput of the query."""
    found = funnel.breakdown
    if found is None or attempts.parts is not None:
        return attempts.parts
    table = "tags" if found.kind == "tag" else "customers"
    reader.register("funnel_customers", pa.table({"customer_id": attempts.customers}))
    sql = f"""\
SELECT f.customer_id, CAST(b.{quote_name(found.column)} AS VARCHAR) AS part
FROM funnel_customers AS f
LEFT JOIN {table} AS b ON b.customer_id = f.customer_id
ORDER BY f.customer_id"""
    return tuple(reader.query(sql)["part"].to_pylist())


def _break_down(
    funnel: Funnel, attempts: Attempts, parts: tuple[str | None, ...] | None
) -> list[dict[str, Any]]:
    """The values with most customers, each with its steps; what is over stands together in the last row."""
    if parts is None:
        return []
    sizes = Counter(parts)
    ordered = sorted(sizes, key=lambda value: (-sizes[value], value or ""))
    kept = set(ordered[:MOST_PARTS])
    codes = np.array([ordered.index(part) if part in kept else MOST_PARTS for part in parts])
    rows = []
    for code, value in enumerate([*ordered[:MOST_PARTS], None]):
        level = attempts.level[codes == code]
        if len(level):
            counts = [int((level > number).sum()) for number in range(len(funnel.steps))]
            rows.append(
                {
                    "value": value,
                    "others": code == MOST_PARTS,
                    "customers": len(level),
                    "steps": counts,
                    "shares": [
                        dict(estimate_share(count, counts[max(place - 1, 0)]).to_dict())
                        for place, count in enumerate(counts)
                    ],
                    "completed": dict(estimate_share(counts[-1], len(level)).to_dict()),
                }
            )
    return rows


__all__ = ["NEVER", "Attempts", "list_events", "measure_funnel"]
