"""Tags of habits in buying: regularity, first and last purchase, the year before, full price, times of day, returns.

Measured on order_lines (and on the orders and days of purchase in them).
"""

from __future__ import annotations

from aimwell.analysis.tag import Tag, count_orders, count_values, define_tag, sum_lines
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Function,
    Measure,
    Ratio,
    Trend,
    Window,
)

_YEAR = Window(365)
_ORDERS = ("order_lines",)
_REVENUE = ("order_lines.revenue",)
_HOURS = ("order_lines.ordered_hour",)
_RETURNED = Condition("is_return", "=", True)


def _define_regularity() -> tuple[Tag, ...]:
    return (
        define_tag(
            "order_months_365d",
            Measure(count_values("order_days", "month", 365)),
            say("Months with an order in {days} days", days=365),
            say("Different calendar months with a purchase in the last {days} days.", days=365),
            unit="months",
            needs=_ORDERS,
        ),
        define_tag(
            "longest_gap_days",
            Measure(Aggregate("order_days", "max", "gap")),
            say("Longest pause"),
            say("The most days that ever passed between two days with an order."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "gap_deviation_days",
            Measure(Aggregate("order_days", "deviation", "gap")),
            say("Spread of the days between orders"),
            say("Standard deviation of the days from one day with an order to the next."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "rhythm_variation",
            Expression("gap_deviation_days / NULLIF(days_between_orders, 0)", Type.REAL),
            say("Irregularity"),
            say("Spread of the days between orders over their mean: 0 buys like a clock, above 1 at random."),
            unit="ratio",
            needs=_ORDERS,
        ),
        define_tag(
            "days_until_due",
            Expression("days_between_orders - recency_days", Type.REAL),
            say("Days until the next order is due"),
            say("Days between orders less days since the last one; negative when overdue."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "is_repeat_buyer",
            Expression("order_days_total > 1", Type.BOOLEAN),
            say("Repeat buyer"),
            say("Bought on two different days or more."),
            unit="",
            needs=_ORDERS,
            kind="associated",
        ),
    )


def _define_edges() -> tuple[Tag, ...]:
    def order(function: Function, column: str) -> Measure:
        return Measure(Aggregate("orders", function, column))

    return (
        define_tag(
            "first_order_value",
            order("earliest", "revenue"),
            say("Value of the first order"),
            say("Revenue of the first known purchase; of several at one moment, the one that sorts first."),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "last_order_value",
            order("latest", "revenue"),
            say("Value of the last order"),
            say("Revenue of the last purchase; of several at one moment, the one that sorts last."),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "last_store",
            order("latest", "store_id"),
            say("Last store"),
            say("Where the customer bought last."),
            unit="",
            needs=("order_lines.store_id",),
        ),
        define_tag(
            "first_department",
            Measure(Aggregate("order_lines", "earliest", "department")),
            say("First department"),
            say("The department with which the customer began."),
            unit="",
            needs=("products.department",),
        ),
        define_tag(
            "last_department",
            Measure(Aggregate("order_lines", "latest", "department")),
            say("Last department"),
            say("The department of the last order line."),
            unit="",
            needs=("products.department",),
        ),
    )


def _define_year_before() -> tuple[Tag, ...]:
    before = Window(365, 365)
    return (
        define_tag(
            "orders_year_before",
            Measure(Aggregate("orders", "count", None, (), before)),
            say("Orders in the year before"),
            say("Purchases from 730 to 366 days ago."),
            unit="orders",
            needs=_ORDERS,
        ),
        define_tag(
            "revenue_year_before",
            Measure(Aggregate("order_lines", "sum", "revenue", (), before)),
            say("Revenue in the year before"),
            say("What the customer paid from 730 to 366 days ago, returns taken off."),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "revenue_trend_year",
            Trend(sum_lines("revenue", 365), sum_lines("revenue", 365, ending=365)),
            say("Trend of revenue, by year"),
            say(
                "From −1 (stopped) over 0 (unchanged) to 1 (started): the last 365 days against the 365 before."
            ),
            unit="ratio",
            needs=_REVENUE,
        ),
        define_tag(
            "orders_trend_90d",
            Trend(count_orders(90), count_orders(90, ending=90)),
            say("Trend of orders, by quarter"),
            say(
                "From −1 (stopped) over 0 (unchanged) to 1 (started): the last 90 days against the 90 before."
            ),
            unit="ratio",
            needs=_ORDERS,
        ),
    )


def _share(name: str, title: Text, description: Text, needs: tuple[str, ...], *tests: Condition) -> Tag:
    spec = Ratio(Aggregate("orders", "count", None, tests, _YEAR), count_orders(365))
    return define_tag(name, spec, title, description, unit="share", needs=needs, kind="associated")


def _define_shares() -> tuple[Tag, ...]:
    return (
        _share(
            "discounted_orders_share_365d",
            say("Share of orders at a discount"),
            say("Purchases with any discount as a share of all, in the last {days} days.", days=365),
            ("order_lines.discount",),
            Condition("discount", ">", 0),
        ),
        _share(
            "afternoon_share",
            say("Afternoon share"),
            say("Orders from 12:00 to 18:00 as a share of all, in the last {days} days.", days=365),
            _HOURS,
            Condition("hour", ">=", 12),
            Condition("hour", "<", 18),
        ),
        _share(
            "late_night_share",
            say("Late-night share"),
            say("Orders from 22:00 to midnight as a share of all, in the last {days} days.", days=365),
            _HOURS,
            Condition("hour", ">=", 22),
        ),
        _share(
            "single_item_share",
            say("Share of single-item orders"),
            say("Purchases of one order line as a share of all, in the last {days} days.", days=365),
            _ORDERS,
            Condition("lines", "=", 1),
        ),
    )


def _define_returns() -> tuple[Tag, ...]:
    refunded = Aggregate("order_lines", "sum", "revenue", (_RETURNED,), _YEAR)
    return (
        define_tag(
            "days_since_return",
            DaysSince("order_lines", "last", (_RETURNED,)),
            say("Days since the last return"),
            say("Days from the last order line sent back to today."),
            unit="days",
            needs=_ORDERS,
        ),
        define_tag(
            "refunds_365d",
            Measure(refunded),
            say("Refunds in {days} days", days=365),
            say("Money paid back for returns in the last {days} days: 0 or negative.", days=365),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "order_value_deviation",
            Measure(Aggregate("orders", "deviation", "revenue", (), _YEAR)),
            say("Spread of order values"),
            say("Standard deviation of the revenue of a purchase in the last {days} days.", days=365),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "smallest_order_365d",
            Measure(Aggregate("orders", "min", "revenue", (), _YEAR)),
            say("Smallest order in {days} days", days=365),
            say("Revenue of the smallest purchase in the last {days} days.", days=365),
            unit="money",
            needs=_REVENUE,
        ),
        define_tag(
            "departments_365d",
            Measure(count_values("order_lines", "department", 365, Condition("is_return", "=", False))),
            say("Departments in {days} days", days=365),
            say("Different departments bought from in the last {days} days.", days=365),
            unit="departments",
            needs=("products.department",),
        ),
    )


def _define_tendencies() -> tuple[Tag, ...]:
    return (
        define_tag(
            "churn_tendency",
            Expression(
                "CASE WHEN overdue_ratio > 3 OR orders_trend_90d <= -0.8 THEN 'high' "
                "WHEN overdue_ratio > 1.5 OR orders_trend_90d <= -0.3 THEN 'medium' "
                "WHEN recency_days IS NOT NULL THEN 'low' END",
                Type.TEXT,
            ),
            say("Tendency to leave"),
            say("High, medium or low, by how overdue the next order is and whether orders become fewer."),
            unit="",
            needs=_ORDERS,
            kind="associated",
        ),
        define_tag(
            "discount_affinity",
            Expression(
                "CASE WHEN discounted_lines_share_365d >= 0.7 THEN 'hunter' "
                "WHEN discounted_lines_share_365d >= 0.3 THEN 'mixed' "
                "WHEN discounted_lines_share_365d IS NOT NULL THEN 'full_price' END",
                Type.TEXT,
            ),
            say("Affinity to discounts"),
            say("Hunter (70 % of lines or more at a discount), mixed, or full_price (under 30 %)."),
            unit="",
            needs=("order_lines.discount",),
            kind="associated",
        ),
        define_tag(
            "loyalty_level",
            Expression(
                "CASE WHEN order_days_total IS NULL OR order_days_total = 0 THEN NULL "
                "WHEN order_months_365d >= 9 THEN 'devoted' WHEN order_months_365d >= 4 THEN 'regular' "
                "WHEN order_days_total > 1 THEN 'occasional' ELSE 'single' END",
                Type.TEXT,
            ),
            say("Loyalty"),
            say(
                "Devoted (9 months of the last year or more with an order), regular (4), occasional, or single."
            ),
            unit="",
            needs=_ORDERS,
            kind="associated",
        ),
    )


HABIT_TAGS: tuple[Tag, ...] = (
    *_define_regularity(),
    *_define_edges(),
    *_define_year_before(),
    *_define_shares(),
    *_define_returns(),
    *_define_tendencies(),
)
"""All tags of habits, in the order in which people read them."""
