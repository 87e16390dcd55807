"""Next products: what each customer will buy next, from what they bought and what those alike bought.

The score of a product is the customer's own decayed count of days on which it was bought, plus a share of its
mean over the most similar customers (cosine of decayed counts, frequent products weighing less). How large a
share is chosen on the window before the last, judged on the last one, whose purchases no choice has seen.

Source: Faggioli, Polato and Aiolli (2020), "Recency aware collaborative filtering for next basket
recommendation". Reads order_lines; writes nothing (``train`` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.session import Queryable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TOP = 10
WINDOW_DAYS = 28
HALF_LIFE_DAYS = 90.0
SMALLEST_BUYERS = 10
SMALLEST_BASE = 200
NEIGHBOURS = 100
ANCHORS = 5000
"""Similar customers are sought among at most this many, so that time grows with customers, not their square."""
SHARES = (0.0, 0.2, 0.4, 0.7)
ROWS = 512

COUNTS_SQL = """
WITH days AS (
    SELECT DISTINCT customer_id, product_id, ordered_on
    FROM order_lines
    WHERE ordered_on < $until AND product_id IS NOT NULL AND (quantity IS NULL OR quantity > 0)
),
known AS (
    SELECT product_id FROM days GROUP BY product_id HAVING COUNT(DISTINCT customer_id) >= $smallest
)
SELECT
    days.customer_id,
    days.product_id,
    ROUND(SUM(POWER(0.5, DATE_DIFF('day', days.ordered_on, $until) / $half_life)), 9) AS weight
FROM days
INNER JOIN known ON known.product_id = days.product_id
GROUP BY days.customer_id, days.product_id
ORDER BY days.customer_id, days.product_id
"""
BOUGHT_SQL = """
SELECT DISTINCT customer_id, product_id
FROM order_lines
WHERE ordered_on >= $start AND ordered_on < $until AND product_id IS NOT NULL
    AND (quantity IS NULL OR quantity > 0)
ORDER BY customer_id, product_id
"""


@dataclass(frozen=True)
class Counts:
    """Decayed counts ``weights`` (customers × products, sparse) of what was bought before a day."""

    customer_ids: tuple[str, ...]
    product_ids: tuple[str, ...]
    weights: sparse.csr_array


@dataclass(frozen=True)
class Recommendations:
    """For each customer (n) the places of k products, best first, their scores, and whether they are new to them."""

    counts: Counts
    products: Integers
    scores: Floats
    new: NDArray[np.bool_]


@dataclass(frozen=True)
class NextProductsQuality:
    """NDCG@10 on the last window, over customers who bought; the baseline is their own decayed counts alone."""

    ndcg: float
    baseline_ndcg: float
    share: float
    n: int


def load_counts(source: Queryable, *, until: date) -> Counts:
    """What was bought strictly before ``until``, of products with at least ten buyers; NotReady when too little."""
    bounds = {"until": until, "smallest": SMALLEST_BUYERS, "half_life": HALF_LIFE_DAYS}
    rows = source.query(COUNTS_SQL, bounds)
    customers, customer = _encode(rows.column("customer_id"))
    products, product = _encode(rows.column("product_id"))
    if len(customers) < SMALLEST_BASE or len(products) < TOP:
        raise NotReady(
            "models.too_few_products",
            say(
                "There are {customers} customers and {products} products with at least {buyers} buyers: too few.",
                customers=len(customers),
                products=len(products),
                buyers=SMALLEST_BUYERS,
            ),
            remedy=say("Load order lines with products, for more customers or a longer period."),
        )
    weight = rows.column("weight").to_numpy(zero_copy_only=False)
    matrix = sparse.csr_array((weight, (customer, product)), shape=(len(customers), len(products)))
    return Counts(customers, products, matrix)


def recommend(counts: Counts, *, share: float, seed: int = 0, top: int = TOP) -> Recommendations:
    """The best ``top`` products of every customer; ``share`` is the weight of similar customers."""
    n = len(counts.customer_ids)
    products = np.zeros((n, top), dtype=np.int64)
    scores, new = np.zeros((n, top)), np.zeros((n, top), dtype=bool)
    for rows, own, similar in _score(counts, seed):
        blend = own + np.float32(share) * similar
        best = _take_top(blend, top)
        products[rows] = best
        scores[rows] = np.take_along_axis(blend, best, axis=1)
        new[rows] = np.take_along_axis(own, best, axis=1) <= 0
    return Recommendations(counts, products, scores, new)


def validate_next_products(source: Queryable, *, as_of: date, seed: int = 0) -> NextProductsQuality:
    """Choose the share on the window before the last, and judge it on the last one."""
    last = as_of - timedelta(days=WINDOW_DAYS)
    earlier = last - timedelta(days=WINDOW_DAYS)
    chosen = 0.4
    try:
        tried = _measure_shares(source, earlier, last, SHARES, seed)[0]
        chosen = SHARES[int(np.argmax(tried))]
    except NotReady:
        # One window too few to choose the share by: the default stands, the last window still judges it.
        pass
    (baseline, ndcg), buyers = _measure_shares(source, last, as_of, (0.0, chosen), seed)
    return NextProductsQuality(float(ndcg), float(baseline), chosen, buyers)


def measure_ndcg(best: Integers, bought: list[set[int]], top: int = TOP) -> Floats:
    """NDCG@``top`` per row of ``best`` (n × top) against what each bought (not empty); a bought product counts 1."""
    gains = 1 / np.log2(np.arange(2, top + 2))
    ideal = np.cumsum(gains)
    found = np.zeros(len(best))
    for row, wanted in enumerate(bought):
        hits = np.fromiter((place in wanted for place in best[row, :top]), dtype=bool, count=top)
        found[row] = float(gains[hits].sum() / ideal[min(len(wanted), top) - 1])
    return found


def _measure_shares(
    source: Queryable, start: date, until: date, shares: tuple[float, ...], seed: int
) -> tuple[list[float], int]:
    counts = load_counts(source, until=start)
    bought = _load_bought(source, counts, start, until)
    buyers = np.array([row for row, wanted in enumerate(bought) if wanted], dtype=np.int64)
    if len(buyers) == 0:
        raise NotReady(
            "models.nothing_bought",
            say(
                "Nobody bought a known product between {start} and {until}.",
                start=str(start),
                until=str(until),
            ),
            remedy=say("Load orders up to the day of the round."),
        )
    sums = np.zeros(len(shares))
    for rows, own, similar in _score(counts, seed):
        some = [row for row in range(rows.start, rows.stop) if bought[row]]
        if not some:
            continue
        place = np.array(some) - rows.start
        for number, share in enumerate(shares):
            best = _take_top(own[place] + np.float32(share) * similar[place], TOP)
            sums[number] += measure_ndcg(best, [bought[row] for row in some]).sum()
    return [float(total / len(buyers)) for total in sums], len(buyers)


def _load_bought(source: Queryable, counts: Counts, start: date, until: date) -> list[set[int]]:
    rows = source.query(BOUGHT_SQL, {"start": start, "until": until})
    customer = {name: place for place, name in enumerate(counts.customer_ids)}
    product = {name: place for place, name in enumerate(counts.product_ids)}
    bought: list[set[int]] = [set() for _ in counts.customer_ids]
    pairs = zip(rows.column("customer_id").to_pylist(), rows.column("product_id").to_pylist(), strict=True)
    for who, what in pairs:
        if who in customer and what in product:
            bought[customer[who]].add(product[what])
    return bought


def _score(counts: Counts, seed: int) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """For a few hundred customers at a time: their own scores, and those of similar customers (both dense)."""
    weights = counts.weights.astype(np.float32)
    profile = _profile(weights)
    n = weights.shape[0]
    anchors = np.arange(n)
    if n > ANCHORS:
        anchors = np.sort(np.random.default_rng(seed).choice(n, ANCHORS, replace=False))
    anchor_weights, anchor_profile = weights[anchors], profile[anchors].T.tocsr()
    for start in range(0, n, ROWS):
        rows = slice(start, min(start + ROWS, n))
        alike = (profile[rows] @ anchor_profile).toarray()
        place = np.searchsorted(anchors, np.arange(rows.start, rows.stop))
        place = np.minimum(place, len(anchors) - 1)
        same = anchors[place] == np.arange(rows.start, rows.stop)
        alike[np.flatnonzero(same), place[same]] = 0.0
        yield rows, weights[rows].toarray(), (_keep_nearest(alike) @ anchor_weights).toarray()


def _profile(weights: sparse.csr_array) -> sparse.csr_array:
    """Rows of length 1 for cosines: damped counts, products that everybody buys weighing less."""
    buyers = np.bincount(weights.indices, minlength=weights.shape[1])
    rarity = np.log1p(weights.shape[0] / np.maximum(buyers, 1)).astype(np.float32)
    damped = sparse.csr_array(
        (np.sqrt(weights.data) * rarity[weights.indices], weights.indices, weights.indptr),
        shape=weights.shape,
    )
    length = np.sqrt(np.asarray(damped.multiply(damped).sum(axis=1)).reshape(-1))
    scale = sparse.dia_array((1 / np.maximum(length, 1e-12)[None, :], [0]), shape=(len(length), len(length)))
    return sparse.csr_array((scale @ damped).astype(np.float32))


def _keep_nearest(alike: NDArray[np.float32]) -> sparse.csr_array:
    """Only the nearest customers of each row, their weights summing to 1."""
    kept = min(NEIGHBOURS, alike.shape[1])
    nearest = np.argpartition(-alike, kept - 1, axis=1)[:, :kept]
    values = np.take_along_axis(alike, nearest, axis=1)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
    places = (np.repeat(np.arange(len(alike)), kept), nearest.reshape(-1))
    return sparse.csr_array((values.reshape(-1), places), shape=alike.shape)


def _take_top(scores: NDArray[np.float32], top: int) -> Integers:
    best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(best, order, axis=1), dtype=np.int64)


def _encode(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Integers]:
    encoded = column.combine_chunks().dictionary_encode()
    return tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy(zero_copy_only=False).astype(
        np.int64
    )
