"""The errors of sums, kept as factors by action and group, against the coefficients' own covariance."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.models.effects import take_root
from aimwell.models.joint_errors import FACTORS, GROUPS, summarise_errors
from tests.statistics.test_effects import learn_world, make_world


@pytest.mark.parametrize("seed", [0, 1])
def test_errors_of_what_a_plan_chooses_are_nearly_those_of_the_coefficients(seed: int) -> None:
    world = make_world(seed, noise=1.0)
    model, features = learn_world(world), world.data.features
    found = model.predict(features)
    places = list(range(len(world.data.actions)))
    summary = summarise_errors(model, features, found, places)
    edges, loading = np.array(summary["edges"]), np.array(summary["loading"])
    assert summary["actions"] == list(world.data.actions.ids)
    assert edges.shape == (len(places), GROUPS - 1)
    assert loading.shape[:2] == (len(places), GROUPS)
    assert loading.shape[2] <= FACTORS
    assert np.all(np.sum(loading**2, axis=2) <= 1 + 1e-9)
    # As a plan chooses: each customer's best action, where it is among the better half.
    best = found.estimate.argmax(axis=1)
    worth = found.estimate.max(axis=1)
    for chosen in (np.arange(len(best)), np.flatnonzero(worth > np.median(worth))):
        scaled = model.design.scale(features).take(chosen)
        exact = model.design.build(scaled, best[chosen]) @ take_root(model.posterior.covariance)
        error = found.standard_error[chosen, best[chosen]]
        group = np.array(
            [
                np.searchsorted(edges[a], found.estimate[c, a])
                for c, a in zip(chosen, best[chosen], strict=True)
            ]
        )
        shared = loading[best[chosen], group]
        common = (error[:, None] * shared).sum(axis=0)
        own = float(np.sum(error**2 * (1 - np.sum(shared**2, axis=1))))
        kept = np.sqrt(common @ common + own)
        assert kept == pytest.approx(np.linalg.norm(exact.sum(axis=0)), rel=0.15)


def test_customers_who_are_all_alike_share_all_their_error() -> None:
    world = make_world(2, noise=1.0)
    model = learn_world(world)
    alike = world.data.features.take(np.zeros(40, dtype=np.int64))
    summary = summarise_errors(model, alike, model.predict(alike), [3])
    shares = np.sum(np.array(summary["loading"]) ** 2, axis=2)[0]
    assert shares[0] == pytest.approx(1.0, abs=1e-4)
    assert np.all(shares[1:] == 0)
