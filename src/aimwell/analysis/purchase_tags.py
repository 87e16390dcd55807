"""Tags of how a customer buys: recency, windows of 7, 30, 90 and 365 days, trends, baskets, discounts, returns.

Measured on order_lines (and the orders in them). Money is revenue: what was paid, returns taken off.
"""

from __future__ import annotations

from aimwell.analysis.tag import (
    Tag,
    count_lines,
    count_orders,
    count_values,
    define_tag,
    sum_lines,
    sum_orders,
)
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Measure,
    Ratio,
    Trend,
    Window,
)

WINDOWS = (7, 30, 90, 365)
_ORDERS = ("order_lines",)
_REVENUE = ("order_lines.revenue",)
_UNITS = ("order_lines.quantity",)
_SOLD = Condition("is_return", "=", False)
_RETURNED = Condition("is_return", "=", True)


def _define_rhythm() -> tuple[Tag, ...]:
    return (
        define_tag(
            "recency_days",
            DaysSince("orders", "last"),
            say("Days since the last order"),
            say("Days from the last purchase to today; returns do not count as purchases."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "tenure_days",
            DaysSince("orders", "first"),
            say("Days since the first order"),
            say("Days from the first known purchase to today."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "order_days_total",
            Measure(count_values("orders", "ordered_on")),
            say("Days with an order"),
            say("Different days on which the customer bought, ever."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "days_between_orders",
            Expression("(tenure_days - recency_days) * 1.0 / NULLIF(order_days_total - 1, 0)", Type.REAL),
            say("Days between orders"),
            say("Mean number of days from one day with an order to the next; unknown after a single one."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "overdue_ratio",
            Expression("recency_days * 1.0 / NULLIF(days_between_orders, 0)", Type.REAL),
            say("Overdue"),
            say("Days since the last order, as a multiple of the customer's own days between orders."),
            unit="ratio",
            needs=_ORDERS,
        ),
    )


def _define_windows() -> tuple[Tag, ...]:
    orders = [
        define_tag(
            f"orders_{days}d",
            Measure(count_orders(days)),
            say("Orders in {days} days", days=days),
            say("Purchases in the last {days} days.", days=days),
            unit="orders",
            needs=_ORDERS,
        )
        for days in WINDOWS
    ]
    revenue = [
        define_tag(
            f"revenue_{days}d",
            Measure(sum_lines("revenue", days)),
            say("Revenue in {days} days", days=days),
            say("What the customer paid in the last {days} days, returns taken off.", days=days),
            unit="money",
            needs=_REVENUE,
        )
        for days in WINDOWS
    ]
    return (*orders, *revenue)


def _define_totals() -> tuple[Tag, ...]:
    units = [
        define_tag(
            f"units_{days}d",
            Measure(sum_lines("quantity", days)),
            say("Units in {days} days", days=days),
            say("Units bought in the last {days} days, returns taken off.", days=days),
            unit="units",
            needs=_UNITS,
        )
        for days in (90, 365)
    ]
    return (
        define_tag(
            "orders_total",
            Measure(count_orders()),
            say("Orders ever"),
            say("All known purchases."),
            unit="orders",
            needs=_ORDERS,
        ),
        define_tag(
            "revenue_total",
            Measure(sum_lines("revenue")),
            say("Revenue ever"),
            say("All that the customer is known to have paid, returns taken off."),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "order_days_90d",
            Measure(count_values("orders", "ordered_on", 90)),
            say("Days with an order in {days} days", days=90),
            say("Different days on which the customer bought in the last {days} days.", days=90),
            unit="days",
            needs=_ORDERS,
        ),
        *units,
    )


def _define_trends() -> tuple[Tag, ...]:
    words = say(
        "From −1 (stopped) over 0 (unchanged) to 1 (started): the last {recent} days against {before} before, per day.",
        recent=30,
        before=60,
    )
    longer = say(
        "From −1 (stopped) over 0 (unchanged) to 1 (started): the last {recent} days against {before} before, per day.",
        recent=90,
        before=90,
    )
    return (
        define_tag(
            "revenue_trend",
            Trend(sum_lines("revenue", 30), sum_lines("revenue", 60, ending=30)),
            say("Trend of revenue"),
            words,
            unit="ratio",
            needs=_REVENUE,
        ),
        define_tag(
            "orders_trend",
            Trend(count_orders(30), count_orders(60, ending=30)),
            say("Trend of orders"),
            words,
            unit="ratio",
            needs=_ORDERS,
        ),
        define_tag(
            "revenue_trend_90d",
            Trend(sum_lines("revenue", 90), sum_lines("revenue", 90, ending=90)),
            say("Trend of revenue, by quarter"),
            longer,
            unit="ratio",
            needs=_REVENUE,
        ),
    )


def _define_baskets() -> tuple[Tag, ...]:
    return (
        define_tag(
            "average_order_value",
            Ratio(sum_orders("revenue", 365), count_orders(365)),
            say("Average order value"),
            say("Revenue per purchase in the last {days} days.", days=365),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "largest_order_365d",
            Measure(Aggregate("orders", "max", "revenue", (), Window(365))),
            say("Largest order in {days} days", days=365),
            say("Revenue of the largest purchase in the last {days} days.", days=365),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "lines_per_order",
            Ratio(sum_orders("lines", 365), count_orders(365)),
            say("Lines per order"),
            say("Order lines per purchase in the last {days} days.", days=365),
            unit="lines",
            needs=_ORDERS,
        ),
        define_tag(
            "units_per_order",
            Ratio(sum_orders("units", 365), count_orders(365)),
            say("Units per order"),
            say("Units per purchase in the last {days} days.", days=365),
            unit="units",
            needs=_UNITS,
        ),
        define_tag(
            "price_per_unit",
            Ratio(sum_lines("revenue", 365, _SOLD), sum_lines("quantity", 365, _SOLD)),
            say("Price per unit"),
            say("What the customer pays for one unit on average, in the last {days} days.", days=365),
            unit="money",
            needs=(*_REVENUE, *_UNITS),
        ),
    )


def _define_discounts_and_returns() -> tuple[Tag, ...]:
    discounted = Condition("discount", ">", 0)
    return (
        define_tag(
            "discount_365d",
            Measure(sum_lines("discount", 365)),
            say("Discount in {days} days", days=365),
            say("List amount less what was paid, in the last {days} days.", days=365),
            unit="money",
            needs=("order_lines.discount",),
        ),
        define_tag(
            "discount_share_365d",
            Expression(
                "CASE WHEN revenue_365d + discount_365d > 0 "
                "THEN discount_365d / (revenue_365d + discount_365d) END",
                Type.REAL,
            ),
            say("Discount share"),
            say("Discount as a share of the list amount, in the last {days} days.", days=365),
            unit="share",
            needs=("order_lines.discount", *_REVENUE),
            kind="associated",
        ),
        define_tag(
            "discounted_lines_share_365d",
            Ratio(count_lines(365, discounted), count_lines(365)),
            say("Share of lines at a discount"),
            say("Order lines bought at a discount as a share of all, in the last {days} days.", days=365),
            unit="share",
            needs=("order_lines.discount",),
            kind="associated",
        ),
        define_tag(
            "returns_365d",
            Measure(count_lines(365, _RETURNED)),
            say("Returns in {days} days", days=365),
            say("Order lines sent back in the last {days} days.", days=365),
            unit="lines",
            needs=_ORDERS,
        ),
        define_tag(
            "return_share_365d",
            Ratio(count_lines(365, _RETURNED), count_lines(365)),
            say("Share of returns"),
            say("Order lines sent back as a share of all, in the last {days} days.", days=365),
            unit="share",
            needs=_ORDERS,
            kind="associated",
        ),
    )


PURCHASE_TAGS: tuple[Tag, ...] = (
    *_define_rhythm(),
    *_define_windows(),
    *_define_totals(),
    *_define_trends(),
    *_define_baskets(),
    *_define_discounts_and_returns(),
)
"""All tags of how a customer buys, in the order in which people read them."""
