"""Drift: what the newest load brought, against what the same source had brought before.

Every load leaves *figures* in ``quality_history``: counts by bin or category of each column that has few values or is
a number. The bins stay what they were at the first load, so that the next figures less the last are exactly the rows
that came in between. A change must be unlikely by chance and large (``stats.stability``); categories that fewer than
``LEAST_CATEGORY`` rows hold are never written down. Reads the tables of this step and ``quality_history``; writes
nothing. Each query answers with a few hundred rows at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aimwell.core.tables import CUSTOMERS
from aimwell.core.text import Text, say
from aimwell.data.findings import Finding, ask, delivered, draw_share
from aimwell.data.quality_time import read_days
from aimwell.data.scratch import quote
from aimwell.engine.session import Queryable
from aimwell.stats.stability import LARGE, MODERATE, find_shift, find_vanished

ALPHA = 0.01
LEAST_ROWS = 200
LEAST_CATEGORY = 10
_MOST_CATEGORIES = 40
_MOST_DISTINCT = 1000
_OTHER = "\u2026"
_EMPTY = ""
_COLUMNS = {
    "order_lines": (("revenue", "number"), ("quantity", "number"), ("store_id", "category")),
    "events": (("name", "category"), ("channel", "category")),
    "customers": (("region", "category"),),
    "products": (("department", "category"), ("price", "number")),
}


@dataclass
class Figures:
    """One source's table at one load: rows, rows a day, and counts by bin of each column."""

    rows: int = 0
    active: int = 0
    last_day: str = ""
    daily_mean: float = 0.0
    daily_variance: float = 0.0
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        """As it stands in ``quality_history.figures``."""
        return json.dumps(vars(self), ensure_ascii=False)


Key = tuple[str, str]
"""Source and table."""


def read_figures(reader: Queryable, before: dict[Key, Figures]) -> dict[Key, Figures]:
    """The figures of every source and table as they are now, in the bins of ``before``."""
    found: dict[Key, Figures] = {}
    for table, columns in _COLUMNS.items():
        for row in ask(
            reader, f"SELECT source, count(*) AS rows FROM {delivered(table)} GROUP BY source ORDER BY source"
        ):
            found[row["source"], table] = Figures(rows=int(row["rows"]))
        if not any(name == table for _, name in found):
            continue
        if table in ("order_lines", "events"):
            _count_days(reader, table, found)
        for column, kind in (*columns, *_list_attributes(reader, table)):
            if kind == "number":
                _count_bins(reader, table, column, before, found)
            else:
                _count_categories(reader, table, column, before, found)
    return found


def read_history(reader: Queryable) -> dict[Key, Figures]:
    """The newest figures from before each source's last load: that load is judged by them however often it is asked."""
    rows = ask(
        reader,
        """
        WITH loads AS (SELECT source, table_name, max(loaded_at) AS loaded_at FROM sources GROUP BY source, table_name),
        earlier AS (
            SELECT history.source, history.table_name, history.figures, row_number() OVER (
                PARTITION BY history.source, history.table_name
                ORDER BY history.checked_at DESC, history.run_id DESC
            ) AS place
            FROM quality_history AS history
            LEFT JOIN loads ON loads.source = history.source AND loads.table_name = history.table_name
            WHERE history.check_name = 'figures'
                AND (loads.loaded_at IS NULL OR history.checked_at < loads.loaded_at)
        )
        SELECT source, table_name, figures FROM earlier WHERE place = 1 ORDER BY source, table_name
        """,
    )
    return {(row["source"], row["table_name"]): Figures(**json.loads(row["figures"])) for row in rows}


def find_drift(reader: Queryable, before: dict[Key, Figures], now: dict[Key, Figures]) -> Iterator[Finding]:
    """What changed between the last load's figures and today's."""
    tests = sum(len(figures.columns) + 1 for figures in now.values())
    level = ALPHA / max(1, tests)
    for (source, table), current in now.items():
        earlier = before.get((source, table))
        if earlier is None or earlier.rows < LEAST_ROWS:
            continue
        for column, found in current.columns.items():
            known = earlier.columns.get(column)
            if known is not None:
                yield from _compare_column(source, table, column, known, found, level)
        if current.last_day > earlier.last_day and earlier.active:
            yield _compare_volume(reader, source, table, earlier, level)


def _list_attributes(reader: Queryable, table: str) -> list[tuple[str, str]]:
    if table != "customers":
        return []
    declared = {column.name.casefold() for column in CUSTOMERS.columns}
    names = reader.query("SELECT * FROM customers LIMIT 0").column_names
    return [(name, "category") for name in names if name.casefold() not in declared]


def _count_days(reader: Queryable, table: str, found: dict[Key, Figures]) -> None:
    for source, days in read_days(reader, table).items():
        figures = found[source, table]
        # The newest day is often not whole.
        counts = [rows for day, rows in sorted(days.items())][:-1]
        figures.active, figures.last_day = len(counts), max(days).isoformat()
        if len(counts) > 1:
            mean = sum(counts) / len(counts)
            figures.daily_mean = mean
            figures.daily_variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)


def _count_bins(
    reader: Queryable, table: str, column: str, before: dict[Key, Figures], found: dict[Key, Figures]
) -> None:
    value = f"CAST({column} AS DOUBLE)"
    drawn = "true" if table == "products" else draw_share(reader, table)
    # All nine at once: a sketch of its own for each is nine times the work.
    tenths = ", ".join(f"{tenth / 10}" for tenth in range(1, 10))
    edges_of = {
        row["source"]: sorted({float(edge) for edge in row["edges"] or () if edge is not None})
        for row in ask(
            reader,
            f"""
            SELECT source, approx_quantile({value}, [{tenths}]) AS edges
            FROM {delivered(table)} WHERE {drawn} GROUP BY source
            """,
        )
    }
    for source, fresh in edges_of.items():
        known = before.get((source, table), Figures()).columns.get(column)
        edges = known["edges"] if known else fresh
        if not edges:
            continue
        cases = " ".join(f"WHEN {value} <= {edge!r} THEN {place}" for place, edge in enumerate(edges))
        rows = ask(
            reader,
            f"""
            SELECT CASE WHEN {column} IS NULL THEN -1 {cases} ELSE {len(edges)} END AS bin, count(*) AS rows
            FROM {delivered(table)} WHERE source = $source GROUP BY 1
            """,
            {"source": source},
        )
        counts = {str(row["bin"]): int(row["rows"]) for row in rows}
        found[source, table].columns[column] = {"edges": edges, "counts": counts}


def _count_categories(
    reader: Queryable, table: str, column: str, before: dict[Key, Figures], found: dict[Key, Figures]
) -> None:
    name = quote(column)
    distinct = ask(
        reader, f"SELECT approx_count_distinct({name}) AS distinct_values FROM {delivered(table)}"
    )[0]
    if not 1 <= int(distinct["distinct_values"]) <= _MOST_DISTINCT:
        return
    rows = ask(
        reader,
        f"""
        SELECT source, coalesce(CAST({name} AS VARCHAR), '') AS value, count(*) AS rows
        FROM {delivered(table)} GROUP BY 1, 2 ORDER BY source, rows DESC, value
        """,
    )
    for source in dict.fromkeys(row["source"] for row in rows):
        known = before.get((source, table), Figures()).columns.get(column, {}).get("counts", {})
        counts: dict[str, int] = {}
        for row in (row for row in rows if row["source"] == source):
            count, value = int(row["rows"]), row["value"]
            # What was among the others at the first load stays there: its earlier rows are not known apart.
            fresh = _OTHER not in known and count >= LEAST_CATEGORY and len(counts) < _MOST_CATEGORIES
            named = value in known or fresh
            counts[value if named else _OTHER] = counts.get(value if named else _OTHER, 0) + count
        found[source, table].columns[column] = {"counts": counts}


def _compare_column(
    source: str, table: str, column: str, known: dict[str, Any], found: dict[str, Any], level: float
) -> Iterator[Finding]:
    earlier, current = known["counts"], found["counts"]
    names = sorted({*earlier, *current})
    new = {name: current.get(name, 0) - earlier.get(name, 0) for name in names}
    if min(new.values()) < 0:
        # The table was merged rather than appended to: then all of it is compared.
        new = {name: current.get(name, 0) for name in names}
    total = sum(new.values())
    if total < LEAST_ROWS:
        return
    shift = find_shift([earlier.get(name, 0) for name in names], [new[name] for name in names])
    drifted = shift.p_value < level and shift.index >= MODERATE
    place = _show_place(names[shift.place], known.get("edges"))
    yield Finding(
        source, table, column, "inaccurate", "drift", total if drifted else 0, total,
        (f"{place}: {shift.change:+.0%}",) if drifted else (), _tell_drift,
        say("Ask what changed at the source: a new form, a filter, other units, another shop."),
        # Large changes are warnings, moderate ones notices.
        0.0 if shift.index >= LARGE else 2.0, 2.0,
    )  # fmt: skip
    rows = sum(earlier.values())
    gone = [
        name
        for name in names
        if "edges" not in known
        and name not in (_OTHER, _EMPTY)
        and new[name] == 0
        and find_vanished(earlier.get(name, 0) / rows, total) < level
    ]
    yield Finding(
        source, table, column, "partial", "vanished_values", len(gone),
        max(1, sum(1 for name in earlier if name not in (_OTHER, _EMPTY))), tuple(gone[:5]), _tell_vanished,
        say("Check whether these were renamed, ended, or left out of the delivery."), 0.0, 2.0,
    )  # fmt: skip


def _show_place(name: str, edges: list[float] | None) -> str:
    if edges is None:
        return name or "∅"
    place = int(name)
    if place < 0:
        return "∅"
    low = f"{edges[place - 1]:g}" if place else "−∞"
    return f"{low} … {edges[place]:g}" if place < len(edges) else f"> {edges[-1]:g}"


def _tell_drift(affected: int, total: int, column: str) -> Text:
    if not affected:
        return say("'{column}' is spread as before.", column=column)
    return say(
        "In the {total} newest rows '{column}' is spread otherwise than before.", total=total, column=column
    )


def _tell_vanished(affected: int, total: int, column: str) -> Text:
    if not affected:
        return say("All frequent values of '{column}' still occur.", column=column)
    return say(
        "{affected} of {total} frequent values of '{column}' no longer occur.",
        affected=affected,
        total=total,
        column=column,
    )


def _compare_volume(reader: Queryable, source: str, table: str, earlier: Figures, level: float) -> Finding:
    """Rows a day since the last load against before: beyond chance, and less than half or more than twice as many."""
    days = {day.isoformat(): rows for day, rows in read_days(reader, table).get(source, {}).items()}
    new = [rows for day, rows in sorted(days.items()) if day > earlier.last_day][:-1]
    changed, ratio = False, 1.0
    if len(new) >= 3 and earlier.active >= 14:
        mean = sum(new) / len(new)
        ratio = mean / earlier.daily_mean
        error = (earlier.daily_variance * (1 / len(new) + 1 / earlier.active)) ** 0.5
        changed = abs(mean - earlier.daily_mean) > 5 * error and not 0.5 <= ratio <= 2
    return Finding(
        source, table, None, "partial", "volume_change", sum(new) if changed else 0, max(1, sum(new)),
        (f"× {ratio:.2f}",) if changed else (), _tell_volume,
        say("Check whether rows are missing, or whether other shops or years came in."), 0.0, 2.0,
    )  # fmt: skip


def _tell_volume(affected: int, total: int, column: str) -> Text:
    if not affected:
        return say("The rows a day are as many as before.")
    return say("The newest rows a day are less than half or more than twice those before.")
