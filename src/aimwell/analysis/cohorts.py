"""Retention: customers by the period in which they began, and how many are there again k periods later.

Classic retention counts who is active in the period; rolling retention who is active in it or later. A period that
has not ended is unknown, not 0. Rolling figures of the newest periods are lower bounds: some will still come back.
Reads events, order_lines, products, customers; writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.engine.compile_cohort import compile_cohort, find_period_start, number_period
from aimwell.engine.funnel import Cohort, Period
from aimwell.engine.session import Queryable
from aimwell.stats.mean import estimate_share

MOST_OFFSETS = 400


def measure_cohorts(reader: Queryable, cohort: Cohort) -> dict[str, Any]:
    """The triangular table: per cohort its size and a cell per offset, with 95 % intervals; money as float.

    A cell is None where its period has not ended. ``overall`` adds the cohorts whose period is known. NotReady when
    nobody began; BadInput when an attribute is not there or the table would be too wide.
    """
    if cohort.attribute is not None:
        _check_attribute(reader, cohort.attribute)
    query = compile_cohort(cohort)
    rows = reader.query(query.sql, query.parameters).to_pylist()
    if not rows:
        raise NotReady(
            "analysis.no_cohort",
            say("Nobody began: there is no row of '{step}'.", step=cohort.begin.name),
            remedy=say("See which events there are with: aimwell analysis events"),
            where={"value": cohort.begin.name},
        )
    # The last whole period is the one before that in which the end lies.
    last = number_period(cohort.end, cohort.period) - 1
    groups = _group(rows, by_label=cohort.attribute is not None)
    first = min(start for members in groups.values() for start in members)
    width = last - first + 1
    if width > MOST_OFFSETS:
        raise BadInput(
            "analysis.too_many_periods",
            say("The table would have {count} periods.", count=width),
            remedy=say("Choose longer periods: week or month."),
            where={"value": cohort.period},
        )
    tables = [_build_cohort(key, members, last, cohort.period) for key, members in groups.items()]
    return {
        "period": cohort.period,
        "end": cohort.end.isoformat(),
        "begin": cohort.begin.name,
        "activity": cohort.activity.name,
        "attribute": cohort.attribute,
        "customers": sum(row["customers"] for row in tables),
        "first_is_open": cohort.attribute is None,
        "cohorts": tables,
        "overall": _build_overall(tables),
    }


_Members = dict[int, dict[int, dict[str, Any]]]


def _group(rows: list[dict[str, Any]], *, by_label: bool) -> dict[str | int | None, _Members]:
    """Cohort → first period → offset → row; without labels each first period is a cohort."""
    groups: dict[str | int | None, _Members] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        start = int(row["first_period"])
        groups[row["cohort"] if by_label else start][start][int(row["period_offset"])] = row
    return groups


def _build_cohort(key: str | int | None, members: _Members, last: int, period: Period) -> dict[str, Any]:
    size = sum(cells[-1]["customers"] for cells in members.values())
    start = min(members)
    label = find_period_start(start, period).isoformat() if isinstance(key, int) else key
    width = max(last - start, -1) + 1
    return {
        "label": label,
        "customers": size,
        "start": find_period_start(start, period).isoformat(),
        "cells": [_build_cell(members, offset, last) for offset in range(width)],
    }


def _build_cell(members: _Members, offset: int, last: int) -> dict[str, Any] | None:
    """Who is active ``offset`` periods after beginning, among those for whom that period has ended."""
    known = {start: cells for start, cells in members.items() if start + offset <= last}
    size = sum(cells[-1]["customers"] for cells in known.values())
    if not size:
        return None
    active = sum(cells[offset]["customers"] for cells in known.values() if offset in cells)
    later = sum(
        int(row["last_seen"]) for cells in known.values() for place, row in cells.items() if place >= offset
    )
    money = [cells[offset]["revenue"] for cells in known.values() if offset in cells]
    paid = [float(one) for one in money if one is not None]
    return {
        "offset": offset,
        "of": size,
        "customers": active,
        "share": dict(estimate_share(active, size).to_dict()),
        "rolling": dict(estimate_share(later, size).to_dict()),
        "revenue": round(sum(paid), 2) if paid else None,
        "revenue_per_customer": round(sum(paid) / size, 4) if paid else None,
    }


def _build_overall(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each offset over all cohorts for which it is known."""
    rows = []
    for offset in range(max(len(table["cells"]) for table in tables)):
        cells = [table["cells"][offset] for table in tables if offset < len(table["cells"])]
        known = [cell for cell in cells if cell is not None]
        size, active = sum(cell["of"] for cell in known), sum(cell["customers"] for cell in known)
        later = sum(round(cell["rolling"]["estimate"] * cell["of"]) for cell in known)
        paid = [cell["revenue"] for cell in known if cell["revenue"] is not None]
        rows.append(
            {
                "offset": offset,
                "of": size,
                "customers": active,
                "cohorts": len(known),
                "share": dict(estimate_share(active, size).to_dict()),
                "rolling": dict(estimate_share(later, size).to_dict()),
                "revenue": round(sum(paid), 2) if paid else None,
            }
        )
    return rows


def _check_attribute(reader: Queryable, attribute: str) -> None:
    known = reader.query("SELECT * FROM customers LIMIT 0").column_names
    if attribute not in known:
        raise BadInput(
            "analysis.unknown_attribute",
            say("Customers have no attribute '{name}'.", name=attribute),
            remedy=say("The attributes are: {names}.", names=join_list(sorted(known))),
            where={"column": attribute},
        )
