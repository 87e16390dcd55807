"""Turns a funnel into one readable query, in the portable subset: K window passes over one sort.

Of each customer the best attempt counts: the deepest step reached within the window of some first step, and of
several such the one that got there first. A row of step k carries on the attempt whose first step is the latest
among those that reached step k − 1 before it: a later start leaves more of the window, so that no other attempt can
reach what this one cannot. Then the attempt is walked back from its last row: each step is the last one before the
next, so that times are those of the shortest way.
Reads events, order_lines, products, tags, customers; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from aimwell.engine.funnel import (
    TABLES_IN_ORDER,
    Funnel,
    FunnelTable,
    list_needed_columns,
    validate_funnel,
)
from aimwell.engine.sql_text import Binder, Query, dedent, quote_name, select, show_day, with_parts
from aimwell.engine.step_rows import StepRows


@dataclass(frozen=True)
class MarkLayout:
    """Where what stands in a packed number: see ``compile_marks``; ``origin`` in microseconds since 1970."""

    origin: int
    dropped: int
    mark_bits: int
    code_shift: int


_BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
_SO_FAR = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


def compile_funnel(funnel: Funnel, *, chosen: str | None = None) -> Query:
    """One row per customer with a first step: customer_id, level (1…K), part, reached_1…reached_K (instants).

    ``part`` is the value of the breakdown (text; null without one). ``chosen`` names a table of the customers to
    look at; None: all. BadInput when the funnel cannot be.
    """
    validate_funnel(funnel)
    binder = Binder()
    parts = _render_seen(funnel, binder, chosen)
    parts["placed"] = _PLACED.format(steps=_list_steps(funnel))
    for level in range(1, len(funnel.steps)):
        parts[f"passed_{level}"] = _render_pass(funnel, level)
    parts["ranked"] = _render_ranked(funnel)
    parts["best"] = _render_best(funnel)
    parts["within_best"] = _render_within(funnel)
    for level in range(len(funnel.steps), 1, -1):
        parts[f"walked_{level}"] = _render_walk(funnel, level)
    parts["walked"] = _render_instants(funnel)
    return Query(f"{with_parts(parts)}\n{_render_result(funnel)}", binder.values)


def compile_marks(funnel: Funnel, codes: str, layout: MarkLayout) -> Query:
    """The rows of the funnel packed into one whole number each, for a scan in memory (DuckDB only).

    ``codes`` names a table of customer_id and code. The column ``packed`` holds, from the highest bits: the code, the
    instant, a bit for being excluded and a bit for each step, the first one lowest; null where a customer has no code.
    """
    validate_funnel(funnel)
    binder = Binder()
    bare = replace(funnel, breakdown=None)
    names = _list_bare_names(bare)
    if names is None:
        parts = _render_seen(bare, binder, None)
        marks = [f"{name} * {1 << bit}" for bit, name in enumerate(_name_steps(bare))]
        mark = " + ".join([*marks, f"excluded * {1 << len(bare.steps)}"])
        source = "seen"
    else:
        rows = StepRows(binder, start=funnel.start, end=funnel.end)
        parts = {"seen": rows.render("events", {"name"})}
        found = [(binder.bind(name), 1 << bit) for bit, name in enumerate(names)]
        mark = "CASE " + " ".join(f'WHEN "name" = {name} THEN {bit}' for name, bit in found) + " END"
        source = f'(SELECT * FROM seen WHERE "name" IN ({", ".join(name for name, _ in found)}))'
    instant = f"((EPOCH_US(s.happened_at) - {layout.origin}) >> {layout.dropped})"
    packed = f"c.code * {1 << layout.code_shift} + {instant} * {1 << layout.mark_bits} + {mark}"
    result = (
        f"SELECT {packed} AS packed\nFROM {source} AS s\n"
        f"LEFT JOIN {quote_name(codes)} AS c ON c.customer_id = s.customer_id"
    )
    return Query(f"{with_parts(parts)}\n{result}", binder.values)


def compile_parts(funnel: Funnel, attempts: str) -> Query:
    """The breakdown's value in the row of the first step, for the table ``attempts`` (customer_id, begun_at).

    One row per customer, in order: part (text, may be null) and unclear, 1 where first steps of different values stand
    at that instant. Only for a breakdown by a column of the first step.
    """
    assert funnel.breakdown is not None and funnel.breakdown.kind == "step"
    binder = Binder()
    step = funnel.steps[0]
    rows = StepRows(binder, start=funnel.start, end=funnel.end, chosen=attempts)
    columns = list_needed_columns((step,), step.table) | {funnel.breakdown.column}
    parts = {
        "first_rows": rows.render(step.table, columns),
        "first_steps": select(
            [
                "customer_id",
                "happened_at",
                f"CAST({rows.name_column(funnel.breakdown.column)} AS VARCHAR) AS part",
            ],
            ["    FROM first_rows", f"    WHERE {rows.render_test(step)}"],
        ),
    }
    result = f"""\
SELECT
    a.customer_id,
    MIN(f.part) AS part,
    CASE WHEN COUNT(DISTINCT f.part) + MAX(CASE WHEN f.part IS NULL THEN 1 ELSE 0 END) > 1 THEN 1 ELSE 0 END AS unclear
FROM {quote_name(attempts)} AS a
LEFT JOIN first_steps AS f ON f.customer_id = a.customer_id AND f.happened_at = a.begun_at
GROUP BY a.customer_id
ORDER BY a.customer_id"""
    return Query(f"{with_parts(parts)}\n{result}", binder.values)


def _list_bare_names(funnel: Funnel) -> list[str] | None:
    """The events' names of steps and one exclusion, where nothing else is asked and none comes twice; else None."""
    steps = (*funnel.steps, *funnel.exclusions)
    names = [
        str(step.conditions[0].value)
        for step in steps
        if step.table == "events"
        and len(step.conditions) == 1
        and (step.conditions[0].column, step.conditions[0].operator) == ("name", "=")
    ]
    is_plain = len(set(names)) == len(steps) and len(funnel.exclusions) <= 1
    return names if is_plain else None


def compile_next_rows(funnel: Funnel, *, attempts: str = "attempts") -> Query:
    """What customers did after the last step that they reached: a row per customer of ``attempts``.

    ``attempts`` has customer_id, last_at (instant) and last_name. Columns: customer_id, next_name; no row for who did
    nothing else within the window from there on. The next row is the first of another name at a later instant: an
    event, or an order where the funnel has orders (named ``orders``).
    """
    tables = sorted({step.table for step in funnel.steps if step.table != "order_lines"} | {"events"})
    names = {"events": "name", "orders": "'orders'"}
    instants = {"events": "occurred_at", "orders": "ordered_at"}
    rows = []
    for table in tables:
        source = "order_lines" if table == "orders" else table
        day = "occurred_on" if table == "events" else "ordered_on"
        rows.append(
            select(
                [
                    "a.customer_id",
                    f"r.{instants[table]} AS happened_at",
                    f"{_prefix(names[table])} AS next_name",
                ],
                [
                    f"    FROM {quote_name(attempts)} AS a",
                    f"    JOIN {source} AS r ON r.customer_id = a.customer_id",
                    f"    WHERE r.{day} < {show_day(funnel.end)} AND r.{instants[table]} > a.last_at",
                    f"      AND r.{instants[table]} <= a.last_at + {_show_window(funnel.window)}",
                    f"      AND {_prefix(names[table])} <> a.last_name",
                ],
            )
        )
    parts = {
        "later": "\n    UNION ALL\n".join(rows),
        "first_later": select(
            [
                "customer_id",
                "next_name",
                "ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY happened_at, next_name) AS place",
            ],
            ["    FROM later"],
        ),
    }
    result = "SELECT customer_id, next_name\nFROM first_later\nWHERE place = 1\nORDER BY customer_id"
    return Query(f"{with_parts(parts)}\n{result}")


_PLACED = """\
    SELECT
        customer_id,
        happened_at,
        part,
        {steps},
        ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY happened_at, source_order, row_id) AS place,
        SUM(excluded) OVER (
            PARTITION BY customer_id
            ORDER BY happened_at, source_order, row_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS epoch
    FROM seen"""


def _list_steps(funnel: Funnel) -> str:
    return ",\n        ".join(_name_steps(funnel))


def _name_steps(funnel: Funnel) -> list[str]:
    return [f"step_{number}" for number in range(1, len(funnel.steps) + 1)]


def _prefix(name: str) -> str:
    return name if name.startswith("'") else f"r.{quote_name(name)}"


def _render_seen(funnel: Funnel, binder: Binder, chosen: str | None) -> dict[str, str]:
    """The rows of every table that has a step, then all of them together with what each is."""
    rows = StepRows(binder, start=funnel.start, end=funnel.end, chosen=chosen)
    used: list[FunnelTable] = [
        table
        for table in TABLES_IN_ORDER
        if any(step.table == table for step in (*funnel.steps, *funnel.exclusions))
    ]
    parts, selects = {}, []
    for table in used:
        columns = list_needed_columns((*funnel.steps, *funnel.exclusions), table)
        if _parts_here(funnel, table) and funnel.breakdown is not None:
            columns.add(funnel.breakdown.column)
        selects.append(_render_marks(funnel, rows, table))
        parts[f"{table}_rows"] = rows.render(table, columns)
    parts["seen"] = "\n    UNION ALL\n".join(selects)
    return parts


def _parts_here(funnel: Funnel, table: FunnelTable) -> bool:
    found = funnel.breakdown
    return found is not None and found.kind == "step" and funnel.steps[0].table == table


def _render_marks(funnel: Funnel, rows: StepRows, table: FunnelTable) -> str:
    """The rows of one table with a mark for each step that they are; rows that are none are left out."""
    tests = [rows.render_test(step) if step.table == table else "" for step in funnel.steps]
    barred = " OR ".join(f"({rows.render_test(step)})" for step in funnel.exclusions if step.table == table)
    part = "CAST(NULL AS VARCHAR)"
    if _parts_here(funnel, table) and funnel.breakdown is not None:
        part = f"CAST({rows.name_column(funnel.breakdown.column)} AS VARCHAR)"
    marks = [_mark(test) + f" AS step_{number}" for number, test in enumerate(tests, 1)]
    wanted = " OR ".join(f"({test})" for test in [*tests, barred] if test)
    return select(
        [
            "customer_id",
            "happened_at",
            f"{TABLES_IN_ORDER.index(table)} AS source_order",
            "row_id",
            f"{part} AS part",
            *marks,
            f"{_mark(barred)} AS excluded",
        ],
        [f"    FROM {table}_rows", f"    WHERE {wanted}"],
    )


def _mark(test: str) -> str:
    return f"CASE WHEN {test} THEN 1 ELSE 0 END" if test else "0"


def _render_pass(funnel: Funnel, level: int) -> str:
    """Adds to every row the latest start, by place and by instant, of what reached ``level`` before it."""
    over = f"OVER (PARTITION BY customer_id, epoch ORDER BY place {_BEFORE})"
    source, start, begun = "placed", "place", "happened_at"
    test = "step_1 = 1"
    known = [f"p.start_{one}, p.begun_{one}" for one in range(1, level)]
    if level > 1:
        source, start, begun = f"passed_{level - 1}", f"start_{level - 1}", f"begun_{level - 1}"
        test = _render_reach(funnel, level)
    columns = [
        "p.customer_id",
        "p.happened_at",
        "p.part",
        *(f"p.{name}" for name in _name_steps(funnel)),
        "p.place",
        "p.epoch",
        *known,
        f"MAX(CASE WHEN {test} THEN {start} END) {over} AS start_{level}",
        f"MAX(CASE WHEN {test} THEN {begun} END) {over} AS begun_{level}",
    ]
    return select(columns, [f"    FROM {source} AS p"])


def _render_reach(funnel: Funnel, level: int) -> str:
    """The test that a row is step ``level`` of an attempt within the window."""
    if level == 1:
        return "step_1 = 1"
    limit = f"begun_{level - 1} + {_show_window(funnel.window)}"
    return f"step_{level} = 1 AND start_{level - 1} IS NOT NULL AND happened_at <= {limit}"


def _show_window(window: timedelta) -> str:
    microseconds = window // timedelta(microseconds=1)
    if microseconds % 1_000_000:
        return f"INTERVAL '{microseconds}' MICROSECOND"
    return f"INTERVAL '{microseconds // 1_000_000}' SECOND"


def _render_ranked(funnel: Funnel) -> str:
    """Each row with the level that it reaches and the place of that attempt's first step."""
    last = len(funnel.steps)
    levels = [f"WHEN {_render_reach(funnel, level)} THEN {level}" for level in range(last, 0, -1)]
    starts = [f"WHEN {_render_reach(funnel, level)} THEN start_{level - 1}" for level in range(last, 1, -1)]
    starts.append("WHEN step_1 = 1 THEN place")
    return select(
        [
            "customer_id",
            "happened_at",
            "part",
            *_name_steps(funnel),
            "place",
            f"CASE {' '.join(levels)} ELSE 0 END AS level",
            f"CASE {' '.join(starts)} END AS start_place",
        ],
        [f"    FROM {f'passed_{last - 1}' if last > 1 else 'placed'}"],
    )


def _render_best(funnel: Funnel) -> str:
    first = "ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY level DESC, place) AS choice"
    inner = select(
        ["customer_id", "level", "start_place", "place", first], ["    FROM ranked", "    WHERE level > 0"]
    )
    return (
        "    SELECT customer_id, level AS best_level, start_place AS best_start, place AS best_end\n"
        f"    FROM (\n{inner}\n    ) AS choices\n    WHERE choice = 1"
    )


def _render_within(funnel: Funnel) -> str:
    """The rows from the first to the last of the best attempts."""
    columns = [f"r.{name}" for name in ("customer_id", "happened_at", "part", "place", *_name_steps(funnel))]
    columns += ["b.best_level", "b.best_start", "b.best_end"]
    return select(
        columns,
        [
            "    FROM ranked AS r",
            "    JOIN best AS b ON b.customer_id = r.customer_id",
            "    WHERE r.place >= b.best_start AND r.place <= b.best_end",
        ],
    )


def _render_walk(funnel: Funnel, level: int) -> str:
    """Adds the place of step ``level`` of the best attempt: the last such row before the next step's."""
    last = len(funnel.steps)
    source = "within_best" if level == last else f"walked_{level + 1}"
    before = (
        f"OR (best_level > {level} AND step_{level} = 1 AND place > best_start AND place < at_{level + 1})"
    )
    test = f"(best_level = {level} AND place = best_end) {before if level < last else ''}".rstrip()
    own = ["customer_id", "happened_at", "part", "place", *_name_steps(funnel)]
    columns = [
        *own,
        "best_level",
        "best_start",
        "best_end",
        *(f"at_{one}" for one in range(level + 1, last + 1)),
        f"MAX(CASE WHEN {test} THEN place END) OVER (PARTITION BY customer_id) AS at_{level}",
    ]
    return select(columns, [f"    FROM {source}"])


def _render_instants(funnel: Funnel) -> str:
    """One row per customer: the instants of the steps of the best attempt."""
    last = len(funnel.steps)
    columns = ["customer_id", "MAX(best_level) AS level"]
    columns.append("MAX(CASE WHEN place = best_start THEN part END) AS part")
    columns.append("MAX(CASE WHEN place = best_start THEN happened_at END) AS reached_1")
    columns += [
        f"MAX(CASE WHEN place = at_{level} THEN happened_at END) AS reached_{level}"
        for level in range(2, last + 1)
    ]
    source = "walked_2" if last > 1 else "within_best"
    return select(columns, [f"    FROM {source}", "    GROUP BY customer_id"])


def _render_result(funnel: Funnel) -> str:
    found = funnel.breakdown
    reached = [f"w.reached_{number}" for number in range(1, len(funnel.steps) + 1)]
    part, join = "w.part", ""
    if found is not None and found.kind != "step":
        table = "tags" if found.kind == "tag" else "customers"
        part = f"CAST(b.{quote_name(found.column)} AS VARCHAR) AS part"
        join = f"\nLEFT JOIN {table} AS b ON b.customer_id = w.customer_id"
    shown = select(["w.customer_id", "w.level", part, *reached], ["    FROM walked AS w"])
    return f"{dedent(shown)}{join}\nORDER BY w.customer_id"
