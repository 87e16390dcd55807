"""Parsed rows → the rows of the tables, with what else they tell: products and customers out of an order file.

Reads the scratch tables ``parsed`` and ``raw``; writes nothing: it returns Arrow tables.
"""

from __future__ import annotations

import pyarrow as pa

from aimwell.core.text import Text, say
from aimwell.data.attributes import name_attributes
from aimwell.data.expressions import CHANNEL_NAMES, translate_names
from aimwell.data.parsing import Parsed
from aimwell.data.scratch import Scratch, literal, quote

_DIGEST = "md5(concat_ws(chr(31), {parts}))"


def shape_rows(scratch: Scratch, parsed: Parsed) -> dict[str, pa.Table]:
    """The accepted rows as tables, in the columns of ``core.tables``; keys are unique within each."""
    table = parsed.mapping.table
    if table == "order_lines":
        return _shape_orders(scratch, parsed)
    if table == "events":
        return {"events": _shape_events(scratch, parsed)}
    if table == "customers":
        return {"customers": _shape_customers(scratch, parsed)}
    if table == "products":
        return {"products": _shape_products(scratch, parsed)}
    return {"consents": _shape_consents(scratch, parsed)}


def tell_orders(parsed: Parsed) -> list[Text]:
    """What was assumed about an order file because it did not say."""
    if parsed.mapping.table != "order_lines":
        return []
    told = []
    if not parsed.mapping.has("order_id"):
        if parsed.dates and parsed.dates["ordered_at"].timed:
            told.append(
                say("There is no order number: lines of one customer at one instant count as one order.")
            )
        else:
            told.append(say("There is no order number: lines of one customer on one day count as one order."))
    if not parsed.mapping.has("quantity"):
        told.append(say("There is no quantity: every line counts as one unit, identical lines as several."))
    if not parsed.mapping.has("revenue"):
        if parsed.mapping.has("unit_price"):
            told.append(say("There is no amount: it is quantity × unit price."))
        else:
            told.append(
                say("There is neither amount nor price: orders and units can be counted, money cannot.")
            )
    return told


def _shape_orders(scratch: Scratch, parsed: Parsed) -> dict[str, pa.Table]:
    scratch.execute(_compose_lines(parsed), {"source": parsed.name})
    lines = scratch.query(
        """
        SELECT CASE WHEN occurrence = 1 THEN content ELSE content || '-' || occurrence END AS line_id,
            order_id, customer_id, product_id, ordered_at,
            ordered_on, ordered_hour, quantity, revenue, discount, store_id, $source AS source, false AS simulated
        FROM lines
        """,
        {"source": parsed.name},
    )
    shaped = {"order_lines": lines, "customers": _derive_customers(scratch, parsed)}
    if parsed.mapping.has("product_id") or parsed.mapping.has("product_name"):
        shaped["products"] = _derive_products(scratch, parsed)
    return shaped


def _compose_lines(parsed: Parsed) -> str:
    has = parsed.mapping.has
    moment = "ordered_at"
    timed = parsed.dates[moment].timed if moment in parsed.dates else False
    stamp = (
        "strftime(ordered_at_local, '%Y-%m-%dT%H:%M:%S')"
        if timed
        else "strftime(ordered_at_local, '%Y-%m-%d')"
    )
    order = "order_id" if has("order_id") else f"customer_id || '@' || {stamp}"
    product = _first(parsed, "product_id", "product_name")
    quantity = "CAST(quantity AS DOUBLE)" if has("quantity") else "CAST(1 AS DOUBLE)"
    if has("revenue"):
        revenue = "CAST(revenue AS DECIMAL(18,2))"
    elif has("unit_price"):
        units = "quantity" if has("quantity") else "CAST(1 AS DECIMAL(18,6))"
        revenue = f"CAST({units} * unit_price AS DECIMAL(18,2))"
    else:
        revenue = "CAST(NULL AS DECIMAL(18,2))"
    discount = "CAST(abs(discount) AS DECIMAL(18,2))" if has("discount") else "CAST(NULL AS DECIMAL(18,2))"
    parts = ["$source", "order_id", "customer_id", "coalesce(product_id, '')", "epoch_us(ordered_at)"]
    parts += [
        f"coalesce(CAST({name} AS VARCHAR), '')" for name in ("quantity", "revenue", "discount", "store_id")
    ]
    return f"""
        CREATE OR REPLACE TABLE lines AS
        WITH shaped AS (
            SELECT row_number, {order} AS order_id, customer_id, {product} AS product_id, ordered_at,
                CAST(ordered_at_local AS DATE) AS ordered_on,
                {"CAST(extract(hour FROM ordered_at_local) AS BIGINT)" if timed else "CAST(NULL AS BIGINT)"}
                    AS ordered_hour,
                {quantity} AS quantity, {revenue} AS revenue, {discount} AS discount,
                {_first(parsed, "store_id", "region")} AS store_id
            FROM parsed WHERE rule IS NULL
        ),
        digested AS (SELECT *, {_DIGEST.format(parts=", ".join(parts))} AS content FROM shaped),
        repeated AS (SELECT content FROM digested GROUP BY content HAVING count(*) > 1),
        numbered AS (
            SELECT row_number, row_number() OVER (PARTITION BY content ORDER BY row_number) AS occurrence
            FROM digested WHERE content IN (SELECT content FROM repeated)
        )
        SELECT digested.*, coalesce(occurrence, 1) AS occurrence
        FROM digested LEFT JOIN numbered ON numbered.row_number = digested.row_number
    """


def _derive_customers(scratch: Scratch, parsed: Parsed) -> pa.Table:
    region = "mode(region)" if parsed.mapping.has("region") else "CAST(NULL AS VARCHAR)"
    return scratch.query(
        f"""
        SELECT customer_id, {region} AS region, $source AS source
        FROM parsed WHERE rule IS NULL GROUP BY customer_id ORDER BY customer_id
        """,
        {"source": parsed.name},
    )


def _derive_products(scratch: Scratch, parsed: Parsed) -> pa.Table:
    has = parsed.mapping.has
    columns = [
        f"{f'mode({field})' if has(field) else 'CAST(NULL AS VARCHAR)'} AS {name}"
        for field, name in (
            ("product_name", "name"),
            ("department", "department"),
            ("category", "category"),
            ("brand", "brand"),
        )
    ]
    units = "quantity" if has("quantity") else "1"
    if has("unit_price"):
        price = f"CASE WHEN {units} > 0 AND unit_price > 0 THEN unit_price END"
    elif has("revenue"):
        price = f"CASE WHEN {units} > 0 AND revenue > 0 THEN revenue / {units} END"
    else:
        price = "CAST(NULL AS DECIMAL(18,2))"
    product = _first(parsed, "product_id", "product_name")
    return scratch.query(
        f"""
        SELECT {product} AS product_id, {", ".join(columns)}, CAST(median({price}) AS DECIMAL(18,2)) AS price,
            $source AS source
        FROM parsed WHERE rule IS NULL AND {product} IS NOT NULL
        GROUP BY {product} ORDER BY 1
        """,
        {"source": parsed.name},
    )


def _shape_events(scratch: Scratch, parsed: Parsed) -> pa.Table:
    has = parsed.mapping.has
    others = ", ".join(f"{literal(column)}, {parsed.source.read(column)}" for column in parsed.mapping.unused)
    properties = f"CAST(json_object({others}) AS VARCHAR)" if others else "CAST(NULL AS VARCHAR)"
    kept = {
        name: name if has(name) else "CAST(NULL AS VARCHAR)"
        for name in ("product_id", "campaign_id", "channel")
    }
    parts = ["$source", "customer_id", "name", "epoch_us(occurred_at)", "coalesce(properties, '')"]
    parts += [f"coalesce({name}, '')" for name in kept]
    own = (
        "coalesce(event_id, md5(content || ':' || occurrence))"
        if has("event_id")
        else "md5(content || ':' || occurrence)"
    )
    return scratch.query(
        f"""
        WITH shaped AS (
            SELECT parsed.row_number, customer_id, name, occurred_at,
                CAST(occurred_at_local AS DATE) AS occurred_on,
                {", ".join(f"{value} AS {name}" for name, value in kept.items())},
                {properties} AS properties, CAST(NULL AS TIMESTAMPTZ) AS received_at {", event_id" if has("event_id") else ""}
            FROM parsed JOIN raw ON raw.row_number = parsed.row_number WHERE rule IS NULL
        ),
        digested AS (SELECT *, {_DIGEST.format(parts=", ".join(parts))} AS content FROM shaped),
        counted AS (
            SELECT *, row_number() OVER (PARTITION BY content ORDER BY row_number) AS occurrence FROM digested
        )
        SELECT {own} AS event_id, customer_id, name, occurred_at, occurred_on, product_id, campaign_id, channel,
            properties, received_at, $source AS source, false AS simulated
        FROM counted
        """,
        {"source": parsed.name},
    )


def _shape_customers(scratch: Scratch, parsed: Parsed) -> pa.Table:
    attributes = name_attributes(parsed.mapping.unused)
    columns = [_keep(parsed, name) for name in ("email", "phone", "address", "region")]
    columns += [f"{parsed.source.read(column)} AS {quote(name)}" for column, name in attributes.items()]
    return scratch.query(
        f"""
        SELECT customer_id, {", ".join(columns)}, $source AS source
        FROM parsed JOIN raw ON raw.row_number = parsed.row_number WHERE rule IS NULL ORDER BY customer_id
        """,
        {"source": parsed.name},
    )


def _shape_products(scratch: Scratch, parsed: Parsed) -> pa.Table:
    texts = [_keep(parsed, name) for name in ("name", "department", "category", "brand")]
    return scratch.query(
        f"""
        SELECT product_id, {", ".join(texts)}, {_keep(parsed, "price", "DECIMAL(18,2)")},
            {_keep(parsed, "unit_cost", "DECIMAL(18,2)")}, {_keep(parsed, "stock", "BIGINT")}, $source AS source
        FROM parsed WHERE rule IS NULL ORDER BY product_id
        """,
        {"source": parsed.name},
    )


def _shape_consents(scratch: Scratch, parsed: Parsed) -> pa.Table:
    """Without a date of its own a consent has no ``since``: loading gives it the instant of the load."""
    has = parsed.mapping.has
    purpose = "coalesce(purpose, 'marketing')" if has("purpose") else "'marketing'"
    since = "since" if has("since") else "CAST(NULL AS TIMESTAMPTZ)"
    return scratch.query(
        f"""
        SELECT customer_id, {translate_names("channel", CHANNEL_NAMES)} AS channel, {purpose} AS purpose, allowed,
            {since} AS since, $source AS source
        FROM parsed WHERE rule IS NULL
        """,
        {"source": parsed.name},
    )


def _first(parsed: Parsed, *fields: str) -> str:
    found = [field for field in fields if parsed.mapping.has(field)]
    return f"coalesce({', '.join(found)})" if found else "CAST(NULL AS VARCHAR)"


def _keep(parsed: Parsed, field: str, kind: str = "VARCHAR") -> str:
    return f"CAST({field if parsed.mapping.has(field) else 'NULL'} AS {kind}) AS {field}"
