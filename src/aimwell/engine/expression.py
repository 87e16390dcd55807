"""SQL expressions over tags, read with care: names, literals, operators and a few functions, nothing else.

They read no table and write none; a subquery, a comment or an unknown sign is refused, so that an expression
from a definitions file can do no more than compute. What has no value is empty, on every engine: a quotient by 0, the
logarithm of what is not above 0, the square root of what is below 0.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from aimwell.core.errors import BadInput
from aimwell.core.text import say

if TYPE_CHECKING:
    from sqlglot import exp

_WORDS = {
    *(
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "AND",
        "OR",
        "NOT",
        "IS",
        "NULL",
        "TRUE",
        "FALSE",
        "IN",
        "BETWEEN",
    ),
    *(
        "COALESCE",
        "NULLIF",
        "GREATEST",
        "LEAST",
        "ABS",
        "ROUND",
        "FLOOR",
        "CEIL",
        "LN",
        "EXP",
        "SQRT",
        "LENGTH",
    ),
}
_MAY_FAIL = re.compile(r"%|/(?!\s*NULLIF\s*\()|\b(?:LN|SQRT|EXP)\s*\(", re.IGNORECASE)
_GREATEST_POWER = 709.78
"""e to this power is the last that a real number of 64 bits holds."""
_TOKEN = re.compile(
    r"\s+|(?P<name>[A-Za-z_]\w*)|(?P<quoted>\"[^\"]+\")|'(?:[^']|'')*'|\d+(?:\.\d+)?|<>|!=|<=|>=|[-+*/%(),<>=]"
)


def find_expression_inputs(sql: str) -> tuple[str, ...]:
    """The tag names in ``sql``; BadInput when it holds more than an expression may."""
    names: dict[str, None] = {}
    position = 0
    while position < len(sql):
        token = _TOKEN.match(sql, position)
        if token is None or sql.startswith("--", position):
            raise BadInput(
                "engine.bad_expression",
                say(
                    "The expression cannot be read at character {position}: '{rest}'.",
                    position=position + 1,
                    rest=sql[position : position + 20],
                ),
                remedy=say(
                    "Use tag names, numbers, 'text', + - * /, CASE and functions such as COALESCE or ROUND."
                ),
                where={"value": sql, "column": position + 1},
            )
        if token["name"] and token["name"].upper() not in _WORDS:
            names[token["name"]] = None
        elif token["quoted"]:
            names[token["quoted"][1:-1]] = None
        position = token.end()
    return tuple(names)


@lru_cache(maxsize=1024)
def make_total(sql: str) -> str:
    """``sql`` so that it is empty wherever it has no value; one engine would fail there, another say ``inf``.

    BadInput when it is no expression.
    """
    if not _MAY_FAIL.search(sql):
        return sql
    # Loaded only where it is needed: the built-in expressions say NULLIF themselves.
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except SqlglotError as error:
        raise BadInput(
            "engine.unreadable_expression",
            say("'{sql}' is no expression.", sql=sql[:200]),
            remedy=say(
                "Use tag names, numbers, 'text', + - * /, CASE and functions such as COALESCE or ROUND."
            ),
            where={"value": sql[:200]},
        ) from error
    for node in reversed(list(tree.walk())):
        _guard(node)
    return tree.sql(dialect="duckdb")


def _guard(node: exp.Expr) -> None:
    """Make what would have no value at ``node`` empty before it gets there."""
    from sqlglot import exp

    if isinstance(node, exp.Div | exp.Mod):
        divisor = node.expression
        if not (isinstance(divisor, exp.Literal) and float(divisor.this)):
            node.set("expression", exp.Nullif(this=divisor.copy(), expression=exp.Literal.number(0)))
        return
    if not isinstance(node, exp.Ln | exp.Sqrt | exp.Exp):
        return
    inside = exp.paren(node.this.copy())
    test: exp.Expr = exp.LTE(this=inside, expression=exp.Literal.number(_GREATEST_POWER))
    if isinstance(node, exp.Ln):
        test = exp.GT(this=inside, expression=exp.Literal.number(0))
    elif isinstance(node, exp.Sqrt):
        test = exp.GTE(this=inside, expression=exp.Literal.number(0))
    node.set("this", exp.case().when(test, node.this.copy()))
