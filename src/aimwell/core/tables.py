"""The tables that the steps hand over: declared once here, validated at each hand-over, printed into the docs.

``Table.validate`` is the door between two rooms: types, required values, value sets and keys are checked,
and a breach is a ``ContractBroken`` that names table, column and example. Messages inside rows are kept
in the packed form of ``core.text.Text`` (type ``message``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.errors import ContractBroken
from aimwell.core.text import say


class Type(StrEnum):
    """The portable column types, the same on every engine."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    MONEY = "money"
    BOOLEAN = "boolean"
    DATE = "date"
    INSTANT = "instant"
    JSON = "json"
    MESSAGE = "message"


ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.TEXT: pa.string(),
    Type.INTEGER: pa.int64(),
    Type.REAL: pa.float64(),
    Type.MONEY: pa.decimal128(18, 2),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
    Type.INSTANT: pa.timestamp("us", tz="UTC"),
    Type.JSON: pa.string(),
    Type.MESSAGE: pa.string(),
}


@dataclass(frozen=True)
class Column:
    """One column: its type, what it means, and what may stand in it."""

    name: str
    type: Type
    meaning: str
    required: bool = True
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table that steps hand over."""

    name: str
    meaning: str
    writer: str
    readers: tuple[str, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    open_columns: bool = False
    """More columns than declared may stand in it (one per tag, one per delivered attribute)."""
    month_column: str | None = None
    """The date column by whose month large tables are split into files."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        assert len(set(names)) == len(names), self.name
        assert set(self.key) <= set(names), self.name

    def column(self, name: str) -> Column:
        """The declared column called ``name``; KeyError when there is none."""
        return {column.name: column for column in self.columns}[name]

    @property
    def schema(self) -> pa.Schema:
        """The declared columns as an Arrow schema."""
        return pa.schema(
            [
                pa.field(column.name, ARROW_TYPES[column.type], nullable=not column.required)
                for column in self.columns
            ]
        )

    def build(self, rows: list[dict[str, Any]]) -> pa.Table:
        """An Arrow table of ``rows``; absent optional columns become null."""
        names = [column.name for column in self.columns]
        extra = {name for row in rows for name in row} - set(names)
        if extra:
            raise self._broken("column", ", ".join(sorted(extra)), "not declared")
        return pa.Table.from_pylist(
            [{name: row.get(name) for name in names} for row in rows], schema=self.schema
        )

    def validate(self, data: pa.Table) -> pa.Table:
        """``data`` with columns in declared order and declared types; ContractBroken if it breaks the contract."""
        arrays = [self._validate_column(column, data) for column in self.columns]
        fields = list(self.schema)
        declared = {column.name for column in self.columns}
        for name in data.column_names:
            if name not in declared:
                if not self.open_columns:
                    raise self._broken("column", name, "not declared")
                arrays.append(data.column(name))
                fields.append(pa.field(name, data.column(name).type))
        result = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
        self._validate_key(result)
        return result

    def _validate_column(self, column: Column, data: pa.Table) -> pa.ChunkedArray:
        if column.name not in data.column_names:
            if column.required:
                raise self._broken("column", column.name, "missing")
            return pa.chunked_array([pa.nulls(data.num_rows, ARROW_TYPES[column.type])])
        values = data.column(column.name)
        try:
            values = values.cast(ARROW_TYPES[column.type])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._broken("column", column.name, str(error).splitlines()[0]) from error
        if column.required and values.null_count:
            raise self._broken("column", column.name, f"{values.null_count} empty values")
        if column.type is Type.REAL and values.null_count < len(values):
            finite = pc.all(pc.is_finite(values), skip_nulls=True).as_py()
            if not finite:
                raise self._broken("column", column.name, "NaN or infinite values")
        if column.one_of:
            wrong = pc.unique(values).to_pylist()
            wrong = [value for value in wrong if value is not None and value not in column.one_of]
            if wrong:
                raise self._broken("column", column.name, f"value {wrong[0]!r} is not one of {column.one_of}")
        return values

    def _validate_key(self, data: pa.Table) -> None:
        if not self.key or data.num_rows == 0:
            return
        counted = data.select(list(self.key)).group_by(list(self.key)).aggregate([([], "count_all")])
        if counted.num_rows != data.num_rows:
            repeated = counted.filter(pc.greater(counted["count_all"], 1)).slice(0, 1).to_pylist()[0]
            repeated.pop("count_all")
            raise self._broken("key", ", ".join(self.key), f"repeated, for example {repeated}")

    def _broken(self, part: str, name: str, problem: str) -> ContractBroken:
        return ContractBroken(
            "core.contract_broken",
            say(
                "The table '{table}' breaks its contract at {part} '{name}': {problem}.",
                table=self.name,
                part=part,
                name=name,
                problem=problem,
            ),
            where={"table": self.name, "column": name},
        )


T, N, R, M = Type.TEXT, Type.INTEGER, Type.REAL, Type.MONEY
B, D, AT, J = Type.BOOLEAN, Type.DATE, Type.INSTANT, Type.JSON

CHANNELS = ("email", "sms", "push", "call", "mail", "web", "ad")
ARMS = ("treatment", "control", "holdout")
WALLS = ("unavailable", "partial", "inaccurate", "unusable")
_RUN = Column("run_id", T, "the run that wrote the row")
_SIMULATED = Column("simulated", B, "true when the market simulator made the outcome")

CUSTOMERS = Table(
    "customers",
    "one row per customer: descriptive attributes 描述, one open column for each delivered attribute (text)",
    "data",
    ("analysis", "models", "strategy", "deployment"),
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
    ("analysis", "models", "strategy"),
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
        _SIMULATED,
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
        Column("source", T, "the source that delivered the row"),
        _SIMULATED,
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
        Column("source", T, "where the consent was given or withdrawn"),
    ),
    ("customer_id", "channel", "purpose", "since"),
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
        _RUN,
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
        _RUN,
    ),
    ("check_id",),
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
        _RUN,
    ),
    ("reject_id",),
)
TAGS = Table(
    "tags",
    "one row per customer, one open column per tag; the catalogue is analysis.tags.CATALOGUE",
    "analysis",
    ("models", "strategy", "deployment"),
    (
        Column("customer_id", T, "the customer"),
        Column("as_of", D, "the tags know everything before this business day and nothing after"),
        _RUN,
    ),
    ("customer_id",),
    open_columns=True,
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
        _RUN,
    ),
    ("segment",),
)
SEGMENT_MEMBERS = Table(
    "segment_members",
    "who is in a segment, and since when",
    "analysis",
    ("strategy", "report"),
    (
        Column("segment", T, "the segment"),
        Column("customer_id", T, "the member"),
        Column("entered_on", D, "first business day of this membership"),
        Column("left_on", D, "first business day no longer a member; empty while a member", required=False),
        _RUN,
    ),
    ("segment", "customer_id", "entered_on"),
)
SCORES = Table(
    "scores",
    "one row per customer and model: a prediction with its interval",
    "models",
    ("strategy", "analysis", "report"),
    (
        Column("customer_id", T, "the customer"),
        Column("model", T, "such as clv, active, propensity:PRODUCE"),
        Column("score", R, "the prediction, in the unit that the model card names"),
        Column("lower", R, "lower end of the 95 % interval", required=False),
        Column("upper", R, "upper end of the 95 % interval", required=False),
        Column("as_of", D, "known before this business day"),
        _RUN,
    ),
    ("customer_id", "model"),
)
EFFECTS = Table(
    "effects",
    "one row per customer and action: the expected increment, shrunken, with its standard error",
    "models",
    ("strategy",),
    (
        Column("customer_id", T, "the customer"),
        Column("action_id", T, "the action"),
        Column(
            "estimate",
            R,
            "posterior mean of incremental contribution: margin less cost of the offer, before unit cost; money",
        ),
        Column("standard_error", R, "posterior standard deviation; money"),
        Column("raw_estimate", R, "the same without shrinkage, for comparison; money", required=False),
        Column("redemption", R, "expected share who redeem the offer, 0–1"),
        Column("as_of", D, "learnt from outcomes before this business day"),
        _RUN,
    ),
    ("customer_id", "action_id"),
)
RECOMMENDATIONS = Table(
    "recommendations",
    "the next products of each customer, best first",
    "models",
    ("strategy", "deployment"),
    (
        Column("customer_id", T, "the customer"),
        Column("rank", N, "1 is the best"),
        Column("product_id", T, "the product"),
        Column("score", R, "comparable within a customer only"),
        Column("new_to_customer", B, "never bought before"),
        _RUN,
    ),
    ("customer_id", "rank"),
)
MODEL_CARDS = Table(
    "model_cards",
    "one row per model: purpose, data, method, validation, limits, curves",
    "models",
    ("report",),
    (
        Column("model", T, "the model"),
        Column("card", J, "see models.card.ModelCard"),
        _RUN,
    ),
    ("model",),
)
ACTIONS = Table(
    "actions",
    "offer × channel, with costs: what the optimiser chooses among",
    "strategy",
    ("models", "deployment", "evaluation"),
    (
        Column("action_id", T, "such as produce_20:sms"),
        Column("offer", T, "the offer's name in code"),
        Column("title", Type.MESSAGE, "the action for people"),
        Column("channel", T, "the channel", one_of=CHANNELS),
        Column("department", T, "what the offer is about; empty for everything", required=False),
        Column("discount", R, "share of the price that the offer gives away, 0–1"),
        Column("unit_cost", M, "cost of one contact"),
        Column("redemption_cost", M, "cost of the offer when it is redeemed"),
        Column("minutes", R, "call-centre minutes of one contact"),
        Column("rule", J, "eligibility as a typed rule; empty: everybody", required=False),
        _RUN,
    ),
    ("action_id",),
)
CONSTRAINTS = Table(
    "constraints",
    "one row per constraint of a plan: its limit, what the plan uses, what one more unit would earn",
    "strategy",
    ("deployment", "report"),
    (
        Column("plan_id", T, "the plan"),
        Column("constraint_id", T, "such as budget, call_minutes, stock:produce_20"),
        Column("title", Type.MESSAGE, "for people"),
        Column("sense", T, "at most or at least", one_of=("at_most", "at_least")),
        Column("limit", R, "the limit, in its unit"),
        Column("used", R, "what the plan uses"),
        Column("unit", T, "money, minutes, offers, contacts"),
        Column("shadow_price", R, "profit that one more unit would earn; money per unit"),
        _RUN,
    ),
    ("plan_id", "constraint_id"),
)
PLANS = Table(
    "plans",
    "one row per plan: expected profit and the certificate of how good it is",
    "strategy",
    ("deployment", "evaluation", "report"),
    (
        Column("plan_id", T, "the plan"),
        Column("goal", T, "the goal it serves"),
        Column("round_number", N, "the round, from 1"),
        Column("wave", T, "pilot or rollout", one_of=("pilot", "rollout")),
        Column("method", T, "how actions were chosen, such as lagrangian, randomised"),
        Column("as_of", D, "first business day of the plan's window"),
        Column("days", N, "length of the window in which outcomes count"),
        Column("audience", N, "customers who were considered"),
        Column("chosen", N, "customers with an action"),
        Column("expected_profit", R, "sum over treated customers of effect less cost; money"),
        Column("expected_profit_se", R, "its standard error; money"),
        Column("upper_bound", R, "no plan can expect more; money", required=False),
        Column("gap", R, "(upper bound − objective) ÷ upper bound", required=False),
        Column("cost", M, "expected cost of contacts and offers"),
        Column("fingerprint", T, "SHA-256 of items, arms and content: approval is bound to it"),
        Column("simulated", B, "true when the market will be simulated"),
        _RUN,
    ),
    ("plan_id",),
)
PLAN_ITEMS = Table(
    "plan_items",
    "one row per customer with an action: what is expected, what it costs, why, and with which probability",
    "strategy",
    ("deployment", "evaluation"),
    (
        Column("plan_id", T, "the plan"),
        Column("customer_id", T, "the customer"),
        Column("action_id", T, "the chosen action"),
        Column("expected_profit", R, "effect less expected cost; money"),
        Column("standard_error", R, "of the effect; money"),
        Column("expected_cost", R, "unit cost and expected cost of redemption; money"),
        Column("probability", R, "with which this customer was given this action, in (0, 1]"),
        Column("explored", B, "true when chosen at random in order to learn"),
        Column("reason", Type.MESSAGE, "why this action, in words"),
        _RUN,
    ),
    ("plan_id", "customer_id", "action_id"),
)
ASSIGNMENTS = Table(
    "assignments",
    "one row per customer of an experiment: the arm, drawn before launch, and its probability",
    "strategy",
    ("models", "deployment", "evaluation"),
    (
        Column("plan_id", T, "the plan, which is the experiment"),
        Column("customer_id", T, "the customer"),
        Column("arm", T, "treatment, control (of this plan) or holdout (of all marketing)", one_of=ARMS),
        Column(
            "action_id",
            T,
            "what treatment means for this customer; empty: no action was intended",
            required=False,
        ),
        Column("probability", R, "of this arm for this customer, in (0, 1]"),
        Column("stratum", T, "the stratum in which the arm was drawn"),
        _RUN,
    ),
    ("plan_id", "customer_id"),
)
DELIVERIES = Table(
    "deliveries",
    "the ledger as it stood when a wave closed: one row per message to one customer",
    "deployment",
    ("evaluation", "report"),
    (
        Column("delivery_id", T, "the delivery; also the key by which a provider rejects repeats"),
        Column("plan_id", T, "the plan"),
        Column("customer_id", T, "the customer"),
        Column("action_id", T, "the action"),
        Column("channel", T, "the channel", one_of=CHANNELS),
        Column(
            "state",
            T,
            "where it stands",
            one_of=("queued", "leased", "intent", "sent", "failed", "skipped", "in_doubt"),
        ),
        Column("reason", T, "code of why it was skipped or failed", required=False),
        Column("attempts", N, "how often it was tried"),
        Column("unit_cost", M, "what the contact cost; 0 unless sent"),
        Column("finished_at", AT, "when the state became final", required=False),
        _RUN,
    ),
    ("delivery_id",),
)
OUTCOMES = Table(
    "outcomes",
    "one row per customer of an experiment: what was observed in its window, and before it",
    "evaluation",
    ("models",),
    (
        Column("plan_id", T, "the experiment"),
        Column("customer_id", T, "the customer"),
        Column("orders", R, "orders in the window"),
        Column("revenue", R, "revenue in the window; money"),
        Column("contribution", R, "margin less cost of redeemed offers, before unit cost; money"),
        Column("redeemed", R, "offers redeemed in the window"),
        Column("orders_before", R, "orders in the covariate period, scaled to the window's length"),
        Column("revenue_before", R, "revenue in the covariate period, so scaled; money"),
        Column("contribution_before", R, "margin in the covariate period, so scaled; money"),
        _SIMULATED,
        _RUN,
    ),
    ("plan_id", "customer_id"),
)
RESULTS = Table(
    "results",
    "one row per metric of an experiment: what the plan caused, with its interval",
    "evaluation",
    ("goals", "strategy", "report"),
    (
        Column("plan_id", T, "the experiment"),
        Column("metric", T, "such as incremental_profit, orders_per_customer"),
        Column("segment", T, "all, or the part of the plan it is about"),
        Column("estimate", R, "the estimate"),
        Column("lower", R, "lower end of the 95 % interval"),
        Column("upper", R, "upper end of the 95 % interval"),
        Column("p_value", R, "two-sided, against no effect", required=False),
        Column("n_treatment", N, "customers in treatment"),
        Column("n_control", N, "customers in control"),
        Column("unit", T, "money, orders, share, ratio, customers"),
        Column("method", T, "how it was estimated"),
        Column("look", N, "which look at the data this is, from 1"),
        _SIMULATED,
        _RUN,
    ),
    ("plan_id", "metric", "segment", "look"),
)
LESSONS = Table(
    "lessons",
    "what the next round starts from: per action what was promised and realised",
    "evaluation",
    ("models", "strategy", "report"),
    (
        Column("plan_id", T, "the experiment it was learnt from"),
        Column("action_id", T, "the action; empty for the whole plan", required=False),
        Column("promised", R, "expected profit of the treated; money"),
        Column("realised", R, "estimated incremental profit of the treated; money"),
        Column("standard_error", R, "of realised; money"),
        Column("n_treatment", N, "customers treated"),
        Column("n_control", N, "customers in control"),
        Column("lesson", Type.MESSAGE, "in words"),
        _SIMULATED,
        _RUN,
    ),
    (),
)

ALL_TABLES: tuple[Table, ...] = (
    CUSTOMERS,
    PRODUCTS,
    ORDER_LINES,
    EVENTS,
    CONSENTS,
    SOURCES,
    QUALITY,
    REJECTS,
    TAGS,
    SEGMENTS,
    SEGMENT_MEMBERS,
    SCORES,
    EFFECTS,
    RECOMMENDATIONS,
    MODEL_CARDS,
    ACTIONS,
    CONSTRAINTS,
    PLANS,
    PLAN_ITEMS,
    ASSIGNMENTS,
    DELIVERIES,
    OUTCOMES,
    RESULTS,
    LESSONS,
)
TABLES: dict[str, Table] = {table.name: table for table in ALL_TABLES}
