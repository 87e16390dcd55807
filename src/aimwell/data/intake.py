"""Parsed rows → the rows of the tables, with what else they tell: products and customers out of an order file.

Reads the scratch table ``parsed``; writes nothing: it returns statements, whose rows are read batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aimwell.core.text import Text, say
from aimwell.data.attributes import name_attributes
from aimwell.data.expressions import CHANNEL_NAMES, KIND_NAMES, translate_names
from aimwell.data.parsing import NEVER, Parsed
from aimwell.data.repeats import collect_repeated
from aimwell.data.scratch import Scratch, literal, quote
from aimwell.data.synonyms import fold_header

_DIGEST = "md5(concat_ws(chr(31), {parts}))"
_LINE = ["order_id", "customer_id", "product_id", "ordered_at", "quantity", "revenue", "discount", "store_id"]
_EVENT = ["customer_id", "name", "occurred_at", "properties", "product_id", "campaign_id", "channel"]
_MOST_PRICES = 4_000_000
_MOST_GROUPED = 32_000_000
_SIGNAL = ["customer_id", "kind", "name", "given_at", "score", "text"]


@dataclass(frozen=True)
class Shaped:
    """The rows of one table as a statement over the scratch database; keys are unique among them."""

    table: str
    sql: str
    parameters: Mapping[str, str]


def shape_rows(scratch: Scratch, parsed: Parsed) -> list[Shaped]:
    """The accepted rows of every table that the file feeds, in the columns of ``core.tables``."""
    shapers = {
        "events": _shape_events,
        "signals": _shape_signals,
        "customers": _shape_customers,
        "products": _shape_products,
        "consents": _shape_consents,
    }
    table = parsed.mapping.table
    bound = {"source": parsed.name}
    if table != "order_lines":
        return [Shaped(table, shapers[table](scratch, parsed), bound)]
    shaped = [
        Shaped("order_lines", _shape_lines(scratch, parsed), bound),
        Shaped("customers", _derive_customers(scratch, parsed), bound),
    ]
    if parsed.mapping.has("product_id") or parsed.mapping.has("product_name"):
        shaped.append(Shaped("products", _derive_products(scratch, parsed), bound))
    return shaped


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


def _shape_lines(scratch: Scratch, parsed: Parsed) -> str:
    lines = _compose_lines(parsed)
    occurrence = _number_repeated(scratch, parsed, lines, _LINE)
    return f"""
        WITH {lines}
        SELECT CASE WHEN {occurrence} = 1 THEN content ELSE content || '-' || {occurrence} END AS line_id,
            order_id, customer_id, product_id, ordered_at,
            ordered_on, ordered_hour, quantity, revenue, discount, store_id, $source AS source, false AS simulated
        FROM shaped {_join_numbered(occurrence)}
    """


def _number_repeated(scratch: Scratch, parsed: Parsed, shaping: str, values: list[str]) -> str:
    """The SQL of which occurrence of its content a row is; ``repeats`` holds those beyond the first.

    ``shaping`` defines ``bare``, whose ``values`` decide the content, and ``shaped``, which has it. Contents hardly
    ever repeat: only rows whose values share a hash, cheap beside a digest, are compared and numbered.
    """
    bound = {"source": parsed.name} if "$source" in shaping else {}
    hashed = f"WITH {shaping} SELECT hash({', '.join(values)}) AS hashed FROM bare"
    if not collect_repeated(scratch, "alike", hashed, bound):
        return "1"
    scratch.execute(
        f"""
        CREATE OR REPLACE TABLE repeats AS
        WITH {shaping},
        numbered AS (
            SELECT row_number, row_number() OVER (PARTITION BY content ORDER BY row_number) AS occurrence
            FROM shaped WHERE hash({", ".join(values)}) IN (SELECT hashed FROM alike)
        )
        SELECT row_number, occurrence FROM numbered WHERE occurrence > 1
        """,
        bound,
    )
    found = scratch.rows("SELECT count(*) AS rows FROM repeats")[0]["rows"]
    return "coalesce(repeats.occurrence, 1)" if found else "1"


def _join_numbered(occurrence: str) -> str:
    return "" if occurrence == "1" else "LEFT JOIN repeats ON repeats.row_number = shaped.row_number"


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
    # A whole number is written three times as fast as the same text from a DOUBLE.
    whole = "CAST(CAST(quantity AS BIGINT) AS VARCHAR) || '.0'"
    parts.append(
        f"CASE WHEN abs(quantity) < 1e15 AND quantity = floor(quantity) THEN {whole} "
        "ELSE coalesce(CAST(quantity AS VARCHAR), '') END"
    )
    parts += [f"coalesce(CAST({name} AS VARCHAR), '')" for name in ("revenue", "discount", "store_id")]
    return f"""bare AS (
            SELECT row_number, {order} AS order_id, customer_id, {product} AS product_id, ordered_at,
                CAST(ordered_at_local AS DATE) AS ordered_on,
                {"CAST(extract(hour FROM ordered_at_local) AS BIGINT)" if timed else "CAST(NULL AS BIGINT)"}
                    AS ordered_hour,
                {quantity} AS quantity, {revenue} AS revenue, {discount} AS discount,
                {_first(parsed, "store_id", "region")} AS store_id
            FROM parsed WHERE rule IS NULL
        ),
        shaped AS (SELECT *, {_DIGEST.format(parts=", ".join(parts))} AS content FROM bare)"""


def _derive_customers(scratch: Scratch, parsed: Parsed) -> str:
    """Grouped in parts of the customers: one grouping of a hundred million rows needs more memory than there is."""
    region = "mode(region)" if parsed.mapping.has("region") else "CAST(NULL AS VARCHAR)"
    scratch.execute("CREATE OR REPLACE TABLE found_customers (customer_id VARCHAR, region VARCHAR)")
    parts = max(1, -(-parsed.source.rows // _MOST_GROUPED))
    for part in range(parts):
        scratch.execute(
            f"""
            INSERT INTO found_customers
            SELECT customer_id, {region} FROM parsed
            WHERE rule IS NULL AND hash(customer_id) % {parts} = {part} GROUP BY customer_id
            """
        )
    return "SELECT customer_id, region, $source AS source FROM found_customers"


def _derive_products(scratch: Scratch, parsed: Parsed) -> str:
    """Names by majority; the price is the median of a product's lines, of a share of the lines where there are many."""
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
    priced = f"SELECT {product} AS product_id, {price} AS price FROM parsed WHERE rule IS NULL"
    # A median holds all of its values in memory: of what is drawn, and of products of which nothing was drawn.
    parts = max(1, -(-parsed.source.rows // _MOST_PRICES))
    scratch.execute(
        f"""
        CREATE OR REPLACE TABLE prices AS
        WITH drawn AS ({priced} AND hash(row_number) % {parts} = 0)
        SELECT product_id, median(price) AS price FROM drawn WHERE price IS NOT NULL GROUP BY product_id
        """
    )
    if parts > 1:
        scratch.execute(
            f"""
            INSERT INTO prices
            WITH priced AS ({priced})
            SELECT product_id, median(price) AS price FROM priced
            WHERE price IS NOT NULL AND product_id NOT IN (SELECT product_id FROM prices WHERE product_id IS NOT NULL)
            GROUP BY product_id
            """
        )
    return f"""
        WITH named AS (
            SELECT {product} AS product_id, {", ".join(columns)} FROM parsed
            WHERE rule IS NULL AND {product} IS NOT NULL GROUP BY {product}
        )
        SELECT named.product_id, name, department, category, brand, CAST(price AS DECIMAL(18,2)) AS price,
            $source AS source
        FROM named LEFT JOIN prices ON prices.product_id = named.product_id
    """


def _shape_events(scratch: Scratch, parsed: Parsed) -> str:
    has = parsed.mapping.has
    kept = {
        name: name if has(name) else "CAST(NULL AS VARCHAR)"
        for name in ("product_id", "campaign_id", "channel")
    }
    parts = ["$source", "customer_id", "name", "epoch_us(occurred_at)", "coalesce(properties, '')"]
    parts += [f"coalesce({name}, '')" for name in kept]
    received = "received_at" if has("received_at") else "CAST(NULL AS TIMESTAMPTZ)"
    happened = f"""bare AS (
            SELECT row_number, {"event_id" if has("event_id") else "CAST(NULL AS VARCHAR)"} AS given_id,
                customer_id, name, occurred_at, CAST(occurred_at_local AS DATE) AS occurred_on,
                {", ".join(f"{value} AS {name}" for name, value in kept.items())},
                properties, {received} AS received_at
            FROM parsed WHERE rule IS NULL
        ),
        shaped AS (SELECT *, {_DIGEST.format(parts=", ".join(parts))} AS content FROM bare)"""
    occurrence = _number_repeated(scratch, parsed, happened, _EVENT)
    return f"""
        WITH {happened}
        SELECT coalesce(given_id, md5(content || ':' || {occurrence})) AS event_id, customer_id, name, occurred_at,
            occurred_on, product_id, campaign_id, channel, properties, received_at, $source AS source,
            false AS simulated
        FROM shaped {_join_numbered(occurrence)}
    """


def _shape_signals(scratch: Scratch, parsed: Parsed) -> str:
    has, get = parsed.mapping.has, parsed.mapping.get
    said = get("score") or get("text")
    header = (said.column if said else None) or "answer"
    question = "name" if has("name") else "NULL"
    guessed = f"CASE WHEN asks_recommendation THEN 'loyalty' ELSE {literal(_guess_kind(header))} END"
    if has("name"):
        # A question says more than the header of all answers.
        words = ((kind, word) for kind, names in KIND_NAMES.items() for word in names)
        cases = " ".join(
            f"WHEN contains(lower(name), {literal(word)}) THEN {literal(kind)}" for kind, word in words
        )
        guessed = (
            f"CASE WHEN asks_recommendation THEN 'loyalty' {cases} ELSE {literal(_guess_kind(header))} END"
        )
    kind = f"coalesce({'kind' if has('kind') else 'NULL'}, {guessed})"
    # Under this name the tags of recommendation find it.
    name = f"CASE WHEN asks_recommendation THEN 'nps' ELSE coalesce({question}, {literal(header)}) END"
    score = "CAST(score AS DOUBLE)" if has("score") else "CAST(NULL AS DOUBLE)"
    parts = [
        "$source",
        "customer_id",
        "kind",
        "name",
        "epoch_us(given_at)",
        "coalesce(CAST(score AS VARCHAR), '')",
    ]
    answers = f"""bare AS (
            SELECT row_number, {"signal_id" if has("signal_id") else "CAST(NULL AS VARCHAR)"} AS given_id,
                customer_id, {kind} AS kind, {name} AS name, {score} AS score,
                {"text" if has("text") else "CAST(NULL AS VARCHAR)"} AS text, given_at,
                CAST(given_at_local AS DATE) AS given_on
            FROM parsed WHERE rule IS NULL
        ),
        shaped AS (SELECT *, {_DIGEST.format(parts=", ".join([*parts, "coalesce(text, '')"]))} AS content FROM bare)"""
    occurrence = _number_repeated(scratch, parsed, answers, _SIGNAL)
    return f"""
        WITH {answers}
        SELECT coalesce(given_id, md5(content || ':' || {occurrence})) AS signal_id, customer_id, kind, name, score,
            text, given_at, given_on, $source AS source
        FROM shaped {_join_numbered(occurrence)}
    """


def _guess_kind(header: str) -> str:
    """What a column of answers is about, by its name."""
    folded = fold_header(header)
    if "nps" in folded:
        # Before 评分, which stands in its name as often as not.
        return "loyalty"
    for kind, names in KIND_NAMES.items():
        if any(fold_header(name) in folded for name in names):
            return kind
    return "other"


def _shape_customers(scratch: Scratch, parsed: Parsed) -> str:
    attributes = name_attributes(parsed.mapping.unused)
    columns = [_keep(parsed, name) for name in ("email", "phone", "address", "region")]
    columns += [f"extra_{place} AS {quote(name)}" for place, name in enumerate(attributes.values())]
    return f"""
        SELECT customer_id, {", ".join(columns)}, $source AS source FROM parsed WHERE rule IS NULL
    """


def _shape_products(scratch: Scratch, parsed: Parsed) -> str:
    texts = [_keep(parsed, name) for name in ("name", "department", "category", "brand")]
    return f"""
        SELECT product_id, {", ".join(texts)}, {_keep(parsed, "price", "DECIMAL(18,2)")},
            {_keep(parsed, "unit_cost", "DECIMAL(18,2)")}, {_keep(parsed, "stock", "BIGINT")}, $source AS source
        FROM parsed WHERE rule IS NULL
    """


def _shape_consents(scratch: Scratch, parsed: Parsed) -> str:
    """Without a date of its own a consent has no ``since``: loading gives it the instant of the load."""
    has = parsed.mapping.has
    purpose = "coalesce(purpose, 'marketing')" if has("purpose") else "'marketing'"
    since = "since" if has("since") else "CAST(NULL AS TIMESTAMPTZ)"
    # 9999-12-31 is how many a program writes that there is no end.
    until = f"CASE WHEN until_local < {NEVER} THEN until END" if has("until") else "CAST(NULL AS TIMESTAMPTZ)"
    return f"""
        SELECT customer_id, {translate_names("channel", CHANNEL_NAMES)} AS channel, {purpose} AS purpose, allowed,
            {since} AS since, {until} AS until, $source AS source
        FROM parsed WHERE rule IS NULL
    """


def _first(parsed: Parsed, *fields: str) -> str:
    found = [field for field in fields if parsed.mapping.has(field)]
    return f"coalesce({', '.join(found)})" if found else "CAST(NULL AS VARCHAR)"


def _keep(parsed: Parsed, field: str, kind: str = "VARCHAR") -> str:
    return f"CAST({field if parsed.mapping.has(field) else 'NULL'} AS {kind}) AS {field}"
