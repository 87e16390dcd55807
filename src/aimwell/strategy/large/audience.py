"""Who is allocated: the terms, and passes over the customers wherever their matrices lie. Reads and writes no tables.

The algorithm (``solve``) asks for nothing else, so that it is the same for customers in this process and for customers
on Spark's machines (``spark``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from aimwell.strategy.large.instance import Instance, Segments, Singles, Terms, make_problem
from aimwell.strategy.large.passes import (
    Choice,
    Chosen,
    People,
    Tariff,
    choose,
    choose_in_box,
    tally_chosen,
)
from aimwell.strategy.problem import Integers, Problem, Reals


class Audience(Protocol):
    """Customers, numbered from 0, and what can be asked of all of them."""

    @property
    def terms(self) -> Terms:
        """What is asked of them."""

    def __len__(self) -> int: ...

    def take(self, customers: Integers) -> People:
        """Some of them, in this order, in this process."""

    def read_segments(self, customers: Integers) -> Segments:
        """The segments of some of them, in this order."""

    def choose(self, tariff: Tariff) -> Choice:
        """What everybody's choice at a tariff adds up to; who chose what is not remembered."""

    def choose_in_box(self, tariff: Tariff, box: Tariff) -> tuple[Choice, Singles]:
        """What everybody gets, and how far each choice is from another (``passes.choose_in_box``)."""

    def tally(self, chosen: Chosen) -> Choice:
        """What everybody's chosen actions add up to (``passes.tally_chosen``)."""


@dataclass(frozen=True)
class LocalAudience:
    """Everybody of an instance in this process."""

    terms: Instance

    @cached_property
    def people(self) -> People:
        """Their matrices, without a copy."""
        return People.all(self.terms)

    def __len__(self) -> int:
        return self.terms.customers

    def take(self, customers: Integers) -> People:
        """Some of them, in this order."""
        return self.people.take(customers)

    def read_segments(self, customers: Integers) -> Segments:
        """The segments of some of them, in this order."""
        return self.terms.segment[customers]

    def choose(self, tariff: Tariff) -> Choice:
        """What everybody's choice at a tariff adds up to."""
        return choose(self.people, tariff, keep=False)

    def choose_in_box(self, tariff: Tariff, box: Tariff) -> tuple[Choice, Singles]:
        """What everybody gets, and how far each choice is from another."""
        return choose_in_box(self.people, tariff, box)

    def tally(self, chosen: Chosen) -> Choice:
        """What everybody's chosen actions add up to."""
        return tally_chosen(self.terms, self.people, chosen)


def pose(audience: Audience, customers: Integers, limits: Reals) -> Problem:
    """Some customers as a problem of their own, with these limits."""
    part = audience.take(customers)
    return make_problem(audience.terms, part.value, part.cost, part.segment, limits)
