"""Arms by salted hash: stratified or by whole clusters, balanced, and unchanged when customers are added.

Arms are split off one after the other (control first, then the treatments), each time by systematic sampling (Madow
1949) down the stratum's customers in the order of their hash, from a random start: every customer has exactly the
arm's share as probability, and an arm is within one customer of its share of each stratum (within two, where there
are more than two arms). A pure function of the customer alone could not be balanced, and one of the whole list would
move people when others join: so those assigned earlier are given, keep their arms, and each stratum's sampling goes on
where it stood. Inside a stratum, like may stand beside like before the hash orders them (implicit stratification): then
the split of two arms is right to within one customer in each such part, too. Reads and writes no tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.seeds import draw_uniform, draw_uniforms
from aimwell.core.text import say
from aimwell.strategy.problem import Integers, Reals

CONTROL = "control"


@dataclass(frozen=True)
class Arms:
    """Names and shares, control first; shares are positive and sum to 1. BadInput otherwise."""

    names: tuple[str, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        named = len(self.names) == len(self.shares) >= 2 and len(set(self.names)) == len(self.names)
        # A share that is not a number fails the comparison, too.
        usable = all(0 < share < 1 for share in self.shares) and abs(sum(self.shares) - 1) < 1e-9
        if not (named and usable):
            raise BadInput(
                "strategy.bad_arms",
                say("Arms need different names and shares above 0 that sum to 1."),
                remedy=say("Give for example control 0.2 and treatment 0.8."),
                where={"value": ", ".join(f"{n} {s}" for n, s in zip(self.names, self.shares, strict=False))},
            )

    @classmethod
    def with_control(cls, share: float, treatments: int = 1) -> Arms:
        """Control with ``share``, and ``treatments`` equal arms."""
        if treatments == 1:
            return cls((CONTROL, "treatment"), (share, 1 - share))
        rest = (1 - share) / treatments if treatments > 0 else 0.0
        names = tuple(f"treatment_{number + 1}" for number in range(treatments))
        return cls((CONTROL, *names), (share, *[rest] * treatments))


@dataclass(frozen=True)
class ArmRule:
    """How a designed test's arms are drawn for a plan: for every customer of the plan's inputs the stratum, and the
    cluster that is drawn as a whole (None: each customer alone), both parallel to the inputs' customers.
    """

    arms: Arms
    salt: str
    strata: tuple[str, ...]
    clusters: tuple[str, ...] | None
    fingerprint: str
    """Of the test's rule: an approval of the plan covers it."""


@dataclass(frozen=True)
class Assignment:
    """Who is in which arm; parallel to the units that were given. ``arm`` counts from 0, control."""

    arms: Arms
    arm: Integers
    probability: Reals
    """The arm's share: the exact chance that the unit had of its arm."""

    def count(self) -> dict[str, int]:
        """Units by arm."""
        sizes = np.bincount(self.arm, minlength=len(self.arms.names))
        return {name: int(size) for name, size in zip(self.arms.names, sizes, strict=True)}


def assign_units(
    units: Sequence[str],
    strata: Sequence[str],
    arms: Arms,
    *,
    salt: str,
    earlier: Mapping[str, tuple[str, str]] | None = None,
    within: Integers | None = None,
) -> Assignment:
    """Draw an arm for each of ``units``, stratified by ``strata`` (parallel).

    ``within`` (parallel codes): parts of a stratum that stand together in its list.
    ``earlier``: unit → (stratum and arm at the time), for everybody assigned before under the same salt and arms, the
    same people or others; they keep their arm and count in the stratum that they had then. BadInput when a unit
    stands twice or an earlier arm is none of ``arms``.
    """
    kept = earlier or {}
    _check_units(units, strata, arms, kept)
    numbers = {name: number for number, name in enumerate(arms.names)}
    counts = Counter((stratum, numbers[arm]) for stratum, arm in kept.values())
    arm = np.array([numbers[kept[unit][1]] if unit in kept else -1 for unit in units], dtype=np.int64)
    fresh = np.flatnonzero(arm < 0)
    draws = draw_uniforms(f"{salt}:arm", (units[row] for row in fresh.tolist()))
    labels = np.asarray([strata[row] for row in fresh.tolist()], dtype=np.str_)
    names, codes = np.unique(labels, return_inverse=True)
    parts = np.zeros(len(fresh), dtype=np.int64) if within is None else within[fresh]
    order = np.lexsort((draws, parts, codes))
    bounds = np.append(np.searchsorted(codes[order], np.arange(len(names))), len(order))
    for place, name in enumerate(names.tolist()):
        rows = fresh[order[bounds[place] : bounds[place + 1]]]
        before = [counts[(name, number)] for number in range(len(arms.names))]
        arm[rows] = _deal(len(rows), arms, before, f"{salt}:{name}")
    return Assignment(arms, arm, np.asarray(arms.shares)[arm])


def assign_clusters(
    clusters: Sequence[str],
    strata: Mapping[str, str],
    arms: Arms,
    *,
    salt: str,
    earlier: Mapping[str, tuple[str, str]] | None = None,
) -> Assignment:
    """Draw an arm for each customer's cluster (parallel to the customers); ``strata``: cluster → stratum.

    Customers of one cluster share its arm, those that join later, too. BadInput as ``assign_units``.
    """
    names = sorted(set(clusters))
    drawn = assign_units(names, [strata.get(name, "") for name in names], arms, salt=salt, earlier=earlier)
    place = {name: index for index, name in enumerate(names)}
    rows = np.fromiter((place[name] for name in clusters), dtype=np.int64, count=len(clusters))
    return Assignment(arms, drawn.arm[rows], drawn.probability[rows])


def stratify_clusters(clusters: Sequence[str], count: int = 4) -> dict[str, str]:
    """Cluster → stratum by its number of customers; ``clusters``: each customer's."""
    sizes = Counter(clusters)
    names = sorted(sizes)
    groups = cut_strata(np.array([float(sizes[name]) for name in names]), count)
    return dict(zip(names, groups, strict=True))


def cut_strata(values: NDArray[np.float64], count: int = 5) -> list[str]:
    """Strata by size: each value's quantile group, 0 the lowest; ties stay together. NaN is a stratum of its own."""
    found = np.isfinite(values)
    if not found.any():
        return ["-"] * len(values)
    cuts = np.unique(np.quantile(values[found], np.arange(1, count) / count))
    group = np.searchsorted(cuts, values, side="left")
    return [
        str(number) if known else "-" for number, known in zip(group.tolist(), found.tolist(), strict=True)
    ]


def _deal(size: int, arms: Arms, before: Sequence[int], salt: str) -> Integers:
    """Arms for the next ``size`` units of a stratum that holds ``before`` units of each arm already."""
    arm = np.full(size, len(arms.names) - 1, dtype=np.int64)
    left = np.arange(size)
    rest = 1.0
    for number, share in enumerate(arms.shares[:-1]):
        part = min(share / rest, 1.0)
        done = sum(before[number:])
        start = draw_uniform(f"{salt}:start", arms.names[number])
        # Positions as whole parts and rests apart: no digit is lost however many came before.
        steps = np.floor((done + np.arange(len(left) + 1)) * part + start)
        taken = np.diff(steps) > 0
        arm[left[taken]] = number
        left = left[~taken]
        rest -= share
    return arm


def _check_units(
    units: Sequence[str], strata: Sequence[str], arms: Arms, earlier: Mapping[str, tuple[str, str]]
) -> None:
    if len(set(units)) < len(units) or len(units) != len(strata):
        raise BadInput(
            "strategy.units_twice",
            say("Somebody is to be assigned twice."),
            remedy=say("Give each customer or cluster once, with its stratum."),
        )
    unknown = sorted({arm for _, arm in earlier.values()} - set(arms.names))
    if unknown:
        raise BadInput(
            "strategy.unknown_arm",
            say("The arm '{arm}' was drawn earlier and is none of this test's.", arm=unknown[0]),
            remedy=say("Extend a test with the arms that it began with, or begin a new one."),
            where={"value": unknown[0]},
        )


def measure_imbalance(assignment: Assignment, strata: Sequence[str]) -> float:
    """The largest distance of an arm from its share of a stratum, in units."""
    _, codes = np.unique(np.asarray(strata, dtype=np.str_), return_inverse=True)
    if not len(codes):
        return 0.0
    count = len(assignment.arms.names)
    cells = np.bincount(codes * count + assignment.arm, minlength=(int(codes.max()) + 1) * count)
    table = cells.reshape(-1, count)
    wanted = table.sum(axis=1, keepdims=True) * np.asarray(assignment.arms.shares)
    return float(np.abs(table - wanted).max(initial=0.0)) if math.isfinite(float(wanted.sum())) else 0.0
