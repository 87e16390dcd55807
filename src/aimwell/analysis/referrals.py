"""Who brings whom: referral chains, the reproduction number and the generation time, and whether growth feeds itself.

Ties come from an attribute of the invited (``invited_by``) or from events of the inviter that name the invited in a
property; who is named by a record that was joined is the customer of that record. A customer has one inviter: the
first; ties to oneself, to people who came later, or of unknown people are left out and counted. The reproduction
number R is the mean cumulative function of referrals (``stats``): recent customers have had less time, and count only
as long as they were watched.
Sources: Nelson (1988) for R; Wallinga and Lipsitch (2007) for growth from R and generation times.
Reads customers, identities, events, order_lines; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import optimize

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.engine.funnel import show_property
from aimwell.engine.session import Queryable
from aimwell.engine.sql_text import quote_name, show_day
from aimwell.stats.mean_cumulative import MeanCumulative, estimate_mean_cumulative

NOBODY = -1
RISING = 0.1
"""R is called unfinished when more than this share of it comes in the last fifth of the ages that were watched."""
_DAY = 86_400.0
Whole = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Referrals:
    """Customers, when each came (days, from any origin), and the place of each one's inviter (``NOBODY``: none).

    ``watched_until`` is on the same clock. ``dropped`` counts ties that could not be.
    """

    customers: tuple[str, ...]
    joined: Numbers
    inviter: Whole
    watched_until: float
    dropped: int = 0


def read_by_attribute(reader: Queryable, attribute: str, *, end: date, until: datetime) -> Referrals:
    """Ties from an attribute of the invited that names the inviter's id; BadInput when there is no such attribute."""
    known = reader.query("SELECT * FROM customers LIMIT 0").column_names
    if attribute not in known:
        raise BadInput(
            "analysis.unknown_attribute",
            say("Customers have no attribute '{name}'.", name=attribute),
            remedy=say("The attributes are: {names}.", names=join_list(sorted(known))),
            where={"column": attribute},
        )
    named = f"CAST(c.{quote_name(attribute)} AS VARCHAR)"
    ties = f"""\
SELECT c.customer_id AS invited, COALESCE(i.customer_id, {named}) AS inviter
FROM customers AS c
LEFT JOIN identities AS i ON i.record_id = {named}"""
    return _build(reader, ties, {}, end, until)


def read_by_event(reader: Queryable, name: str, other: str, *, end: date, until: datetime) -> Referrals:
    """Ties from events ``name`` of the inviter whose property ``other`` names the invited."""
    told = show_property("e.properties", other)
    # Who was joined with a record of their own invited themselves: whoever else invited them counts.
    ties = f"""\
SELECT invited, inviter
FROM (
    SELECT
        invited,
        inviter,
        ROW_NUMBER() OVER (
            PARTITION BY invited
            ORDER BY CASE WHEN invited = inviter THEN 1 ELSE 0 END, occurred_at, event_id
        ) AS place
    FROM (
        SELECT
            COALESCE(i.customer_id, {told}) AS invited,
            e.customer_id AS inviter,
            e.occurred_at AS occurred_at,
            e.event_id AS event_id
        FROM events AS e
        LEFT JOIN identities AS i ON i.record_id = {told}
        WHERE e.name = $name AND e.occurred_on < {show_day(end)}
    ) AS named
) AS told
WHERE place = 1"""
    return _build(reader, ties, {"name": name}, end, until)


def build_referrals(
    customers: list[str], joined: Numbers, inviters: list[str | None], *, watched_until: float
) -> Referrals:
    """Referrals from plain columns; a tie that cannot be (oneself, a later or unknown person) is dropped."""
    places = {customer: place for place, customer in enumerate(customers)}
    inviter = np.array([places.get(one, NOBODY) if one else NOBODY for one in inviters], np.int64)
    named = np.array([bool(one) for one in inviters], bool)
    came = np.arange(len(customers))
    impossible = (inviter >= 0) & ((inviter == came) | (joined[inviter] > joined[came]))
    # At one instant the order of ids decides, so that no circle can be.
    impossible |= (inviter >= 0) & (joined[inviter] == joined[came]) & (inviter > came)
    inviter[impossible] = NOBODY
    dropped = int((named & (inviter == NOBODY)).sum())
    return Referrals(tuple(customers), joined, inviter, watched_until, dropped)


def measure_referrals(referrals: Referrals) -> dict[str, Any]:
    """Chains, R with its interval, generation times (days), and what follows; NotReady without a single tie."""
    ties = np.flatnonzero(referrals.inviter >= 0)
    if not len(ties):
        raise NotReady(
            "analysis.no_referrals",
            say("Nobody is known to have brought anybody."),
            remedy=say("Name the attribute with --attribute, or the event with --event and --property."),
        )
    parents = referrals.inviter[ties]
    ages = referrals.joined[ties] - referrals.joined[parents]
    curve = estimate_mean_cumulative(ages, parents, referrals.watched_until - referrals.joined)
    found = curve.estimate
    return {
        "customers": len(referrals.customers),
        "referred": len(ties),
        "referred_share": round(len(ties) / len(referrals.customers), 4),
        "referrers": len(np.unique(parents)),
        "dropped": referrals.dropped,
        "reproduction": dict(found.to_dict()),
        "uncorrected": round(len(ties) / len(referrals.customers), 4),
        "watched_days": round(curve.horizon, 1),
        "unfinished": curve.share_after(0.8 * curve.horizon) > RISING,
        "generation_days": {
            "mean": _round(curve.find_mean_age()),
            **{f"p{share}": _round(curve.find_quantile(share / 100)) for share in (25, 50, 75, 90)},
        },
        "feeds_itself": found.lower > 1,
        "verdict": _judge(curve).both(),
        "multiplier": _bound_multiplier(found.estimate, found.lower, found.upper),
        "growth": _find_growth(curve),
        "chains": _measure_chains(referrals),
    }


def measure_invitations(
    reader: Queryable, name: str, referred: int, customers: int, *, end: date
) -> dict[str, Any]:
    """The k-factor as it is usually reckoned: invitations per customer × share of invitations that bring somebody."""
    sql = "SELECT COUNT(*) AS n FROM events WHERE name = $name AND occurred_on < $end"
    sent = int(reader.query(sql, {"name": name, "end": end})["n"][0].as_py())
    rate = referred / sent if sent else 0.0
    each = sent / customers if customers else 0.0
    return {"invitations": sent, "per_customer": each, "rate": rate, "k_factor": each * rate}


def find_depths(referrals: Referrals) -> Whole:
    """How many steps each customer is from the one who began the chain (0: came by themselves)."""
    depth = np.zeros(len(referrals.customers), np.int64)
    above = referrals.inviter.copy()
    while True:
        linked = above >= 0
        if not linked.any():
            return depth
        depth[linked] += 1
        above = np.where(linked, referrals.inviter[np.maximum(above, 0)], NOBODY)


def sum_downstream(referrals: Referrals, value: Numbers) -> Numbers:
    """For each customer the value of all whom they brought, directly and through others (without their own)."""
    depth = find_depths(referrals)
    total = value.astype(np.float64).copy()
    for level in range(int(depth.max(initial=0)), 0, -1):
        here = np.flatnonzero(depth == level)
        np.add.at(total, referrals.inviter[here], total[here])
    return total - value


def list_influencers(reader: Queryable, referrals: Referrals, *, count: int = 10) -> list[dict[str, Any]]:
    """Who brought the customers of most revenue, directly and through others. It is no proof of cause.

    The invited might have come anyway: only an experiment with invitations could tell.
    """
    rows = reader.query(
        "SELECT customer_id, SUM(revenue) AS revenue FROM order_lines GROUP BY customer_id"
    ).to_pylist()
    spent = {row["customer_id"]: float(row["revenue"] or 0) for row in rows}
    value = np.array([spent.get(customer, 0.0) for customer in referrals.customers])
    people = sum_downstream(referrals, np.ones(len(value)))
    revenue = sum_downstream(referrals, value)
    direct = np.bincount(referrals.inviter[referrals.inviter >= 0], minlength=len(value))
    order = np.lexsort((np.arange(len(value)), -people, -revenue))[:count]
    return [
        {
            "customer_id": referrals.customers[place],
            "direct": int(direct[place]),
            "downstream": int(people[place]),
            "downstream_revenue": round(float(revenue[place]), 2),
        }
        for place in order
        if people[place]
    ]


def _build(reader: Queryable, ties: str, parameters: dict[str, Any], end: date, until: datetime) -> Referrals:
    """Everybody with an instant at which they came (first event or order), and the inviter's id where one is named."""
    sql = f"""\
WITH came AS (
    SELECT customer_id, MIN(seen_at) AS joined_at
    FROM (
        SELECT customer_id, occurred_at AS seen_at FROM events WHERE occurred_on < {show_day(end)}
        UNION ALL
        SELECT customer_id, ordered_at AS seen_at FROM order_lines WHERE ordered_on < {show_day(end)}
    ) AS seen
    GROUP BY customer_id
),
ties AS (
{ties}
)
SELECT c.customer_id, EPOCH_US(c.joined_at) AS joined, t.inviter
FROM came AS c
LEFT JOIN ties AS t ON t.invited = c.customer_id
ORDER BY c.customer_id"""
    table = reader.query(sql, parameters)
    micros = np.array(table["joined"].to_pylist(), np.float64)
    inviters = table["inviter"].cast(pa.string()).to_pylist()
    return build_referrals(
        table["customer_id"].to_pylist(),
        micros / 1e6 / _DAY,
        inviters,
        watched_until=until.timestamp() / _DAY,
    )


def _judge(curve: MeanCumulative) -> Text:
    found = curve.estimate
    if found.lower > 1:
        return say(
            "Growth feeds itself: each customer brings more than one other, even at the interval's lower end."
        )
    if found.upper < 1:
        return say("Growth does not feed itself: it needs customers from outside, whom referrals multiply.")
    return say("Whether growth feeds itself is not known yet: the interval holds 1.")


def _bound_multiplier(estimate: float, lower: float, upper: float) -> dict[str, float] | None:
    """How many customers one acquired customer comes to in all: 1 ÷ (1 − R); None unless R is surely below 1."""
    if upper >= 1:
        return None
    names = ("estimate", "lower", "upper")
    return {name: round(1 / (1 - one), 4) for name, one in zip(names, (estimate, lower, upper), strict=True)}


def _find_growth(curve: MeanCumulative) -> dict[str, float | None]:
    """The rate r per day that R and the generation times lead to by themselves: Σ R w(a) e^(−ra) = 1."""

    def excess(rate: float) -> float:
        return float(np.sum(curve.increments * np.exp(-rate * curve.ages))) - 1.0

    ages = curve.ages[curve.ages > 0]
    if not len(ages) or len(ages) < len(curve.ages):
        # Who brings somebody in the same instant would let growth be endless.
        return {"per_day": None, "doubling_days": None}
    widest = 50.0 / float(curve.find_mean_age() or 1.0)
    if excess(-widest) * excess(widest) > 0:
        return {"per_day": None, "doubling_days": None}
    rate = float(optimize.brentq(excess, -widest, widest))
    return {"per_day": round(rate, 6), "doubling_days": round(np.log(2) / rate, 2) if rate > 0 else None}


def _measure_chains(referrals: Referrals) -> dict[str, Any]:
    depth = find_depths(referrals)
    sizes = 1 + sum_downstream(referrals, np.ones(len(depth)))[depth == 0]
    grown = sizes[sizes > 1]
    return {
        "chains": len(grown),
        "largest": int(sizes.max()),
        "mean_size": round(float(grown.mean()), 2) if len(grown) else None,
        "deepest": int(depth.max()),
        "by_depth": [int(one) for one in np.bincount(depth)],
    }


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
