"""The pinned Qini by hand, its bootstrap, and the test of differences."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.models.uplift import calibrate, measure_qini


def test_qini_by_hand() -> None:
    # Ranked: treated 1, control 0, treated 0, control 0. Gains at 1/4 … 1: (1−0)/4, (1−0)/2, (.5−0)·3/4, (.5−0)·1.
    score = np.array([4.0, 3.0, 2.0, 1.0])
    outcome, treated = np.array([1.0, 0.0, 0.0, 0.0]), np.array([True, False, True, False])
    qini, curve = measure_qini(
        score, outcome, treated, random=np.random.default_rng(0), repetitions=20, points=4
    )
    np.testing.assert_allclose(curve.gain, [0.25, 0.5, 0.375, 0.5])
    assert qini.estimate == pytest.approx(np.mean([0.125, 0.25, 0.0, 0.0]))


def draw(effect: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    trait = random.normal(size=4000)
    treated = random.random(4000) < 0.3
    outcome = random.normal(size=4000) + treated * (0.2 + effect * trait)
    return trait, outcome, treated, np.full(4000, 0.3)


def test_intervals_cover_the_planted_qini() -> None:
    # With τ = c·N(0, 1) ranked rightly, the Qini is c/(2√π).
    truth = 0.5 / (2 * np.sqrt(np.pi))
    found = []
    for seed in range(30):
        trait, outcome, treated, chance = draw(0.5, seed)
        random = np.random.default_rng(seed)
        found.append(
            measure_qini(trait, outcome, treated, probability=chance, random=random, repetitions=100)[0]
        )
    assert np.mean([qini.estimate for qini in found]) == pytest.approx(truth, rel=0.04)
    assert sum(qini.covers(truth) for qini in found) >= 26
    assert all(qini.lower > 0 for qini in found)


def test_no_differences_are_not_found() -> None:
    covered = 0
    for seed in range(30):
        trait, outcome, treated, chance = draw(0.0, seed)
        random = np.random.default_rng(seed)
        qini = measure_qini(trait, outcome, treated, probability=chance, random=random, repetitions=100)[0]
        covered += qini.covers(0.0)
    assert covered >= 26


def test_calibration_slope_is_realised_per_predicted() -> None:
    trait, outcome, treated, chance = draw(0.5)
    contrast = treated - chance
    honest = calibrate(outcome - outcome.mean(), contrast, contrast * 0.5 * trait)
    boastful = calibrate(outcome - outcome.mean(), contrast, contrast * 1.0 * trait)
    assert honest.slope == pytest.approx(1.0, abs=3 * honest.standard_error)
    assert boastful.slope == pytest.approx(honest.slope / 2)
    assert honest.p_value < 1e-4


def test_no_predicted_difference_is_no_proof() -> None:
    trait, outcome, treated, chance = draw(0.5)
    assert calibrate(outcome, treated - chance, np.zeros(len(trait))).p_value == 1.0
