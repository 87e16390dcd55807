"""Claim: the whole budget is allocated among millions of customers in seconds, every limit exact, with a certified gap.

An instance has customers × actions, at most k each and one of each offer, and 5, 12 or 69 constraints: budgets, call
minutes, letters, stock, minimum volumes, fair shares, a region's and every segment's cap. Times exclude making it; the
kernels are compiled (or read from their cache) before. The peer is HiGHS, or the PDLP of OR-Tools at a tolerance of
1e-4, on the same linear programme, at up to 100,000 customers; its answer is the relaxation, which nothing exceeds.
Run it with
``python -m bench.allocate --customers 1000000 --actions 20 --constraints 5 --k 1 [--peer highs-ipm|highs-ds|pdlp]``,
and with ``--growth`` for CPU seconds from 10,000 customers to that many, and their exponent.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.large.passes import People, measure_excess, tally_chosen
from aimwell.strategy.large.solve import allocate
from bench.result import emit, measure, peak_memory

SEGMENTS, CHANNELS = 64, 4
_BLOCK = 1 << 18
PDLP_TOLERANCE = 1e-4
MOST_GROWTH = 1.1
LIMITS = {(10_000_000, 5): 3.0, (10_000_000, 12): 10.0, (1_000_000, 69): 6.0, (1_000_000, 12): 10.0}
"""CPU seconds allowed, by customers and constraints."""


def make_instance(customers: int, *, actions: int, constraints: int, slots: int, seed: int) -> Instance:
    """An instance in which most constraints bind; costs are whole cents."""
    random = np.random.default_rng(seed)
    channel, offer = np.arange(actions) % CHANNELS, np.arange(actions) // CHANNELS
    segment = random.integers(0, SEGMENTS, customers, dtype=np.int32)
    value = np.empty((customers, actions), dtype=np.float32)
    cost = np.empty((customers, actions), dtype=np.float32)
    cents = np.array([5, 40, 600, 250])[channel] + np.linspace(0, 800, actions)
    for begin in range(0, customers, _BLOCK):
        part = slice(begin, min(customers, begin + _BLOCK))
        shape = value[part].shape
        person = random.lognormal(0, 0.8, (shape[0], 1)).astype(np.float32)
        cost[part] = np.ceil(cents * (0.6 + 0.8 * random.random(shape, dtype=np.float32)))
        value[part] = person * random.gamma(1.2, 6.0, shape).astype(np.float32) - 3 - cost[part] / 200
        value[part][random.random(shape, dtype=np.float32) < 0.15] = -np.inf
    rows = _make_rows(customers, channel, offer)[:constraints]
    return Instance(value, tuple(rows), segment, cost, offer.astype(np.int64), slots)


def _make_rows(customers: int, channel: np.ndarray, offer: np.ndarray) -> list[TableRow]:
    def count(chosen: np.ndarray) -> np.ndarray:
        return np.broadcast_to(chosen.astype(float), (SEGMENTS, len(channel))).copy()

    def people(segments: range) -> np.ndarray:
        table = np.zeros((SEGMENTS, len(channel)))
        table[segments] = 1
        return table

    n, last = float(customers), offer.max()
    return [
        TableRow("budget", count(channel >= 0), 120.0 * n, of_cost=True),
        TableRow("call minutes", count(channel == 2) * 6, np.floor(0.16 * n)),
        TableRow("letters", count(channel == 3), np.floor(0.05 * n)),
        TableRow("stock of the first offer", count(offer == 0), np.floor(0.08 * n)),
        TableRow("SMS budget", count(channel == 1), 8.0 * n, of_cost=True),
        TableRow("stock of the second offer", count(offer == 1), np.floor(0.08 * n)),
        TableRow("test volume of the last offer", count(offer == last), np.floor(0.05 * n), "at_least"),
        *(
            TableRow(
                f"fair share {place}", people(range(place, SEGMENTS, 8)), np.floor(0.052 * n), "at_least"
            )
            for place in range(3)
        ),
        TableRow("a region's cap", people(range(8)), np.floor(0.045 * n)),
        TableRow("least e-mail", count(channel == 0), np.floor(0.12 * n), "at_least"),
        *(
            TableRow(
                f"cap of segment {place}",
                people(range(place, place + 1)),
                np.floor(n / SEGMENTS * (0.3 + 0.04 * (place % 7))),
            )
            for place in range(8, SEGMENTS)
        ),
        TableRow("all letters and calls", count(channel >= 2), np.floor(0.07 * n)),
    ]


@dataclass(frozen=True)
class Relaxation:
    """The linear relaxation: the least of ``objective @ x`` with ``matrix @ x <= limits`` and 0 ≤ x ≤ 1."""

    objective: np.ndarray
    matrix: sp.csr_matrix
    limits: np.ndarray


def relax(instance: Instance) -> Relaxation:
    """An instance whole, as solvers take it."""
    customers, actions = np.nonzero(np.isfinite(instance.value))
    columns = np.arange(len(customers))
    assert instance.cost is not None
    blocks, limits = [], []
    for row in instance.rows:
        usage = row.table[instance.segment[customers], actions]
        usage = usage * instance.cost[customers, actions] if row.of_cost else usage
        blocks.append(sp.csr_matrix(row.sign * usage))
        limits.append(row.sign * row.limit)
    for label, most in (
        (customers, float(instance.per_customer)),
        (customers * 1000 + instance.groups[actions], 1.0),
    ):
        _, place = np.unique(label, return_inverse=True)
        blocks.append(sp.csr_matrix((np.ones(len(label)), (place, columns))))
        limits += [most] * blocks[-1].shape[0]
        if instance.per_customer == 1:
            break
    objective = -instance.value[customers, actions].astype(float)
    return Relaxation(objective, sp.vstack(blocks, format="csr"), np.array(limits))


def ask_highs(relaxation: Relaxation, method: str) -> float:
    """What HiGHS earns."""
    found = linprog(
        relaxation.objective,
        A_ub=relaxation.matrix,
        b_ub=relaxation.limits,
        bounds=(0, 1),
        method=method,
    )
    if found.x is None:
        raise SystemExit(f"HiGHS gave no answer: {found.message}")
    return float(-found.fun)


def ask_pdlp(relaxation: Relaxation) -> float:
    """What the PDLP of OR-Tools earns, up to its tolerance; it may break limits by as much."""
    try:
        from ortools.pdlp import solve_log_pb2, solvers_pb2
        from ortools.pdlp.python import pdlp
    except ImportError as error:
        raise SystemExit("OR-Tools is not installed: pip install ortools") from error
    count = len(relaxation.objective)
    problem = pdlp.QuadraticProgram()
    problem.objective_vector = relaxation.objective
    problem.constraint_matrix = relaxation.matrix.tocsc()
    problem.constraint_lower_bounds = np.full(len(relaxation.limits), -np.inf)
    problem.constraint_upper_bounds = relaxation.limits
    problem.variable_lower_bounds, problem.variable_upper_bounds = np.zeros(count), np.ones(count)
    parameters = solvers_pb2.PrimalDualHybridGradientParams()
    criteria = parameters.termination_criteria.simple_optimality_criteria
    criteria.eps_optimal_relative = criteria.eps_optimal_absolute = PDLP_TOLERANCE
    found = pdlp.primal_dual_hybrid_gradient(problem, parameters)
    reason = found.solve_log.termination_reason
    if reason != solve_log_pb2.TERMINATION_REASON_OPTIMAL:
        raise SystemExit(f"PDLP gave no answer: {solve_log_pb2.TerminationReason.Name(reason)}")
    return float(-(relaxation.objective @ found.primal_solution))


def measure_growth(most: int, shape: dict[str, int], *, seeds: int) -> None:
    """CPU seconds from 10,000 customers to ``most``; the exponent is the slope of their logarithms."""
    sizes = sorted({int(size) for size in 10 ** np.arange(4, np.log10(most) + 1e-9, 0.5)} | {most})
    seconds, gaps = [], []
    for size in sizes:
        costs = []
        for seed in range(seeds):
            instance = make_instance(size, seed=seed, **shape)
            found, cost = measure(lambda instance=instance: allocate(instance))
            costs.append(cost.cpu)
            gaps.append(found.gap)
        seconds.append(float(np.median(costs)))
        print(f"{size:,} customers: {seconds[-1]:.2f} CPU s", flush=True)
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]) if len(sizes) > 1 else 0.0
    emit(
        claim=f"CPU grows with the customers at most as their number to the power of {MOST_GROWTH}",
        ours=exponent,
        peer=MOST_GROWTH,
        unit="exponent",
        holds=bool(exponent <= MOST_GROWTH and max(gaps) <= 1e-4),
        gap=max(gaps),
        sizes=sizes,
        cpu_seconds=[round(second, 3) for second in seconds],
        seeds=seeds,
        **shape,
    )


def main() -> None:
    """Print each seed's figures, and at the end one line for programs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--actions", type=int, default=20)
    parser.add_argument("--constraints", type=int, choices=(5, 12, 69), default=5)
    parser.add_argument("--k", type=int, choices=(1, 2), default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer", choices=("highs-ipm", "highs-ds", "pdlp"))
    parser.add_argument("--growth", action="store_true")
    given = parser.parse_args()
    shape = {"actions": given.actions, "constraints": given.constraints, "slots": given.k}
    allocate(make_instance(6_000, seed=0, **shape))
    if given.growth:
        measure_growth(given.customers, shape, seeds=given.seeds)
        return
    worst = {"cpu": 0.0, "gap": 0.0}
    exact, peer, objective = True, 0.0, 0.0
    instance: Instance | None = None
    for seed in range(given.seeds):
        # The one before goes first: two of them would be measured as the memory of one.
        instance = None
        instance = make_instance(given.customers, seed=seed, **shape)
        found, cost = measure(lambda instance=instance: allocate(instance))
        seen = tally_chosen(instance, People.all(instance), found.chosen)
        exact &= all(excess <= 0 for excess in measure_excess(instance, seen))
        worst = {"cpu": max(worst["cpu"], cost.cpu), "gap": max(worst["gap"], found.gap)}
        objective = found.objective
        binding = int(np.sum(found.prices > 0))
        print(
            f"seed {seed}: {cost.cpu:.2f} CPU s ({cost.elapsed:.2f} s), gap {found.gap:.1e}, {binding} prices",
            flush=True,
        )
    memory = peak_memory()
    if given.peer:
        relaxation, tolerance = relax(instance), PDLP_TOLERANCE if given.peer == "pdlp" else 1e-9
        ask = ask_pdlp if given.peer == "pdlp" else partial(ask_highs, method=given.peer)
        answer, cost = measure(lambda: ask(relaxation))
        peer = cost.cpu
        print(f"{given.peer}: {peer:.2f} CPU s, {answer:.2f} against our {objective:.2f}", flush=True)
        # PDLP ends when primal and dual are within its tolerance of the sum of both: twice that of either.
        slack = 2 * tolerance
        exact &= answer * (1 - slack - 1e-4) <= objective <= answer * (1 + slack)
    allowed = LIMITS.get((given.customers, given.constraints), np.inf)
    small = given.customers <= 100_000
    emit(
        claim="everybody allocated, every limit exact, certified gap <= 1e-4",
        ours=worst["cpu"],
        peer=peer,
        unit="CPU s",
        holds=bool(exact and worst["gap"] <= 1e-4 and worst["cpu"] <= allowed and (small or memory <= 3_000)),
        gap=worst["gap"],
        exact=exact,
        memory_mb=round(memory),
        customers=given.customers,
        seeds=given.seeds,
        k=given.k,
        actions=given.actions,
        constraints=given.constraints,
    )


if __name__ == "__main__":
    main()
