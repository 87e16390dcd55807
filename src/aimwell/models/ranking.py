"""How well scores rank and how true they are: AUC, average precision, lift, calibration.

Pure functions of two arrays of n: the score and whether it came true. Reads and writes no table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def measure_auc(score: Floats, truth: Flags) -> float:
    """P(a true row stands above a false one), ties counted half; NaN where one kind is missing."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    # Rows that tie share the mean of their ranks.
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def measure_average_precision(score: Floats, truth: Flags) -> float:
    """The mean precision at the true rows, best first; NaN without a true row."""
    if not truth.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    found = truth[order]
    # Equal scores are one threshold: precision is taken at the last row of each tie.
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(found)[ends]
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * hits / (ends + 1)) / truth.sum())


def measure_lift(score: Floats, truth: Flags, share: float = 0.1) -> float:
    """The rate among the best ``share`` of rows ÷ the rate of all; NaN without a true row."""
    if not truth.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    top = max(round(share * len(score)), 1)
    return float(truth[order[:top]].mean() / truth.mean())


def trace_lift(score: Floats, truth: Flags, points: int = 20) -> list[list[float]]:
    """[share, lift] at equal steps of the share; empty without a true row."""
    if not truth.any():
        return []
    shares = np.arange(1, points + 1) / points
    return [[float(share), measure_lift(score, truth, float(share))] for share in shares]


def measure_calibration(score: Floats, truth: Flags) -> float:
    """Predicted ÷ observed number of true rows; NaN without a true row."""
    return float(score.sum() / truth.sum()) if truth.any() else float("nan")


def trace_calibration(score: Floats, truth: Flags, groups: int = 10) -> list[list[float]]:
    """[mean predicted, share observed, rows] of equal groups by score."""
    parts = np.array_split(np.argsort(score, kind="stable"), groups)
    return [
        [float(score[rows].mean()), float(truth[rows].mean()), float(len(rows))]
        for rows in parts
        if len(rows)
    ]
