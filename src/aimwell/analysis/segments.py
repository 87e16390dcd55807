"""Segments: named yes/no rules over tags, attributes, what was done and other segments; built in and the user's own.

The user's own are definitions in the store (kind ``segment``): ``{"title": …, "rule": …}``, the rule as JSON or as
text of ``rule_text``. Reads tags, customers and the sources of figures (through the engine's compiler) and
definitions; what ``find_members`` finds becomes segments and segment_members.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any as AnyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.analysis.bitmaps import build_bitmaps
from aimwell.analysis.catalogue import describe_tag_rule
from aimwell.analysis.rule_text import parse_rule
from aimwell.core.errors import AimwellError, BadInput, Conflict, NotReady
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.rule import All, Any, Compare, InSegment, OneOf, Rule, list_rule_events
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.rule_json import rule_from_json, rule_to_json
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.session import Queryable
from aimwell.engine.specification import Operator, Value
from aimwell.engine.sql_text import Query, show_sql
from aimwell.engine.store import Store
from aimwell.engine.workspace import Reader

KIND = "segment"
_SIZES = """\
WITH earned AS (
    SELECT m.segment, SUM(t.revenue_365d) AS revenue
    FROM segment_members AS m
    LEFT JOIN tags AS t ON t.customer_id = m.customer_id
    WHERE m.left_on IS NULL
    GROUP BY m.segment
),
altogether AS (
    SELECT SUM(revenue_365d) AS revenue FROM tags
)
SELECT
    s.segment,
    s.title,
    s.rule,
    s.size,
    CASE WHEN a.revenue > 0 THEN COALESCE(e.revenue, 0) / a.revenue END AS revenue_share
FROM segments AS s
CROSS JOIN altogether AS a
LEFT JOIN earned AS e ON e.segment = s.segment
ORDER BY s.segment"""


@dataclass(frozen=True)
class Segment:
    """One named rule."""

    name: str
    title: Text
    rule: Rule
    built_in: bool = True


@dataclass(frozen=True)
class Membership:
    """Who is in which segment: ``inside`` has a row per customer and a column per segment."""

    segments: tuple[Segment, ...]
    customers: pa.ChunkedArray
    inside: NDArray[np.bool_]

    @property
    def sizes(self) -> list[int]:
        """Members of each segment."""
        return [int(size) for size in self.inside.sum(axis=0)]

    def to_rows(self) -> pa.Table:
        """Columns segment and customer_id, a row per member of each segment."""
        columns, rows = np.nonzero(self.inside.T)
        names = pa.array([segment.name for segment in self.segments], pa.string())
        return pa.table(
            {"segment": names.take(pa.array(columns)), "customer_id": self.customers.take(pa.array(rows))}
        )


def _stage(stage: str) -> Rule:
    return Compare("lifecycle_stage", "=", stage)


def _is(tag: str, operator: Operator, value: Value) -> Rule:
    return Compare(tag, operator, value)


_REGULAR = _is("orders_365d", ">=", 3)
BUILT_IN: tuple[Segment, ...] = (
    Segment("best_customers", say("Best 20 %"), _is("is_best_20", "=", True)),
    Segment(
        "champions",
        say("Champions"),
        All((_is("rfm_r", ">=", 4), _is("rfm_f", ">=", 4), _is("rfm_m", ">=", 4))),
    ),
    Segment("new_customers", say("New customers"), _stage("new")),
    Segment("active_customers", say("Active customers"), _stage("active")),
    Segment("declining_customers", say("Declining customers"), _stage("declining")),
    Segment("dormant_customers", say("Dormant customers"), _stage("dormant")),
    Segment("lost_customers", say("Lost customers"), _stage("lost")),
    Segment("prospects", say("Prospects"), _stage("prospect")),
    Segment(
        "best_at_risk",
        say("Best customers at risk"),
        All(
            (
                _is("is_best_20", "=", True),
                Any(
                    (
                        OneOf("lifecycle_stage", ("declining", "dormant", "lost")),
                        _is("revenue_trend", "<=", -0.5),
                    )
                ),
            )
        ),
    ),
    Segment(
        "high_potential",
        say("High potential"),
        All((_is("value_tier", "=", "middle"), _is("rfm_r", ">=", 4), _is("revenue_trend", ">=", 0.1))),
    ),
    Segment("one_time_buyers", say("One-time buyers"), _is("orders_total", "=", 1)),
    Segment(
        "discount_lovers", say("Discount lovers"), All((_is("discount_share_365d", ">=", 0.25), _REGULAR))
    ),
    Segment("coupon_redeemers", say("Coupon redeemers"), _is("coupon_redemptions_365d", ">=", 1)),
    Segment("weekend_shoppers", say("Weekend shoppers"), All((_is("weekend_share", ">=", 0.5), _REGULAR))),
    Segment("evening_shoppers", say("Evening shoppers"), All((_is("evening_share", ">=", 0.5), _REGULAR))),
    Segment(
        "one_department_shoppers",
        say("One-department shoppers"),
        All((_is("favourite_department_share", ">=", 0.75), _REGULAR)),
    ),
)
"""The segments that every workspace has."""


def load_segments(store: Store, tags: Mapping[str, Type]) -> tuple[tuple[Segment, ...], tuple[Text, ...]]:
    """The built-in segments and the user's own; a rule that cannot be decided is left out, and said.

    Left out with it are the segments that name it, each with its own reason.
    """
    found, lacks = {segment.name: segment for segment in BUILT_IN}, []
    for name, body in store.list_definitions(KIND).items():
        try:
            found[name] = _read_segment(name, body)
        except AimwellError as error:
            lacks.append(_explain_left_out(name, error))
    broken = True
    while broken:
        rules = list_rules(found.values())
        broken = False
        for segment in list(found.values()):
            try:
                validate_rule(segment.rule, tags, segments=rules)
            except AimwellError as error:
                if not segment.built_in:
                    broken = True
                    del found[segment.name]
                    lacks.append(_explain_left_out(segment.name, error))
    return tuple(found.values()), tuple(lacks)


def list_rules(segments: Iterable[Segment]) -> dict[str, Rule]:
    """The rules of segments by name, as other rules may name them."""
    return {segment.name: segment.rule for segment in segments}


def check_rule(
    reader: Queryable, rule: Rule, segments: Mapping[str, Rule], *, name: str | None = None
) -> dict[str, Type]:
    """Check a rule that a person has just written; returns the types of tags and attributes.

    BadInput names what is unknown: tags, attributes, segments, circles through ``name``, and events that no
    source has ever delivered.
    """
    types = read_rule_types(reader)
    known = dict(segments) if name is None else {**segments, name: rule}
    events = None
    if list_rule_events(rule):
        events = {row["name"] for row in reader.query("SELECT DISTINCT name FROM events").to_pylist()}
    validate_rule(rule, types, segments=known, events=events)
    if name is not None:
        validate_rule(InSegment(name), types, segments=known)
    return types


def save_segment(store: Store, name: str, rule: Rule, *, title: str | None = None) -> int:
    """Keep the user's own segment as a definition; returns its version.

    BadInput when the name is not lower-case letters, digits and _; Conflict when a built-in segment is so called.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise BadInput(
            "analysis.bad_segment_name",
            say("'{name}' cannot be the name of a segment.", name=name),
            remedy=say(
                "Use lower-case letters, digits and _, beginning with a letter; the title may be anything."
            ),
            where={"value": name},
        )
    if any(segment.name == name for segment in BUILT_IN):
        raise Conflict(
            "analysis.segment_is_built_in",
            say("There is a built-in segment '{name}'.", name=name),
            remedy=say("Choose another name."),
            where={"value": name},
        )
    return store.save_definition(KIND, name, {"title": title or name, "rule": rule_to_json(rule)})


def find_members(
    reader: Queryable,
    segments: tuple[Segment, ...],
    tags: Mapping[str, Type],
    *,
    as_of: date,
    among: str | None = None,
) -> Membership:
    """Decide every segment for every customer of ``tags`` in one query; each source is read once.

    ``among`` names a relation with ``customer_id``: only those customers are decided. Segments that rules name must
    be among ``segments``.
    """
    rules = list_rules(segments)
    query = compile_rules(rules, tags, as_of=as_of, segments=rules, among=among)
    table = reader.query(query.sql, query.parameters)
    columns = [table.column(segment.name).to_numpy(zero_copy_only=False) for segment in segments]
    inside = np.column_stack(columns).astype(np.bool_) if columns else np.zeros((table.num_rows, 0), np.bool_)
    return Membership(segments, table.column("customer_id"), inside)


def evaluate_customers(
    reader: Reader, segments: tuple[Segment, ...], customer_ids: Collection[str], *, as_of: date
) -> Membership:
    """Decide every segment for these customers only; those who have no row of ``tags`` yet are not decided.

    The same answer as ``find_members`` gives for them. Segments that rules name must be among ``segments``.
    """
    ids = pa.table({"customer_id": pa.array(sorted(set(customer_ids)), pa.string())})
    reader.register("customers_asked", ids)
    return find_members(reader, segments, read_rule_types(reader), as_of=as_of, among="customers_asked")


def render_rule_sql(
    rule: Rule, tags: Mapping[str, Type], *, as_of: date, segments: Mapping[str, Rule] | None = None
) -> str:
    """The rule as it was run, values written in."""
    query: Query = compile_rules({"member": rule}, tags, as_of=as_of, segments=segments)
    return show_sql(query)


def count_overlaps(membership: Membership) -> list[list[int]]:
    """Customers in both of two segments, for all pairs in the order of ``membership.segments``."""
    return build_bitmaps(membership).count_overlaps()


def read_as_of(reader: Queryable) -> date:
    """The business day of the tags that there are; NotReady when there are none."""
    rows = reader.query("SELECT MAX(as_of) AS as_of FROM tags").to_pylist()
    found = rows[0]["as_of"]
    if found is None:
        raise NotReady(
            "analysis.not_run",
            say("There are no tags and segments yet."),
            remedy=say("Compute them with: aimwell analysis run"),
        )
    return date.fromisoformat(str(found))


def read_segments(reader: Queryable) -> list[dict[str, AnyType]]:
    """The segments of the last run: name, title, rule in words, size, shares of customers and revenue (0–1)."""
    customers = reader.query("SELECT COUNT(*) AS n FROM tags").to_pylist()[0]["n"]
    return [
        {
            "name": row["segment"],
            "title": Text.from_json(row["title"]).both(),
            "rule_text": describe_tag_rule(rule_from_json(json.loads(row["rule"]))).both(),
            "size": row["size"],
            "share": row["size"] / max(customers, 1),
            "revenue_share": row["revenue_share"],
        }
        for row in reader.query(_SIZES).to_pylist()
    ]


def share_revenue(revenue: NDArray[np.float64], inside: NDArray[np.bool_]) -> float | None:
    """The members' share of all revenue, 0–1; None when there is no revenue."""
    total = float(revenue.sum())
    return round(float(revenue[inside].sum()) / total, 6) if total > 0 else None


def _explain_left_out(name: str, error: AimwellError) -> Text:
    return say("The segment {name} was left out. {problem}", name=name, problem=error.message)


def _read_segment(name: str, body: Mapping[str, AnyType]) -> Segment:
    rule = body.get("rule")
    parsed = parse_rule(rule) if isinstance(rule, str) else rule_from_json(rule)
    if isinstance(body.get("title_text"), str):
        return Segment(name, Text.from_json(body["title_text"]), parsed, built_in=False)
    return Segment(name, say("{words}", words=str(body.get("title") or name)), parsed, built_in=False)
