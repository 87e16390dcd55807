"""Reads what a plan is made from: customers and consents, tags and scores, effects, lessons, past contacts.

Reads ``customers``, ``consents``, ``events``, ``tags``, ``scores``, ``effects``, ``actions``, ``segment_members``;
writes nothing. Nothing that happened on or after ``as_of`` is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.core.time import find_knowledge_end
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.rule import ATTRIBUTE
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.engine.sql_text import quote_name
from aimwell.strategy.actions import IDENTIFIERS, Action
from aimwell.strategy.problem import Flags, Reals
from aimwell.strategy.traits import INSIDE, OUTSIDE, SEGMENT, write_value

CUSTOMERS_SQL = """
SELECT
    customer_id,
    CASE WHEN email IS NULL OR TRIM(email) = '' THEN 0 ELSE 1 END AS email,
    CASE WHEN phone IS NULL OR TRIM(phone) = '' THEN 0 ELSE 1 END AS phone,
    CASE WHEN address IS NULL OR TRIM(address) = '' THEN 0 ELSE 1 END AS address
FROM customers
ORDER BY customer_id
"""
CONSENTS_SQL = f"""
WITH latest AS (
{select_consents(purpose="marketing")}
)
SELECT customer_id, channel
FROM latest
WHERE allowed
"""
CONTACTS_SQL = """
SELECT customer_id, COUNT(DISTINCT event_id) AS contacts
FROM events
WHERE name = 'Message Sent' AND occurred_on >= $since AND occurred_on < $as_of
GROUP BY customer_id
HAVING COUNT(DISTINCT event_id) >= $cap
"""
COUNTS_SQL = """
SELECT customer_id, COUNT(DISTINCT event_id) AS contacts
FROM events
WHERE name = 'Message Sent' AND occurred_on >= $since AND occurred_on < $as_of
GROUP BY customer_id
"""
MEMBERS_SQL = """
SELECT customer_id
FROM segment_members
WHERE segment = $segment AND entered_on <= $as_of AND (left_on IS NULL OR left_on > $as_of)
"""
EFFECTS_SQL = """
SELECT customer_id, action_id, estimate, standard_error, redemption, measured
FROM effects
WHERE as_of <= $as_of
"""
PROPENSITY_SQL = """
SELECT customer_id, MAX(score) AS score
FROM scores
WHERE as_of <= $as_of AND {condition}
GROUP BY customer_id
"""
SPREAD_SQL = """
WITH spending AS (
    SELECT customers.customer_id, COALESCE(SUM(CAST(order_lines.revenue AS DOUBLE)), 0) AS revenue
    FROM customers
    LEFT JOIN order_lines
      ON order_lines.customer_id = customers.customer_id
     AND order_lines.ordered_on >= $since AND order_lines.ordered_on < $as_of
    GROUP BY customers.customer_id
)
SELECT STDDEV_SAMP(revenue) AS spread FROM spending
"""


@dataclass(frozen=True)
class Audience:
    """Everybody who is known: which channels reach them and are allowed, and who had enough contacts."""

    customers: tuple[str, ...]
    channels: dict[str, Flags]
    capped: Flags

    def find_eligible(self, actions: Sequence[Action]) -> Flags:
        """Customers × actions: consented, reachable, and below the contact cap."""
        nobody = np.zeros(len(self.customers), dtype=np.bool_)
        columns = [self.channels.get(action.channel, nobody) & ~self.capped for action in actions]
        return np.column_stack(columns) if columns else np.zeros((len(self.customers), 0), dtype=np.bool_)


@dataclass(frozen=True)
class Knowledge:
    """What models said of every customer and action; matrices are customers × actions, NaN: nothing."""

    estimate: Reals | None
    standard_error: Reals | None
    redemption: Reals | None
    measured: bool = False
    """Whether any effect is as measured elsewhere, and no posterior."""


def read_audience(queryable: Queryable, settings: Settings, *, as_of: date) -> Audience:
    """All customers with their channels by consent and identifier, and the contact cap."""
    table = queryable.query(CUSTOMERS_SQL)
    customers = tuple(table["customer_id"].to_pylist())
    place = {customer: index for index, customer in enumerate(customers)}
    channels = {name: np.zeros(len(customers), dtype=np.bool_) for name in settings.channels}
    until = find_knowledge_end(as_of, settings.business.zone)
    for row in queryable.query(CONSENTS_SQL, bind_instant(until)).to_pylist():
        if row["channel"] in channels and row["customer_id"] in place:
            channels[row["channel"]][place[row["customer_id"]]] = True
    for name, flags in channels.items():
        if name in IDENTIFIERS:
            flags &= np.asarray(table[IDENTIFIERS[name]].to_numpy(), dtype=np.bool_)
    return Audience(customers, channels, _read_capped(queryable, settings, place, as_of))


def _read_capped(queryable: Queryable, settings: Settings, place: dict[str, int], as_of: date) -> Flags:
    capped = np.zeros(len(place), dtype=np.bool_)
    since = begin_window(settings, as_of)
    found = queryable.query(CONTACTS_SQL, {"since": since, "as_of": as_of, "cap": settings.contact.cap})
    for customer in found["customer_id"].to_pylist():
        if customer in place:
            capped[place[customer]] = True
    return capped


def begin_window(settings: Settings, as_of: date) -> date:
    """The first day whose contacts count: as in the ledger, the window of ``cap_days`` days ends with the contact."""
    return as_of - timedelta(days=settings.contact.cap_days - 1)


def read_pressure(
    queryable: Queryable, settings: Settings, customers: Sequence[str], *, as_of: date
) -> Reals | None:
    """What the contacts of the rolling window take off every action of each customer; None without such a cost."""
    cost = float(settings.strategy.pressure_cost)
    if not cost:
        return None
    found = queryable.query(COUNTS_SQL, {"since": begin_window(settings, as_of), "as_of": as_of})
    counts = dict(zip(found["customer_id"].to_pylist(), found["contacts"].to_pylist(), strict=True))
    return cost * np.array([counts.get(customer, 0) for customer in customers], dtype=np.float64)


def read_traits(
    queryable: Queryable, columns: Sequence[str], customers: Sequence[str], *, as_of: date
) -> dict[str, tuple[str, ...]]:
    """Column → each customer's value as text, for tags, attributes (``customers.city``) and ``segment:`` members.

    BadInput for a column that there is not, or a segment that nobody is in.
    """
    return {column: _read_trait(queryable, column, customers, as_of) for column in columns}


def _read_trait(queryable: Queryable, column: str, customers: Sequence[str], as_of: date) -> tuple[str, ...]:
    if column.startswith(SEGMENT):
        members = read_members(queryable, column.removeprefix(SEGMENT), as_of=as_of)
        return tuple(INSIDE if customer in members else OUTSIDE for customer in customers)
    table, name = "tags", column
    if column.startswith(ATTRIBUTE):
        table, name = "customers", column.removeprefix(ATTRIBUTE)
    known = queryable.query(f"SELECT * FROM {table} LIMIT 0").column_names
    if name not in known:
        raise BadInput(
            "strategy.unknown_trait",
            say("A limit asks for '{column}', which is neither a tag nor an attribute.", column=column),
            remedy=say("See: aimwell analysis tags. An attribute is written customers.NAME."),
            where={"table": table, "column": column},
        )
    found = queryable.query(f"SELECT customer_id, {quote_name(name)} AS value FROM {table}")
    values = dict(zip(found["customer_id"].to_pylist(), found["value"].to_pylist(), strict=True))
    return tuple(write_value(values.get(customer)) for customer in customers)


def read_members(queryable: Queryable, segment: str, *, as_of: date) -> frozenset[str]:
    """Who is in a saved segment on ``as_of``; BadInput when nobody ever was."""
    found = queryable.query(MEMBERS_SQL, {"segment": segment, "as_of": as_of})
    if not found.num_rows:
        known = queryable.query("SELECT segment FROM segments WHERE segment = $segment", {"segment": segment})
        if not known.num_rows:
            raise BadInput(
                "strategy.unknown_segment",
                say("There is no saved segment '{segment}', or it has never been computed.", segment=segment),
                remedy=say("See: aimwell analysis segments. Compute them with: aimwell analysis run"),
                where={"table": "segments", "value": segment},
            )
    return frozenset(found["customer_id"].to_pylist())


def read_effects(
    queryable: Queryable, customers: Sequence[str], actions: Sequence[Action], *, as_of: date
) -> Knowledge:
    """The effects as matrices; all None when there is none for these customers and actions."""
    table = queryable.query(EFFECTS_SQL, {"as_of": as_of})
    shape = (len(customers), len(actions))
    rows = _find_places(table["customer_id"], customers)
    columns = _find_places(table["action_id"], [action.action_id for action in actions])
    both = (rows >= 0) & (columns >= 0)
    if not np.any(both):
        return Knowledge(None, None, None)

    def spread(name: str, empty: float) -> Reals:
        matrix = np.full(shape, empty)
        matrix[rows[both], columns[both]] = table[name].to_numpy()[both]
        return matrix

    measured = table["measured"].fill_null(False).to_numpy()[both].any()
    return Knowledge(
        spread("estimate", np.nan), spread("standard_error", 0.0), spread("redemption", 0.0), bool(measured)
    )


def _find_places(
    values: pa.ChunkedArray, wanted: Sequence[str]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    place = {value: index for index, value in enumerate(wanted)}
    return np.fromiter(
        (place.get(value, -1) for value in values.to_pylist()), dtype=np.int64, count=len(values)
    )


def read_tag(queryable: Queryable, tag: str, customers: Sequence[str]) -> list[object]:
    """One tag of every customer; None where it, or the whole tag, is missing."""
    table = queryable.query("SELECT * FROM tags LIMIT 0")
    if tag not in table.column_names:
        return [None] * len(customers)
    found = queryable.query(f'SELECT customer_id, "{tag}" AS value FROM tags')
    values = dict(zip(found["customer_id"].to_pylist(), found["value"].to_pylist(), strict=True))
    return [values.get(customer) for customer in customers]


def read_propensity(queryable: Queryable, customers: Sequence[str], *, as_of: date) -> Reals:
    """How likely each customer is to buy anything soon: the score ``active``, else the best propensity; else NaN."""
    for condition in ("model = 'active'", "model LIKE 'propensity:%'"):
        scores = read_score(queryable, customers, condition, as_of=as_of)
        if not np.all(np.isnan(scores)):
            return scores
    return np.full(len(customers), np.nan)


def read_value(queryable: Queryable, customers: Sequence[str], *, as_of: date) -> Reals:
    """Each customer's value: the score ``clv``, else the revenue of the last year; else NaN."""
    scores = read_score(queryable, customers, "model = 'clv'", as_of=as_of)
    if not np.all(np.isnan(scores)):
        return scores
    revenue = read_tag(queryable, "revenue_365d", customers)
    return np.array([np.nan if value is None else float(str(value)) for value in revenue])


def read_score(queryable: Queryable, customers: Sequence[str], condition: str, *, as_of: date) -> Reals:
    """The highest score of the models that ``condition`` (SQL) names; NaN where there is none."""
    table = queryable.query(PROPENSITY_SQL.format(condition=condition), {"as_of": as_of})
    values = dict(zip(table["customer_id"].to_pylist(), table["score"].to_pylist(), strict=True))
    return np.array([values.get(customer, np.nan) for customer in customers], dtype=np.float64)


def read_spread(queryable: Queryable, *, as_of: date, days: int, margin_rate: float) -> float:
    """Standard deviation of a customer's margin in a window of ``days``, from the window just before."""
    table = queryable.query(SPREAD_SQL, {"since": as_of - timedelta(days=days), "as_of": as_of})
    spread = table["spread"][0].as_py()
    return float(spread or 0.0) * margin_rate
