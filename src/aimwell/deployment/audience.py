"""Who a plan's wave goes to, and all that a message may say to each of them.

Only customers drawn into treatment are read: control and holdout never reach the ledger.
Reads ``plans``, ``plan_items``, ``assignments``, ``actions``, ``customers``, ``identities``, ``consents``,
``recommendations``, ``products``, ``tags`` and ``events``; writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.tables import CHANNELS
from aimwell.core.text import Language, Text, say
from aimwell.core.time import find_knowledge_end
from aimwell.deployment.campaign import Wave
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.permissions import ConsentState
from aimwell.engine.session import Queryable

# A usable address: one @, no space or control character, nothing that could end a header or a command.
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PHONE = re.compile(r"\+?[0-9]{5,15}")
_PHONE_NOISE = re.compile(r"[\s().\-/]")
_NAMES = ("first_name", "given_name", "name", "full_name", "customer_name", "姓名", "名字")
_ZONES = ("time_zone", "timezone", "zone", "时区")
_LANGUAGES = ("language", "lang", "locale", "语言")
_PRODUCTS_SHOWN = 3
OUR_SOURCE = "aimwell"

ITEMS_SQL = """
WITH treated AS (
    SELECT customer_id
    FROM assignments
    WHERE plan_id = $plan_id AND arm = 'treatment' AND action_id IS NOT NULL
)
SELECT
    items.customer_id AS customer_id,
    items.action_id AS action_id,
    items.reason AS reason,
    actions.channel AS channel,
    actions.offer AS offer,
    actions.title AS title,
    actions.department AS department,
    actions.discount AS discount,
    actions.unit_cost AS unit_cost,
    actions.slot AS slot,
    actions.valid_from AS valid_from,
    actions.valid_to AS valid_to,
    actions.lead_days AS lead_days,
    items.expected_profit AS expected_profit
FROM plan_items AS items
JOIN treated ON treated.customer_id = items.customer_id
JOIN actions ON actions.action_id = items.action_id
WHERE items.plan_id = $plan_id
ORDER BY items.customer_id, items.action_id
"""

ARMS_SQL = """
SELECT customer_id, arm, action_id
FROM assignments
WHERE plan_id = $plan_id
ORDER BY customer_id
"""

ORPHANS_SQL = """
SELECT items.action_id AS action_id
FROM plan_items AS items
WHERE items.plan_id = $plan_id
  AND NOT EXISTS (SELECT 1 FROM actions WHERE actions.action_id = items.action_id)
ORDER BY items.action_id
LIMIT 1
"""

OFFERS_SQL = """
SELECT DISTINCT items.action_id AS action_id, actions.offer AS offer
FROM plan_items AS items
JOIN actions ON actions.action_id = items.action_id
WHERE items.plan_id = $plan_id
ORDER BY action_id
"""

# A plan names records as they were known when it was made; whose they are by now is in 'identities'.
CUSTOMERS_SQL = """
SELECT customers.*, treated.planned_as AS planned_as
FROM customers
JOIN (
    SELECT DISTINCT
        assignments.customer_id AS planned_as,
        COALESCE(identities.customer_id, assignments.customer_id) AS customer_id
    FROM assignments
    LEFT JOIN identities ON identities.record_id = assignments.customer_id
    WHERE assignments.plan_id = $plan_id AND assignments.arm = 'treatment'
) AS treated
    ON treated.customer_id = customers.customer_id
"""

# A grant counts once it lies in the past of the plan; a withdrawal counts whenever it is known.
_TREATED = """customer_id IN (
            SELECT customer_id FROM assignments WHERE plan_id = $plan_id AND arm = 'treatment'
        )"""
CONSENTS_SQL = f"""
WITH latest AS (
{select_consents(purpose="marketing", any_refusal=True, where=_TREATED)}
)
SELECT customer_id, channel, answered, since, until
FROM latest
ORDER BY customer_id, channel
"""

PRODUCTS_SQL = """
SELECT
    recommendations.customer_id AS customer_id,
    coalesce(products.name, products.category) AS product
FROM recommendations
JOIN products ON products.product_id = recommendations.product_id
WHERE recommendations.rank <= $shown AND coalesce(products.name, products.category) IS NOT NULL
ORDER BY recommendations.customer_id, recommendations.rank
"""

CONTACTS_SQL = """
WITH reached AS (
    SELECT customer_id, count(*) AS contacts
    FROM events
    WHERE name = 'Message Sent' AND source <> $ours AND occurred_on > $first AND occurred_on <= $last
    GROUP BY customer_id
)
SELECT customer_id, contacts
FROM reached
UNION
SELECT identities.record_id AS customer_id, reached.contacts AS contacts
FROM reached
JOIN identities ON identities.customer_id = reached.customer_id
"""


@dataclass(frozen=True)
class Addressee:
    """One treated customer × action, with what its message needs. No field is logged."""

    customer_id: str
    action_id: str
    channel: str
    offer: str
    title: Text
    reason: Text | None
    department: str | None
    discount: float
    unit_cost: Decimal
    recipient: str | None
    name: str
    language: Language | None
    best_hour: int | None
    products: tuple[str, ...]
    recipients: Mapping[str, str] = field(default_factory=dict)
    """Every channel that reaches the customer, with the address."""
    zone: str | None = None
    value_cents: int = 0
    """What the contact is expected to earn."""
    slot: str | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    lead_days: int = 0


@dataclass(frozen=True)
class Plan:
    """The row of ``plans`` as far as a launch needs it."""

    wave: Wave
    as_of: date
    days: int


def read_plan(source: Queryable, plan_id: str, *, content: Mapping[str, str]) -> Plan:
    """The plan and its fingerprint over items, arms, actions and ``content``; NotReady when it is not there."""
    sql = "SELECT plan_id, goal, round_number, wave, as_of, days, fingerprint FROM plans WHERE plan_id = $plan_id"
    rows = source.query(sql, {"plan_id": plan_id}).to_pylist()
    if not rows:
        raise NotReady(
            "deployment.no_plan",
            say("There is no plan {plan}.", plan=plan_id),
            remedy=say("Make one with aimwell strategy; the plans that exist are in the table 'plans'."),
            where={"table": "plans", "value": plan_id},
        )
    row = rows[0]
    orphan = source.query(ORPHANS_SQL, {"plan_id": plan_id}).to_pylist()
    if orphan:
        raise NotReady(
            "deployment.no_action",
            say(
                "The plan uses the action {action}, which is not in the table 'actions'.",
                action=orphan[0]["action_id"],
            ),
            remedy=say("Run the strategy step again."),
            where={"table": "actions", "value": orphan[0]["action_id"]},
        )
    fingerprint = fingerprint_wave(source, plan_id, row["fingerprint"], content)
    wave = Wave(plan_id, row["goal"], row["round_number"], row["wave"], fingerprint)
    return Plan(wave, row["as_of"], row["days"])


def fingerprint_wave(source: Queryable, plan_id: str, own: str, content: Mapping[str, str]) -> str:
    """SHA-256 of the plan's own fingerprint and of every item, arm, action and template as they stand now."""
    digest = hashlib.sha256(own.encode())
    for sql in (ITEMS_SQL, ARMS_SQL):
        table = source.query(sql, {"plan_id": plan_id})
        for row in table.to_pylist():
            digest.update(json.dumps(list(row.values()), default=str, ensure_ascii=False).encode())
    digest.update(json.dumps(sorted(content.items()), ensure_ascii=False).encode())
    return digest.hexdigest()


def list_offers(source: Queryable, plan_id: str) -> list[tuple[str, str]]:
    """The actions of a plan, each with its offer."""
    rows = source.query(OFFERS_SQL, {"plan_id": plan_id}).to_pylist()
    return [(row["action_id"], row["offer"]) for row in rows]


def read_addressees(source: Queryable, plan_id: str) -> list[Addressee]:
    """All treated customers × actions of a plan, in order of customer and action."""
    customers = {
        row["planned_as"]: row for row in source.query(CUSTOMERS_SQL, {"plan_id": plan_id}).to_pylist()
    }
    hours = _read_hours(source)
    products = _read_products(source)
    rows = source.query(ITEMS_SQL, {"plan_id": plan_id}).to_pylist()
    return [
        _build_addressee(
            row, customers.get(row["customer_id"], {}), hours, products.get(row["customer_id"], ())
        )
        for row in rows
    ]


def read_consents(source: Queryable, plan_id: str, *, as_of: date, zone_name: str) -> list[ConsentState]:
    """The latest marketing consent of everybody whom the plan treats, with its end; the ledger looks at the clock."""
    instant = find_knowledge_end(as_of, zone_name)
    rows = source.query(CONSENTS_SQL, {**bind_instant(instant), "plan_id": plan_id}).to_pylist()
    return [
        ConsentState(
            row["customer_id"],
            row["channel"],
            row["answered"],
            _count_ms(row["since"]),
            None if row["until"] is None else _count_ms(row["until"]),
        )
        for row in rows
    ]


def _count_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def read_prior_contacts(source: Queryable, *, as_of: date, cap_days: int) -> dict[str, int]:
    """Messages by other systems, per customer and record of theirs, in the ``cap_days`` that end with ``as_of``."""
    parameters = {"ours": OUR_SOURCE, "first": as_of - timedelta(days=cap_days), "last": as_of}
    rows = source.query(CONTACTS_SQL, parameters).to_pylist()
    return {row["customer_id"]: int(row["contacts"]) for row in rows}


def find_recipient(channel: str, customer: Mapping[str, Any]) -> str | None:
    """The address for a channel, cleaned; None when there is none that a provider could use."""
    match channel:
        case "email":
            email = str(customer.get("email") or "").strip()
            return email if _EMAIL.fullmatch(email) and len(email) <= 254 else None
        case "sms" | "call":
            phone = _PHONE_NOISE.sub("", str(customer.get("phone") or ""))
            return phone if _PHONE.fullmatch(phone) else None
        case "mail":
            return " ".join(str(customer.get("address") or "").split()) or None
        case "push":
            # What the browser gave: the subscription as JSON.
            return str(customer.get("push_subscription") or "") or None
        case "web" | "webhook":
            return str(customer.get("customer_id") or "") or None
        case _:
            return channel if channel.startswith("robot:") else None


def find_name(customer: Mapping[str, Any]) -> str:
    """What a message calls the customer; empty when no column says it."""
    return _choose(customer, _NAMES)[:100]


def soften(name: str) -> str:
    """A name that a till prints in capitals, as people write it."""
    return name.title() if name.isupper() else name


def _build_addressee(
    row: Mapping[str, Any], customer: Mapping[str, Any], hours: Mapping[str, int], products: Sequence[str]
) -> Addressee:
    language = _choose(customer, _LANGUAGES).lower()
    return Addressee(
        customer_id=row["customer_id"],
        action_id=row["action_id"],
        channel=row["channel"],
        offer=row["offer"],
        title=Text.from_json(row["title"]),
        reason=Text.from_json(row["reason"]) if row["reason"] else None,
        department=soften(row["department"]) if row["department"] else None,
        discount=row["discount"],
        unit_cost=row["unit_cost"],
        recipient=find_recipient(row["channel"], customer),
        name=find_name(customer),
        language="zh" if language.startswith(("zh", "中")) else "en" if language.startswith("en") else None,
        best_hour=hours.get(row["customer_id"]),
        products=tuple(products),
        recipients={
            channel: address for channel in CHANNELS if (address := find_recipient(channel, customer))
        },
        zone=_choose(customer, _ZONES)[:64] or None,
        value_cents=round(100 * row["expected_profit"]),
        slot=row["slot"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        lead_days=row["lead_days"] or 0,
    )


def _choose(customer: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((str(customer[name]).strip() for name in names if customer.get(name)), "")


def _read_hours(source: Queryable) -> dict[str, int]:
    if "favourite_hour" not in source.query("SELECT * FROM tags LIMIT 0").column_names:
        return {}
    table = source.query("SELECT customer_id, favourite_hour FROM tags WHERE favourite_hour IS NOT NULL")
    return {row["customer_id"]: int(row["favourite_hour"]) for row in table.to_pylist()}


def _read_products(source: Queryable) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in source.query(PRODUCTS_SQL, {"shown": _PRODUCTS_SHOWN}).to_pylist():
        name = soften(row["product"])
        # Complete Journey has many products of one name: a customer sees each name once.
        if name not in found[row["customer_id"]]:
            found[row["customer_id"]].append(name)
    return found
