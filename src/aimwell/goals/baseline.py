"""The KPI's baseline: its mean with interval in the windows before the goal starts.

Reads what the metric's query reads, and segment_members; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.core.estimate import Estimate
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.audience import NOW, find_member_day, read_members
from aimwell.goals.metrics import Metric, bind_window
from aimwell.stats.mean import estimate_mean_of, estimate_share

HISTORY = 6
"""How many earlier windows are shown beside the baseline."""


@dataclass(frozen=True)
class Baseline:
    """The KPI in the window just before the start, and in the windows before that, oldest first.

    ``values``: (n,) what each unit (customer, or day) had in the newest window; ``before`` the same customers in the
    window before it, where the data hold one. ``members_of_today``: the segment was decided later than that window
    began, so that its members were chosen by what they did in it.
    """

    window: Window
    now: Estimate
    values: NDArray[np.float64]
    before: NDArray[np.float64] | None
    history: tuple[tuple[Window, Estimate], ...]
    members_of_today: bool = False


def measure_baseline(
    source: Queryable,
    metric: Metric,
    *,
    window: Window,
    margin_rate: float,
    segment: str | None = None,
    history: int = HISTORY,
) -> Baseline | None:
    """The baseline before ``window``; None when no whole window of data exists before it.

    Of a segment: its members on the first day of each window, so that nobody is chosen by what came after. At most
    ``history`` windows are looked at.
    """
    first, last = _find_period(source)
    if first is None or last is None:
        return None
    end = min(window.start, last + timedelta(days=1))
    windows = [
        Window.before(end - timedelta(days=window.days * back), window.days) for back in range(history)
    ]
    if end <= first:
        return None
    windows = [past for past in windows if past.start >= first] or [Window(first, end)]
    day = find_member_day(source, segment, windows[0].start)
    everybody = [_read_values(source, metric, past, margin_rate) for past in windows]
    values = everybody if segment is None else _keep_members(source, everybody, windows, segment, day)
    levels = [
        (past, _estimate(metric, found)) for past, found in zip(windows, values, strict=True) if len(found)
    ]
    if not levels or not values[0]:
        return None
    newest = np.array(list(values[0].values()))
    before = None
    if len(windows) > 1:
        earlier = everybody[1]
        # Whoever was not known then has nothing to be adjusted for: the mean says nothing either way.
        usual = sum(earlier.values()) / len(earlier) if earlier else 0.0
        before = np.array([earlier.get(customer, usual) for customer in values[0]])
    return Baseline(windows[0], levels[0][1], newest, before, tuple(reversed(levels)), day == NOW)


def _keep_members(
    source: Queryable, values: list[dict[str, float]], windows: list[Window], segment: str, day: date
) -> list[dict[str, float]]:
    kept = []
    for index, (found, past) in enumerate(zip(values, windows, strict=True)):
        members = read_members(source, segment, day if index == 0 else past.start)
        kept.append({customer: value for customer, value in found.items() if customer in members})
    return kept


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
