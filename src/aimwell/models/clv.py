"""Customer lifetime value: the margin that each customer will bring over a horizon, discounted, with intervals.

BG/NBD says how many order days are to come, Gamma–Gamma what each is worth; margin follows by the rate seen so
far. Intervals are drawn from the posterior of parameters, customers and purchases together, so that totals are
as uncertain as they should be. Reads order_lines and products; writes nothing (``train`` does).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import NotReady
from aimwell.core.estimate import Estimate
from aimwell.core.text import say
from aimwell.engine.session import Queryable
from aimwell.models.bg_nbd import BgNbd, PurchaseHistory, fit_bg_nbd
from aimwell.models.gamma_gamma import GammaGamma, fit_gamma_gamma

Floats = NDArray[np.float64]

DAYS_PER_WEEK = 7.0
HORIZON_DAYS = 364
ANNUAL_DISCOUNT = 0.10
SMALLEST_BASE = 200
DRAWS = 200
CHUNK = 20_000

# Sums are of decimals: float sums depend on the order of threads, and a run must be repeatable to the last bit.
HISTORY_SQL = """
WITH days AS (
    SELECT
        line.customer_id,
        line.ordered_on,
        SUM(line.revenue) AS revenue,
        SUM(CASE
            WHEN product.unit_cost IS NOT NULL AND line.quantity IS NOT NULL
                THEN CAST(line.revenue - line.quantity * CAST(product.unit_cost AS DOUBLE) AS DECIMAL(18, 4))
            ELSE CAST(line.revenue * $margin_rate AS DECIMAL(18, 4))
        END) AS margin
    FROM order_lines AS line
    LEFT JOIN products AS product ON product.product_id = line.product_id
    WHERE line.ordered_on < $until
    GROUP BY line.customer_id, line.ordered_on
)
SELECT
    customer_id,
    COUNT(*) AS order_days,
    MIN(ordered_on) AS first_on,
    MAX(ordered_on) AS last_on,
    SUM(CASE WHEN revenue > 0 THEN 1 ELSE 0 END) AS paid_days,
    CAST(SUM(CASE WHEN revenue > 0 THEN revenue ELSE 0 END) AS DOUBLE) AS paid,
    CAST(SUM(revenue) AS DOUBLE) AS revenue,
    CAST(SUM(margin) AS DOUBLE) AS margin
FROM days
GROUP BY customer_id
ORDER BY customer_id
"""
HOLDOUT_SQL = """
SELECT customer_id, COUNT(DISTINCT ordered_on) AS order_days
FROM order_lines
WHERE ordered_on >= $start AND ordered_on < $until
GROUP BY customer_id
ORDER BY customer_id
"""


@dataclass(frozen=True)
class CustomerHistory:
    """Per customer (n): the purchase history in weeks, days with revenue and their mean revenue; the margin rate."""

    customer_ids: tuple[str, ...]
    purchases: PurchaseHistory
    paid_days: Floats
    mean_value: Floats
    margin_rate: float
    """Margin ÷ revenue over all customers so far."""


@dataclass(frozen=True)
class ClvModel:
    """The two fitted halves and the customers' margin rate."""

    purchases: BgNbd
    value: GammaGamma
    margin_rate: float


@dataclass(frozen=True)
class ClvPrediction:
    """Per customer (n): discounted margin over the horizon with its 95 % interval (money), P(active), order days."""

    estimate: Floats
    lower: Floats
    upper: Floats
    alive: Floats
    order_days: Floats
    total: Estimate


@dataclass(frozen=True)
class ClvValidation:
    """Fitted before ``start``, judged on the days from ``start`` to ``end``: order days per customer."""

    start: date
    end: date
    n: int
    mean_absolute_error: float
    rate_baseline_error: float
    root_mean_square_error: float
    predicted_total: Estimate
    observed_total: float
    calibration: tuple[tuple[float, float, int], ...]
    """By tenth of the predictions: mean predicted, mean observed, customers."""

    def to_dict(self) -> dict[str, float]:
        """Named numbers for the model card."""
        return {
            "mean_absolute_error": self.mean_absolute_error,
            "mean_absolute_error_of_past_rate": self.rate_baseline_error,
            "root_mean_square_error": self.root_mean_square_error,
            "predicted_total": self.predicted_total.estimate,
            "predicted_total_lower": self.predicted_total.lower,
            "predicted_total_upper": self.predicted_total.upper,
            "observed_total": self.observed_total,
            "total_error": self.predicted_total.estimate / max(self.observed_total, 1.0) - 1,
        }


def load_history(source: Queryable, *, until: date, margin_rate: float) -> CustomerHistory:
    """What is known strictly before ``until``; order days count as purchases, weeks as time."""
    rows = source.query(HISTORY_SQL, {"until": until, "margin_rate": margin_rate})
    column = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in rows.column_names}
    end = np.datetime64(until)
    first = column["first_on"].astype("datetime64[D]")
    last = column["last_on"].astype("datetime64[D]")
    purchases = PurchaseHistory(
        column["order_days"].astype(float) - 1,
        (last - first).astype(float) / DAYS_PER_WEEK,
        (end - first).astype(float) / DAYS_PER_WEEK,
    )
    paid_days = np.nan_to_num(column["paid_days"].astype(float))
    paid = np.nan_to_num(column["paid"].astype(float))
    revenue = float(np.nansum(column["revenue"].astype(float))) if len(paid) else 0.0
    margin = float(np.nansum(column["margin"].astype(float))) if len(paid) else 0.0
    mean_value = np.divide(paid, paid_days, out=np.zeros_like(paid), where=paid_days > 0)
    rate = margin / revenue if revenue > 0 else margin_rate
    return CustomerHistory(
        tuple(rows.column("customer_id").to_pylist()), purchases, paid_days, mean_value, rate
    )


def fit_clv(history: CustomerHistory) -> ClvModel:
    """Fit both halves; NotReady when there are too few customers, repeat purchases or order values."""
    if len(history.customer_ids) < SMALLEST_BASE:
        raise NotReady(
            "models.too_few_customers",
            say(
                "There are {customers} customers with orders; a model needs {smallest}.",
                customers=len(history.customer_ids),
                smallest=SMALLEST_BASE,
            ),
            remedy=say("Load more customers or a longer period."),
        )
    if float(np.sum(history.purchases.x > 0)) < SMALLEST_BASE / 10:
        raise NotReady(
            "models.too_few_repeats",
            say("Hardly any customer has ordered on more than one day."),
            remedy=say("Load a longer period, with customers who bought more than once."),
        )
    value = fit_gamma_gamma(history.paid_days, history.mean_value)
    return ClvModel(fit_bg_nbd(history.purchases), value, history.margin_rate)


def predict_clv(
    model: ClvModel,
    history: CustomerHistory,
    *,
    random: np.random.Generator,
    horizon_days: int = HORIZON_DAYS,
    annual_discount: float = ANNUAL_DISCOUNT,
    draws: int = DRAWS,
) -> ClvPrediction:
    """Expected discounted margin of each customer within ``horizon_days``, and its uncertainty."""
    rows, _, place = history.purchases.compress()
    weeks = horizon_days / DAYS_PER_WEEK
    order_days = model.purchases.predict_purchases(rows, weeks)[place]
    discounted = _discount_purchases(model.purchases, rows, weeks, annual_discount)[place]
    value = model.value.predict_value(history.paid_days, history.mean_value) * model.margin_rate
    estimate = discounted * value
    kept = np.divide(discounted, order_days, out=np.ones_like(order_days), where=order_days > 0)
    lower, upper, totals = _draw_futures(model, history, weeks, kept, random, draws)
    ends = np.quantile(totals, [0.025, 0.975])
    total = Estimate(
        float(estimate.sum()),
        float(ends[0]),
        float(ends[1]),
        len(estimate),
        "BG/NBD × Gamma–Gamma, posterior draws",
    )
    return ClvPrediction(
        estimate, lower, upper, model.purchases.predict_alive(history.purchases), order_days, total
    )


def _discount_purchases(model: BgNbd, rows: PurchaseHistory, weeks: float, annual: float) -> Floats:
    """Purchases of each four weeks, discounted from the middle of them."""
    ends = np.append(np.arange(4.0, weeks, 4.0), weeks)
    total, before, start = np.zeros(len(rows)), np.zeros(len(rows)), 0.0
    for end in ends:
        until = model.predict_purchases(rows, float(end))
        years = (start + end) / 2 * DAYS_PER_WEEK / 365.25
        total += (until - before) / (1 + annual) ** years
        before, start = until, float(end)
    return total


def _draw_futures(
    model: ClvModel,
    history: CustomerHistory,
    weeks: float,
    kept: Floats,
    random: np.random.Generator,
    draws: int,
) -> tuple[Floats, Floats, Floats]:
    """95 % limits per customer, and the total of each draw, from possible futures."""
    n = len(history.customer_ids)
    lower, upper, totals = np.zeros(n), np.zeros(n), np.zeros(draws)
    parameters = model.purchases.draw_parameters(random, draws)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        past = PurchaseHistory(
            history.purchases.x[part], history.purchases.t_x[part], history.purchases.T[part]
        )
        futures = np.zeros((draws, len(past)), dtype=np.float32)
        for draw, drawn in enumerate(parameters):
            value = model.value.draw_value(history.paid_days[part], history.mean_value[part], random)
            bought = drawn.draw_purchases(past, weeks, random)
            margin = bought * value * kept[part] * model.margin_rate
            futures[draw] = margin
            totals[draw] += float(margin.sum())
        lower[part], upper[part] = np.quantile(futures, [0.025, 0.975], axis=0)
    return lower, upper, totals


def validate_clv(
    source: Queryable, *, as_of: date, margin_rate: float, random: np.random.Generator
) -> ClvValidation:
    """Fit on what was known a quarter of the period earlier (at most 13 weeks), predict the rest, compare."""
    everything = load_history(source, until=as_of, margin_rate=margin_rate)
    if not everything.customer_ids:
        raise _refuse_period()
    days = int(float(everything.purchases.T.max()) * DAYS_PER_WEEK)
    held = min(91, days // 4)
    if held < 14:
        raise _refuse_period()
    start = as_of - timedelta(days=held)
    history = load_history(source, until=start, margin_rate=margin_rate)
    model = fit_clv(history)
    weeks = held / DAYS_PER_WEEK
    predicted = model.purchases.predict_purchases(history.purchases, weeks)
    observed = _load_holdout(source, history, start, as_of)
    totals = [
        float(drawn.draw_purchases(history.purchases, weeks, random).sum())
        for drawn in model.purchases.draw_parameters(random, DRAWS)
    ]
    ends = np.quantile(totals, [0.025, 0.975])
    past_rate = (history.purchases.x + 1) / np.maximum(history.purchases.T, 1.0) * weeks
    return ClvValidation(
        start=start,
        end=as_of,
        n=len(observed),
        mean_absolute_error=float(np.mean(np.abs(predicted - observed))),
        rate_baseline_error=float(np.mean(np.abs(past_rate - observed))),
        root_mean_square_error=float(np.sqrt(np.mean((predicted - observed) ** 2))),
        predicted_total=Estimate(
            float(predicted.sum()), float(ends[0]), float(ends[1]), len(observed), "BG/NBD, posterior draws"
        ),
        observed_total=float(observed.sum()),
        calibration=_calibrate(predicted, observed),
    )


def _load_holdout(source: Queryable, history: CustomerHistory, start: date, until: date) -> Floats:
    rows: list[dict[str, Any]] = source.query(HOLDOUT_SQL, {"start": start, "until": until}).to_pylist()
    bought = {row["customer_id"]: float(row["order_days"]) for row in rows}
    return np.array([bought.get(customer, 0.0) for customer in history.customer_ids])


def _calibrate(predicted: Floats, observed: Floats) -> tuple[tuple[float, float, int], ...]:
    groups = np.array_split(np.argsort(predicted, kind="stable"), 10)
    return tuple(
        (float(predicted[rows].mean()), float(observed[rows].mean()), len(rows))
        for rows in groups
        if len(rows)
    )


def _refuse_period() -> NotReady:
    return NotReady(
        "models.period_too_short",
        say(
            "The orders cover less than eight weeks: too short to learn from one part and check on the other."
        ),
        remedy=say("Load a longer period."),
    )
