"""A company's goal: a total of the business (revenue, contribution, orders) in a window, against an earlier one.

Kept as a definition with versions, the amount to reach with it: later data do not move a target that was agreed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.money import to_money
from aimwell.core.text import Text, say
from aimwell.core.time import Window
from aimwell.goals.drivers import Node, Unit

Measure = Literal["revenue", "contribution", "orders"]
Against: TypeAlias = Literal["before", "year"]
MEASURES: dict[Measure, Text] = {
    "revenue": say("Revenue"),
    "contribution": say("Contribution: margin less the cost of contacts"),
    "orders": say("Orders"),
}
YEAR = 364
"""Days after which the same weekdays come again, a year later."""


@dataclass(frozen=True)
class CompanyGoal:
    """``baseline_amount`` and ``target_amount`` are totals of ``days`` days in the measure's unit."""

    name: str
    measure: Measure
    start: date
    days: int
    baseline_start: date
    baseline_amount: Decimal
    target_amount: Decimal
    budget: Decimal | None = None

    def __post_init__(self) -> None:
        if not 7 <= self.days <= 366:
            raise BadInput(
                "goals.bad_company_window",
                say("A company's goal of {days} days cannot be used.", days=self.days),
                remedy=say("Choose from 7 to 366 days; 91 are a quarter of whole weeks."),
                where={"column": "days", "value": self.days},
            )

    @property
    def window(self) -> Window:
        """The business days in which the total counts."""
        return Window.after(self.start, self.days)

    @property
    def baseline_window(self) -> Window:
        """The days against which it is set."""
        return Window.after(self.baseline_start, self.days)

    @property
    def wanted(self) -> Decimal:
        """How much more (or less) than the baseline."""
        return self.target_amount - self.baseline_amount

    @property
    def unit(self) -> Unit:
        """The unit of its amounts."""
        return "orders" if self.measure == "orders" else "money"

    def to_body(self) -> dict[str, Any]:
        """For the store."""
        body = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: str(value) if name not in ("name", "days") else value for name, value in body.items()}

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> CompanyGoal:
        """Read back what ``to_body`` wrote."""
        return cls(
            name=body["name"],
            measure=find_measure(body["measure"]),
            start=date.fromisoformat(body["start"]),
            days=int(body["days"]),
            baseline_start=date.fromisoformat(body["baseline_start"]),
            baseline_amount=to_money(body["baseline_amount"]),
            target_amount=to_money(body["target_amount"]),
            budget=to_money(body["budget"]) if "budget" in body else None,
        )


def find_measure(name: str) -> Measure:
    """The measure called ``name``; BadInput lists those that there are."""
    if name not in MEASURES:
        raise BadInput(
            "goals.unknown_measure",
            say("A company's goal cannot be set in '{measure}'.", measure=name),
            remedy=say("Choose one of: {metrics}.", metrics=join_list(MEASURES)),
            where={"value": name},
        )
    return name


def find_baseline_window(start: date, days: int, *, against: str, first: date, last: date) -> Window:
    """The days against which a goal is set: the last whole ones before it, or the same ones 52 weeks earlier.

    BadInput when the data (from ``first`` to ``last``) do not hold them.
    """
    if against not in ("before", "year"):
        raise BadInput(
            "goals.unknown_comparison",
            say("A goal cannot be set against '{against}'.", against=against),
            remedy=say("Use before (the days before it) or year (the same days a year earlier)."),
            where={"value": against},
        )
    end = min(start, last + timedelta(days=1))
    window = Window.before(end, days)
    if against == "year":
        window = Window.after(start - timedelta(days=YEAR), days)
    if window.start < first or window.end > last + timedelta(days=1):
        raise BadInput(
            "goals.no_baseline",
            say(
                "The data reach from {first} to {last}: they do not hold the days from {start} to {end}, against "
                "which the goal would be set.",
                first=first.isoformat(),
                last=last.isoformat(),
                start=window.start.isoformat(),
                end=(window.end - timedelta(days=1)).isoformat(),
            ),
            remedy=say("Shorten the window, add older orders, or compare with the days before."),
            where={"table": "order_lines"},
        )
    return window


def make_tree(measure: Measure, *, by_history: bool) -> Node:
    """The identity of a measure. ``by_history``: active customers as retained, won back and new.

    Retained bought in as many days before, too; won-back earlier only; new for the first time.
    revenue = active customers × orders per active customer × order value; contribution = revenue × margin rate − cost.
    """
    parts = (
        Node("retained", say("Retained customers"), "customers"),
        Node("won_back", say("Won-back customers"), "customers"),
        Node("new", say("New customers"), "customers"),
    )
    title = say("Active customers")
    active = (
        Node("active", title, "customers", "sum", parts) if by_history else Node("active", title, "customers")
    )
    frequency = Node("frequency", say("Orders per active customer"), "ratio")
    if measure == "orders":
        return Node("orders", say("Orders"), "orders", "product", (active, frequency))
    value = Node("order_value", say("Average order value"), "money")
    revenue = Node("revenue", say("Revenue"), "money", "product", (active, frequency, value))
    if measure == "revenue":
        return revenue
    rate = Node("margin_rate", say("Margin per unit of revenue"), "ratio", ceiling=1.0)
    margin = Node("margin", say("Margin"), "money", "product", (revenue, rate))
    cost = Node("contact_cost", say("Cost of contacts"), "money", sign=-1)
    return Node("contribution", say("Contribution"), "money", "sum", (margin, cost))
