"""Customer 360 客户画像: everything that is known about one customer, on one page.

Identifiers are masked unless asked for; then the audit log says who asked. Reads customers, identities, identifiers,
tags, segment_members, scores, model_cards, order_lines, events, signals, consents, recommendations, effects, actions
and plan_items; writes no table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from aimwell.analysis.catalogue import find_tags
from aimwell.analysis.next_step import decide_next
from aimwell.analysis.segments import BUILT_IN
from aimwell.analysis.tag import Tag
from aimwell.analysis.value_titles import VALUE_TITLES
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.ids import fold_id
from aimwell.core.lists import join_list
from aimwell.core.masking import mask_identifier
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace

_ORDERS = """\
SELECT
    l.order_id,
    MIN(l.ordered_on) AS ordered_on,
    MIN(l.ordered_at) AS ordered_at,
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
SELECT name, occurred_on, occurred_at, product_id, campaign_id, channel, properties, simulated
FROM events
WHERE customer_id = $customer_id
ORDER BY occurred_at DESC, event_id DESC
LIMIT $limit"""
_CONSENTS = f"""\
SELECT channel, purpose, allowed, answered, since, until, source
FROM (
{select_consents(where="customer_id = $customer_id")}
) AS latest
ORDER BY channel, purpose"""
_SEGMENTS = """\
SELECT m.segment, s.title, m.entered_on
FROM segment_members AS m
LEFT JOIN segments AS s ON s.segment = m.segment
WHERE m.customer_id = $customer_id AND m.left_on IS NULL
ORDER BY m.segment"""
_SCORES = """\
SELECT
    s.model,
    s.score,
    s.lower,
    s.upper,
    s.as_of,
    (
        SELECT AVG(CASE WHEN o.score < s.score THEN 1.0 ELSE 0.0 END)
        FROM scores AS o
        WHERE o.model = s.model
    ) AS share_below,
    c.card
FROM scores AS s
LEFT JOIN model_cards AS c ON c.model = s.model
WHERE s.customer_id = $customer_id
ORDER BY s.model"""
_SIGNALS = """\
SELECT kind, name, score, text, given_on
FROM signals
WHERE customer_id = $customer_id
ORDER BY given_at DESC, signal_id DESC
LIMIT $limit"""
_RECORDS = "SELECT record_id FROM identities WHERE customer_id = $customer_id ORDER BY record_id"
_IDENTIFIERS = """\
SELECT DISTINCT kind, value, usable, record_id
FROM identifiers
WHERE record_id = $customer_id
   OR record_id IN (SELECT record_id FROM identities WHERE customer_id = $customer_id)
ORDER BY kind, value, record_id"""
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


_PERSONAL = {
    "email": "email e-mail mail 邮箱 电子邮箱 邮件地址",
    "phone": "phone mobile telephone 手机 手机号 手机号码 电话 电话号码 联系电话",
    "address": "address street 地址 通讯地址 收货地址 家庭住址 住址",
    "name": "name full_name given_name family_name first_name last_name surname 姓名 名字 客户姓名 会员姓名",
    "id_number": "id_number passport soc_sec_id 身份证 身份证号 身份证号码 证件号 证件号码",
}
PERSONAL = {name: kind for kind, names in _PERSONAL.items() for name in names.split()}
"""Attributes that are masked like identifiers, with the kind of identifier that each is."""
_ENDINGS = {
    "openid": r"open_?id|union_?id|微信号|微信id|wechat(_?(id|no))?|device_?id|idfa|imei|oaid|设备号",
    "phone": r"(phone|mobile)(_?(no|number))?|手机号?码?|电话(号码)?|联系方式",
    "email": r"e?_?mail(_?address)?|邮箱(地址)?",
    "address": r"address(_?(line_?)?\d)?|地址|住址",
    "name": r"(full|given|family|first|last|sur|contact|customer|recipient|receiver)_?name|姓名|收货人|联系人",
    "id_number": r"(id_?card|passport|ssn)(_?(no|number))?|身份证号?码?|证件号?码?|护照号?码?|银行卡号?",
}
_PERSONAL_ENDINGS = {kind: re.compile(f"({words})$", re.IGNORECASE) for kind, words in _ENDINGS.items()}
TIMELINE = 50
_NEAR = 0.75
"""How alike two numbers are, from 0 to 1, for one to be offered in place of the other: a sign or two."""


def open_profile(workspace: Workspace, customer_id: str, *, show_personal: bool = False) -> dict[str, Any]:
    """``read_profile`` for somebody who wants to see it: what is shown whole stands in the audit log before it is.

    The log holds the customer's number, which an erasure takes out again, and nothing that was shown.
    """
    with workspace.read() as reader:
        profile = read_profile(reader, customer_id, show_personal=show_personal)
    if show_personal:
        workspace.store.audit("customer.revealed", "profile", {"customer_id": profile["customer_id"]})
    return profile


def read_profile(
    reader: Queryable, customer_id: str, *, limit: int = TIMELINE, show_personal: bool = False
) -> dict[str, Any]:
    """Everything about ``customer_id``, newest first, at most ``limit`` orders and events.

    The id of a record that was joined leads to its customer. Identifiers are masked unless ``show_personal``.
    NotReady when there is no customer at all; BadInput that names the nearest ids when this one is unknown.
    """
    asked, customer_id = customer_id, _resolve(reader, customer_id)
    known = {"customer_id": customer_id}
    attributes = _read_first(reader, "SELECT * FROM customers WHERE customer_id = $customer_id", known)
    tags = _read_first(reader, "SELECT * FROM tags WHERE customer_id = $customer_id", known)
    some = {**known, "limit": limit}
    orders, events = reader.query(_ORDERS, some).to_pylist(), _read_events(reader, some)
    if not attributes and not tags and not orders and not events:
        # As it stands first: data that came before numbers were folded keep the signs that they came with.
        folded = fold_id(asked)
        if folded == asked:
            raise _unknown(reader, asked)
        return read_profile(reader, folded, limit=limit, show_personal=show_personal)
    page = {
        "customer_id": customer_id,
        "as_of": tags.get("as_of"),
        "identity": _read_identity(reader, known, show_personal=show_personal),
        "attributes": _show_attributes(attributes, show_personal=show_personal),
        "tags": _list_tags(tags, show_personal=show_personal),
        "segments": [_open(row, "title") for row in reader.query(_SEGMENTS, known).to_pylist()],
        "scores": [_explain_score(row) for row in reader.query(_SCORES, known).to_pylist()],
        "orders": orders,
        "events": events,
        "timeline": merge_timeline(orders, events, limit=limit),
        "signals": reader.query(_SIGNALS, some).to_pylist(),
        "consents": reader.query(_CONSENTS, {**known, **bind_instant(now())}).to_pylist(),
        "recommendations": reader.query(_RECOMMENDATIONS, some).to_pylist(),
        "effects": [_open(row, "title") for row in reader.query(_EFFECTS, known).to_pylist()],
        "plan_items": [_open(row, "title", "reason") for row in reader.query(_PLANS, known).to_pylist()],
    }
    return {**page, "next": decide_next(page)}


def merge_timeline(
    orders: list[dict[str, Any]], events: list[dict[str, Any]], *, limit: int
) -> list[dict[str, Any]]:
    """The newest ``limit`` of both: instant, day, kind (order or event), what, detail, whether it is simulated.

    ``by_machine``: a mail scanner or the like did it, not the customer.
    """
    rows = [
        {
            "at": row["ordered_at"],
            "day": row["ordered_on"],
            "kind": "order",
            "what": row["order_id"],
            "revenue": row["revenue"],
            "lines": row["lines"],
            "detail": row["store_id"],
            "by_machine": False,
            "simulated": row["simulated"],
        }
        for row in orders
    ]
    rows += [
        {
            "at": row["occurred_at"],
            "day": row["occurred_on"],
            "kind": "event",
            "what": row["name"],
            "revenue": None,
            "lines": None,
            "detail": row["product_id"] or row["campaign_id"] or row["channel"],
            "by_machine": row["by_machine"],
            "simulated": row["simulated"],
        }
        for row in events
    ]
    return sorted(rows, key=lambda row: row["at"], reverse=True)[:limit]


def _read_events(reader: Queryable, some: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The newest events, each with whether a machine did it: as the pages that answered the links judged."""
    rows: list[dict[str, Any]] = reader.query(_EVENTS, some).to_pylist()
    for row in rows:
        row["by_machine"] = _is_by_machine(row.pop("properties"))
    return rows


def _is_by_machine(properties: str | None) -> bool:
    try:
        read = json.loads(properties or "{}")
    except ValueError:
        return False  # delivered by a program as no JSON
    return isinstance(read, dict) and read.get("machine") is True


def _resolve(reader: Queryable, customer_id: str) -> str:
    """The customer to whom a joined record belongs; the id itself where it was not joined."""
    sql = "SELECT customer_id FROM identities WHERE record_id = $customer_id"
    found: dict[str, Any] = _read_first(reader, sql, {"customer_id": customer_id})
    return str(found.get("customer_id", customer_id))


def _read_identity(reader: Queryable, known: Mapping[str, Any], *, show_personal: bool) -> dict[str, Any]:
    """The records that were joined, and each identifier once, with the records that carry it."""
    records = [row["record_id"] for row in reader.query(_RECORDS, known).to_pylist()]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in reader.query(_IDENTIFIERS, known).to_pylist():
        shown = row["value"] if show_personal else mask_identifier(row["kind"], row["value"])
        entry = found.setdefault(
            (row["kind"], row["value"]),
            {"kind": row["kind"], "value": shown, "usable": row["usable"], "records": 0},
        )
        entry["records"] += 1
    return {"records": sorted({*records, str(known["customer_id"])}), "identifiers": list(found.values())}


def _show_attributes(attributes: Mapping[str, Any], *, show_personal: bool) -> dict[str, Any]:
    return {
        name: value if show_personal else _mask(name, value)
        for name, value in attributes.items()
        if name != "customer_id" and value
    }


def _mask_tag(name: str, value: Any) -> Any:
    column = name.removeprefix("attribute_")
    # A tag of ours may end in a word of these without being one: contactable_email is yes or no.
    return value if column == name and column.lower() not in PERSONAL else _mask(column, value)


def _mask(column: str, value: Any) -> Any:
    # Sources put whose it is before what it is: 会员手机号, shop_openid, 收货地址.
    found = (kind for kind, ending in _PERSONAL_ENDINGS.items() if ending.search(column.strip()))
    kind = PERSONAL.get(column.lower()) or next(found, None)
    return value if kind is None else mask_identifier(kind, str(value))


def _explain_score(row: Mapping[str, Any]) -> dict[str, Any]:
    """A score with what it means: its place among all customers, and what its model is for."""
    card = json.loads(row["card"]) if row["card"] else {}
    reason = say("Higher than that of {share} of the customers.", share=f"{row['share_below']:.0%}")
    named = {"title": card.get("title"), "purpose": card.get("purpose"), "reason": reason.both()}
    return {
        **{name: row[name] for name in ("model", "score", "lower", "upper", "as_of", "share_below")},
        **named,
    }


def _read_first(reader: Queryable, sql: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    rows = reader.query(sql, parameters).to_pylist()
    return dict(rows[0]) if rows else {}


def _list_tags(values: Mapping[str, Any], *, show_personal: bool) -> list[dict[str, Any]]:
    """The known tags with their words, in the order of the catalogue."""
    known = [(tag, values[tag.name]) for tag in find_tags(values) if values.get(tag.name) is not None]
    return [_show_tag(tag, value if show_personal else _mask_tag(tag.name, value)) for tag, value in known]


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
    if not count_customers(reader):
        return NotReady(
            "analysis.no_customers",
            say("There are no customers yet."),
            remedy=say("Add a source first: aimwell data add FILE --as order_lines"),
        )
    nearest = find_nearest_customers(reader, customer_id)
    return BadInput(
        "analysis.unknown_customer",
        say("There is no customer '{customer}'.", customer=customer_id),
        remedy=say("The nearest ids are: {ids}.", ids=join_list(nearest))
        if nearest
        else say("No known number is like it. See some of them with: aimwell customer"),
        where={"value": customer_id},
    )


def find_nearest_customers(reader: Queryable, customer_id: str, *, count: int = 5) -> list[str]:
    """Up to ``count`` known ids that may have been meant: but for a sign or two, or for capitals, the same."""
    wanted = customer_id.strip().lower()
    start = wanted[:2].replace("\\", "").replace("%", "").replace("_", "")
    alike = f"""
        SELECT customer_id FROM {_find_people(reader)} WHERE LOWER(customer_id) LIKE $start
        ORDER BY customer_id LIMIT 20000"""
    candidates = reader.query(alike, {"start": f"{start}%"}).column("customer_id").to_pylist()
    spelled: dict[str, list[str]] = {}
    for one in candidates:
        spelled.setdefault(one.lower(), []).append(one)
    near = get_close_matches(wanted, list(spelled), n=count, cutoff=_NEAR)
    return [one for spelling in near for one in spelled[spelling]][:count]


def list_customers(reader: Queryable, *, count: int) -> list[str]:
    """The first ``count`` customers by their numbers; NotReady when there is none."""
    people = _find_people(reader)
    sql = f"SELECT customer_id FROM {people} ORDER BY customer_id LIMIT $count"
    found = reader.query(sql, {"count": count}).column("customer_id").to_pylist()
    if not found:
        raise _unknown(reader, "")
    return [str(one) for one in found]


def count_customers(reader: Queryable) -> int:
    """How many customers there are."""
    rows = reader.query(f"SELECT COUNT(*) AS customers FROM {_find_people(reader)}").to_pylist()
    return int(rows[0]["customers"])


def _find_people(reader: Queryable) -> str:
    """A relation with every customer: where only events came, nobody stands in ``customers``."""
    for table in ("customers", "tags"):
        if reader.query(f"SELECT customer_id FROM {table} LIMIT 1").num_rows:
            return table
    return "(SELECT DISTINCT customer_id FROM events) AS people"
