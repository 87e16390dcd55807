"""A response tree: a few rules that tell who responded from who did not, checked on a later time.

The tree is grown on what was known before one window and what happened in it, and checked on the next window, whose
outcomes it has not seen; the rates and intervals that are shown are those of the check. Each split must be
significant after Bonferroni's correction for every question that could have been asked, and each leaf holds enough
customers. Leaves are rules over tags: every customer is in exactly one.
Sources: Breiman et al., "Classification and Regression Trees" (1984); Wilson (1927) for the intervals.
Reads order_lines, events, customers, products and tags; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.analysis.activity import find_activity
from aimwell.analysis.catalogue import MEASURED_TAGS, describe_tag_rule
from aimwell.analysis.drafts import Draft, name_draft
from aimwell.core.errors import NotReady
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.rule import All, Compare, Not, Rule
from aimwell.engine.session import Queryable
from aimwell.engine.specification import NUMERIC, Expression
from aimwell.stats.distribution import find_chi_square_p_value

FEATURES = (
    "recency_days",
    "days_between_orders",
    "orders_30d",
    "orders_90d",
    "orders_365d",
    "orders_total",
    "revenue_90d",
    "revenue_365d",
    "average_order_value",
    "departments_90d",
    "discount_share_365d",
    "coupon_redemptions_365d",
    "messages_received_28d",
    "events_30d",
    "product_views_30d",
    "tenure_days",
)
ACTIVITY_FEATURES = (
    "first_seen_days",
    "active_days_30d",
    "events_30d",
    "page_views_30d",
    "product_views_7d",
    "product_views_30d",
    "different_products_viewed_30d",
    "days_since_product_view",
    "searches_30d",
    "cart_adds_30d",
    "days_since_cart_add",
    "wishlist_adds_90d",
)
"""What a tree may ask about where nothing was bought."""
DAYS = 28
DEPTH = 3
QUESTIONS = 32
"""So many thresholds of each tag are tried."""
SIGNIFICANCE = 0.01
LEAST_SHARE, LEAST = 0.02, 50
FEWEST = 400

_KNOWN_BY = ("recency_days", "first_seen_days")
"""The tags that nobody has before the first order, or the first event."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """What was known of customers before a window (a column per feature, NaN: unknown) and whether they responded."""

    values: Floats
    responded: Flags


@dataclass(frozen=True)
class Leaf:
    """The tests that lead to a leaf, each (feature, threshold, whether at most), and the rows that reach it."""

    path: tuple[tuple[int, float, bool], ...]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class ResponseTree:
    """Leaves as drafts, the best first; how well they ranked customers in the later window (0.5: not at all)."""

    drafts: tuple[Draft, ...]
    rate: float
    area: float
    grown_on: int
    checked_on: int


def build_response_tree(
    reader: Queryable, types: Mapping[str, Type], outcome: Rule, *, as_of: date, days: int = DAYS
) -> ResponseTree:
    """Grow on the window that ended ``days`` before ``as_of``, check on the one that ends with it.

    ``outcome`` is decided at the end of a window and must look back no further than ``days``. Customers are those who
    had ordered before a window; where nothing was bought, those who had been seen. NotReady with fewer than 400
    customers, or when nothing tells responders from others.
    """
    features = choose_features(types, FEATURES if find_activity(reader) == "orders" else ACTIVITY_FEATURES)
    past = _take_sample(reader, features, types, outcome, as_of - timedelta(days=2 * days), days)
    later = _take_sample(reader, features, types, outcome, as_of - timedelta(days=days), days)
    if len(past.responded) < FEWEST:
        raise NotReady(
            "analysis.too_few_for_tree",
            say(
                "A response tree needs {least} customers who were known before the first of its two windows of {days} "
                "days, {start}; there are {n}.",
                least=FEWEST,
                days=days,
                start=(as_of - timedelta(days=2 * days)).isoformat(),
                n=len(past.responded),
            ),
            remedy=say("Choose a shorter window with --days, or wait for more data."),
        )
    leaves = grow_tree(past)
    if len(leaves) < 2:
        raise NotReady(
            "analysis.nothing_tells_response",
            say(
                "Nothing known before the window told who would respond ({n} customers).",
                n=len(past.responded),
            ),
            remedy=say("Choose a more frequent outcome or a longer window, or wait for more data."),
        )
    drafts = [_make_draft(leaf, features, past, later) for leaf in leaves]
    drafts.sort(key=lambda draft: (-draft.figures["rate"], draft.name))
    taken: set[str] = set()
    named = tuple(
        Draft(name_draft("response", str(place), taken), draft.title, draft.rule, draft.size, draft.figures)
        for place, draft in enumerate(drafts, 1)
    )
    area = _measure_area(leaves, past, later)
    rate = float(later.responded.mean()) if len(later.responded) else 0.0
    return ResponseTree(named, rate, area, len(past.responded), len(later.responded))


def choose_features(types: Mapping[str, Type], among: Collection[str] = FEATURES) -> tuple[str, ...]:
    """The tags ``among`` which a tree may ask, of those that there are."""
    return tuple(
        tag.name
        for tag in MEASURED_TAGS
        if tag.name in among and tag.name in types and tag.type in NUMERIC
        # What is computed from other tags says nothing that they do not say.
        if tag.spec is not None and not isinstance(tag.spec, Expression)
    )


def grow_tree(sample: Sample, *, depth: int = DEPTH) -> list[Leaf]:
    """The leaves of a tree on ``sample``: each split has the greatest likelihood ratio, and is significant."""
    least = max(LEAST, math.ceil(LEAST_SHARE * len(sample.responded)))
    return grow_leaves(sample.values, lambda rows: _find_split(sample, rows, least), depth=depth)


def grow_leaves(
    values: Floats, find_split: Callable[[NDArray[np.int64]], tuple[int, float] | None], *, depth: int
) -> list[Leaf]:
    """Part the rows of ``values`` until ``find_split`` answers None or ``depth`` tests lead to a leaf."""
    waiting, leaves = [Leaf((), np.arange(len(values)))], []
    while waiting:
        leaf = waiting.pop(0)
        split = find_split(leaf.rows) if len(leaf.path) < depth else None
        if split is None:
            leaves.append(leaf)
            continue
        feature, threshold = split
        below = find_below(values[leaf.rows, feature], threshold)
        waiting.append(Leaf((*leaf.path, (feature, threshold, True)), leaf.rows[below]))
        waiting.append(Leaf((*leaf.path, (feature, threshold, False)), leaf.rows[~below]))
    return leaves


def find_below(values: Floats, threshold: float) -> Flags:
    """Whether at most the threshold; what is unknown is not, as in a rule."""
    found: Flags = np.where(np.isnan(values), np.inf, values) <= threshold
    return found


def measure_interval(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, 0–1."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    middle, spread = successes + z * z / 2, z * math.sqrt(successes * (n - successes) / n + z * z / 4)
    return max(0.0, (middle - spread) / (n + z * z)), min(1.0, (middle + spread) / (n + z * z))


def list_edges(values: Floats) -> Floats:
    """The thresholds that are tried: quantiles of the known values, rising."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.empty(0)
    edges: Floats = np.unique(np.quantile(known, np.arange(1, QUESTIONS) / QUESTIONS, method="lower"))
    return edges


def _find_split(sample: Sample, rows: NDArray[np.int64], least: int) -> tuple[int, float] | None:
    """The question that parts the rows best, if its likelihood ratio is significant among all that were asked."""
    responded = sample.responded[rows].astype(np.float64)
    best, asked = (0.0, -1, 0.0), 0
    for feature in range(sample.values.shape[1]):
        values = sample.values[rows, feature]
        for edge in list_edges(values):
            below = find_below(values, float(edge))
            count = int(below.sum())
            if count < least or len(rows) - count < least:
                continue
            asked += 1
            ratio = _measure_ratio(responded, below, count)
            if ratio > best[0]:
                best = (ratio, feature, float(edge))
    if best[1] < 0 or find_chi_square_p_value(best[0], 1) * asked > SIGNIFICANCE:
        return None
    return best[1], best[2]


def _measure_ratio(responded: Floats, below: Flags, count: int) -> float:
    """Twice the gain in log-likelihood from two rates instead of one."""
    hits = float(responded[below].sum())
    every = float(responded.sum())

    def log_likelihood(successes: float, n: float) -> float:
        rest = n - successes
        return sum(part * math.log(part / n) for part in (successes, rest) if part > 0)

    n = len(responded)
    parts = log_likelihood(hits, count) + log_likelihood(every - hits, n - count)
    return 2 * (parts - log_likelihood(every, n))


def read_features(reader: Queryable, features: Sequence[str], *, as_of: date) -> tuple[list[str], Floats]:
    """Every customer and the tags ``features`` as they stood before ``as_of``, a column each (NaN: unknown)."""
    specs = {tag.name: tag.spec for tag in MEASURED_TAGS if tag.name in features and tag.spec is not None}
    known = compile_tags(specs, as_of=as_of)
    tags = reader.query(known.sql, known.parameters)
    columns = [tags.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in features]
    return tags.column("customer_id").to_pylist(), np.column_stack(columns)


def _take_sample(
    reader: Queryable,
    features: Sequence[str],
    types: Mapping[str, Type],
    outcome: Rule,
    start: date,
    days: int,
) -> Sample:
    """Tags as they stood before ``start``, of customers who were known by then, and the outcome ``days`` later."""
    decided = compile_rules({"responded": outcome}, types, as_of=start + timedelta(days=days))
    customers, values = read_features(reader, features, as_of=start)
    answers = reader.query(decided.sql, decided.parameters).to_pydict()
    responded = dict(zip(answers["customer_id"], answers["responded"], strict=True))
    flags = np.array([responded.get(name, False) for name in customers], np.bool_)
    known = next((name for name in _KNOWN_BY if name in features), None)
    seen = np.ones(len(flags), np.bool_) if known is None else ~np.isnan(values[:, features.index(known)])
    return Sample(values[seen], flags[seen])


def _make_draft(leaf: Leaf, features: Sequence[str], past: Sample, later: Sample) -> Draft:
    rule = make_rule(leaf, features)
    inside = reach_leaf(leaf, later.values)
    n, hits = int(inside.sum()), int(later.responded[inside].sum())
    lower, upper = measure_interval(hits, n)
    figures = {
        "rate": hits / n if n else 0.0,
        "lower": lower,
        "upper": upper,
        "n": n,
        "rate_when_grown": float(past.responded[leaf.rows].mean()),
        "n_when_grown": len(leaf.rows),
    }
    title = say("Response {rate}: {rule}", rate=f"{figures['rate']:.1%}", rule=describe_tag_rule(rule))
    return Draft("response", title, rule, n, figures)


def reach_leaf(leaf: Leaf, values: Floats) -> Flags:
    """Which rows of ``values`` reach ``leaf``."""
    inside = np.ones(len(values), np.bool_)
    for feature, threshold, at_most in leaf.path:
        below = find_below(values[:, feature], threshold)
        inside &= below if at_most else ~below
    return inside


def make_rule(leaf: Leaf, features: Sequence[str]) -> Rule:
    """The rule of a leaf: of several tests of one tag on the same side, the narrowest."""
    limits: dict[tuple[int, bool], float] = {}
    for feature, threshold, at_most in leaf.path:
        key = (feature, at_most)
        narrow = min if at_most else max
        limits[key] = narrow(limits.get(key, threshold), threshold)
    tests: list[Rule] = []
    for (feature, at_most), threshold in limits.items():
        value = int(threshold) if threshold.is_integer() else threshold
        below = Compare(features[feature], "<=", value)
        tests.append(below if at_most else Not(below))
    return tests[0] if len(tests) == 1 else All(tuple(tests))


def _measure_area(leaves: Sequence[Leaf], past: Sample, later: Sample) -> float:
    """How often a responder of the later window has a higher rate than another customer; ties count half."""
    scores = np.zeros(len(later.responded))
    for leaf in leaves:
        scores[reach_leaf(leaf, later.values)] = past.responded[leaf.rows].mean()
    levels, places = np.unique(scores, return_inverse=True)
    hits = np.bincount(places[later.responded], minlength=len(levels)).astype(np.float64)
    misses = np.bincount(places[~later.responded], minlength=len(levels)).astype(np.float64)
    if not hits.sum() or not misses.sum():
        return 0.5
    lower = np.concatenate([[0.0], np.cumsum(misses)[:-1]])
    return float((hits * (lower + misses / 2)).sum() / (hits.sum() * misses.sum()))
