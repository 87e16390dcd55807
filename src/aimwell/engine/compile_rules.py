"""Turns rules into one readable SQL query over the tags of everybody, in the portable subset.

Dates are folded in Python; values of users are bound, never written into the text.
Reads tags and events; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from aimwell.core.tables import Type
from aimwell.engine.rule import All, Between, Compare, EventRule, IsEmpty, Not, OneOf, Rule, validate_rule
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.specification import Value
from aimwell.engine.sql_text import Binder, Query, dedent, quote_name, select, show_day


def compile_rules(
    rules: Mapping[str, Rule], tags: Mapping[str, Type], *, as_of: date, table: str = "tags"
) -> Query:
    """One query over the tags of everybody: ``customer_id`` and a true/false column per rule.

    ``tags`` names the columns of ``table`` with their types. BadInput when a rule does not fit them.
    """
    for rule in rules.values():
        validate_rule(rule, tags)
    plan = _RulePlan(as_of, tags)
    columns = [f"{plan.render(rule)} AS {quote_name(name)}" for name, rule in rules.items()]
    source = [f"    FROM {quote_name(table)} AS t"]
    if plan.events:
        source.append("    LEFT JOIN event_counts AS e ON e.customer_id = t.customer_id")
    body = select(["t.customer_id", *columns], source)
    head = f"WITH event_counts AS (\n{plan.render_events()}\n)\n" if plan.events else ""
    return Query(f"{head}{dedent(body)}\nORDER BY t.customer_id", plan.binder.values)


def compile_rule(rule: Rule, tags: Mapping[str, Type], *, as_of: date, table: str = "tags") -> Query:
    """One query with the ``customer_id`` of everybody for whom ``rule`` holds, sorted."""
    query = compile_rules({"member": rule}, tags, as_of=as_of, table=table)
    return Query(
        f"SELECT customer_id\nFROM (\n{query.sql}\n) AS everybody\nWHERE member\nORDER BY customer_id",
        query.parameters,
    )


class _RulePlan:
    """Renders rules over ``t`` (tags) and ``e`` (counts of events), so that events are read once for all."""

    def __init__(self, as_of: date, tags: Mapping[str, Type]) -> None:
        self.as_of = as_of
        self.binder = Binder()
        self.events: dict[tuple[str, int | None], str] = {}
        self._tags = tags

    def render(self, rule: Rule) -> str:
        """A predicate that is true or false, never null."""
        match rule:
            case All(rules=parts):
                return self._join(" AND ", parts) or "TRUE"
            case AnyOne(rules=parts):
                return self._join(" OR ", parts) or "FALSE"
            case Not(rule=inner):
                return f"(NOT {self.render(inner)})"
            case Compare(tag=tag, operator=operator, value=value):
                sign = "<>" if operator == "!=" else operator
                return f"COALESCE({self._column(tag)} {sign} {self._bind(tag, value)}, FALSE)"
            case OneOf(tag=tag, values=values):
                bound = ", ".join(self._bind(tag, value) for value in values)
                return f"COALESCE({self._column(tag)} IN ({bound}), FALSE)" if values else "FALSE"
            case Between(tag=tag, low=low, high=high):
                ends = f"{self._bind(tag, low)} AND {self._bind(tag, high)}"
                return f"COALESCE({self._column(tag)} BETWEEN {ends}, FALSE)"
            case IsEmpty(tag=tag):
                return f"({self._column(tag)} IS NULL)"
            case EventRule(name=name, at_least=at_least, days=days):
                alias = self.events.setdefault((name, days), f"times_{len(self.events) + 1}")
                return f"COALESCE(e.{alias} >= {self.binder.bind(at_least)}, FALSE)"

    def render_events(self) -> str:
        """How often each event of the rules happened to each customer."""
        columns = ["customer_id"]
        for (name, days), alias in self.events.items():
            test = f"name = {self.binder.bind(name)}"
            if days is not None:
                test += f" AND occurred_on >= {show_day(self.as_of - timedelta(days=days))}"
            columns.append(f"COUNT(CASE WHEN {test} THEN 1 END) AS {alias}")
        end = [
            "    FROM events",
            f"    WHERE occurred_on < {show_day(self.as_of)}",
            "    GROUP BY customer_id",
        ]
        return select(columns, end)

    def _join(self, word: str, parts: tuple[Rule, ...]) -> str:
        texts = [self.render(part) for part in parts]
        return f"({word.join(texts)})" if len(texts) > 1 else "".join(texts)

    def _column(self, tag: str) -> str:
        return f"t.{quote_name(tag)}"

    def _bind(self, tag: str, value: Value) -> str:
        is_day = self._tags[tag] is Type.DATE
        return self.binder.bind(date.fromisoformat(str(value)) if is_day else value)
