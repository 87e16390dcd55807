from __future__ import annotations

import numpy as np

from aimwell.strategy.quadrants import divide_quadrants


def test_customers_fall_into_four_quadrants() -> None:
    propensity = np.array([0.1, 0.2, 0.8, 0.9, np.nan])
    value = np.array([1.0, 9.0, 2.0, 8.0, 5.0])
    found = divide_quadrants(propensity, value, np.array([1, 3]), np.array([2.0, 3.0]))
    assert {quadrant.name: (quadrant.customers, quadrant.chosen) for quadrant in found} == {
        "low_propensity": (1, 0),
        "future_potential": (1, 1),
        "high_propensity": (1, 0),
        "best_customers": (1, 1),
    }
    assert found[3].expected_profit == 3.0
    assert found[3].share == 1.0
    assert found[3].per_chosen == 3.0
    assert found[0].per_chosen == 0.0
    assert len({quadrant.strategy.id for quadrant in found}) == 4
    assert found[1].explain().render("en") == "Future potential: 1 of 1 customers are chosen (100.0 %)."
    assert all(quadrant.strategy.render("zh") != quadrant.strategy.render("en") for quadrant in found)


def test_nothing_known_gives_no_quadrants() -> None:
    nothing = np.full(10, np.nan)
    assert divide_quadrants(nothing, nothing, np.array([1]), np.array([1.0])) == ()
