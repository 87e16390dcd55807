"""Passes over an instance: what is chosen at given prices, what it uses, and the bound that it proves.

Blocks of customers are decided by compiled kernels in a few threads; what they find is added in the order of the
blocks. Reads and writes no tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aimwell.strategy.large.instance import Instance, Segments, Singles, Terms
from aimwell.strategy.large.kernels import decide_in_box, decide_one, decide_one_in_box, decide_several, tally
from aimwell.strategy.problem import Integers, Reals

Chosen = NDArray[np.int16]
BLOCK = 1 << 17
"""Customers in a block: their numbers fit into the processor's cache, and there are blocks for every thread."""
THREADS = 2
T = TypeVar("T")
LARGEST_SUM = float(1 << 53)
"""Whole numbers up to this add up exactly."""
EPSILON = float(np.finfo(np.float64).eps)
REPLACED = 64
"""Parts that are at most taken out of sums and put in again (``Choice.replace_part``)."""


@dataclass(frozen=True)
class Tariff:
    """What prices of rows make of a pair: ``flat`` money, and ``rate`` per unit of its cost (segments × actions)."""

    flat: Reals
    rate: Reals


@dataclass
class Sums:
    """What one block adds up to."""

    counts: Integers
    spent: Reals
    total: float = 0.0
    earned: float = 0.0

    @classmethod
    def start(cls, shape: tuple[int, ...]) -> Sums:
        """Nothing yet."""
        return cls(np.zeros(shape, dtype=np.int64), np.zeros(shape))


@dataclass
class Choice:
    """What was chosen: by segment and action how often and at what cost; the sums of reduced values and of values."""

    counts: Integers
    spent: Reals
    moved: Reals
    """All costs that were ever added to ``spent`` or taken from it: what its rounding is measured by."""
    reduced: float
    """At the tariff; 0 where none was given."""
    earned: float
    """0 where only reduced values were asked for (``choose``)."""
    chosen: Chosen
    """Customers × slots; −1: none."""

    @classmethod
    def add_up(cls, parts: list[Sums], shape: tuple[int, ...], chosen: Chosen) -> Choice:
        """The sums of all blocks, in their order."""
        counts, spent = np.zeros(shape, dtype=np.int64), np.zeros(shape)
        for part in parts:
            counts += part.counts
            spent += part.spent
        reduced, earned = math.fsum(part.total for part in parts), math.fsum(part.earned for part in parts)
        return cls(counts, spent, spent, reduced, earned, chosen)

    def replace_part(self, customers: Integers, old: Choice, new: Choice) -> Choice:
        """The same with some customers' choice taken out and another put in; their slots are changed in place."""
        self.chosen[customers] = new.chosen
        return Choice(
            self.counts - old.counts + new.counts,
            self.spent - old.spent + new.spent,
            self.moved + old.spent + new.spent,
            0.0,
            self.earned - old.earned + new.earned,
            self.chosen,
        )


@dataclass(frozen=True)
class People:
    """Customers in arrays of their own: all of an instance, or some of them."""

    value: Singles
    cost: Singles | None
    segment: Segments
    offers: Integers
    slots: int

    @classmethod
    def all(cls, instance: Instance) -> People:
        """Everybody, without a copy."""
        slots = max(1, min(instance.per_customer, len(np.unique(instance.groups))))
        return cls(instance.value, instance.cost, instance.segment, instance.groups, slots)

    def take(self, customers: Integers | slice) -> People:
        """Some of them; a slice without a copy."""
        cost = None if self.cost is None else self.cost[customers]
        return People(self.value[customers], cost, self.segment[customers], self.offers, self.slots)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def costs(self) -> tuple[Singles, bool]:
        """The costs as kernels take them; where there are none, something of the same shape that is not read."""
        return (self.value, False) if self.cost is None else (self.cost, True)


def make_tariff(terms: Terms, prices: Reals) -> Tariff:
    """The tariff of ``prices`` (one per row, money per unit)."""
    shape = (terms.segments, terms.actions)
    flat, rate = np.zeros(shape), np.zeros(shape)
    for row, price in zip(terms.rows, prices, strict=True):
        if price:
            target = rate if row.of_cost else flat
            target += (price * row.sign) * row.table
    return Tariff(flat, rate)


def make_box(terms: Terms, widths: Reals) -> Tariff:
    """By how much a tariff moves at most when each price moves by its width."""
    shape = (terms.segments, terms.actions)
    flat, rate = np.zeros(shape), np.zeros(shape)
    for row, width in zip(terms.rows, widths, strict=True):
        target = rate if row.of_cost else flat
        target += width * row.table
    return Tariff(flat, rate)


def decide_block(people: People, tariff: Tariff, chosen: Chosen) -> Sums:
    """One block's choice at a tariff, written into ``chosen``."""
    sums = Sums.start(tariff.flat.shape)
    common, prices = (people.value, *people.costs, people.segment), (tariff.flat, tariff.rate)
    if people.slots == 1:
        sums.total = decide_one(*common, *prices, chosen, sums.counts, sums.spent)
    else:
        sums.total = decide_several(*common, people.offers, *prices, chosen, sums.counts, sums.spent)
    return sums


def decide_block_in_box(
    people: People, tariff: Tariff, box: Tariff, chosen: Chosen, margins: Singles
) -> Sums:
    """One block's choice at a tariff and how far it is from another in the box, both written into arrays."""
    sums = Sums.start(tariff.flat.shape)
    common = (people.value, *people.costs, people.segment)
    prices, out = (
        (tariff.flat, tariff.rate, box.flat, box.rate),
        (chosen, sums.counts, sums.spent, margins),
    )
    if people.slots == 1:
        sums.total, sums.earned = decide_one_in_box(*common, *prices, *out)
    else:
        sums.total, sums.earned = decide_in_box(*common, people.offers, *prices, *out)
    return sums


def tally_block(people: People, chosen: Chosen, shape: tuple[int, ...]) -> Sums:
    """What one block's chosen pairs add up to."""
    sums = Sums.start(shape)
    sums.earned = tally(people.value, *people.costs, people.segment, chosen, sums.counts, sums.spent)
    return sums


def choose(people: People, tariff: Tariff, *, keep: bool = True) -> Choice:
    """What everybody gets at a tariff. ``keep``: remember who chose what."""
    chosen = np.empty((len(people), people.slots) if keep else (0, people.slots), dtype=np.int16)

    def work(begin: int) -> Sums:
        part = people.take(slice(begin, begin + BLOCK))
        own = chosen[begin : begin + BLOCK] if keep else np.empty((len(part), people.slots), dtype=np.int16)
        return decide_block(part, tariff, own)

    return Choice.add_up(_by_blocks(work, len(people)), tariff.flat.shape, chosen)


def choose_in_box(people: People, tariff: Tariff, box: Tariff) -> tuple[Choice, Singles]:
    """What everybody gets, and how far each choice is from another at any prices of the box; below 0, it can change."""
    chosen = np.empty((len(people), people.slots), dtype=np.int16)
    margins = np.empty(len(people), dtype=np.float32)

    def work(begin: int) -> Sums:
        block = slice(begin, begin + BLOCK)
        return decide_block_in_box(people.take(block), tariff, box, chosen[block], margins[block])

    return Choice.add_up(_by_blocks(work, len(people)), tariff.flat.shape, chosen), margins


def tally_chosen(terms: Terms, people: People, chosen: Chosen) -> Choice:
    """What the chosen pairs earn, and how often and at what cost they come."""
    shape = (terms.segments, terms.actions)

    def work(begin: int) -> Sums:
        block = slice(begin, begin + BLOCK)
        return tally_block(people.take(block), chosen[block], shape)

    return Choice.add_up(_by_blocks(work, len(people)), shape, chosen)


def sum_use(terms: Terms, counts: Integers, spent: Reals) -> Reals:
    """What each row is used."""
    return np.array([float(np.sum(row.table * (spent if row.of_cost else counts))) for row in terms.rows])


def measure_excess(terms: Terms, choice: Choice) -> list[Fraction]:
    """By how much each row is broken at most: exactly where costs are whole numbers, else with what rounding can hide.

    At most 0 means that the row is surely kept.
    """
    found = []
    for row, hidden in zip(terms.rows, measure_rounding(terms, choice.moved), strict=True):
        of = choice.spent if row.of_cost else choice.counts
        used = np.flatnonzero((row.table.ravel() != 0) & (of.ravel() != 0))
        total = _add_products(row.table.ravel()[used], of.ravel()[used].astype(np.float64))
        found.append((total - Fraction(row.limit)) * int(row.sign) + Fraction(float(hidden)))
    return found


def _add_products(one: Reals, other: Reals) -> Fraction:
    """The exact sum of the products of numbers ≥ 0."""
    with np.errstate(over="ignore"):
        total = float(np.sum(one * other))
    if total <= LARGEST_SUM and np.all(one == np.rint(one)) and np.all(other == np.rint(other)):
        # Each product and each part of the sum is a whole number that doubles hold.
        return Fraction(total)
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))


def measure_rounding(terms: Terms, moved: Reals) -> Reals:
    """By how much at most each row's use can differ from what its sum says, or from its limit once it is used up.

    ``moved``: the costs that were added and taken away. 0 for counts, and where all costs and what they add up to are
    whole numbers that doubles hold. A sum of n numbers errs by at most n ε times their sizes (Higham 2002, 4.2).
    """
    share = EPSILON * (BLOCK + terms.customers / BLOCK + REPLACED)
    most = [
        max(float(np.sum(row.table * moved)), abs(row.limit)) if row.of_cost else 0.0 for row in terms.rows
    ]
    if terms.whole_costs and max(most, default=0.0) <= LARGEST_SUM:
        return np.zeros(len(terms.rows))
    return share * np.array(most)


def measure_largest(terms: Terms, prices: Reals) -> float:
    """The largest term of a pair's reduced value at these prices or lower ones; money."""
    value, cost = terms.peaks
    greatest = [float(row.table.max(initial=0.0)) * (cost if row.of_cost else 1.0) for row in terms.rows]
    return value + math.fsum(price * most for price, most in zip(prices.tolist(), greatest, strict=True))


def bound(terms: Terms, prices: Reals, reduced: float, *, summed: float | None = None) -> float:
    """No plan earns more: the Lagrangian dual at ``prices`` with the slack of rounding added (Everett 1963).

    ``reduced``: the sum of everybody's best reduced values; ``summed``: what was added up for it, without signs.
    """
    linear = [price * row.sign * row.limit for price, row in zip(prices, terms.rows, strict=True)]
    largest = measure_largest(terms, prices) * terms.per_customer * terms.customers
    slack = EPSILON * (len(terms.rows) + 4) * (largest + math.fsum(map(abs, linear)))
    return (
        math.fsum([reduced, *linear]) + slack + EPSILON * BLOCK * abs(reduced if summed is None else summed)
    )


def _by_blocks(work: Callable[[int], T], count: int) -> list[T]:
    starts = range(0, count, BLOCK)
    if len(starts) < 2:
        return [work(begin) for begin in starts]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, starts))
