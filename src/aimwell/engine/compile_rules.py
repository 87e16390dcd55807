"""Turns rules into one readable SQL query over the tags of everybody, in the portable subset.

What rules look at is put together once as ``facts``: a row per customer with the tags, the attributes, the figures
and the sequences of ``engine.compile_facts``. Segments that a rule names become columns of their own, layer by
layer, so that each is decided once. Dates are folded in Python; values of users are bound, never written into the
text. Reads tags, customers and the sources of figures; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from aimwell.core.tables import Type
from aimwell.engine.compile_facts import Facts
from aimwell.engine.rule import (
    ATTRIBUTE,
    All,
    Axis,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Nearest,
    Not,
    OneOf,
    Rule,
    Sequence,
    collect_segments,
    is_attribute,
    list_rule_segments,
    list_rule_tags,
    walk_rule,
)
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.specification import Aggregate, DaysSince, Operator, Value
from aimwell.engine.sql_text import Query, dedent, free_name, quote_name, select, with_parts


def compile_rules(
    rules: Mapping[str, Rule],
    tags: Mapping[str, Type],
    *,
    as_of: date,
    table: str = "tags",
    segments: Mapping[str, Rule] | None = None,
    among: str | None = None,
) -> Query:
    """One query over the tags of everybody: ``customer_id`` and a true/false column per rule, sorted.

    ``tags`` names the columns of ``table``, and attributes (``customers.city``), with their types. ``segments`` are
    the rules of segments that rules may name. ``among`` names a relation with ``customer_id``: only those customers
    are decided. BadInput when a rule does not fit.
    """
    plan = RulePlan(rules, tags, as_of=as_of, segments=segments or {}, among=among)
    parts = plan.render_facts(table)
    last = plan.add_layers(parts)
    columns = [f"{plan.render(rule)} AS {quote_name(name)}" for name, rule in rules.items()]
    body = dedent(select(["customer_id", *columns], [f"    FROM {last}"]))
    # Written out, a chain of segments that name each other twice would double with every link.
    layers = [name for name in parts if name.startswith("layer_")]
    head = with_parts(parts, layers if len(layers) > 1 else ())
    return Query(f"{head}\n{body}\nORDER BY customer_id", plan.binder.values)


@dataclass(frozen=True)
class Fact:
    """One column of ``facts``: where it comes from, and of which type it is there."""

    source: str
    type: Type


class RulePlan:
    """Collects what some rules look at, and renders them as predicates over columns of ``facts``.

    ``facts`` can be put together by any other means, too: ``columns`` says by name what each column holds.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        tags: Mapping[str, Type],
        *,
        as_of: date,
        segments: Mapping[str, Rule],
        among: str | None = None,
    ) -> None:
        for rule in rules.values():
            validate_rule(rule, tags, segments=segments)
        self.segments = collect_segments(rules, segments)
        self.facts = Facts(as_of, among)
        self.binder = self.facts.binder
        self.columns: dict[str, Fact] = {}
        self._tags = tags
        self._names: dict[Aggregate | DaysSince | Sequence | str, str] = {}
        for rule in (*self.segments.values(), *rules.values()):
            self._collect(rule)

    def render_facts(self, table: str) -> dict[str, str]:
        """The CTEs up to ``facts``, by name."""
        parts = self.facts.render_parts()
        sources = [f"    FROM {quote_name(table)} AS t"]
        if any(fact.source.startswith("c.") for fact in self.columns.values()):
            sources.append("    LEFT JOIN customers AS c ON c.customer_id = t.customer_id")
        for name in self.facts.joined:
            sources.append(f"    LEFT JOIN {name} ON {name}.customer_id = t.customer_id")
        if self.facts.among is not None:
            sources.append(f"    WHERE t.customer_id IN (SELECT customer_id FROM {self.facts.among})")
        columns = [f"{fact.source} AS {quote_name(name)}" for name, fact in self.columns.items()]
        parts["facts"] = select(["t.customer_id AS customer_id", *columns], sources)
        return parts

    def add_layers(self, parts: dict[str, str], source: str = "facts", key: str = "customer_id") -> str:
        """Add a CTE for each depth of segments that rules name; returns the name of the last."""
        known, last = [key, *self.columns], source
        waiting = dict(self.segments)
        for depth in range(1, len(waiting) + 1):
            ready = {
                name: rule
                for name, rule in waiting.items()
                if not set(list_rule_segments(rule)) & set(waiting)
            }
            if not ready:
                break
            decided = [
                f"{self.render(rule)} AS {quote_name(self._names[name])}" for name, rule in ready.items()
            ]
            parts[f"layer_{depth}"] = select(
                [*(quote_name(one) for one in known), *decided], [f"    FROM {last}"]
            )
            known += [self._names[name] for name in ready]
            last = f"layer_{depth}"
            waiting = {name: rule for name, rule in waiting.items() if name not in ready}
        return last

    def render(self, rule: Rule) -> str:
        """A predicate over the columns of ``facts`` that is true or false, never null."""
        match rule:
            case All(rules=parts):
                return self._join(" AND ", parts) or "TRUE"
            case AnyOne(rules=parts):
                return self._join(" OR ", parts) or "FALSE"
            case Not(rule=inner):
                return f"(NOT {self.render(inner)})"
            case Compare(tag=tag, operator=operator, value=value):
                return self._compare(self._tag(tag, value), self._type(tag), operator, value)
            case OneOf(tag=tag, values=values):
                bound = ", ".join(self._bind(self._type(tag), value) for value in values)
                return f"COALESCE({self._tag(tag, values[0])} IN ({bound}), FALSE)" if values else "FALSE"
            case Between(tag=tag, low=low, high=high):
                ends = f"{self._bind(self._type(tag), low)} AND {self._bind(self._type(tag), high)}"
                return f"COALESCE({self._tag(tag, low)} BETWEEN {ends}, FALSE)"
            case IsEmpty(tag=tag):
                return f"({quote_name(tag)} IS NULL)"
            case Measured(of=of, operator=operator, value=value):
                name = self._names[of]
                return self._compare(quote_name(name), self.columns[name].type, operator, value)
            case Sequence():
                return quote_name(self._names[rule])
            case InSegment(segment=segment):
                return quote_name(self._names[segment])
            case Nearest():
                return self._render_nearest(rule)

    def _collect(self, rule: Rule) -> None:
        """Note the columns that ``rule`` needs."""
        for tag in list_rule_tags(rule):
            source = (
                f"c.{quote_name(tag.removeprefix(ATTRIBUTE))}"
                if is_attribute(tag)
                else f"t.{quote_name(tag)}"
            )
            self.columns[tag] = Fact(source, self._tags[tag])
        for part, _ in walk_rule(rule):
            match part:
                case Measured(of=of):
                    self._add(of, f"{of.table}_figure", *self.facts.render_figure(of))
                case Sequence():
                    self._add(part, "did_sequence", self.facts.render_deed(part), Type.BOOLEAN)
                case InSegment(segment=segment):
                    if segment not in self._names:
                        self._names[segment] = free_name(f"in_{segment}", self._list_taken())
                case _:
                    pass

    def _add(self, key: Aggregate | DaysSince | Sequence, name: str, source: str, kind: Type) -> None:
        if key not in self._names:
            self._names[key] = free_name(name, self._list_taken())
            self.columns[self._names[key]] = Fact(source, kind)

    def _list_taken(self) -> set[str]:
        return {*self.columns, *self._names.values(), *self._tags, "customer_id"}

    def _join(self, word: str, parts: tuple[Rule, ...]) -> str:
        texts = [self.render(part) for part in parts]
        return f"({word.join(texts)})" if len(texts) > 1 else "".join(texts)

    def _compare(self, column: str, kind: Type, operator: Operator, value: Value) -> str:
        sign = "<>" if operator == "!=" else operator
        return f"COALESCE({column} {sign} {self._bind(kind, value)}, FALSE)"

    def _type(self, tag: str) -> Type:
        return self._tags[tag]

    def _tag(self, tag: str, value: Value) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_attribute(tag) and is_number and self._tags[tag] is Type.TEXT:
            return read_number(quote_name(tag))
        return quote_name(tag)

    def _bind(self, kind: Type, value: Value) -> str:
        return self.binder.bind(date.fromisoformat(str(value)) if kind is Type.DATE else value)

    def _render_nearest(self, rule: Nearest) -> str:
        """|x − p|² is smallest where x·p − |p|²/2 is greatest: linear, so that squares need not be taken of x."""
        places = [_render_axis(axis) for axis in rule.axes]
        scores = []
        for point in rule.points:
            terms = [f"{place} * {_show_real(weight)}" for place, weight in zip(places, point, strict=True)]
            half = sum(weight * weight for weight in point) / 2
            scores.append(f"({' + '.join(terms)} - {_show_real(half)})")
        own = scores[rule.which]
        wins = [
            f"{own} {'>' if number < rule.which else '>='} {other}"
            for number, other in enumerate(scores)
            if number != rule.which
        ]
        known = [f"{quote_name(axis.tag)} IS NOT NULL" for axis in rule.axes]
        return f"COALESCE(({' AND '.join([*known, *wins])}), FALSE)"


def read_number(column: str) -> str:
    """A text column as numbers; empty what is not written in digits, with a point or an exponent.

    Engines read other things besides as numbers, each its own: ``nan``, ``1_000``, ``5d``.
    """
    plain = f"TRIM({column})"
    return f"CASE WHEN NOT REGEXP_MATCHES({plain}, '[^0-9eE.+-]') THEN TRY_CAST({plain} AS DOUBLE) END"


def _render_axis(axis: Axis) -> str:
    column = f"CAST({quote_name(axis.tag)} AS DOUBLE)"
    if axis.log:
        column = f"CASE WHEN {column} < 0 THEN -LN(1 - {column}) ELSE LN(1 + {column}) END"
    return f"(({column} - {_show_real(axis.centre)}) / {_show_real(axis.scale)})"


def _show_real(value: float) -> str:
    """A literal that is no DECIMAL: 1.0 alone would be one in DuckDB."""
    return f"CAST({value!r} AS DOUBLE)"
