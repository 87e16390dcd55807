"""Who is allocated: the terms, and passes over the customers wherever their matrices lie. Reads and writes no tables.

The algorithm (``solve``) asks for nothing else, so that it is the same for customers in this process and for customers
on Spark's machines (``spark``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aimwell.strategy.large.instance import Instance, Segments, Singles, Terms, make_problem
from aimwell.strategy.large.passes import (
    Choice,
    People,
    Tariff,
    choose,
    choose_in_box,
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


@dataclass(frozen=True)
class LocalAudience:
    """Customers whose matrices lie in this process."""

    terms: Terms
    people: People

    @classmethod
    def of(cls, instance: Instance) -> LocalAudience:
        """Everybody of an instance, without a copy."""
        return cls(instance, People.all(instance))

    def __len__(self) -> int:
        return len(self.people)

    def take(self, customers: Integers) -> People:
        """Some of them, in this order."""
        return self.people.take(customers)

    def read_segments(self, customers: Integers) -> Segments:
        """The segments of some of them, in this order."""
        return self.people.segment[customers]

    def choose(self, tariff: Tariff) -> Choice:
        """What everybody's choice at a tariff adds up to."""
        return choose(self.people, tariff, keep=False)

    def choose_in_box(self, tariff: Tariff, box: Tariff) -> tuple[Choice, Singles]:
        """What everybody gets, and how far each choice is from another."""
        return choose_in_box(self.people, tariff, box)


def pose(audience: Audience, customers: Integers, limits: Reals) -> Problem:
    """Some customers as a problem of their own, with these limits."""
    part = audience.take(customers)
    return make_problem(audience.terms, part.value, part.cost, part.segment, limits)
