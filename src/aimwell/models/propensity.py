"""Propensity: P(a customer buys group g within the next 28 days), for every main group.

A blend of logistic regression and a small gradient-boosted forest, which no single learner beat dependably below
ten thousand rows. Validated in time: trained on the labels of earlier four-week windows, tested on the last
one, then fitted again including it. No calibration is wrapped around the ordered rows: scikit-learn's
CalibratedClassifierCV was measured to ruin such scores (.788 → .673).

Reads order_lines and products (through ``snapshots``); writes nothing (``train`` does).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.session import Queryable
from aimwell.models.logistic import fit_logistic, predict_logistic
from aimwell.models.ranking import (
    measure_auc,
    measure_average_precision,
    measure_calibration,
    measure_lift,
    trace_calibration,
    trace_lift,
)
from aimwell.models.snapshots import Grouping, Snapshot, choose_groups, take_snapshot

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

WINDOW_DAYS = 28
POOLED = 4
"""Label windows that a fit learns from at most."""
SMALLEST_BASE = 200
SMALLEST_CLASS = 10
PENALTY = 10.0
TREES = 80
LEAVES = 8


@dataclass(frozen=True)
class Quality:
    """How one group's model did on the last window, which it had not seen."""

    auc: float
    average_precision: float
    lift_at_10: float
    calibration: float
    base_rate: float
    n_train: int
    n_test: int
    lift_curve: list[list[float]]
    calibration_curve: list[list[float]]

    def to_dict(self) -> dict[str, float]:
        """Named numbers for the model card."""
        return {
            "auc": self.auc,
            "average_precision": self.average_precision,
            "lift_at_10": self.lift_at_10,
            "calibration": self.calibration,
            "base_rate": self.base_rate,
        }


@dataclass(frozen=True)
class PropensityResult:
    """Scores (n × groups) of ``customer_ids``, and the quality of each group's model."""

    grouping: Grouping
    groups: tuple[str, ...]
    customer_ids: tuple[str, ...]
    scores: Floats
    quality: tuple[Quality, ...]


@dataclass(frozen=True)
class _Samples:
    """Rows of several snapshots: features shared by all groups, own features, labels."""

    whole: Floats
    own: Floats
    labels: Flags

    def select(self, group: int) -> Floats:
        """The features of one group: everything of its own, and how often the other groups were bought."""
        others = self.own[:, :, 3]
        return np.column_stack([self.own[:, group], self.whole, np.delete(others, group, axis=1)])


def train_propensity(source: Queryable, *, as_of: date, seed: int, threads: int = 1) -> PropensityResult:
    """Fit, validate in time and score; NotReady when there are too few customers or the period is too short."""
    grouping, groups = choose_groups(source, as_of=as_of)
    snapshots = _take_snapshots(source, as_of, grouping, groups)
    now, past = snapshots[0], snapshots[1:]
    test = _pool([past[0]], [now])
    train = _pool(past[1 : POOLED + 1], past[0:POOLED])
    refit = _pool(past[:POOLED], [now, *past[: POOLED - 1]])
    scored = _Samples(now.whole, now.own, np.zeros((len(now), len(groups)), dtype=bool))
    kept, scores, quality = [], [], []
    for place, group in enumerate(groups):
        labels = train.labels[:, place]
        if min(labels.sum(), (~labels).sum()) < SMALLEST_CLASS:
            continue
        predicted = _fit(train.select(place), labels, test.select(place), seed, threads)
        quality.append(_judge(predicted, test.labels[:, place], len(labels)))
        again = _fit(refit.select(place), refit.labels[:, place], scored.select(place), seed, threads)
        kept.append(group)
        scores.append(again)
    if not kept:
        raise NotReady(
            "models.nothing_to_predict",
            say("In every group nearly all customers buy, or nearly none: there is nothing to predict."),
            remedy=say("Load more customers or a longer period."),
        )
    return PropensityResult(grouping, tuple(kept), now.customer_ids, np.column_stack(scores), tuple(quality))


def _take_snapshots(
    source: Queryable, as_of: date, grouping: Grouping, groups: tuple[str, ...]
) -> list[Snapshot]:
    """as_of, and every 28 days before it, for as long as there are enough customers."""
    found: list[Snapshot] = []
    for back in range(POOLED + 2):
        day = as_of - timedelta(days=WINDOW_DAYS * back)
        snapshot = take_snapshot(source, day=day, grouping=grouping, names=groups)
        if len(snapshot) < SMALLEST_BASE:
            break
        found.append(snapshot)
    if not found:
        raise NotReady(
            "models.too_few_customers_to_score",
            say(
                "Fewer than {smallest} customers have ordered: too few to learn a propensity.",
                smallest=SMALLEST_BASE,
            ),
            remedy=say("Load more customers or a longer period."),
        )
    if len(found) < 3:
        raise NotReady(
            "models.too_few_windows",
            say("The orders cover fewer than three windows of {days} days.", days=WINDOW_DAYS),
            remedy=say("Load a longer period."),
        )
    return found


def _pool(snapshots: list[Snapshot], later: list[Snapshot]) -> _Samples:
    pairs = list(zip(snapshots, later, strict=False))
    return _Samples(
        np.vstack([snapshot.whole for snapshot, _ in pairs]),
        np.vstack([snapshot.own for snapshot, _ in pairs]),
        np.vstack([snapshot.label(after) for snapshot, after in pairs]),
    )


def _fit(features: Floats, labels: Flags, wanted: Floats, seed: int, threads: int) -> Floats:
    """The mean of both learners' probabilities for the rows of ``wanted``."""
    if labels.all() or not labels.any():
        return np.full(len(wanted), float(labels.mean()))
    return (
        _fit_logistic(features, labels, wanted) + _fit_forest(features, labels, wanted, seed, threads)
    ) / 2


def _fit_logistic(features: Floats, labels: Flags, wanted: Floats) -> Floats:
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-12] = 1.0
    coefficients = fit_logistic(np.clip((features - centre) / spread, -5, 5), labels, penalty=PENALTY)
    return predict_logistic(np.clip((wanted - centre) / spread, -5, 5), coefficients)


def _fit_forest(features: Floats, labels: Flags, wanted: Floats, seed: int, threads: int) -> Floats:
    import lightgbm

    parameters = {
        "objective": "binary",
        "learning_rate": 0.06,
        "num_leaves": LEAVES,
        "min_data_in_leaf": 40,
        "lambda_l2": 5.0,
        "feature_fraction": 0.6,
        "max_bin": 63,
        "num_threads": threads,
        "seed": seed % 2**31,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(features, label=labels.astype(float), params=parameters)
    model = lightgbm.train(parameters, data, num_boost_round=TREES)
    return np.asarray(model.predict(wanted, num_threads=threads), dtype=np.float64)


def _judge(score: Floats, truth: Flags, n_train: int) -> Quality:
    numbers = (
        measure_auc(score, truth),
        measure_average_precision(score, truth),
        measure_lift(score, truth),
        measure_calibration(score, truth),
    )
    auc, precision, lift, calibration = (value if math.isfinite(value) else 0.0 for value in numbers)
    return Quality(
        auc=auc,
        average_precision=precision,
        lift_at_10=lift,
        calibration=calibration,
        base_rate=float(truth.mean()),
        n_train=n_train,
        n_test=len(truth),
        lift_curve=trace_lift(score, truth),
        calibration_curve=trace_calibration(score, truth),
    )
