"""The KPI's baseline: its mean with interval in the windows before the goal starts.

Reads what the metric's query reads; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.core.estimate import Estimate
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.metrics import Metric, bind_window
from aimwell.stats.mean import estimate_mean_of, estimate_share

HISTORY = 6
"""How many earlier windows are shown beside the baseline."""


@dataclass(frozen=True)
class Baseline:
    """The KPI in the window just before the start, and in the windows before that, oldest first.

    ``correlation`` is between a customer's value in the newest window and in the one before it: its square is
    the share of variance that adjustment for the past removes (CUPED).
    """

    now: Estimate
    sd: float
    correlation: float
    history: tuple[tuple[Window, Estimate], ...]


def measure_baseline(
    source: Queryable, metric: Metric, *, window: Window, margin_rate: float
) -> Baseline | None:
    """The baseline before ``window``; None when no whole window of data exists before it."""
    first, last = _find_period(source)
    if first is None or last is None:
        return None
    end = min(window.start, last + timedelta(days=1))
    windows = [
        Window.before(end - timedelta(days=window.days * back), window.days) for back in range(HISTORY)
    ]
    windows = [past for past in windows if past.start >= first] or [Window(first, end)]
    values = [_read_values(source, metric, past, margin_rate) for past in windows]
    history = [
        (past, _estimate(metric, found)) for past, found in zip(windows, values, strict=True) if len(found)
    ]
    if not history or not values[0]:
        return None
    newest = np.array(list(values[0].values()))
    sd = float(newest.std(ddof=1)) if len(newest) > 1 else 0.0
    correlation = _correlate(values[0], values[1]) if len(values) > 1 else 0.0
    return Baseline(history[0][1], sd, correlation, tuple(reversed(history)))


def _find_period(source: Queryable) -> tuple[date | None, date | None]:
    sql = "SELECT MIN(ordered_on) AS first_on, MAX(ordered_on) AS last_on FROM order_lines"
    row = source.query(sql).to_pylist()[0]
    return row["first_on"], row["last_on"]


def _read_values(source: Queryable, metric: Metric, window: Window, margin_rate: float) -> dict[str, float]:
    found = source.query(metric.sql, bind_window(metric, window, margin_rate))
    return dict(zip(found["customer_id"].to_pylist(), found["value"].to_pylist(), strict=True))


def _estimate(metric: Metric, values: dict[str, float]) -> Estimate:
    array = np.fromiter(values.values(), dtype=np.float64)
    if metric.kind == "share":
        return estimate_share(round(float(array.sum())), len(array))
    return estimate_mean_of(array)


def _correlate(newest: dict[str, float], earlier: dict[str, float]) -> float:
    pairs: NDArray[np.float64] = np.array(
        [(value, earlier[customer]) for customer, value in newest.items() if customer in earlier]
    )
    if len(pairs) < 3 or pairs.std(axis=0).min() == 0:
        return 0.0
    matrix = np.asarray(np.corrcoef(pairs.T))
    return float(matrix[0, 1])
