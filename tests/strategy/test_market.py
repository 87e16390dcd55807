"""The planted responses: seeded, bounded, and such that the sample mean is the stated expectation."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.strategy.market import (
    Market,
    MarketActions,
    MarketCustomers,
    expected_contribution,
    free_redemption_probability,
    respond,
    response_probability,
)

ACTIONS = MarketActions(
    action_id=["all:email", "meat:call", "meat:sms"],
    channel=["email", "call", "sms"],
    department=np.array([-1, 0, 0]),
    discount=np.array([0.1, 0.2, 0.2]),
    redemption_cost=np.array([3.0, 2.0, 2.0]),
)


def make_customers(n: int) -> MarketCustomers:
    random = np.random.default_rng(1)
    return MarketCustomers(
        customer_id=[str(number) for number in range(n)],
        department_share=random.dirichlet((1, 3, 6), n)[:, :2],
        discount_share=random.uniform(0, 0.4, n),
        recency_days=random.integers(1, 60, n).astype(float),
        average_order=random.lognormal(3, 0.5, n),
        recent_contacts=random.integers(0, 2, n).astype(float),
        margin_rate=0.3,
    )


def test_probabilities_are_probabilities() -> None:
    customers = make_customers(500)
    for found in (
        response_probability(Market(1), customers, ACTIONS),
        free_redemption_probability(customers, ACTIONS),
    ):
        assert found.shape == (500, 3)
        assert found.min() >= 0
        assert found.max() <= 0.9


def test_only_those_who_were_reached_respond_and_the_same_seed_answers_alike() -> None:
    customers = make_customers(400)
    action = np.where(np.arange(400) % 2 == 0, 1, -1)
    first = respond(Market(7), customers, ACTIONS, action, plan_id="p")
    again = respond(Market(7), customers, ACTIONS, action, plan_id="p")
    other = respond(Market(8), customers, ACTIONS, action, plan_id="p")
    for values in (first.orders, first.revenue, first.redemptions, first.offer_cost, first.contribution):
        assert np.all(values[1::2] == 0)
    assert np.array_equal(first.revenue, again.revenue)
    assert not np.array_equal(first.revenue, other.revenue)
    assert np.all((first.revenue > 0) == (first.orders > 0))


def test_whether_somebody_responds_does_not_depend_on_the_others() -> None:
    customers = make_customers(300)
    everybody = respond(Market(3), customers, ACTIONS, np.full(300, 2), plan_id="p")
    half = respond(Market(3), customers, ACTIONS, np.where(np.arange(300) < 150, 2, -1), plan_id="p")
    assert np.array_equal(everybody.revenue[:150], half.revenue[:150])


@pytest.mark.parametrize("action", [0, 1, 2])
def test_the_mean_response_is_the_stated_expectation(action: int) -> None:
    customers = make_customers(400)
    expected = expected_contribution(Market(0), customers, ACTIONS)[:, action].mean()
    means = [
        respond(Market(seed), customers, ACTIONS, np.full(400, action), plan_id="p").contribution.mean()
        for seed in range(60)
    ]
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - expected) < 4 * error


def test_the_most_likely_buyers_are_not_the_most_profitable_to_treat() -> None:
    customers = make_customers(4000)
    share = customers.department_share[:, 0]
    profit = expected_contribution(Market(0), customers, ACTIONS)[:, 2] / customers.average_order
    habitual = profit[share > np.quantile(share, 0.9)].mean()
    middling = profit[(share > np.quantile(share, 0.5)) & (share < np.quantile(share, 0.8))].mean()
    assert middling > habitual


def test_without_departments_every_offer_is_about_everything() -> None:
    customers = make_customers(10)
    plain = MarketCustomers(**{**customers.__dict__, "department_share": np.zeros((10, 0))})
    everything = MarketActions(**{**ACTIONS.__dict__, "department": np.array([-1, -1, -1])})
    assert response_probability(Market(1), plain, everything).shape == (10, 3)
