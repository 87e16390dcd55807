"""The lines of an order that an event tells: what was bought, what it cost, to the cent.

Reads the properties of ``Order Completed`` and ``Order Refunded`` as Segment's e-commerce specification has them;
its rows go to ``order_lines``. ``revenue`` there is what was paid for the goods, without shipping and tax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, DecimalException
from hashlib import blake2b
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.money import to_cents
from aimwell.core.text import say

_MOST = 10**15
MOST_PRODUCTS = 1_000


def read_order_lines(
    properties: Mapping[str, Any], *, refund: bool, message_id: str, terms: tuple[str, str]
) -> tuple[str, list[dict[str, Any]]]:
    """Under which id the lines are known, and the lines: ids, product, quantity, revenue and discount.

    ``terms`` has the source and the business's currency. Amounts are negative for a refund. BadInput when the order
    has no id, is in another currency, or an amount is none.
    """
    source, currency = terms
    order = properties.get("order_id", properties.get("orderId"))
    if not isinstance(order, str | int) or isinstance(order, bool) or not str(order).strip():
        raise BadInput(
            "data.order_without_id",
            say("The order has no order_id."),
            remedy=say("Send the order's number as order_id."),
            where={"column": "order_id"},
        )
    other = properties.get("currency")
    if other is not None and other != currency:
        raise BadInput(
            "data.order_in_other_currency",
            say(
                "The order is in {other}, the business counts in {currency}.",
                other=str(other)[:20],
                currency=currency,
            ),
            remedy=say("Convert its amounts before sending it."),
            where={"column": "currency", "value": str(other)[:20]},
        )
    order_id = str(order).strip()[:200]
    products = _read_products(properties)
    quantities = [_read_number(product, "quantity", Decimal(1)) or Decimal(0) for product in products]
    amounts = [
        to_cents((_read_number(product, "price", None) or Decimal(0)) * quantity)
        for product, quantity in zip(products, quantities, strict=True)
    ]
    paid = _find_paid(properties, amounts, refund=refund)
    if not products:
        products, quantities, amounts = [{}], [Decimal(1)], [paid]
    weights = amounts if any(amounts) else [int(quantity * 1000) for quantity in quantities]
    shares = split_cents(paid, weights)
    sign = -1 if refund else 1
    known = f"{source}:{order_id}"
    if refund:
        known += f":refund:{blake2b(message_id.encode(), digest_size=8).hexdigest()}"
    lines = [
        {
            "line_id": f"{known}:{number}",
            "order_id": order_id,
            "product_id": _read_product_id(product),
            "quantity": sign * float(quantity),
            "revenue": Decimal(sign * share).scaleb(-2),
            "discount": Decimal(0 if refund else max(amount - share, 0)).scaleb(-2),
            "store_id": None,
        }
        for number, (product, quantity, amount, share) in enumerate(
            zip(products, quantities, amounts, shares, strict=True), start=1
        )
    ]
    return known, lines


def split_cents(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` cents by weights, the parts adding up exactly; equal parts where no weight is above 0."""
    whole = sum(weights)
    if whole <= 0:
        weights, whole = [1] * len(weights), len(weights)
    parts, given, seen = [], 0, 0
    for weight in weights:
        seen += weight
        # Rounding the running total leaves no cent over and none missing.
        upto = (2 * total * seen + whole) // (2 * whole)
        parts.append(upto - given)
        given = upto
    return parts


def _find_paid(properties: Mapping[str, Any], amounts: Sequence[int], *, refund: bool) -> int:
    """Cents paid (or given back) for the goods."""
    for name in ("revenue", "subtotal"):
        value = _read_number(properties, name, None)
        if value is not None:
            return abs(to_cents(value)) if refund else to_cents(value)
    discount = _read_number(properties, "discount", Decimal(0)) or Decimal(0)
    if any(amounts):
        return sum(amounts) - (0 if refund else to_cents(abs(discount)))
    total = _read_number(properties, "total", None)
    if total is None:
        raise BadInput(
            "data.order_without_amount",
            say("The order says neither prices nor a total."),
            remedy=say("Send revenue, or products with price and quantity."),
            where={"column": "revenue"},
        )
    for name in ("shipping", "tax"):
        total -= _read_number(properties, name, Decimal(0)) or Decimal(0)
    return abs(to_cents(total)) if refund else to_cents(total)


def _read_products(properties: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    products = properties.get("products") or []
    if (
        not isinstance(products, list)
        or len(products) > MOST_PRODUCTS
        or not all(isinstance(product, dict) for product in products)
    ):
        raise BadInput(
            "data.order_bad_products",
            say("The order's products are not a list of at most {most} objects.", most=MOST_PRODUCTS),
            remedy=say("Send products as a list of objects with product_id, price and quantity."),
            where={"column": "products"},
        )
    return products


def _read_number(values: Mapping[str, Any], name: str, default: Decimal | None) -> Decimal | None:
    value = values.get(name)
    if value is None or value == "":
        return default
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(name)
        number = Decimal(str(value).strip())
        if not number.is_finite() or abs(number) >= _MOST:
            raise ValueError(name)
    except (ValueError, DecimalException) as error:
        raise BadInput(
            "data.order_bad_amount",
            say("The order's {field} is no number.", field=name),
            remedy=say("Send it as a number such as 19.90."),
            where={"column": name, "value": str(value)[:100]},
        ) from error
    return number


def _read_product_id(product: Mapping[str, Any]) -> str | None:
    for name in ("product_id", "productId", "sku", "id"):
        value = product.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()[:255]
    return None
