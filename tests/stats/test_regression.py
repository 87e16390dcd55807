"""Least squares and its errors against statsmodels-free identities, and against published figures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from aimwell.core.errors import BadInput
from aimwell.stats.difference import compare_means
from aimwell.stats.moments import Moments
from aimwell.stats.regression import (
    compare_by_clusters,
    compare_by_regression,
    find_covariance,
    fit_least_squares,
    read_clustered_coefficient,
)


def draw(n: int = 120, seed: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    cluster = random.integers(0, 15, n)
    treated = cluster % 2 == 0
    y = random.normal(0, 1, 15)[cluster] + 0.5 * treated + random.normal(0, 1, n)
    return y, treated, cluster


def test_the_classical_difference_is_students() -> None:
    y, treated, _ = draw()
    effect = compare_by_regression(y, treated)
    known = stats.ttest_ind(y[treated], y[~treated]).confidence_interval()
    assert_allclose([effect.lower, effect.upper], [known.low, known.high])


def test_hc2_of_two_arms_is_welchs_error() -> None:
    y, treated, _ = draw()
    robust = compare_by_regression(y, treated, kind="HC2")
    welch = compare_means(Moments.of(y[treated]), Moments.of(y[~treated]))
    assert_allclose(robust.standard_error, welch.standard_error)
    assert compare_by_regression(y, treated, kind="HC3").standard_error > robust.standard_error


def test_clusters_of_one_are_no_clusters() -> None:
    y, treated, _ = draw()
    alone = np.arange(len(y))
    hc2 = compare_by_regression(y, treated, kind="HC2")
    cr2 = compare_by_clusters(y, treated, alone)
    assert_allclose(cr2.standard_error, hc2.standard_error)


def test_cr2_is_the_textbook_formula() -> None:
    """Bell and McCaffrey's estimator and degrees of freedom, written with n × n matrices."""
    y, treated, cluster = draw(60)
    design = np.column_stack([np.ones(60), treated])
    fit = fit_least_squares(y, design)
    hat = np.eye(60) - design @ fit.bread @ design.T
    sums, vectors = [], []
    for code in np.unique(cluster):
        rows = np.flatnonzero(cluster == code)
        values, axes = np.linalg.eigh(hat[np.ix_(rows, rows)])
        roots = np.where(values > 1e-9, 1 / np.sqrt(np.maximum(values, 1e-9)), 0)
        adjusted = axes @ np.diag(roots) @ axes.T @ design[rows] @ fit.bread[1]
        sums.append(adjusted @ fit.residuals[rows])
        vectors.append(hat[:, rows] @ adjusted)
    gamma = np.array(vectors) @ np.array(vectors).T
    found = read_clustered_coefficient(fit, 1, cluster)
    assert_allclose(found.standard_error, np.sqrt(np.sum(np.square(sums))))
    assert_allclose(found.degrees, np.trace(gamma) ** 2 / np.sum(gamma**2))


def test_clustering_widens_when_whole_clusters_are_drawn() -> None:
    y, treated, cluster = draw(600)
    plain, cr1 = compare_by_regression(y, treated), compare_by_clusters(y, treated, cluster, kind="CR1")
    assert cr1.standard_error > 2 * plain.standard_error
    assert compare_by_clusters(y, treated, cluster).upper > cr1.upper


def test_money_beside_shares_is_not_collinear_but_a_copy_is() -> None:
    random = np.random.default_rng(1)
    x = random.normal(0, 1e7, 50)
    fit = fit_least_squares(3 * x, np.column_stack([np.ones(50) * 1e-5, x]))
    assert_allclose(fit.coefficients[1], 3.0)
    assert find_covariance(fit, "classical").shape == (2, 2)
    with pytest.raises(BadInput) as refused:
        fit_least_squares(x, np.column_stack([np.ones(50), x, 2 * x]))
    assert refused.value.code == "stats.collinear"


def test_one_cluster_is_refused() -> None:
    y, treated, _ = draw()
    with pytest.raises(BadInput) as refused:
        compare_by_clusters(y, treated, np.zeros(len(y), dtype=np.int64))
    assert refused.value.code == "stats.one_cluster"
