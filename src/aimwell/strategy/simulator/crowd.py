"""Who lives in the simulated market: customers with habits, drawn from stated distributions or like a workspace's own.

Habits stay as they are while a simulation lasts: everybody buys at an own rate, orders of an own size. What is
observed of a customer (features) is what a policy may learn from. Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.market import MarketActions, MarketCustomers
from aimwell.strategy.problem import Flags, Integers, Reals

LEAST_ORDER = 1e-2
"""Money; whoever never bought has the size of order of the others, so nobody has none."""


@dataclass(frozen=True)
class Menu:
    """The actions with their costs and what limits them; arrays of length a."""

    actions: MarketActions
    unit_cost: Reals
    minutes: Reals
    budget: float
    """Money of one round, spent on contacts."""
    call_minutes: float
    """Minutes of one round."""
    others: tuple[tuple[str, Reals, float], ...] = ()
    """Further limits, in the form of ``usage``."""

    @property
    def usage(self) -> tuple[tuple[str, Reals, float], ...]:
        """Each limit: its name, what one contact uses (cents, minutes), and how much there is."""
        return (
            ("budget", np.round(self.unit_cost * 100), float(np.floor(self.budget * 100 + 1e-6))),
            ("call_minutes", self.minutes, self.call_minutes),
            *self.others,
        )

    def __len__(self) -> int:
        return len(self.actions.action_id)


@dataclass(frozen=True)
class Crowd:
    """n customers; arrays of length n unless said."""

    people: MarketCustomers
    """What the planted response depends on."""
    rate: Reals
    """Orders a day without any contact."""
    spread: float
    """Standard deviation of the logarithm of an order's value around the customer's average."""
    segment: Integers
    segments: tuple[str, ...]
    allowed: Flags
    """n × a: consent, address and rules allow it."""

    def __len__(self) -> int:
        return len(self.rate)

    @property
    def margin(self) -> Reals:
        """Margin of one average order; money."""
        return np.maximum(self.people.average_order, LEAST_ORDER) * self.people.margin_rate

    @property
    def traits(self) -> Reals:
        """n × 4, each with mean 0 and spread 1: order size, order rate, share of discounts, days since an order."""
        columns = (
            np.log(np.maximum(self.people.average_order, LEAST_ORDER)),
            np.log(self.rate + 1e-4),
            self.people.discount_share,
            np.log1p(np.maximum(self.people.recency_days, 0.0)),
        )
        return np.column_stack([_standardise(column) for column in columns])

    def find_affinity(self, actions: MarketActions) -> Reals:
        """n × a: how much more than others a customer buys of the offer's department; 0: average, or no department."""
        shares = self.people.department_share
        average = np.maximum(shares.mean(axis=0), 1e-9) if shares.shape[1] else np.ones(0)
        affinity = np.zeros((len(self), len(actions.action_id)))
        for column, department in enumerate(actions.department):
            if 0 <= department < shares.shape[1]:
                share = shares[:, department]
                affinity[:, column] = 2 * share / (share + average[department]) - 1
        return affinity


CHANNEL_COSTS = {"email": (0.01, 0.0), "sms": (0.05, 0.0), "mail": (0.60, 0.0), "call": (1.50, 4.0)}
"""Money and minutes of one contact."""
DEPARTMENTS = ((1.0, 0.20), (1.5, 0.15), (2.0, 0.25), (3.0, 0.10))
"""Of the invented shop: weight of a department in the baskets, and the discount offered on it."""


def draw_menu(customers: int, *, budget: float = 0.25, minutes: float = 0.3) -> Menu:
    """Eight actions of an invented shop: four offers, each by a cheap and a costly channel.

    ``budget``: money for each customer and round; ``minutes`` of calls for each.
    """
    channels = ("email", "call", "sms", "mail", "email", "mail", "sms", "call")
    offer = np.repeat(np.arange(4), 2)
    department = np.where(offer == 3, -1, offer).astype(np.int64)
    discount = np.array([DEPARTMENTS[place][1] for place in offer])
    actions = MarketActions(
        action_id=[f"offer{place + 1}:{channel}" for place, channel in zip(offer, channels, strict=True)],
        channel=list(channels),
        department=department,
        discount=discount,
        redemption_cost=np.round(discount * np.where(offer == 3, 30.0, 15.0), 2),
    )
    costs = np.array([CHANNEL_COSTS[name] for name in channels])
    return Menu(actions, costs[:, 0], costs[:, 1], budget * customers, minutes * customers)


def draw_crowd(customers: int, menu: Menu, *, seed: int) -> Crowd:
    """An invented crowd; the distributions stand in the code and in decision 19."""
    random = generator(seed, "crowd")
    rate = random.gamma(1.2, 1 / 30, customers)
    people = MarketCustomers(
        customer_id=[str(place) for place in range(customers)],
        department_share=random.dirichlet([weight for weight, _ in DEPARTMENTS], customers)[:, :3],
        discount_share=random.beta(1.5, 7.0, customers),
        recency_days=np.floor(random.exponential(1 / (rate + 0.01))),
        average_order=random.lognormal(3.4, 0.5, customers),
        recent_contacts=np.zeros(customers),
        margin_rate=0.3,
    )
    worth = rate * people.average_order
    consent = {"email": 0.85, "sms": 0.75, "call": 0.6, "mail": 0.9}
    drawn = {name: random.random(customers) < share for name, share in consent.items()}
    return Crowd(
        people=people,
        rate=rate,
        spread=0.6,
        segment=np.searchsorted(np.quantile(worth, (0.4, 0.8)), worth).astype(np.int64),
        segments=("low", "middle", "best"),
        allowed=np.column_stack([drawn[name] for name in menu.actions.channel]),
    )


def _standardise(values: Reals) -> Reals:
    spread = float(values.std())
    return np.asarray((values - values.mean()) / (spread if spread > 1e-12 else 1.0))
