"""Customer 360 客户画像: everything that is known about one customer, on one page.

Reads customers, tags, segment_members, scores, order_lines, events, consents, recommendations, effects,
actions and plan_items; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from aimwell.analysis.catalogue import VALUE_TITLES, find_tags
from aimwell.analysis.segments import BUILT_IN
from aimwell.analysis.tag import Tag
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable

_ORDERS = """\
SELECT
    l.order_id,
    MIN(l.ordered_on) AS ordered_on,
    COUNT(*) AS lines,
    SUM(l.quantity) AS units,
    SUM(l.revenue) AS revenue,
    SUM(l.discount) AS discount,
    MIN(l.store_id) AS store_id,
    MAX(CASE WHEN l.simulated THEN 1 ELSE 0 END) = 1 AS simulated
FROM order_lines AS l
WHERE l.customer_id = $customer_id
GROUP BY l.order_id
ORDER BY MIN(l.ordered_at) DESC, l.order_id DESC
LIMIT $limit"""
_EVENTS = """\
SELECT name, occurred_on, product_id, campaign_id, channel, simulated
FROM events
WHERE customer_id = $customer_id
ORDER BY occurred_at DESC, event_id DESC
LIMIT $limit"""
_CONSENTS = """\
SELECT channel, purpose, allowed, since, source
FROM (
    SELECT
        channel,
        purpose,
        allowed,
        since,
        source,
        ROW_NUMBER() OVER (
            PARTITION BY channel, purpose
            ORDER BY since DESC, CASE WHEN allowed THEN 1 ELSE 0 END
        ) AS place
    FROM consents
    WHERE customer_id = $customer_id
) AS spoken
WHERE place = 1
ORDER BY channel, purpose"""
_SEGMENTS = """\
SELECT m.segment, s.title, m.entered_on
FROM segment_members AS m
LEFT JOIN segments AS s ON s.segment = m.segment
WHERE m.customer_id = $customer_id AND m.left_on IS NULL
ORDER BY m.segment"""
_SCORES = """\
SELECT model, score, lower, upper, as_of
FROM scores
WHERE customer_id = $customer_id
ORDER BY model"""
_RECOMMENDATIONS = """\
SELECT r.rank, r.product_id, p.name, p.department, r.new_to_customer
FROM recommendations AS r
LEFT JOIN products AS p ON p.product_id = r.product_id
WHERE r.customer_id = $customer_id
ORDER BY r.rank
LIMIT $limit"""
_EFFECTS = """\
SELECT e.action_id, a.title, e.estimate, e.standard_error, e.redemption
FROM effects AS e
LEFT JOIN actions AS a ON a.action_id = e.action_id
WHERE e.customer_id = $customer_id
ORDER BY e.estimate DESC, e.action_id"""
_PLANS = """\
SELECT i.plan_id, i.action_id, a.title, i.expected_profit, i.standard_error, i.expected_cost, i.probability,
i.reason FROM plan_items AS i LEFT JOIN actions AS a ON a.action_id = i.action_id WHERE i.customer_id =
$customer_id ORDER BY i.plan_id DESC, i.action_id"""


def read_profile(reader: Queryable, customer_id: str, *, limit: int = 10) -> dict[str, Any]:
    """Everything about ``customer_id``, newest first, at most ``limit`` orders and events.

    NotReady when there is no customer at all; BadInput that names the nearest ids when this one is unknown.
    """
    known = {"customer_id": customer_id}
    attributes = _read_first(reader, "SELECT * FROM customers WHERE customer_id = $customer_id", known)
    tags = _read_first(reader, "SELECT * FROM tags WHERE customer_id = $customer_id", known)
    some = {**known, "limit": limit}
    orders = reader.query(_ORDERS, some).to_pylist()
    if not attributes and not tags and not orders:
        raise _unknown(reader, customer_id)
    return {
        "customer_id": customer_id,
        "as_of": tags.get("as_of"),
        "attributes": {name: value for name, value in attributes.items() if name != "customer_id" and value},
        "tags": _list_tags(tags),
        "segments": [_open(row, "title") for row in reader.query(_SEGMENTS, known).to_pylist()],
        "scores": reader.query(_SCORES, known).to_pylist(),
        "orders": orders,
        "events": reader.query(_EVENTS, some).to_pylist(),
        "consents": reader.query(_CONSENTS, known).to_pylist(),
        "recommendations": reader.query(_RECOMMENDATIONS, some).to_pylist(),
        "effects": [_open(row, "title") for row in reader.query(_EFFECTS, known).to_pylist()],
        "plan_items": [_open(row, "title", "reason") for row in reader.query(_PLANS, known).to_pylist()],
    }


def _read_first(reader: Queryable, sql: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    rows = reader.query(sql, parameters).to_pylist()
    return dict(rows[0]) if rows else {}


def _list_tags(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The known tags with their words, in the order of the catalogue."""
    return [_show_tag(tag, values[tag.name]) for tag in find_tags(values) if values.get(tag.name) is not None]


def _show_tag(tag: Tag, value: object) -> dict[str, Any]:
    named = VALUE_TITLES.get(tag.name, {}).get(str(value))
    return {
        "name": tag.name,
        "title": tag.title.both(),
        "kind": tag.kind,
        "unit": tag.unit,
        "value": value,
        "value_title": named.both() if named else None,
    }


def _open(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """``row`` with its packed messages in both languages."""
    titles = {segment.name: segment.title for segment in BUILT_IN}
    opened = dict(row)
    for name in names:
        packed = row.get(name)
        text = Text.from_json(packed) if packed else titles.get(str(row.get("segment")))
        opened[name] = text.both() if text else None
    return opened


def _unknown(reader: Queryable, customer_id: str) -> BadInput | NotReady:
    nearest = find_nearest_customers(reader, customer_id)
    if not nearest:
        return NotReady(
            "analysis.no_customers",
            say("There are no customers yet."),
            remedy=say("Add a source first: aimwell data add FILE --as order_lines"),
        )
    return BadInput(
        "analysis.unknown_customer",
        say("There is no customer '{customer}'.", customer=customer_id),
        remedy=say("The nearest ids are: {ids}.", ids=", ".join(nearest)),
        where={"value": customer_id},
    )


def find_nearest_customers(reader: Queryable, customer_id: str, *, count: int = 5) -> list[str]:
    """Up to ``count`` known ids like ``customer_id``: alike in spelling, else neighbours."""
    start = customer_id.strip()[:2].replace("\\", "").replace("%", "").replace("_", "")
    alike = "SELECT customer_id FROM customers WHERE customer_id LIKE $start ORDER BY customer_id LIMIT 20000"
    candidates = reader.query(alike, {"start": f"{start}%"}).column("customer_id").to_pylist()
    found = get_close_matches(customer_id.strip(), candidates, n=count, cutoff=0.6)
    if found:
        return list(found)
    after = "SELECT customer_id FROM customers WHERE customer_id >= $id ORDER BY customer_id LIMIT $count"
    before = (
        "SELECT customer_id FROM customers WHERE customer_id < $id ORDER BY customer_id DESC LIMIT $count"
    )
    bound = {"id": customer_id, "count": count}
    rows = [*reader.query(after, bound).to_pylist(), *reader.query(before, bound).to_pylist()]
    return [row["customer_id"] for row in rows[:count]]
