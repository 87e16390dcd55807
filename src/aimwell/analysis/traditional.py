"""The traditional way of segmenting: one segment per value of an attribute or tag, or per range of its numbers.

Demographic and regional segments overlap in nobody and leave nobody out: the rest and the unknown are segments too.
Ranges are cut at quantiles rounded to figures that people would choose. Reads tags and customers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from aimwell.analysis.catalogue import describe_tag_rule
from aimwell.analysis.drafts import Draft, name_draft
from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.compile_rules import compile_rules, read_number
from aimwell.engine.rule import ATTRIBUTE, All, Any, Compare, IsEmpty, Not, OneOf, Rule, is_attribute
from aimwell.engine.session import Queryable
from aimwell.engine.specification import NUMERIC, find_type
from aimwell.engine.sql_text import quote_name

MOST_VALUES = 12
BINS = 5


def build_traditional(
    reader: Queryable, by: str, types: Mapping[str, Type], *, most: int = MOST_VALUES, bins: int = BINS
) -> tuple[Draft, ...]:
    """The segments of ``by``, a tag or an attribute (``region`` is read as ``customers.region``), largest first.

    The ``most`` most frequent values have a segment each, all others share one. BadInput when nobody has a value.
    """
    tag = by if by in types else ATTRIBUTE + by.removeprefix(ATTRIBUTE)
    kind = find_type(tag if tag in types else by, types)
    numbers = _read_numbers(reader, tag) if kind in NUMERIC or is_attribute(tag) else None
    if numbers is not None and len(np.unique(numbers)) > most:
        rules = _cut(tag, numbers, bins)
        # An attribute may say something that is no number, to a few.
        some_number = Any((Compare(tag, "<", 0), Compare(tag, ">=", 0)))
        rules += [("no_number", All((Not(some_number), Not(IsEmpty(tag)))))] if rules else []
    elif kind in (Type.TEXT, Type.BOOLEAN, *NUMERIC):
        rules = _list_values(reader, tag, kind, most)
    else:
        rules = []
    if not rules:
        raise BadInput(
            "analysis.nothing_to_part",
            say("'{name}' parts nobody: there is no value, or it is a date.", name=by),
            remedy=say("Choose an attribute or tag with values: aimwell analysis tags"),
            where={"value": by},
        )
    return _count(reader, tag, [*rules, ("unknown", IsEmpty(tag))], types)


def _read_numbers(reader: Queryable, tag: str) -> np.ndarray | None:
    """Every customer's number; None when the attribute is not one (fewer than 95 % can be read as numbers)."""
    if is_attribute(tag):
        name = quote_name(tag.removeprefix(ATTRIBUTE))
        table = reader.query(f"SELECT {read_number(name)} AS value FROM customers WHERE {name} <> ''")
        values = table.column("value").to_numpy(zero_copy_only=False).astype(np.float64)
        known = values[np.isfinite(values)]
        return known if len(known) and len(known) >= 0.95 * len(values) else None
    table = reader.query(f"SELECT CAST({quote_name(tag)} AS DOUBLE) AS value FROM tags")
    values = table.column("value").to_numpy(zero_copy_only=False).astype(np.float64)
    found: np.ndarray = values[np.isfinite(values)]
    return found if len(found) else None


def _cut(tag: str, numbers: np.ndarray, bins: int) -> list[tuple[str, Rule]]:
    """Ranges between quantiles, at numbers with two digits that count; each edge once."""
    quantiles = np.quantile(numbers, np.arange(1, bins) / bins)
    edges = sorted({_round(float(edge)) for edge in quantiles})
    edges = [edge for edge in edges if numbers.min() < edge <= numbers.max()]
    parts: list[tuple[str, Rule]] = []
    for number in range(len(edges) + 1):
        tests: list[Rule] = []
        if number:
            tests.append(Compare(tag, ">=", edges[number - 1]))
        if number < len(edges):
            tests.append(Compare(tag, "<", edges[number]))
        if tests:
            parts.append((f"part_{number + 1}", tests[0] if len(tests) == 1 else All(tuple(tests))))
    return parts


def _round(value: float) -> float | int:
    if value == 0:
        return 0
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, max(digits, 0)) if digits >= 0 else round(value, digits)
    return int(rounded) if float(rounded).is_integer() else rounded


def _list_values(reader: Queryable, tag: str, kind: Type, most: int) -> list[tuple[str, Rule]]:
    table, column = ("customers", tag.removeprefix(ATTRIBUTE)) if is_attribute(tag) else ("tags", tag)
    name = quote_name(column)
    rows = reader.query(
        f"SELECT {name} AS value, COUNT(*) AS n FROM {table} WHERE {name} IS NOT NULL "
        f"GROUP BY {name} ORDER BY COUNT(*) DESC, {name}"
    ).to_pylist()
    if kind in NUMERIC:
        values = [row["value"] if isinstance(row["value"], int) else float(row["value"]) for row in rows]
    else:
        values = [row["value"] for row in rows]
    rules: list[tuple[str, Rule]] = [(str(value), Compare(tag, "=", value)) for value in values[:most]]
    if len(values) > most:
        known = OneOf(tag, tuple(values[:most]))
        rules.append(("others", All((Not(known), Not(IsEmpty(tag))))))
    return rules


def _count(
    reader: Queryable, tag: str, rules: list[tuple[str, Rule]], types: Mapping[str, Type]
) -> tuple[Draft, ...]:
    from aimwell.analysis.segments import read_as_of

    taken: set[str] = set()
    named = {name_draft(tag.removeprefix(ATTRIBUTE), value, taken): rule for value, rule in rules}
    query = compile_rules(named, types, as_of=read_as_of(reader))
    sums = ", ".join(
        f"SUM(CASE WHEN {quote_name(name)} THEN 1 ELSE 0 END) AS {quote_name(name)}" for name in named
    )
    sizes = reader.query(f"SELECT {sums} FROM (\n{query.sql}\n) AS decided", query.parameters).to_pylist()[0]
    drafts = [
        Draft(name, _title(rule), rule, int(sizes[name] or 0)) for name, rule in named.items() if sizes[name]
    ]
    return tuple(drafts)


def _title(rule: Rule) -> Text:
    return describe_tag_rule(rule)
