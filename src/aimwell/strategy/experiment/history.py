"""What the workspace's past says of an outcome: its values by customer, the same before that, strata and clusters.

Reads ``customers``, ``order_lines``, ``products``, ``tags``, ``segment_members``, ``lessons``; writes nothing. Nothing
that happened on or after ``as_of`` is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.metrics import bind_window, find_metric
from aimwell.stats.shrinkage import shrink_effects
from aimwell.strategy.experiment.holdout import Prior
from aimwell.strategy.problem import Reals

Kind = Literal["money", "orders", "share"]
NOT_HOMED = "-"
"""The label of whoever has none; also the cluster of customers without a store."""

HOMES_SQL = """
WITH visits AS (
    SELECT customer_id, store_id, COUNT(DISTINCT order_id) AS orders
    FROM order_lines
    WHERE ordered_on < $as_of AND store_id IS NOT NULL
    GROUP BY customer_id, store_id
),
ranked AS (
    SELECT customer_id, store_id, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY orders DESC, store_id) AS place
    FROM visits
)
SELECT customer_id, store_id AS label FROM ranked WHERE place = 1
"""
MEMBERS_SQL = """
SELECT customer_id
FROM segment_members
WHERE segment = $segment AND entered_on <= $as_of AND (left_on IS NULL OR left_on > $as_of)
"""
LESSONS_SQL = """
SELECT realised, standard_error, n_treatment
FROM lessons
WHERE action_id IS NULL AND n_treatment > 0 AND standard_error > 0
ORDER BY plan_id
"""


@dataclass(frozen=True)
class History:
    """An outcome of n customers: ``outcome`` (n,) in its unit, ``before`` (n,) what was known earlier, if anything."""

    name: str
    title: Text
    kind: Kind
    customers: tuple[str, ...]
    outcome: Reals
    before: Reals | None
    days: int | None
    """Days in which the outcome counts; None for a column, whose window is the file's."""

    def keep(self, rows: NDArray[np.bool_]) -> History:
        """The same for the customers ``rows`` (n,)."""
        kept = tuple(customer for customer, keep in zip(self.customers, rows.tolist(), strict=True) if keep)
        before = None if self.before is None else self.before[rows]
        return History(self.name, self.title, self.kind, kept, self.outcome[rows], before, self.days)


def read_metric(queryable: Queryable, name: str, *, as_of: date, days: int, margin_rate: float) -> History:
    """A KPI in the ``days`` before ``as_of``, and in as many days before that where the data reach back so far.

    BadInput for a KPI that is not a mean over customers, NotReady when the data are shorter than one window.
    """
    metric = find_metric(name)
    if metric.kind == "customers":
        raise BadInput(
            "strategy.not_per_customer",
            say("'{metric}' counts days, not customers, so customers cannot be drawn for it.", metric=name),
            remedy=say("Choose another KPI, or test markets: aimwell strategy markets"),
            where={"value": name},
        )
    window = Window.before(as_of, days)
    values = _read_window(queryable, name, window, margin_rate)
    first = queryable.query("SELECT MIN(ordered_on) AS first_on FROM order_lines")["first_on"][0].as_py()
    if first is None or first > window.start or not values:
        raise NotReady(
            "strategy.no_history",
            say(
                "There are no orders for a whole window of {days} days before {day}.",
                days=days,
                day=as_of.isoformat(),
            ),
            remedy=say(
                "Add older orders, shorten the window, or take an outcome from a column with --outcome."
            ),
            where={"table": "order_lines"},
        )
    customers = tuple(sorted(values))
    outcome = np.array([values[customer] for customer in customers])
    earlier = Window.before(window.start, days)
    before = None
    if first <= earlier.start:
        past = _read_window(queryable, name, earlier, margin_rate)
        # Whoever was not known then has nothing to be adjusted for: the mean says nothing either way.
        usual = sum(past.values()) / len(past) if past else 0.0
        before = np.array([past.get(customer, usual) for customer in customers])
    return History(name, metric.title, metric.kind, customers, outcome, before, days)


def read_column(queryable: Queryable, name: str, covariate: str | None = None) -> History:
    """An outcome that stands as a number in a column of customers, with a covariate from another column.

    Customers without a number are left out. BadInput for unknown columns and columns without numbers.
    """
    rows = _read_numbers(queryable, name)
    before = None if covariate is None else dict(_read_numbers(queryable, covariate))
    customers = tuple(customer for customer, _ in rows)
    outcome = np.array([value for _, value in rows])
    kind: Kind = "share" if np.isin(outcome, (0.0, 1.0)).all() else "money"
    adjust = None
    if before is not None:
        usual = sum(before.values()) / len(before)
        adjust = np.array([before.get(customer, usual) for customer in customers])
    return History(name, Text(name), kind, customers, outcome, adjust, None)


def read_labels(queryable: Queryable, name: str, customers: Sequence[str], *, as_of: date) -> list[str]:
    """One label for each customer: ``store`` (where most of the orders were), a tag, or a column of customers.

    BadInput when there is none of that name.
    """
    if name == "store":
        table = queryable.query(HOMES_SQL, {"as_of": as_of})
    else:
        source = next(
            (table for table in ("tags", "customers") if name in _list_columns(queryable, table)), None
        )
        if source is None:
            raise _unknown_column(queryable, name)
        table = queryable.query(
            f'SELECT customer_id, CAST("{_quote(name)}" AS VARCHAR) AS label FROM {source}'
        )
    found = dict(zip(table["customer_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    return [found.get(customer) or NOT_HOMED for customer in customers]


def read_clusters(queryable: Queryable, name: str, customers: Sequence[str], *, as_of: date) -> list[str]:
    """Each customer's cluster; who belongs to none has nobody to be alike with and is one of their own."""
    labels = read_labels(queryable, name, customers, as_of=as_of)
    return [
        name_lone(customer) if label == NOT_HOMED else label
        for label, customer in zip(labels, customers, strict=True)
    ]


def name_lone(customer: str) -> str:
    """The cluster of a customer who belongs to none."""
    return f"{NOT_HOMED}{customer}"


def read_members(queryable: Queryable, segment: str, *, as_of: date) -> frozenset[str]:
    """Who is in a segment on ``as_of``; BadInput when nobody is."""
    found = queryable.query(MEMBERS_SQL, {"segment": segment, "as_of": as_of})
    if not found.num_rows:
        raise BadInput(
            "strategy.empty_segment",
            say("Nobody is in a segment '{segment}'.", segment=segment),
            remedy=say("Look at the spelling: aimwell analysis segments"),
            where={"value": segment},
        )
    return frozenset(found["customer_id"].to_pylist())


def read_prior(queryable: Queryable) -> Prior | None:
    """What past plans say of the next one's profit per treated customer; None before two were measured.

    Their mean, and how far plans differ (Paule and Mandel 1982) with the mean's own doubt.
    """
    rows = queryable.query(LESSONS_SQL).to_pylist()
    if len(rows) < 2:
        return None
    effects = np.array([row["realised"] / row["n_treatment"] for row in rows])
    errors = np.array([row["standard_error"] / row["n_treatment"] for row in rows])
    found = shrink_effects(effects, errors)
    doubt = 1 / float((1 / (errors**2 + found.between)).sum())
    return Prior(found.centre, math.sqrt(found.between + doubt))


def _read_window(queryable: Queryable, name: str, window: Window, margin_rate: float) -> dict[str, float]:
    metric = find_metric(name)
    found = queryable.query(metric.sql, bind_window(metric, window, margin_rate))
    return dict(zip(found["customer_id"].to_pylist(), found["value"].to_pylist(), strict=True))


def _read_numbers(queryable: Queryable, column: str) -> list[tuple[str, float]]:
    if column not in _list_columns(queryable, "customers"):
        raise _unknown_column(queryable, column)
    sql = f'SELECT customer_id, CAST("{_quote(column)}" AS VARCHAR) AS value FROM customers ORDER BY customer_id'
    found = queryable.query(sql)
    rows = zip(found["customer_id"].to_pylist(), map(_to_number, found["value"].to_pylist()), strict=True)
    numbers = [(customer, value) for customer, value in rows if value is not None]
    if not numbers:
        raise BadInput(
            "strategy.no_numbers",
            say("The column '{column}' holds no numbers.", column=column),
            remedy=say("Choose a column of amounts, counts, or 0 and 1."),
            where={"column": column},
        )
    return numbers


def _to_number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _list_columns(queryable: Queryable, table: str) -> list[str]:
    return list(queryable.query(f"SELECT * FROM {table} LIMIT 0").schema.names)


def _quote(name: str) -> str:
    return name.replace('"', '""')


def _unknown_column(queryable: Queryable, name: str) -> BadInput:
    columns = [column for column in _list_columns(queryable, "customers") if column != "customer_id"]
    return BadInput(
        "strategy.unknown_column",
        say("There is no column or tag called '{column}'.", column=name),
        remedy=say("Customers have: {columns}.", columns=join_list(columns)),
        where={"column": name},
    )
