"""Test markets: stores or regions in matched pairs, one of each treated, and their power by placebo in the past.

Where people cannot be drawn one by one (posters, radio, a store's windows), markets are. Markets with a like history
are paired (Greevy, Lu, Silber and Rosenbaum 2004: greedy, then exchanged until no exchange helps); a salted hash draws
which one of a pair is treated. The effect: treated less control in the window, less β times the same before, over the
treated markets' sales; β is learnt from the past, before launch. The test flips pairs (Fisher 1935): exact whatever
sales are like. Its power is found where the answer is known: windows of the past in which nothing happened, drawn
again and again, with an effect put on the treated. Reads ``order_lines`` and ``customers``; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.lists import join_list
from aimwell.core.seeds import draw_uniforms
from aimwell.core.text import say
from aimwell.engine.session import Queryable
from aimwell.stats.power import ALPHA, POWER
from aimwell.strategy.problem import Flags, Integers, Reals

LEAST_PAIRS = 6
"""Pairs below which no flip is rarer than 5 % on both sides: 2 ÷ 2⁶ = 3.1 %, 2 ÷ 2⁵ = 6.3 %."""
LEAST_WINDOWS = 4
"""Past windows below which the past says little of power."""
EXACT_PAIRS = 11
_FLIPS = 1999
_DRAWS = 40
_STRIDE = 7

STORE_SALES_SQL = """
SELECT store_id AS market, ordered_on, SUM(CAST(revenue AS DOUBLE)) AS sales
FROM order_lines
WHERE ordered_on >= $since AND ordered_on < $as_of AND store_id IS NOT NULL
GROUP BY store_id, ordered_on
"""
CUSTOMER_SALES_SQL = """
SELECT CAST(customers."{column}" AS VARCHAR) AS market, order_lines.ordered_on, SUM(CAST(revenue AS DOUBLE)) AS sales
FROM order_lines
JOIN customers ON customers.customer_id = order_lines.customer_id
WHERE order_lines.ordered_on >= $since AND order_lines.ordered_on < $as_of AND customers."{column}" IS NOT NULL
GROUP BY customers."{column}", order_lines.ordered_on
"""


@dataclass(frozen=True)
class Panel:
    """Sales by market and day; ``sales`` is markets × days in money, the last day is the newest."""

    markets: tuple[str, ...]
    sales: Reals

    @property
    def days(self) -> int:
        """How many days the panel holds."""
        return int(self.sales.shape[1])


@dataclass(frozen=True)
class MarketTest:
    """Pairs of markets (rows of the panel, P × 2), who is treated, and what the test can see."""

    panel: Panel
    pairs: Integers
    treated: Integers
    """The treated row of each pair, shape (P,)."""
    slope: float
    window: int
    smallest: float
    """The smallest visible effect as a share of the treated markets' sales; infinite when none up to 100 % is."""
    false_alarms: float
    placebos: int

    @property
    def control(self) -> Integers:
        """The control row of each pair, shape (P,)."""
        control: Integers = self.pairs.sum(axis=1) - self.treated
        return control


def read_panel(queryable: Queryable, by: str, *, as_of: date, days: int) -> Panel:
    """Daily sales of the ``days`` before ``as_of`` by ``store``, or by a column of customers such as ``region``.

    Markets without sales in a fifth of the weeks or more are left out. BadInput for an unknown column, NotReady where
    there are no sales by market.
    """
    since = as_of - timedelta(days=days)
    columns = queryable.query("SELECT * FROM customers LIMIT 0").schema.names
    if by != "store" and by not in columns:
        raise BadInput(
            "strategy.unknown_column",
            say("There is no column or tag called '{column}'.", column=by),
            remedy=say("Customers have: {columns}.", columns=join_list(columns)),
            where={"column": by},
        )
    sql = STORE_SALES_SQL if by == "store" else CUSTOMER_SALES_SQL.format(column=by.replace('"', '""'))
    rows = queryable.query(sql, {"since": since, "as_of": as_of}).to_pylist()
    names = sorted({row["market"] for row in rows})
    place = {name: index for index, name in enumerate(names)}
    sales = np.zeros((len(names), days))
    for row in rows:
        sales[place[row["market"]], (row["ordered_on"] - since).days] = row["sales"] or 0.0
    first = int(np.flatnonzero(sales.any(axis=0))[0]) if rows else 0
    panel = _keep_regular(Panel(tuple(names), sales[:, first:]))
    if len(panel.markets) < 2 * LEAST_PAIRS:
        raise NotReady(
            "strategy.few_markets",
            say(
                "There are {count} markets that sell regularly; at least {least} are needed: with fewer, chance alone "
                "would reach any result too often.",
                count=len(panel.markets),
                least=2 * LEAST_PAIRS,
            ),
            remedy=say("Take smaller markets (stores rather than regions), or draw customers instead."),
            where={"column": by},
        )
    return panel


def design_markets(
    panel: Panel,
    *,
    window: int,
    salt: str,
    generator: np.random.Generator,
    most_pairs: int | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
) -> MarketTest:
    """Pair the markets, draw the treated ones, and find the smallest visible effect by placebo.

    ``window``: days of the test, compared with as many before it. ``most_pairs``: only the pairs that fit best.
    NotReady when the past holds too few windows.
    """
    starts = find_windows(panel.days, window)
    if len(starts) < LEAST_WINDOWS:
        raise NotReady(
            "strategy.short_past",
            say(
                "{days} days of sales are too few to try a test of {window} days.",
                days=panel.days,
                window=window,
            ),
            remedy=say("Shorten the test, or add older orders."),
        )
    pairs = match_markets(panel.sales, most_pairs=most_pairs)
    slope = learn_slope(panel.sales, pairs, starts, window)
    treated = draw_treated(panel.markets, pairs, salt=salt)
    draws = np.where(generator.random((len(starts), _DRAWS, len(pairs))) < 0.5, 1.0, -1.0)
    flips = make_flips(len(pairs), generator)
    gaps, firsts, seconds = _measure_windows(panel.sales, pairs, starts, window, slope)

    def find_share(effect: float) -> float:
        hits = 0
        for number in range(len(starts)):
            lifted = np.where(draws[number] > 0, firsts[number], seconds[number])
            found = draws[number] * gaps[number] + effect * lifted
            p_values = find_flip_p_values(found, flips)
            hits += int(((p_values <= alpha) & ((found.sum(axis=1) > 0) | (effect == 0))).sum())
        return hits / (len(starts) * _DRAWS)

    return MarketTest(
        panel,
        pairs,
        treated,
        slope,
        window,
        _search(find_share, power),
        find_share(0.0),
        len(starts) * _DRAWS,
    )


def match_markets(sales: Reals, *, most_pairs: int | None = None) -> Integers:
    """Pairs of rows of ``sales`` (markets × days) with a like path of weekly sales, best first, shape (P, 2).

    With an odd number one market stays alone.
    """
    weeks = sales.shape[1] // 7
    paths = (
        sales[:, sales.shape[1] - weeks * 7 :].reshape(len(sales), weeks, 7).sum(axis=2) if weeks else sales
    )
    squares = (paths**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * paths @ paths.T, 0.0))
    pairs = _exchange(distance, _pair_greedily(distance))
    # Against their own size: two large stores that differ by little are a better pair than two small ones by as much.
    fit = distance[pairs[:, 0], pairs[:, 1]] / np.maximum(paths[pairs].sum(axis=(1, 2)), 1e-12)
    pairs = pairs[np.argsort(fit, kind="stable")]
    return pairs if most_pairs is None else pairs[: max(most_pairs, LEAST_PAIRS)]


def draw_treated(markets: Sequence[str], pairs: Integers, *, salt: str) -> Integers:
    """Which row of each pair is treated: the one with the smaller hash, so with probability one half."""
    draws = draw_uniforms(f"{salt}:market", markets)
    second = draws[pairs[:, 1]] < draws[pairs[:, 0]]
    return np.where(second, pairs[:, 1], pairs[:, 0])


def find_windows(days: int, window: int) -> list[int]:
    """First days of past windows that have as many days before them, a week apart, the newest last."""
    return sorted(range(days - window, window - 1, -_STRIDE))


def learn_slope(sales: Reals, pairs: Integers, starts: Sequence[int], window: int) -> float:
    """β: how much of a pair's gap before is still there in the window, over all past windows."""
    now = np.concatenate([_sum_gap(sales, pairs, start, window) for start in starts])
    past = np.concatenate([_sum_gap(sales, pairs, start - window, window) for start in starts])
    below = float(past @ past)
    return float(now @ past) / below if below > 0 else 0.0


def make_flips(count: int, generator: np.random.Generator) -> Reals:
    """Signs for ``count`` pairs, flips × count: all of them up to 11 pairs, else random ones and those drawn."""
    if count <= EXACT_PAIRS:
        numbers = np.arange(2**count)
        return np.where((numbers[:, None] >> np.arange(count)) & 1, -1.0, 1.0)
    drawn = np.where(generator.random((_FLIPS, count)) < 0.5, 1.0, -1.0)
    return np.vstack([np.ones(count), drawn])


def find_flip_p_values(gaps: Reals, flips: Reals) -> Reals:
    """Two-sided p-values of ``gaps`` (tests × pairs, treated less control) among ``flips`` (the first: as drawn)."""
    sums = np.abs(gaps @ flips.T)
    shares: Reals = (sums >= sums[:, :1] * (1 - 1e-12)).mean(axis=1)
    return shares


def _sum_gap(sales: Reals, pairs: Integers, start: int, window: int) -> Reals:
    total = sales[:, start : start + window].sum(axis=1)
    gap: Reals = total[pairs[:, 0]] - total[pairs[:, 1]]
    return gap


def _measure_windows(
    sales: Reals, pairs: Integers, starts: Sequence[int], window: int, slope: float
) -> tuple[Reals, Reals, Reals]:
    gaps = [
        _sum_gap(sales, pairs, start, window) - slope * _sum_gap(sales, pairs, start - window, window)
        for start in starts
    ]
    totals = np.array([sales[:, start : start + window].sum(axis=1) for start in starts])
    return np.array(gaps), totals[:, pairs[:, 0]], totals[:, pairs[:, 1]]


def _search(find_share: Callable[[float], float], power: float) -> float:
    low, high = 0.0, 0.01
    while find_share(high) < power:
        low, high = high, high * 2
        if high > 1:
            return math.inf
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if find_share(middle) >= power else (middle, high)
    return high


def _keep_regular(panel: Panel) -> Panel:
    weeks = panel.days // 7
    if not weeks:
        return Panel((), panel.sales[:0])
    weekly = panel.sales[:, panel.days - weeks * 7 :].reshape(len(panel.markets), weeks, 7).sum(axis=2)
    kept: Flags = (weekly > 0).mean(axis=1) > 0.8
    names = tuple(name for name, keep in zip(panel.markets, kept.tolist(), strict=True) if keep)
    return Panel(names, panel.sales[kept])


def _pair_greedily(distance: Reals) -> Integers:
    count = len(distance)
    first, second = np.triu_indices(count, 1)
    free, pairs = np.ones(count, dtype=np.bool_), []
    for place in np.argsort(distance[first, second], kind="stable").tolist():
        a, b = int(first[place]), int(second[place])
        if free[a] and free[b]:
            free[a] = free[b] = False
            pairs.append((a, b))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _exchange(distance: Reals, pairs: Integers) -> Integers:
    """Exchange partners between two pairs while that brings both nearer together."""
    pairs = pairs.copy()
    for _ in range(20):
        changed = False
        for place in range(len(pairs)):
            a, b = pairs[place]
            c, d = pairs[:, 0], pairs[:, 1]
            now = distance[a, b] + distance[c, d]
            crossed: NDArray[np.float64] = np.minimum(
                distance[a, c] + distance[b, d], distance[a, d] + distance[b, c]
            )
            gain = now - crossed
            gain[place] = 0.0
            other = int(np.argmax(gain))
            if gain[other] > 1e-9 * max(float(now[other]), 1e-12):
                c1, d1 = pairs[other]
                straight = distance[a, c1] + distance[b, d1] <= distance[a, d1] + distance[b, c1]
                pairs[place], pairs[other] = ((a, c1), (b, d1)) if straight else ((a, d1), (b, c1))
                changed = True
        if not changed:
            break
    return pairs
