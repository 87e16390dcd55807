"""A pilot's quotas where minimums ask for more than evenness gives: the nearest ones that keep every limit.

A mixed-integer programme over groups × actions, which are few. Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from aimwell.strategy.problem import Integers, Reals, Row
from aimwell.strategy.quiet import drop_solver_output

NODES = 20_000


def meet_minimums(
    quotas: Sequence[Integers],
    rooms: Sequence[int],
    most: Sequence[Reals],
    least: Sequence[Reals],
    rows: Sequence[Row],
) -> list[Integers]:
    """The whole quotas nearest to ``quotas`` (by the sum of differences) that keep every row; else ``quotas``.

    ``rooms``: how many of each group may take part. ``most`` and ``least``: rows × actions of each group, what its
    members use at most and at least; maximums are counted at the one, minimums at the other, so that whoever is
    drawn, every row is kept.
    """
    wanted = list(quotas)
    if not wanted or _keeps(np.concatenate(wanted), np.hstack(least), rows):
        return wanted
    start = np.concatenate(wanted).astype(np.float64)
    size = len(start)
    high, low = np.hstack(most), np.hstack(least)
    group = np.repeat(np.arange(len(wanted)), [len(quota) for quota in wanted])
    members = (group[None, :] == np.arange(len(wanted))[:, None]).astype(np.float64)
    nothing = np.zeros_like(members)
    constraints = [
        LinearConstraint(np.hstack([members, nothing]), -np.inf, np.asarray(rooms, dtype=np.float64)),
        # t is at least the difference, either way.
        LinearConstraint(np.hstack([np.eye(size), -np.eye(size)]), -np.inf, start),
        LinearConstraint(np.hstack([np.eye(size), np.eye(size)]), start, np.inf),
    ]
    for index, row in enumerate(rows):
        usage = high[index] if row.sense == "at_most" else low[index]
        bounds = (-np.inf, row.limit) if row.sense == "at_most" else (row.limit, np.inf)
        constraints.append(LinearConstraint(np.concatenate([usage, np.zeros(size)])[None, :], *bounds))
    with drop_solver_output():
        found = milp(
            np.concatenate([np.zeros(size), np.ones(size)]),
            integrality=np.concatenate([np.ones(size), np.zeros(size)]),
            bounds=Bounds(0, np.inf),
            constraints=constraints,
            options={"node_limit": NODES},
        )
    if found.x is None:
        return wanted
    whole = np.rint(found.x[:size]).astype(np.int64)
    ends = np.cumsum([len(quota) for quota in wanted])[:-1]
    return list(np.split(whole, ends))


def _keeps(quotas: Integers, least: Reals, rows: Sequence[Row]) -> bool:
    used = least @ quotas
    return all(row.sense == "at_most" or use >= row.limit for row, use in zip(rows, used, strict=True))
