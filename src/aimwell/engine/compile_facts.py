"""The rows that rules look at, as SQL: figures of a customer measured on any source, and sequences of what was done.

Each source is read once for all figures, and only those of its days, events and customers that can matter: a rule
about the last 30 days reads 30 days. The portable subset: dates folded in Python, CASE rather than FILTER, and
every window totally ordered. Reads order_lines, products, events; writes nothing.
"""

from __future__ import annotations

from datetime import date, timedelta

from aimwell.core.tables import Type
from aimwell.engine.rule import Sequence as StepSequence
from aimwell.engine.rule import Step
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Measure,
    Window,
    find_source,
    find_tag_type,
)
from aimwell.engine.sql_text import SQL_TYPES, Binder, select, show_day
from aimwell.engine.tag_plan import Among, TagPlan

PRODUCT_COLUMNS = ("department", "category", "brand")
_RETURN = "CASE WHEN l.quantity < 0 OR l.revenue < 0 THEN TRUE ELSE FALSE END"
_ALIAS = {"events": "e.", "order_lines": "l."}
_AT = {"events": ("occurred_at", "event_id"), "order_lines": ("ordered_at", "line_id")}
_BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
_AFTER = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"


class Facts:
    """Collects the figures and sequences of some rules, and renders them as CTEs; each is measured once.

    Figures are measured as tags are (``engine.tag_plan``). ``among`` is the name of a relation with ``customer_id``:
    only those customers are looked at.
    """

    def __init__(self, as_of: date, among: str | None = None) -> None:
        self.as_of = as_of
        self.among = among
        self._figures = TagPlan(as_of, Among(table=among), {})
        self._sequences: dict[StepSequence, str] = {}

    @property
    def binder(self) -> Binder:
        """Where the values of the query are bound."""
        return self._figures.binder

    @property
    def joined(self) -> list[str]:
        """The CTEs with one row per customer, to be joined by ``customer_id``."""
        return [*self._figures.joined, *self._sequences.values()]

    def render_figure(self, of: Aggregate | DaysSince) -> tuple[str, Type]:
        """The SQL of a figure over the joined CTEs, and its type."""
        spec = of if isinstance(of, DaysSince) else Measure(of)
        kind = find_tag_type(spec)
        return f"CAST({self._figures.render(spec)} AS {SQL_TYPES[kind]})", kind

    def render_deed(self, sequence: StepSequence) -> str:
        """The SQL that is true for the customers who did this sequence."""
        name = self._sequences.setdefault(sequence, f"sequence_{len(self._sequences) + 1}")
        return f"CASE WHEN {name}.{name}_times IS NULL THEN FALSE ELSE TRUE END"

    def render_parts(self) -> dict[str, str]:
        """The CTEs by name, in the order in which they build on each other."""
        parts = self._figures.list_parts()
        # Whom the rules are about is said by the tags, not by the customers and orders of the moment.
        del parts["everybody"]
        for sequence, name in self._sequences.items():
            parts.update(self._render_sequence(sequence, name))
        return parts

    def _find_days(self, window: Window) -> tuple[date, date]:
        """First day, and the day after the last, that a window holds."""
        end = self.as_of - timedelta(days=window.ending)
        return end - timedelta(days=window.days), end

    def _render_sequence(self, sequence: StepSequence, name: str) -> dict[str, str]:
        """Rows of any step; for each step the last day on which the one before was reached; who reached the last.

        Only the gap to the step before is limited, so the latest earlier row that reached it decides for all.
        """
        parts = {f"{name}_rows": self._render_steps(sequence)}
        order = "PARTITION BY customer_id ORDER BY happened_at, origin, row_id"
        previous, count = f"{name}_rows", len(sequence.steps)
        flags = [f"is_{number}" for number in range(count + (sequence.without is not None))]
        kept = ["customer_id", "happened_on", "happened_at", "origin", "row_id", *flags]
        reached = self._limit_start(sequence.window)
        for number in range(1, count):
            before = (
                f"MAX(CASE WHEN {reached} THEN happened_on END) OVER ({order} {_BEFORE}) AS before_{number}"
            )
            parts[f"{name}_step_{number}"] = select([*kept, before], [f"    FROM {previous}"])
            previous = f"{name}_step_{number}"
            reached = f"is_{number} = 1 AND before_{number} IS NOT NULL"
            within = sequence.steps[number].within
            if within is not None:
                reached += f" AND DATE_DIFF('day', before_{number}, happened_on) <= {within}"
        if sequence.without is not None:
            after = f"MIN(CASE WHEN is_{count} = 1 THEN happened_on END) OVER ({order} {_AFTER}) AS ended_on"
            last = [f"before_{count - 1}"] if count > 1 else []
            parts[f"{name}_after"] = select([*kept, *last, after], [f"    FROM {previous}"])
            previous = f"{name}_after"
            reached += self._require_absence(sequence.without.within)
        end = [f"    FROM {previous}", f"    WHERE {reached}", "    GROUP BY customer_id"]
        parts[name] = select(["customer_id", f"COUNT(*) AS {name}_times"], end)
        return parts

    def _limit_start(self, window: Window | None) -> str:
        if window is None:
            return "is_0 = 1"
        first, end = self._find_days(window)
        return f"is_0 = 1 AND happened_on >= {show_day(first)} AND happened_on < {show_day(end)}"

    def _require_absence(self, days: int | None) -> str:
        if days is None:
            return " AND ended_on IS NULL"
        over = show_day(self.as_of - timedelta(days=days))
        gone = f"(ended_on IS NULL OR DATE_DIFF('day', happened_on, ended_on) > {days})"
        return f" AND happened_on < {over} AND {gone}"

    def _render_steps(self, sequence: StepSequence) -> str:
        """The rows of all steps in one shape, with a flag per step (the last one: what must stay away)."""
        steps = sequence.steps if sequence.without is None else (*sequence.steps, sequence.without)
        bodies = []
        for table in dict.fromkeys(step.table for step in steps):
            day = _ALIAS[table] + find_source(table).day
            tests = [f"{day} < {show_day(self.as_of)}"]
            if sequence.window is not None:
                # Nothing before the first step matters.
                tests.insert(0, f"{day} >= {show_day(self._find_days(sequence.window)[0])}")
            bodies.append(self._render_table_steps(table, steps, tests))
        return "\n    UNION ALL\n".join(bodies)

    def _render_table_steps(self, table: str, steps: tuple[Step, ...], tests: list[str]) -> str:
        alias, (at, row_id) = _ALIAS[table], _AT[table]
        own = [self._render_step(step) if step.table == table else None for step in steps]
        needed = {one.column for step in steps if step.table == table for one in step.conditions}
        end = [f"    FROM {table} AS {alias[:-1]}"]
        if needed & set(PRODUCT_COLUMNS):
            end.append(f"    LEFT JOIN products AS p ON p.product_id = {alias}product_id")
        if self.among is not None:
            tests = [*tests, f"{alias}customer_id IN (SELECT customer_id FROM {self.among})"]
        either = " OR ".join(f"({test})" for test in dict.fromkeys(own) if test is not None)
        end.append("    WHERE " + "\n        AND ".join([*tests, f"({either})"]))
        flags = [
            f"CASE WHEN {test} THEN 1 ELSE 0 END AS is_{number}" if test else f"0 AS is_{number}"
            for number, test in enumerate(own)
        ]
        shape = [
            f"{alias}customer_id",
            f"{alias}{find_source(table).day} AS happened_on",
            f"{alias}{at} AS happened_at",
            f"'{table}' AS origin",
            f"{alias}{row_id} AS row_id",
        ]
        return select([*shape, *flags], end)

    def _render_step(self, step: Step) -> str:
        return " AND ".join(self._render_condition(step.table, one) for one in step.conditions) or "TRUE"

    def _render_condition(self, table: str, condition: Condition) -> str:
        """One comparison of a row's column; null where the column is empty."""
        sign = "<>" if condition.operator == "!=" else condition.operator
        is_day = find_source(table).type_of(condition.column) is Type.DATE
        value = date.fromisoformat(str(condition.value)) if is_day else condition.value
        return f"{_show_column(table, condition.column)} {sign} {self.binder.bind(value)}"


def _show_column(table: str, name: str) -> str:
    if table == "order_lines" and name == "is_return":
        return _RETURN
    return f"p.{name}" if name in PRODUCT_COLUMNS else _ALIAS[table] + name
