"""SQL expressions over tags, read with care: names, literals, operators and a few functions, nothing else.

They read no table and write none; a subquery, a comment or an unknown sign is refused, so that an expression
from a definitions file can do no more than compute.
"""

from __future__ import annotations

import re

from aimwell.core.errors import BadInput
from aimwell.core.text import say

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
