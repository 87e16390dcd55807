"""Tags of what a customer prefers: departments, categories, brands, stores, hours and weekdays.

Measured on order_lines with their products, over the last 365 days. A favourite is the value with the greatest
revenue (number of orders for stores, hours and weekdays); ties go to the value that sorts first.
"""

from __future__ import annotations

from dataclasses import replace

from aimwell.analysis.tag import Tag, count_lines, count_orders, count_values, define_tag
from aimwell.core.text import Text, say
from aimwell.engine.specification import Aggregate, Condition, Measure, Ratio, TopValue, Window

YEAR = Window(365)


def _define_favourite(name: str, spec: TopValue, title: Text, share: Text, needs: str) -> tuple[Tag, Tag]:
    return (
        define_tag(
            f"favourite_{name}",
            spec,
            title,
            say("Where most of the money (or of the orders) went in the last {days} days.", days=365),
            unit="",
            needs=(needs,),
            kind="associated",
        ),
        define_tag(
            f"favourite_{name}_share",
            replace(spec, output="share"),
            share,
            say("The favourite's share of the money (or of the orders) in the last {days} days.", days=365),
            unit="share",
            needs=(needs,),
            kind="associated",
        ),
    )


def _define_favourites() -> tuple[Tag, ...]:
    return (
        *_define_favourite(
            "department",
            TopValue("order_lines", "department", "revenue", YEAR),
            say("Favourite department"),
            say("Share of the favourite department"),
            "products.department",
        ),
        *_define_favourite(
            "category",
            TopValue("order_lines", "category", "revenue", YEAR),
            say("Favourite category"),
            say("Share of the favourite category"),
            "products.category",
        ),
        *_define_favourite(
            "brand",
            TopValue("order_lines", "brand", "revenue", YEAR),
            say("Favourite brand"),
            say("Share of the favourite brand"),
            "products.brand",
        ),
        *_define_favourite(
            "store",
            TopValue("orders", "store_id", None, YEAR),
            say("Favourite store"),
            say("Share of the favourite store"),
            "order_lines.store_id",
        ),
        *_define_favourite(
            "hour",
            TopValue("orders", "hour", None, YEAR),
            say("Favourite hour"),
            say("Share of the favourite hour"),
            "order_lines.ordered_hour",
        ),
        *_define_favourite(
            "weekday",
            TopValue("orders", "weekday", None, YEAR),
            say("Favourite weekday (1 is Monday)"),
            say("Share of the favourite weekday"),
            "order_lines",
        ),
    )


def _share_orders(*conditions: Condition) -> Ratio:
    return Ratio(Aggregate("orders", "count", None, conditions, YEAR), count_orders(365))


def _define_times() -> tuple[Tag, ...]:
    return (
        define_tag(
            "weekend_share",
            _share_orders(Condition("weekday", ">=", 6)),
            say("Weekend share"),
            say("Orders on Saturdays and Sundays as a share of all, in the last {days} days.", days=365),
            unit="share",
            needs=("order_lines",),
            kind="associated",
        ),
        define_tag(
            "morning_share",
            _share_orders(Condition("hour", "<", 12)),
            say("Morning share"),
            say("Orders before noon as a share of all, in the last {days} days.", days=365),
            unit="share",
            needs=("order_lines.ordered_hour",),
            kind="associated",
        ),
        define_tag(
            "evening_share",
            _share_orders(Condition("hour", ">=", 18)),
            say("Evening share"),
            say("Orders from 18:00 as a share of all, in the last {days} days.", days=365),
            unit="share",
            needs=("order_lines.ordered_hour",),
            kind="associated",
        ),
    )


def _define_breadth() -> tuple[Tag, ...]:
    sold = Condition("is_return", "=", False)
    return (
        define_tag(
            "departments_90d",
            Measure(count_values("order_lines", "department", 90, sold)),
            say("Departments in {days} days", days=90),
            say("Different departments bought from in the last {days} days.", days=90),
            unit="departments",
            needs=("products.department",),
        ),
        define_tag(
            "categories_365d",
            Measure(count_values("order_lines", "category", 365, sold)),
            say("Categories in {days} days", days=365),
            say("Different categories bought from in the last {days} days.", days=365),
            unit="categories",
            needs=("products.category",),
        ),
        define_tag(
            "products_90d",
            Measure(count_values("order_lines", "product_id", 90, sold)),
            say("Products in {days} days", days=90),
            say("Different products bought in the last {days} days.", days=90),
            unit="products",
            needs=("order_lines.product_id",),
        ),
        define_tag(
            "products_365d",
            Measure(count_values("order_lines", "product_id", 365, sold)),
            say("Products in {days} days", days=365),
            say("Different products bought in the last {days} days.", days=365),
            unit="products",
            needs=("order_lines.product_id",),
        ),
        define_tag(
            "product_variety_365d",
            Ratio(count_values("order_lines", "product_id", 365, sold), count_lines(365, sold)),
            say("Variety"),
            say(
                "Different products per order line in the last {days} days: 1 means never the same twice.",
                days=365,
            ),
            unit="ratio",
            needs=("order_lines.product_id",),
            kind="associated",
        ),
        define_tag(
            "stores_365d",
            Measure(count_values("orders", "store_id", 365)),
            say("Stores in {days} days", days=365),
            say("Different stores bought in during the last {days} days.", days=365),
            unit="stores",
            needs=("order_lines.store_id",),
        ),
    )


PREFERENCE_TAGS: tuple[Tag, ...] = (*_define_favourites(), *_define_times(), *_define_breadth())
"""All tags of what a customer prefers, in the order in which people read them."""
