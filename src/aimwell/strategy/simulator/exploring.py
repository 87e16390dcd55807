"""Whom to explore, with what, and how many: only where it may change the choice, and only as long as that pays.

Everybody has an incumbent (what the plan gives them) and a challenger. Customers with the same two form a group. Of a
group a fixed number gets the challenger; who does is drawn, each with the same chance. So what the limits will be
used is known before anything is drawn, and the probability of what is sent is exact: number ÷ size of the group.

The number is the one whose information is worth most, less what it costs: the knowledge gradient of a batch (Frazier,
Powell and Dayanik 2009, "The knowledge-gradient policy for correlated normal beliefs") over the rounds that are still
to come. Effects are drawn from their posterior jointly, so a group's doubt is the doubt about its sum. Reads and
writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from aimwell.strategy.problem import Flags, Integers, Reals

SHARES = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5])
"""Shares of a group that are weighed against each other."""
SMALLEST = 10
"""Customers in a group below which nobody is explored."""
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Exploration:
    """How a policy explores: whom it is undecided on, at most how many of them, and in how many rounds."""

    undecided: float = 0.05
    """Least chance that the challenger is better, for a customer to be explored."""
    most: float = 0.5
    """Largest share of a group that gets the challenger."""
    rounds: int | None = None
    """Only in the first so many rounds; None: as long as it pays."""

    def covers(self, round_number: int) -> bool:
        """Whether this round (1, 2, …) may explore."""
        return self.most > 0 and (self.rounds is None or round_number <= self.rounds)


NONE = Exploration(most=0.0)
PILOT_ONLY = Exploration(rounds=1)


@dataclass(frozen=True)
class Test:
    """What is randomised: arrays of length n. Outside of the groups (group −1) the incumbent is certain."""

    __test__ = False

    incumbent: Integers
    challenger: Integers
    group: Integers
    share: Reals
    """The exact probability of the challenger."""

    def draw(self, random: np.random.Generator) -> tuple[Integers, Flags]:
        """The actions, and who got a challenger; the same number of each action whatever is drawn."""
        taken = np.zeros(len(self.group), dtype=np.bool_)
        for name in np.unique(self.group[self.group >= 0]):
            members = np.flatnonzero(self.group == name)
            count = round(float(self.share[members].sum()))
            taken[random.permutation(members)[:count]] = True
        return np.where(taken, self.challenger, self.incumbent), taken

    def find_chance(self, action: Integers) -> Reals:
        """The probability that each customer is given ``action`` (n; −1: nothing)."""
        return np.where(self.challenger == action, self.share, 0.0) + np.where(
            self.incumbent == action, 1 - self.share, 0.0
        )

    def count_usage(self, usage: Reals) -> Reals:
        """What the groups will use of each limit; ``usage``: limits × actions."""
        counts = np.zeros(usage.shape[1] + 1)
        for name in np.unique(self.group[self.group >= 0]):
            members = np.flatnonzero(self.group == name)
            taken = round(float(self.share[members].sum()))
            counts[self.challenger[members[0]]] += taken
            counts[self.incumbent[members[0]]] += len(members) - taken
        return np.asarray(usage @ counts[:-1])


def choose_challengers(
    values: Reals, allowed: Flags, incumbent: Integers, lot: Reals, *, least: float
) -> tuple[Integers, Reals]:
    """One challenger each (n; −1: nothing, −2: none is near), and by how much it is better (n × draws; money).

    ``values`` (n × a × draws): what each action would bring at the shadow prices, drawn from the posterior;
    ``lot`` (n; in [0, 1)): decides between several near ones, in proportion to their chance to be the best;
    ``least``: how likely some other action must be better.
    """
    n, a, draws = values.shape
    offered = np.concatenate(
        [np.where(allowed[:, :, None], values, -np.inf), np.zeros((n, 1, draws))], axis=1
    )
    place, rows = np.where(incumbent >= 0, incumbent, a), np.arange(n)
    own = offered[rows, place]
    offered[rows, place] = -np.inf
    # Best of the others, as often as it beats the incumbent.
    best, wins = offered.argmax(axis=1), offered.max(axis=1) > own
    counts = np.zeros((n, a + 1))
    np.add.at(counts, (rows[:, None], best), wins / draws)
    total = counts.sum(axis=1)
    drawn = np.argmax(np.cumsum(counts, axis=1) > (lot * total)[:, None], axis=1)
    near = total >= max(least, 1e-9)
    difference = np.where(near[:, None], offered[rows, drawn] - own, 0.0)
    return np.where(near, np.where(drawn == a, -1, drawn), -2).astype(np.int64), difference


def spread_lots(count: int, round_number: int) -> Reals:
    """A number in [0, 1) for each customer, evenly spread, another in each round (Weyl's sequence): no luck in it."""
    return np.asarray(np.modf(GOLDEN * np.arange(1, count + 1) * (round_number + 1))[0])


def design(
    incumbent: Integers,
    challenger: Integers,
    difference: Reals,
    noise: Reals,
    worth: Reals,
    *,
    actions: int,
    most: float,
    horizon: float,
) -> Test:
    """The groups and how many of each get the challenger.

    ``challenger`` and ``difference`` are from ``choose_challengers``; ``noise`` (n): standard deviation of an outcome,
    in the learner's unit; ``worth`` (n): money for one unit; ``most``: largest share of a group; ``horizon``: rounds
    that will profit from what is learnt.
    """
    group = np.where(challenger > -2, (incumbent + 1) * (actions + 1) + challenger + 1, -1)
    share = np.zeros(len(group))
    for name in np.unique(group[group >= 0]):
        members = np.flatnonzero(group == name)
        variance = float(np.mean(noise[members] ** 2))
        # What is learnt of an action serves the groups of all its other incumbents, too: about one an action.
        count = _weigh(difference[members].sum(axis=0), variance, worth[members], most, horizon * actions)
        share[members] = count / len(members)
        if count == 0:
            group[members] = -1
    return Test(incumbent, np.where(group >= 0, challenger, incumbent), group, share)


def shrink(test: Test) -> Test:
    """The same test with half as many challengers: for when the limits have no room for all."""
    share, group = test.share.copy(), test.group.copy()
    for name in np.unique(group[group >= 0]):
        members = np.flatnonzero(group == name)
        count = round(float(share[members].sum())) // 2
        share[members] = count / len(members)
        if count == 0:
            group[members] = -1
    return Test(test.incumbent, np.where(group >= 0, test.challenger, test.incumbent), group, share)


def _weigh(difference: Reals, variance: float, worth: Reals, most: float, horizon: float) -> int:
    """How many of a group get the challenger; ``difference`` (draws): of the group's sum, challenger − incumbent."""
    size = len(worth)
    shares = SHARES[most + 1e-12 >= SHARES]
    if size < SMALLEST or horizon <= 0 or not len(shares):
        return 0
    mean, spread = float(difference.mean()), float(difference.std())
    if spread <= 0:
        return 0
    counts = np.unique(np.maximum(np.rint(shares * size), 1)).astype(np.int64)
    # How much of the doubt two arms of these sizes resolve, were the effect the same in units for all.
    doubt = (spread / float(worth.sum())) ** 2
    resolved = doubt / (doubt + variance * (1 / counts + 1 / (size - counts)))
    known = spread * np.sqrt(resolved)
    away = mean / known
    # What the best choice after it is worth more than the best choice before it.
    gain = known * np.exp(-(away**2) / 2) / np.sqrt(2 * np.pi) + mean * ndtr(away) - max(mean, 0.0)
    net = horizon * gain + counts / size * mean
    best = int(net.argmax())
    return int(counts[best]) if net[best] > 0 else 0
