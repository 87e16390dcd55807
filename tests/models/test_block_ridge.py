"""The block ridge keeps what the data support and shrinks away the rest."""

from __future__ import annotations

import numpy as np

from aimwell.models.block_ridge import Block, average_posterior, sample_posterior

BLOCKS = (Block("mean", 0, 1, 10.0, True), Block("real", 1, 6, 0.5), Block("noise", 6, 16, 0.5))


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    beta = np.concatenate([[3.0], random.normal(0, 1, 5), np.zeros(10)])
    rows = random.normal(size=(400, 16))
    outcome = rows @ beta + random.normal(size=400)
    return rows.T @ rows, rows.T @ outcome, beta


def test_noise_is_shrunk_and_signal_is_kept() -> None:
    gram, moment, beta = draw(0)
    found = sample_posterior(gram, moment, blocks=BLOCKS, random=np.random.default_rng(1))
    least_squares = np.linalg.solve(gram, moment)
    assert np.mean((found.mean - beta) ** 2) < np.mean((least_squares - beta) ** 2)
    assert np.abs(found.mean[6:]).max() < np.abs(least_squares[6:]).max()
    assert found.sds["real"] > 5 * found.sds["noise"]


def test_intervals_cover_and_the_cheap_mean_agrees() -> None:
    covered = []
    for seed in range(20):
        gram, moment, beta = draw(seed)
        found = sample_posterior(gram, moment, blocks=BLOCKS, random=np.random.default_rng(seed))
        covered.append(np.abs(found.mean - beta) <= 1.96 * np.sqrt(np.diag(found.covariance)))
    cheap = average_posterior(gram, moment, blocks=BLOCKS, random=np.random.default_rng(5))
    np.testing.assert_allclose(cheap, found.mean, atol=0.02)
    assert 0.92 <= np.mean(covered) <= 1.0
    assert np.linalg.eigvalsh(found.covariance).min() > 0
