"""Says in Spark's or ClickHouse's words what is written in DuckDB's: the project writes its SQL once.

SQLGlot translates the grammar; what it leaves out stands here: types, bound values, weekdays, letters beyond ASCII.
Texts that keep to the portable subset (``docs/architecture.md``, "Engines") give the same rows everywhere, which
``tests/conformance`` shows. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aimwell.core.errors import BadInput
from aimwell.core.text import say

Dialect = Literal["spark", "clickhouse"]


@dataclass(frozen=True)
class Translation:
    """A statement in another engine's words, and the tables and views that it reads."""

    sql: str
    tables: frozenset[str]


@dataclass(frozen=True)
class Statement:
    """A statement that answers nothing: a name is given to a query's rows, or taken back (no query)."""

    name: str
    query: str | None


def translate(sql: str, dialect: Dialect, parameters: Mapping[str, Any] | None = None) -> Translation:
    """``sql`` (DuckDB, values as ``$name``) for ``dialect``; BadInput when it is beyond what can be translated."""
    kinds = tuple(sorted((name, _find_kind(value)) for name, value in (parameters or {}).items()))
    return _translate(sql, dialect, kinds)


def read_statement(sql: str) -> Statement:
    """``CREATE [OR REPLACE] TEMP TABLE|VIEW name AS query`` or ``DROP``; BadInput for any other statement."""
    tree = _parse(sql)
    name = next((table.name for table in tree.find_all(exp.Table, bfs=True)), "")
    if isinstance(tree, exp.Create) and tree.kind in ("TABLE", "VIEW") and tree.expression is not None:
        return Statement(tree.this.name, tree.expression.sql(dialect="duckdb"))
    if isinstance(tree, exp.Drop) and tree.args.get("kind") in ("TABLE", "VIEW"):
        return Statement(name, None)
    raise _refuse(sql, "CREATE TEMP TABLE … AS SELECT …")


@lru_cache(maxsize=1024)
def _translate(sql: str, dialect: Dialect, kinds: tuple[tuple[str, str], ...]) -> Translation:
    tree = _parse(sql)
    if not isinstance(tree, exp.Query):
        raise _refuse(sql, "SELECT …")
    tables = frozenset(table.name for table in tree.find_all(exp.Table))
    known = dict(kinds)
    change = _change_for_spark if dialect == "spark" else _change_for_clickhouse
    # From the leaves up: what stands inside a node that is replaced has been changed before.
    for node in reversed(list(tree.walk())):
        if (changed := change(node, known)) is not node:
            node.replace(changed)
    for part in tree.find_all(exp.CTE):
        # To compute a part once and keep it is a hint that only DuckDB understands.
        part.set("materialized", None)
    try:
        text = tree.sql(dialect=dialect, copy=False, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except SqlglotError as error:
        raise _refuse(sql, str(error).splitlines()[0]) from error
    return Translation(text, tables)


def _parse(sql: str) -> exp.Expr:
    try:
        return sqlglot.parse_one(sql, read="duckdb")
    except SqlglotError as error:
        raise _refuse(sql, str(error).splitlines()[0]) from error


def _refuse(sql: str, problem: str) -> BadInput:
    return BadInput(
        "engine.not_portable",
        say("This query cannot be said in the words of the chosen engine: {problem}", problem=problem),
        remedy=say('Write it in plainer SQL, or set engine.name = "duckdb" in aimwell.toml.'),
        where={"value": sql[:200]},
    )


def _find_kind(value: object) -> str:
    """ClickHouse's type of a bound value; empty for NULL."""
    match value:
        case None:
            return ""
        case bool():
            return "Bool"
        case int():
            return "Int64"
        case float():
            return "Float64"
        case Decimal():
            return f"Decimal(38, {max(0, -int(value.as_tuple().exponent))})"
        case datetime():
            return "DateTime64(6, 'UTC')"
        case date():
            return "Date32"
        case str():
            return "String"
    raise BadInput(
        "engine.bad_value",
        say("A value of the kind {kind} cannot be bound on this engine.", kind=type(value).__name__),
        remedy=say('Set engine.name = "duckdb" in aimwell.toml.'),
    )


def _change_for_spark(node: exp.Expr, kinds: Mapping[str, str]) -> exp.Expr:
    if isinstance(node, exp.Placeholder) and kinds.get(node.name) == "":
        return exp.Null()
    if isinstance(node, exp.Placeholder) and kinds.get(node.name) == "Date32":
        # Bound as text: on the way through Java a day before 1582 would become another, or an error.
        return exp.cast(node.copy(), "date")
    if isinstance(node, exp.Where) and isinstance(node.this, exp.Paren):
        # Spark would take "FROM seen WHERE (TRUE)" for a table called WHERE with a column called TRUE.
        return exp.Where(this=node.this.unnest().copy())
    if isinstance(node, exp.Extract) and node.name.upper() == "ISODOW":
        return exp.Extract(this=exp.Var(this="DOW_ISO"), expression=node.expression)
    if isinstance(node, exp.Anonymous) and node.name.upper() == "EPOCH_US":
        return exp.Anonymous(this="UNIX_MICROS", expressions=node.expressions)
    if isinstance(node, exp.Div):
        return _divide_reals(node)
    return _round_half_away(node) if isinstance(node, exp.Round) else node


def _change_for_clickhouse(node: exp.Expr, kinds: Mapping[str, str]) -> exp.Expr:
    match node:
        case exp.Column() if (
            node.table
            and isinstance(node.parent, exp.Select)
            and node.arg_key == "expressions"
            and not node.is_star
        ):
            # Of two joined columns of one name ClickHouse would call this one by its table and name.
            return exp.alias_(node.copy(), node.this.copy())
        case exp.Placeholder():
            kind = kinds.get(node.name, "")
            return exp.Placeholder(this=node.name, kind=exp.Var(this=kind)) if kind else exp.Null()
        case exp.Extract() if node.name.upper() == "ISODOW":
            return exp.Anonymous(this="toDayOfWeek", expressions=[node.expression])
        case exp.Anonymous() if node.name.upper() == "EPOCH_US":
            return exp.Anonymous(this="toUnixTimestamp64Micro", expressions=node.expressions)
        case exp.Div():
            return _divide_reals(node)
        case exp.Round():
            return _round_half_away(node)
        case exp.BitwiseRightShift():
            return exp.Anonymous(this="bitShiftRight", expressions=[node.this, node.expression])
        case exp.JSONExtractScalar(expression=exp.JSONPath()):
            return _read_json(node)
        case exp.TryCast():
            wanted = node.to.copy()
            wanted.set("nullable", False)
            name = exp.convert(wanted.sql(dialect="clickhouse"))
            return exp.Anonymous(this="accurateCastOrNull", expressions=[node.this, name])
        case exp.Lower():
            return exp.Anonymous(this="lowerUTF8", expressions=[node.this])
        case exp.Upper():
            return exp.Anonymous(this="upperUTF8", expressions=[node.this])
        case exp.DataType(this=exp.DataType.Type.DATE):
            return exp.DataType(this=exp.DataType.Type.DATE32)
        case exp.DataType(this=exp.DataType.Type.TIMESTAMPTZ):
            return exp.DataType.build("DateTime64(6, 'UTC')", dialect="clickhouse")
    return node


def _divide_reals(node: exp.Div) -> exp.Expr:
    """DuckDB divides in real numbers; Spark and ClickHouse cut quotients of decimals after a few digits."""
    return exp.Div(this=exp.cast(node.this.copy(), "double"), expression=node.expression.copy(), typed=True)


def _round_half_away(node: exp.Round) -> exp.Expr:
    """Halves away from zero, as DuckDB rounds: ClickHouse goes to the even digit, Spark by the decimal spelling."""
    digits = node.args.get("decimals")
    if digits is not None and not digits.is_int:
        return node
    scale = exp.Literal.number(repr(10.0 ** (int(digits.to_py()) if digits is not None else 0)))
    value = exp.paren(node.this.copy())
    away = exp.Floor(this=exp.Abs(this=value) * scale + exp.Literal.number("0.5"))
    return exp.paren(_divide_reals(exp.Sign(this=value.copy()) * away / scale.copy()))


def _read_json(node: exp.Expr) -> exp.Expr:
    """A text without its quotes, anything else as it stands, NULL where the path leads nowhere.

    ClickHouse's own function would answer an empty text there.
    """
    path = [part.this for part in node.expression.expressions if not isinstance(part, exp.JSONPathRoot)]
    keys = [exp.convert(key + 1 if isinstance(key, int) else str(key)) for key in path]

    def call(name: str) -> exp.Expr:
        return exp.Anonymous(this=name, expressions=[node.this.copy(), *(key.copy() for key in keys)])

    kind = exp.cast(call("JSONType"), "text")
    return (
        exp.case(kind)
        .when(exp.convert("String"), call("JSONExtractString"))
        .when(exp.convert("Null"), exp.Null())
        .else_(call("JSONExtractRaw"))
    )
