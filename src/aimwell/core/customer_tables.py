"""The tables that describe customers: what data delivers and what analysis makes of it."""

from __future__ import annotations

from aimwell.core.columns import AT, CHANNELS, RUN, SIMULATED, WALLS, B, D, J, M, N, R, T
from aimwell.core.table import Column, Table, Type

CUSTOMERS = Table(
    "customers",
    "one row per customer: descriptive attributes 描述, one open column for each delivered attribute (text)",
    "data",
    ("goals", "analysis", "models", "strategy", "deployment"),
    (
        Column("customer_id", T, "the customer"),
        Column("email", T, "address for e-mail", required=False),
        Column("phone", T, "number for SMS and calls", required=False),
        Column("address", T, "postal address", required=False),
        Column("region", T, "sales region", required=False),
        Column("source", T, "the source that delivered the row"),
    ),
    ("customer_id",),
    open_columns=True,
)
PRODUCTS = Table(
    "products",
    "one row per product",
    "data",
    ("goals", "analysis", "models", "strategy"),
    (
        Column("product_id", T, "the product"),
        Column("name", T, "what people call it", required=False),
        Column("department", T, "the widest grouping", required=False),
        Column("category", T, "the narrower grouping", required=False),
        Column("brand", T, "the brand or its kind", required=False),
        Column("price", M, "list price of one unit", required=False),
        Column("unit_cost", M, "what one unit costs us", required=False),
        Column("stock", N, "units that can be sold", required=False),
        Column("source", T, "the source that delivered the row"),
    ),
    ("product_id",),
)
ORDER_LINES = Table(
    "order_lines",
    "one row per product in an order: purchases and returns",
    "data",
    ("goals", "analysis", "models", "strategy", "evaluation"),
    (
        Column("line_id", T, "the line, unique over all sources"),
        Column("order_id", T, "the order (basket, invoice, visit to the till)"),
        Column("customer_id", T, "the customer who bought"),
        Column("product_id", T, "the product", required=False),
        Column(
            "ordered_at",
            AT,
            "the instant of the order; midnight of the business day when only a date is known",
        ),
        Column("ordered_on", D, "the business's calendar day"),
        Column("ordered_hour", N, "hour 0–23 on the business's clock", required=False),
        Column("quantity", R, "units; negative for a return", required=False),
        Column("revenue", M, "what the customer paid for the line; negative for a return", required=False),
        Column("discount", M, "list amount less what was paid, at least 0", required=False),
        Column("store_id", T, "the store or sales region of the order", required=False),
        Column("source", T, "the source that delivered the row"),
        SIMULATED,
    ),
    ("line_id",),
    month_column="ordered_on",
)
EVENTS = Table(
    "events",
    "one row per thing that a customer did or that we did to a customer (Segment's names)",
    "data, deployment",
    ("analysis", "models", "deployment", "evaluation"),
    (
        Column("event_id", T, "unique; the message id where the source has one"),
        Column("customer_id", T, "the customer"),
        Column("name", T, "such as Coupon Redeemed, Product Viewed, Message Sent"),
        Column("occurred_at", AT, "the instant"),
        Column("occurred_on", D, "the business's calendar day"),
        Column("product_id", T, "the product it is about", required=False),
        Column("campaign_id", T, "the campaign it belongs to", required=False),
        Column("channel", T, "the channel it came through", required=False),
        Column("properties", J, "everything else that the source delivered", required=False),
        Column(
            "received_at",
            AT,
            "when it reached us, where that is known: late events can be told",
            required=False,
        ),
        Column("source", T, "the source that delivered the row"),
        SIMULATED,
    ),
    ("event_id",),
    month_column="occurred_on",
)
CONSENTS = Table(
    "consents",
    "what a customer allows, per channel and purpose; the latest instant wins",
    "data",
    ("strategy", "deployment"),
    (
        Column("customer_id", T, "the customer"),
        Column("channel", T, "the channel", one_of=CHANNELS),
        Column("purpose", T, "what the contact is for", one_of=("marketing", "service")),
        Column("allowed", B, "whether contact is allowed"),
        Column("since", AT, "from when this holds"),
        Column("until", AT, "from when it holds no longer; empty: no end", required=False),
        Column("source", T, "where the consent was given or withdrawn"),
    ),
    ("customer_id", "channel", "purpose", "since"),
)
SIGNALS = Table(
    "signals",
    "associated 关联: what customers think and say: satisfaction, preference, complaint, loyalty",
    "data",
    ("analysis", "models"),
    (
        Column("signal_id", T, "the row"),
        Column("customer_id", T, "the customer"),
        Column(
            "kind", T, "what is said", one_of=("satisfaction", "preference", "complaint", "loyalty", "other")
        ),
        Column("name", T, "the question or topic, such as nps or delivery"),
        Column("score", R, "the answer as a number, on the source's own scale", required=False),
        Column("text", T, "the answer in words", required=False),
        Column("given_at", AT, "the instant"),
        Column("given_on", D, "the business's calendar day"),
        Column("source", T, "the source that delivered the row"),
    ),
    ("signal_id",),
)
IDENTIFIERS = Table(
    "identifiers",
    "one row per identifier of a customer record: phone, e-mail, openid, member number, device",
    "data",
    ("data", "analysis"),
    (
        Column("record_id", T, "the customer record as its source calls it (customer_id as delivered)"),
        Column("kind", T, "such as phone, email, openid, member, device, name, anonymous"),
        Column("value", T, "the identifier in its one normal form, such as +8613800138000"),
        Column("usable", B, "false when blocked or shared by too many: it joins nobody"),
        Column("source", T, "the source that delivered the row"),
        RUN,
    ),
    ("record_id", "kind", "value", "source"),
)
IDENTITY_LINKS = Table(
    "identity_links",
    "a log: which two customer records are one person, why, and what was undone; replayed it gives identities",
    "data",
    ("data",),
    (
        Column("link_id", T, "the entry"),
        Column("left_record", T, "the one customer record"),
        Column("right_record", T, "the other customer record"),
        Column("verdict", T, "same joins them; apart undoes and forbids it", one_of=("same", "apart")),
        Column("method", T, "who says so", one_of=("deterministic", "probabilistic", "person")),
        Column("probability", R, "that both are one person, 0–1"),
        Column("evidence", J, "which identifiers or comparisons, each with its weight"),
        Column("decided_at", AT, "when it was decided"),
        RUN,
    ),
    ("link_id",),
)
IDENTITIES = Table(
    "identities",
    "customer record → customer, for the records that were joined; readers see the customer in every table",
    "data",
    ("data", "analysis"),
    (
        Column("record_id", T, "the customer record as its source calls it"),
        Column("customer_id", T, "the customer whom it belongs to (one of the joined records)"),
        RUN,
    ),
    ("record_id",),
)
SOURCES = Table(
    "sources",
    "one row per file or delivery that was taken in, and how it was read",
    "data",
    ("data", "report"),
    (
        Column("source", T, "the source"),
        Column("table_name", T, "the table it feeds"),
        Column("file", T, "the file's name; empty for a delivery without file"),
        Column("encoding", T, "how its characters are spelled", required=False),
        Column("rows", N, "rows that were delivered"),
        Column("accepted", N, "rows that were taken in"),
        Column("rejected", N, "rows that were set aside; rows = accepted + rejected"),
        Column("reading", J, "columns in their order, mapping, decisions and notices"),
        Column("loaded_at", AT, "when it was last taken in"),
        RUN,
    ),
    ("source", "table_name", "file"),
)
QUALITY = Table(
    "quality",
    "one row per check of a source or column, filed under one of the four data walls",
    "data",
    ("analysis", "report"),
    (
        Column("check_id", T, "the row"),
        Column("source", T, "the source that was checked"),
        Column("table_name", T, "the table it feeds"),
        Column("column_name", T, "the column; empty for the whole source", required=False),
        Column(
            "wall",
            T,
            "unavailable 无法获得, partial 片面, inaccurate 不准确, unusable 无法利用",
            one_of=WALLS,
        ),
        Column("check_name", T, "which check, such as missing_values"),
        Column("severity", T, "how bad", one_of=("ok", "notice", "warning", "error")),
        Column("affected", N, "rows that fail the check"),
        Column("total", N, "rows that were checked"),
        Column("examples", J, "up to five values that fail, as a JSON list"),
        Column("finding", Type.MESSAGE, "what was found"),
        Column("remedy", Type.MESSAGE, "what to do about it", required=False),
        RUN,
    ),
    ("check_id",),
)
QUALITY_HISTORY = Table(
    "quality_history",
    "how each check came out at each load, so that trend and drift can be seen",
    "data",
    ("data", "report"),
    (
        Column("checked_at", AT, "when the check ran"),
        Column("source", T, "the source that was checked"),
        Column("table_name", T, "the table it feeds"),
        Column("column_name", T, "the column; empty for the whole source", required=False),
        Column("wall", T, "the data wall", one_of=WALLS),
        Column("check_name", T, "which check"),
        Column("affected", N, "rows that fail the check"),
        Column("total", N, "rows that were checked"),
        Column(
            "figures",
            J,
            "what the next load is compared with: shares, quantiles, distinct values",
            required=False,
        ),
        RUN,
    ),
    (),
)
REJECTS = Table(
    "rejects",
    "every row that could not be taken in, whole, with the reason: repaired rows can be loaded again",
    "data",
    ("report",),
    (
        Column("reject_id", T, "the row"),
        Column("source", T, "the source"),
        Column("file", T, "the file's name"),
        Column("row_number", N, "line in the file; the header is line 1", required=False),
        Column("column_name", T, "the column at fault", required=False),
        Column("value", T, "the value at fault", required=False),
        Column("reason", T, "stable code of the reason"),
        Column("message", Type.MESSAGE, "the reason and the remedy in words"),
        Column("record", J, "the whole row as delivered"),
        RUN,
    ),
    ("reject_id",),
)
ERASURES = Table(
    "erasures",
    "who was erased, as keyed digests that only this workspace can recognise: no file brings them back",
    "data",
    ("data",),
    (
        Column("digest", T, "HMAC-SHA-256 of the record's id or the contact, by the workspace's secret"),
        Column(
            "kind",
            T,
            "record: its rows stay out; email, phone: must not be contacted, is left empty in new rows; "
            "trace: rejects that hold it stay out",
            one_of=("record", "email", "phone", "trace"),
        ),
        Column("erased_on", D, "the business's calendar day"),
        RUN,
    ),
    ("digest", "kind"),
)
TAGS = Table(
    "tags",
    "one row per customer (whoever is known, has bought or has done anything), one open column per tag",
    "analysis",
    ("models", "strategy", "deployment"),
    (
        Column("customer_id", T, "the customer"),
        Column("as_of", D, "the tags know everything before this business day and nothing after"),
        RUN,
    ),
    ("customer_id",),
    open_columns=True,
)
TAG_HISTORY = Table(
    "tag_history",
    "what a tag was, for the tags that ask for it: a row whenever its value changed",
    "analysis",
    ("analysis", "report"),
    (
        Column("customer_id", T, "the customer"),
        Column("tag", T, "the tag"),
        Column("value", T, "the value from that day on, as text", required=False),
        Column("since", D, "first business day with this value"),
        RUN,
    ),
    ("customer_id", "tag", "since"),
)
SEGMENTS = Table(
    "segments",
    "one row per segment: a named yes/no rule over tags",
    "analysis",
    ("strategy", "report"),
    (
        Column("segment", T, "its name in code"),
        Column("title", Type.MESSAGE, "its name for people"),
        Column("rule", J, "the typed rule"),
        Column("sql", T, "the rule as it was run"),
        Column("size", N, "members"),
        Column("as_of", D, "the business day"),
        RUN,
    ),
    ("segment",),
)
SEGMENT_MEMBERS = Table(
    "segment_members",
    "who is in a segment, and since when",
    "analysis",
    ("goals", "strategy", "report"),
    (
        Column("segment", T, "the segment"),
        Column("customer_id", T, "the member"),
        Column("entered_on", D, "first business day of this membership"),
        Column("left_on", D, "first business day no longer a member; empty while a member", required=False),
        RUN,
    ),
    ("segment", "customer_id", "entered_on"),
)
