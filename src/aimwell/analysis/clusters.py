"""Predictive clusters: customers who behave alike, found by k-means on recency, frequency, value and the like.

Figures are taken as ln(1 + x) and standardised; centres start by k-means++ and move by Lloyd's rule, with a fixed
seed and several starts. How many clusters: the highest mean silhouette of a sample, among those counts whose
clusters come back when half the customers are clustered anew (adjusted Rand index). Each cluster is a rule,
``Nearest`` to its centre: exact on every engine, and its profile says in words what sets it apart.
Sources: Lloyd (1982); Arthur and Vassilvitskii, "k-means++" (2007); Rousseeuw, "Silhouettes" (1987); Hubert and
Arabie, "Comparing partitions" (1985). Reads tags; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from aimwell.analysis.catalogue import find_tags
from aimwell.analysis.drafts import Draft, name_draft
from aimwell.core.errors import NotReady
from aimwell.core.seeds import derive_seed
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.rule import Axis, Nearest
from aimwell.engine.session import Queryable
from aimwell.engine.specification import NUMERIC, find_type
from aimwell.engine.sql_text import quote_name

TAGS = ("recency_days", "orders_365d", "revenue_365d")
COUNTS = (3, 4, 5, 6, 7, 8)
STARTS = 4
ROUNDS = 100
STABLE = 0.8
"""A count of clusters is trusted from this adjusted Rand index on, 0–1."""
SAMPLE = 50_000
SILHOUETTE_SAMPLE = 2_000
FEWEST = 60
MARKED = 0.5
"""A cluster is above or below average where its centre is so many standard deviations away."""

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """One count of clusters that was tried: its mean silhouette (−1 to 1) and stability (adjusted Rand, ≤ 1)."""

    count: int
    silhouette: float
    stability: float


@dataclass(frozen=True)
class Clustering:
    """The clusters as drafts, largest first, with what was tried."""

    drafts: tuple[Draft, ...]
    tried: tuple[Choice, ...]
    customers: int
    left_out: int


def build_clusters(
    reader: Queryable,
    types: Mapping[str, Type],
    *,
    seed: int,
    tags: Sequence[str] = TAGS,
    count: int | None = None,
) -> Clustering:
    """Cluster the customers by ``tags``; ``count`` chooses how many, else they choose themselves.

    Customers who lack one of the tags are in no cluster, and counted. NotReady below 60 customers.
    """
    for tag in tags:
        if find_type(tag, types) not in NUMERIC:
            raise _not_numeric(tag)
    raw, left_out = _read_values(reader, tags)
    if len(raw) < FEWEST:
        raise NotReady(
            "analysis.too_few_to_cluster",
            say("Only {n} customers have all of these tags; clusters need {most}.", n=len(raw), most=FEWEST),
            remedy=say("Choose tags that more customers have."),
        )
    logs = np.copysign(np.log1p(np.abs(raw)), raw)
    centre, scale = logs.mean(axis=0), logs.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    places = (logs - centre) / scale
    rng = np.random.default_rng(derive_seed(seed, "clusters", ",".join(tags)))
    sample = (
        places if len(places) <= SAMPLE else places[np.sort(rng.choice(len(places), SAMPLE, replace=False))]
    )
    counts = (count,) if count else tuple(k for k in COUNTS if len(np.unique(sample, axis=0)) >= k)
    tried = tuple(_try_count(sample, k, rng) for k in counts)
    points = fit_centres(sample, _choose(tried), rng)
    points = np.round(points[np.lexsort(points.T)], 6)
    axes = tuple(
        Axis(tag, round(float(middle), 9), round(float(spread), 9), log=True)
        for tag, middle, spread in zip(tags, centre, scale, strict=True)
    )
    return Clustering(_make_drafts(axes, points, raw, places), tried, len(raw), left_out)


def fit_centres(places: Floats, count: int, rng: np.random.Generator) -> Floats:
    """The best centres of several starts, by the sum of squared distances: k-means++ and Lloyd's rule."""
    best: tuple[float, Floats] | None = None
    for _ in range(STARTS):
        centres = _start(places, count, rng)
        for _ in range(ROUNDS):
            codes = assign(places, centres)
            sizes = np.bincount(codes, minlength=count)
            sums = np.column_stack([np.bincount(codes, column, count) for column in places.T])
            moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
            if np.allclose(moved, centres, rtol=0, atol=1e-7):
                break
            centres = moved
        inertia = float(((places - centres[assign(places, centres)]) ** 2).sum())
        if best is None or inertia < best[0]:
            best = (inertia, centres)
    assert best is not None
    return best[1]


def assign(places: Floats, centres: Floats) -> Codes:
    """The number of the nearest centre of each row; the first of several."""
    scores = places @ centres.T - (centres**2).sum(axis=1) / 2
    nearest: Codes = np.argmax(scores, axis=1).astype(np.int64)
    return nearest


def measure_silhouette(places: Floats, codes: Codes) -> float:
    """Mean silhouette: how much nearer customers are to their own cluster than to the next, −1 to 1."""
    squares = (places**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * places @ places.T, 0))
    sizes = np.bincount(codes)
    sums = np.column_stack([distances[:, codes == code].sum(axis=1) for code in range(len(sizes))])
    own = sizes[codes]
    inner = sums[np.arange(len(codes)), codes] / np.maximum(own - 1, 1)
    means = sums / np.maximum(sizes, 1)
    means[:, sizes == 0] = np.inf
    means[np.arange(len(codes)), codes] = np.inf
    outer = means.min(axis=1)
    shape = np.where(own > 1, (outer - inner) / np.maximum(np.maximum(inner, outer), 1e-12), 0.0)
    return float(shape.mean())


def measure_agreement(one: Codes, other: Codes) -> float:
    """The adjusted Rand index of two partitions: 1 when they are the same, about 0 when they are unrelated."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1)

    def count_pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, first, second = count_pairs(table), count_pairs(table.sum(axis=1)), count_pairs(table.sum(axis=0))
    every = len(one) * (len(one) - 1) / 2
    expected, most = first * second / every, (first + second) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _start(places: Floats, count: int, rng: np.random.Generator) -> Floats:
    """k-means++: each further centre is drawn with probability proportional to its squared distance."""
    centres = [places[rng.integers(len(places))]]
    nearest = ((places - centres[0]) ** 2).sum(axis=1)
    for _ in range(count - 1):
        total = nearest.sum()
        chosen = rng.integers(len(places)) if total <= 0 else rng.choice(len(places), p=nearest / total)
        centres.append(places[chosen])
        nearest = np.minimum(nearest, ((places - centres[-1]) ** 2).sum(axis=1))
    return np.array(centres)


def _try_count(places: Floats, count: int, rng: np.random.Generator) -> Choice:
    some = places[rng.permutation(len(places))[:SILHOUETTE_SAMPLE]]
    silhouette = measure_silhouette(some, assign(some, fit_centres(places, count, rng)))
    order = rng.permutation(len(places))
    halves = [fit_centres(places[half], count, rng) for half in np.array_split(order, 2)]
    stability = measure_agreement(assign(places, halves[0]), assign(places, halves[1]))
    return Choice(count, round(silhouette, 4), round(stability, 4))


def _choose(tried: Sequence[Choice]) -> int:
    stable = [one for one in tried if one.stability >= STABLE] or [max(tried, key=lambda one: one.stability)]
    return max(stable, key=lambda one: (one.silhouette, -one.count)).count


def _read_values(reader: Queryable, tags: Sequence[str]) -> tuple[Floats, int]:
    columns = ", ".join(f"CAST({quote_name(tag)} AS DOUBLE) AS {quote_name(tag)}" for tag in tags)
    table = reader.query(f"SELECT {columns} FROM tags ORDER BY customer_id")
    values = np.column_stack(
        [table.column(tag).to_numpy(zero_copy_only=False).astype(np.float64) for tag in tags]
    )
    known = np.isfinite(values).all(axis=1)
    return values[known], int((~known).sum())


def _make_drafts(axes: tuple[Axis, ...], points: Floats, raw: Floats, places: Floats) -> tuple[Draft, ...]:
    codes = assign(places, points)
    listed = tuple(tuple(float(value) for value in point) for point in points)
    titles = {tag.name: tag.title for tag in find_tags([axis.tag for axis in axes])}
    drafts: list[Draft] = []
    taken: set[str] = set()
    for number in np.argsort(-np.bincount(codes, minlength=len(points)), kind="stable"):
        members = raw[codes == number]
        if not len(members):
            continue
        profile = [
            {
                "tag": axis.tag,
                "title": titles[axis.tag].both() if axis.tag in titles else None,
                "median": float(np.median(members[:, place])),
                "everybody": float(np.median(raw[:, place])),
                "deviations": round(float(points[number, place]), 2),
            }
            for place, axis in enumerate(axes)
        ]
        words = describe_point(axes, points[number], titles)
        name = name_draft("cluster", str(len(drafts) + 1), taken)
        title = say("Cluster {number}: {profile}", number=len(drafts) + 1, profile=words)
        figures = {"profile": profile, "words": words.both(), "share": len(members) / len(raw)}
        drafts.append(Draft(name, title, Nearest(axes, listed, int(number)), len(members), figures))
    return tuple(drafts)


def describe_point(axes: Sequence[Axis], point: Floats, titles: Mapping[str, Text]) -> Text:
    """What sets a centre apart, in words: the tags that lie above or below average, the furthest first."""
    found = []
    for place in np.argsort(-np.abs(point), kind="stable"):
        tag = axes[place].tag
        name = titles.get(tag, say("{words}", words=tag))
        if point[place] >= MARKED:
            found.append(say("{tag} high", tag=name))
        elif point[place] <= -MARKED:
            found.append(say("{tag} low", tag=name))
    if not found:
        return say("average in everything")
    return reduce(lambda left, right: say("{left}, {right}", left=left, right=right), found)


def _not_numeric(tag: str) -> NotReady:
    return NotReady(
        "analysis.not_numeric",
        say("The tag {tag} holds no numbers: customers cannot be clustered by it.", tag=tag),
        remedy=say("Choose tags with numbers, such as recency_days,orders_365d,revenue_365d."),
    )
