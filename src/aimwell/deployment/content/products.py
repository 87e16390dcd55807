"""Product blocks: a customer's recommendations with name, price, picture and link; best sellers where there are none.

Reads ``recommendations``, ``products`` and ``order_lines``; writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from aimwell.core.money import show_money, to_money
from aimwell.core.text import Language
from aimwell.deployment.audience import soften
from aimwell.deployment.content.definition import ProductBlock
from aimwell.deployment.content.sandbox import Template
from aimwell.deployment.content.variables import Both, Variable, fill
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Reader

_BEST_DAYS = 90

RECOMMENDED_SQL = """
SELECT
    recommendations.customer_id AS customer_id,
    products.product_id AS product_id,
    coalesce(products.name, products.category) AS name,
    products.price AS price
FROM recommendations
JOIN content_customers ON content_customers.customer_id = recommendations.customer_id
JOIN products ON products.product_id = recommendations.product_id
WHERE coalesce(products.name, products.category) IS NOT NULL
  AND coalesce(products.stock, 1) > 0
ORDER BY recommendations.customer_id, recommendations.rank
"""

BEST_SQL = """
WITH sold AS (
    SELECT product_id, sum(quantity) AS units
    FROM order_lines
    WHERE ordered_on > $first AND ordered_on <= $last AND quantity > 0
    GROUP BY product_id
)
SELECT products.product_id AS product_id, coalesce(products.name, products.category) AS name, products.price AS price
FROM sold
JOIN products ON products.product_id = sold.product_id
WHERE coalesce(products.name, products.category) IS NOT NULL
  AND coalesce(products.stock, 1) > 0
ORDER BY sold.units DESC, products.product_id
LIMIT 100
"""


class Shelf:
    """What there is to show: recommended products by customer, and best sellers for everybody else."""

    def __init__(
        self, recommended: Mapping[str, Sequence[Mapping[str, Any]]], best: Sequence[Mapping[str, Any]]
    ) -> None:
        self._recommended = recommended
        self._best = best

    def list_products(
        self, customer_id: str, block: ProductBlock, language: Language, currency: str
    ) -> list[dict[str, str]]:
        """Up to ``block.count`` products of different names, recommended ones first, then best sellers."""
        chosen: dict[str, Mapping[str, Any]] = {}
        for row in (*self._recommended.get(customer_id, ()), *self._best):
            if len(chosen) < block.count:
                chosen.setdefault(soften(row["name"]), row)
        return [_describe(name, row, block, language, currency) for name, row in chosen.items()]


def read_shelf(reader: Reader, customer_ids: Iterable[str], best: Sequence[Mapping[str, Any]]) -> Shelf:
    """The shelf for these customers; ``best`` is for whoever has too few recommendations."""
    names = pa.array(sorted(set(customer_ids)), pa.string())
    reader.register("content_customers", pa.table({"customer_id": names}))
    recommended: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in reader.query(RECOMMENDED_SQL).to_pylist():
        recommended[row["customer_id"]].append(row)
    return Shelf(recommended, best)


def read_best_sellers(source: Queryable, as_of: date) -> list[Mapping[str, Any]]:
    """What sold most in the ninety days before ``as_of``."""
    last = as_of - timedelta(days=1)
    rows: list[Mapping[str, Any]] = source.query(
        BEST_SQL, {"first": last - timedelta(days=_BEST_DAYS), "last": last}
    ).to_pylist()
    return rows


def build_block(products: Sequence[Mapping[str, str]], language: Language) -> Both:
    """The products as a block of HTML and as lines of text."""
    if not products:
        return Both("", "")
    values = {"recommendations": [dict(product) for product in products]}
    forms = {
        html: _load_template(language, html=html)
        .render(fill(_VARIABLES, values, language, html=html))
        .strip()
        for html in (True, False)
    }
    return Both(forms[True], forms[False])


_VARIABLES = {"recommendations": Variable("recommendations", "list")}


@cache
def _load_template(language: Language, *, html: bool) -> Template:
    name = "product_block.html" if html else "product_block.txt"
    source = (files("aimwell.deployment") / "templates" / language / name).read_text(encoding="utf-8")
    return Template(source, html=html)


def _describe(
    name: str, row: Mapping[str, Any], block: ProductBlock, language: Language, currency: str
) -> dict[str, str]:
    number = quote(str(row["product_id"]), safe="")
    product = {"product_id": str(row["product_id"]), "name": name}
    if isinstance(row["price"], Decimal | float | int):
        # To the cent, unlike the rounded amounts of reports: it is what the customer will pay.
        product["price"] = show_money(0, currency, language).replace("0.00", f"{to_money(row['price']):,.2f}")
    for key, address in (("link", block.link), ("image", block.image)):
        if address:
            product[key] = address.replace("{product_id}", number)
    return product
