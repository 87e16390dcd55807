"""The catalogue of row checks: a condition that a row fails, under which of the four walls it falls, and the words.

The walls: *unavailable* 无法获得 (it is not there), *partial* 片面 (it covers only some), *inaccurate* 不准确
(it cannot
be right), *unusable* 无法利用 (it is there but cannot be joined or used). Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aimwell.core.text import Text, say

Wall = Literal["unavailable", "partial", "inaccurate", "unusable"]
Words = Callable[[int, int, str], Text]
"""A finding in words: of how many rows fail, of how many were checked, and of the column."""


@dataclass(frozen=True)
class RowCheck:
    """Rows of ``table`` where ``condition`` holds fail; ``example`` is the SQL of what to show of them.

    A failing share of at least ``warning`` (``error``) makes the finding a warning (an error); less is a notice.
    """

    name: str
    table: str
    column: str | None
    wall: Wall
    condition: str
    example: str
    finding: Words
    remedy: Text
    warning: float = 0.05
    error: float = 2.0
    against: str | None = None
    """The table that rows are compared with: while nothing was delivered for it, there is nothing to compare."""


def _tell_missing(affected: int, total: int, column: str) -> Text:
    return say(
        "{affected} of {total} rows have no value in '{column}'.",
        affected=affected,
        total=total,
        column=column,
    )


_DELIVER = say("Deliver the column, or fill its gaps at the source.")


def _require(table: str, column: str, key: str, warning: float) -> RowCheck:
    return RowCheck(
        "missing_values", table, column, "partial", f"{column} IS NULL", key, _tell_missing, _DELIVER, warning
    )


ROW_CHECKS: tuple[RowCheck, ...] = (
    _require("order_lines", "product_id", "order_id", 0.05),
    _require("order_lines", "quantity", "order_id", 0.05),
    _require("order_lines", "revenue", "order_id", 0.01),
    _require("order_lines", "discount", "order_id", 0.5),
    _require("order_lines", "store_id", "order_id", 0.5),
    _require("order_lines", "ordered_hour", "order_id", 0.5),
    RowCheck(
        "returns",
        "order_lines",
        "quantity",
        "inaccurate",
        "quantity < 0",
        "order_id",
        lambda affected, total, column: say(
            "{affected} of {total} order lines have a negative quantity: they count as returns.",
            affected=affected,
            total=total,
        ),
        say("Nothing to do when they are returns; otherwise correct the sign at the source."),
        0.1,
    ),
    RowCheck(
        "zero_quantity",
        "order_lines",
        "quantity",
        "inaccurate",
        "quantity = 0",
        "order_id",
        lambda affected, total, column: say(
            "{affected} of {total} order lines have a quantity of 0.", affected=affected, total=total
        ),
        say("Find out what these lines are (coupons, cancelled lines) and leave them out at the source."),
        0.02,
    ),
    RowCheck(
        "zero_revenue",
        "order_lines",
        "revenue",
        "inaccurate",
        "revenue = 0",
        "order_id",
        lambda affected, total, column: say(
            "{affected} of {total} order lines earned nothing.", affected=affected, total=total
        ),
        say("Check whether they are gifts or lack their price."),
        0.02,
    ),
    RowCheck(
        "contradicting_signs",
        "order_lines",
        "revenue",
        "inaccurate",
        "quantity * revenue < 0",
        "CAST(quantity AS VARCHAR) || ' / ' || CAST(revenue AS VARCHAR)",
        lambda affected, total, column: say(
            "In {affected} of {total} order lines quantity and amount have opposite signs.",
            affected=affected,
            total=total,
        ),
        say("Give returns a negative quantity and a negative amount."),
        0.001,
    ),
    RowCheck(
        "outlying_revenue",
        "order_lines",
        "revenue",
        "inaccurate",
        "abs(revenue) > revenue_limit",
        "CAST(revenue AS VARCHAR)",
        lambda affected, total, column: say(
            "{affected} of {total} order lines have an amount more than 20 times the 99th percentile.",
            affected=affected,
            total=total,
        ),
        say("Check these lines: a decimal point may be missing, or a firm bought."),
        0.001,
    ),
    RowCheck(
        "outlying_quantity",
        "order_lines",
        "quantity",
        "inaccurate",
        "abs(quantity) > quantity_limit",
        "CAST(quantity AS VARCHAR)",
        lambda affected, total, column: say(
            "{affected} of {total} order lines have a quantity more than 20 times the 99th percentile.",
            affected=affected,
            total=total,
        ),
        say("Check these lines: another unit of measure may be meant."),
        0.001,
    ),
    RowCheck(
        "unknown_product",
        "order_lines",
        "product_id",
        "unusable",
        "product_id IS NOT NULL AND product_id NOT IN (SELECT product_id FROM products)",
        "product_id",
        lambda affected, total, column: say(
            "{affected} of {total} order lines name a product that is not in the product list.",
            affected=affected,
            total=total,
        ),
        say("Deliver these products; until then the lines count without department."),
        0.02,
        against="products",
    ),
    RowCheck(
        "bad_email",
        "customers",
        "email",
        "inaccurate",
        r"email IS NOT NULL AND NOT regexp_matches(email, '^[^@\s]+@[^@\s]+\.[^@\s]+$')",
        "customer_id",
        lambda affected, total, column: say(
            "{affected} of {total} customers have an e-mail address that cannot be one.",
            affected=affected,
            total=total,
        ),
        say("Correct the addresses; these customers get no e-mail."),
        0.01,
    ),
    RowCheck(
        "bad_phone",
        "customers",
        "phone",
        "inaccurate",
        r"phone IS NOT NULL AND NOT regexp_matches("
        r"translate(phone, '０１２３４５６７８９＋－（）', '0123456789+-()'), '^[+(]{0,2}[0-9][-0-9() *]{5,19}$')",
        "customer_id",
        lambda affected, total, column: say(
            "{affected} of {total} customers have a phone number that cannot be one.",
            affected=affected,
            total=total,
        ),
        say("Correct the numbers; these customers get no calls."),
        0.01,
    ),
    RowCheck(
        "no_contact",
        "customers",
        None,
        "unusable",
        "email IS NULL AND phone IS NULL AND address IS NULL",
        "customer_id",
        lambda affected, total, column: say(
            "{affected} of {total} customers have neither e-mail nor phone nor address.",
            affected=affected,
            total=total,
        ),
        say("Deliver a contact list with customer numbers: aimwell data add FILE --as customers"),
        0.3,
    ),
    RowCheck(
        "never_ordered",
        "customers",
        None,
        "partial",
        "customer_id NOT IN (SELECT DISTINCT customer_id FROM order_lines WHERE NOT simulated)",
        "customer_id",
        lambda affected, total, column: say(
            "{affected} of {total} customers have no order.", affected=affected, total=total
        ),
        say("Check that the orders cover all shops and years."),
        0.3,
        against="order_lines",
    ),
    _require("products", "name", "product_id", 0.9),
    _require("products", "department", "product_id", 0.5),
    _require("products", "category", "product_id", 0.5),
    _require("products", "price", "product_id", 0.5),
    _require("products", "unit_cost", "product_id", 0.9),
    RowCheck(
        "price_not_positive",
        "products",
        "price",
        "inaccurate",
        "price <= 0",
        "product_id",
        lambda affected, total, column: say(
            "{affected} of {total} products have a price of 0 or less.", affected=affected, total=total
        ),
        say("Correct the prices in the product list."),
        0.02,
    ),
    RowCheck(
        "cost_above_price",
        "products",
        "unit_cost",
        "inaccurate",
        "unit_cost > price",
        "product_id",
        lambda affected, total, column: say(
            "{affected} of {total} products cost more than they are sold for.", affected=affected, total=total
        ),
        say("Check cost and price: they may be for different units."),
        0.02,
    ),
    _require("events", "channel", "event_id", 0.9),
    RowCheck(
        "unknown_customer",
        "events",
        "customer_id",
        "unusable",
        "customer_id NOT IN (SELECT customer_id FROM customers)",
        "customer_id",
        lambda affected, total, column: say(
            "{affected} of {total} events name a customer who is not in the customer list.",
            affected=affected,
            total=total,
        ),
        say("Deliver these customers, or check that both files number customers alike."),
        0.05,
        against="customers",
    ),
    RowCheck(
        "unknown_customer",
        "consents",
        "customer_id",
        "unusable",
        "customer_id NOT IN (SELECT customer_id FROM customers)",
        "customer_id",
        lambda affected, total, column: say(
            "{affected} of {total} consents name a customer who is not in the customer list.",
            affected=affected,
            total=total,
        ),
        say("Deliver these customers, or check that both files number customers alike."),
        0.05,
        against="customers",
    ),
)
