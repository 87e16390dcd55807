"""Large instances in small: random ones, and the same as dense problems."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.problem import Problem, Sense


def to_problem(instance: Instance) -> Problem:
    """The same question, dense."""
    everybody = np.arange(instance.customers)
    return instance.take(everybody, np.array([row.limit for row in instance.rows]))


@st.composite
def draw_instance(draw: st.DrawFn) -> Instance:
    n, a, m = draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(0, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse, segments = draw(st.booleans()), draw(st.integers(1, 3))
    value = random.integers(-3, 6, (n, a)) if coarse else random.normal(0.5, 2, (n, a))
    value = value.astype(np.float32)
    value[random.random((n, a)) >= draw(st.sampled_from([0.5, 1.0]))] = -np.inf
    segment = random.integers(0, segments, n).astype(np.int32)
    cost = random.integers(0, 5, (n, a)).astype(np.float32)
    rows = []
    for index in range(m):
        of_cost = draw(st.booleans())
        most = 2 if of_cost else 5
        table = random.integers(0, most, (segments, a)) * (random.random((segments, a)) < 0.7)
        sense: Sense = "at_least" if draw(st.integers(0, 4)) == 0 else "at_most"
        total = (table[segment] * (cost if of_cost else 1)).max(axis=1).sum()
        share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0])) * (0.4 if sense == "at_least" else 1)
        rows.append(
            TableRow(f"row{index}", table.astype(float), float(np.floor(total * share)), sense, of_cost)
        )
    offers = random.integers(0, 3, a) if draw(st.booleans()) else None
    return Instance(value, tuple(rows), segment, cost, offers, draw(st.integers(1, 3)))


def make_instance(customers: int, *, slots: int = 1, seed: int = 0) -> Instance:
    """Eight actions on two channels for four segments: a budget, capacities, stock, a cap and two minimums."""
    random = np.random.default_rng(seed)
    actions, segments = 8, 4
    person = random.lognormal(0, 0.8, (customers, 1))
    value = (person * random.gamma(1.2, 5.0, (customers, actions)) - 4).astype(np.float32)
    value[random.random(value.shape) < 0.15] = -np.inf
    cost = np.ceil(random.uniform(20, 400, (customers, actions))).astype(np.float32)
    segment = random.integers(0, segments, customers).astype(np.int32)
    channel, offer = np.arange(actions) % 2, np.arange(actions) // 2

    def spread(chosen: np.ndarray) -> np.ndarray:
        return np.broadcast_to(chosen.astype(float), (segments, actions)).copy()

    first = np.zeros((segments, actions))
    first[0] = 1
    rows = (
        TableRow("budget", spread(np.ones(actions)), customers * 60.0, of_cost=True),
        TableRow("calls", spread(channel == 1) * 6, customers * 0.9),
        TableRow("stock", spread(offer == 0), float(customers // 12)),
        TableRow("segment cap", first, float(customers // 10)),
        TableRow("test volume", spread(offer == 3), float(customers // 30), "at_least"),
        TableRow("fair share", first, float(customers // 40), "at_least"),
    )
    return Instance(value, rows, segment, cost, offer.astype(np.int64), slots)
