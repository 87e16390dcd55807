"""SQL that a person wrote, read with care: one SELECT over the tables it may see, with functions that only compute.

The text is parsed, every part is looked at, and what is run is written anew from the tree that was looked at, so that
nothing can hide between two ways of reading one text. What is not known to be harmless is refused. It reads no table.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

_FUNCTIONS = frozenset(
    " ".join(
        (
            "abs and any_value approx_count_distinct arg_max arg_min array_agg avg case cast ceil ceiling",
            "coalesce concat count count_if countif cume_dist current_date date_add date_diff date_part date_sub",
            "date_trunc datediff day day_of_month day_of_week dayofmonth dayofweek dayofyear dense_rank epoch exp",
            "extract first first_value floor greatest hour if ifnull interval is_nan isnull isodow json_extract",
            "json_extract_scalar json_extract_string lag last last_value lead least left length ln log log10 log2",
            "lower ltrim max max_by md5 median min min_by minute mod month not ntile nullif or percent_rank",
            "percentile_cont percentile_disc pi position pow power quantile quantile_cont quarter rank",
            "regexp_extract regexp_full_match regexp_ilike regexp_like regexp_matches regexp_replace replace",
            "right round row_number rtrim second sign split_part sqrt starts_with startswith stddev stddev_pop",
            "stddev_samp str_position strftime strpos substr substring sum time_to_str timestamp_trunc to_days",
            "trim try_cast ts_or_ds_to_date tsordstodate upper var_pop var_samp variance week weekofyear",
            "within_group xor year",
        )
    ).split(" ")
)
_LONGEST = 20_000
_WORD = re.compile(r"[^\W\d]\w*")


def check_select(sql: str, tables: Collection[str], parameters: Collection[str] = ()) -> str:
    """``sql`` written anew when it is one harmless SELECT over ``tables``; else BadInput that names the reason.

    ``parameters``: the ``$names`` that it may use. Text of more than 20,000 characters is refused unread.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if len(sql) > _LONGEST:
        raise _refuse("too_long", say("it is longer than {count} characters", count=_LONGEST))
    try:
        statements = [one for one in sqlglot.parse(sql, read="duckdb") if one is not None]
    except (SqlglotError, RecursionError) as error:
        raise _refuse("unreadable", _locate(error)) from error
    if len(statements) != 1:
        raise _refuse("statements", say("it holds {count} statements, not one", count=len(statements)))
    tree = statements[0]
    if not isinstance(tree, exp.Query) or isinstance(tree, exp.Values):
        raise _refuse("not_a_select", say("it is no SELECT"))
    for node in tree.walk():
        _check_node(node, {_fold(name) for name in tables}, parameters)
    return tree.sql(dialect="duckdb", comments=False)


def _locate(error: Exception) -> Text:
    """Where reading stopped; what the parser says of it are words about its own parts."""
    places = getattr(error, "errors", None) or []
    if not places or not places[0].get("line"):
        return say("it cannot be read to its end")
    place = places[0]
    near = _shorten(f"{place.get('start_context') or ''}{place.get('highlight') or ''}"[-40:].strip())
    return say(
        "it cannot be read at line {line}, column {column}, after '{text}'",
        line=place["line"],
        column=place.get("col") or 1,
        text=near,
    )


def _check_node(node: object, tables: set[str], parameters: Collection[str]) -> None:
    from sqlglot import exp

    if isinstance(node, exp.DDL | exp.DML | exp.Command | exp.Into | exp.Pragma | exp.Set) and not isinstance(
        node, exp.Query
    ):
        raise _refuse("writes", say("it would change something: {part}", part=_shorten(str(node))))
    if isinstance(node, exp.With) and node.args.get("recursive"):
        raise _refuse("recursive", say("it is recursive, and might never end"))
    if isinstance(node, exp.Table):
        _check_table(node, tables)
    elif isinstance(node, exp.Parameter | exp.Placeholder):
        name = node.name or str(node.this or "")
        if name not in parameters:
            raise _refuse("parameter", say("it has a place for a value that nobody gives: {name}", name=name))
    elif isinstance(node, exp.Func):
        _check_function(node)


def _check_table(node: object, tables: set[str]) -> None:
    from sqlglot import exp

    assert isinstance(node, exp.Table)
    if not isinstance(node.this, exp.Identifier):
        raise _refuse(
            "table_function", say("it reads from a function: {part}", part=_shorten(str(node.this)))
        )
    if node.args.get("db") or node.args.get("catalog"):
        raise _refuse("catalogue", say("it reads from another database: {part}", part=_shorten(str(node))))
    if _fold(node.name) not in tables | _list_visible(node):
        nearest = get_close_matches(node.name.lower(), sorted(tables), n=3, cutoff=0.6)
        listed = list(dict.fromkeys((*nearest, *sorted(tables))))
        raise _refuse(
            "table",
            say("it reads from '{table}'", table=_shorten(node.name)),
            say("It may read: {tables}.", tables=join_list(listed)),
        )


def _list_visible(node: object) -> set[str]:
    """The names that WITH has made where ``node`` stands: those of its own list only once they are there.

    Elsewhere the same name means a file or another table, so that a name counts only where the engine finds it.
    """
    from sqlglot import exp

    assert isinstance(node, exp.Expr)
    visible: set[str] = set()
    child: exp.Expr | None = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            earlier = parent.expressions[: [cte is child for cte in parent.expressions].index(True)]
            visible |= {_fold(cte.alias) for cte in earlier}
            # Whoever has this list of names sees all of them, but the list itself does not.
            child, parent = parent, parent.parent
        elif isinstance(with_ := parent.args.get("with_"), exp.With):
            visible |= {_fold(cte.alias) for cte in with_.expressions}
        child, parent = parent, None if parent is None else parent.parent
    return {name for name in visible if _WORD.fullmatch(name)}


def _fold(name: str) -> str:
    """As the engine compares names: only the letters A to Z have a case."""
    return name.lower() if name.isascii() else name


def _check_function(node: object) -> None:
    from sqlglot import exp

    assert isinstance(node, exp.Func)
    if isinstance(node, exp.Anonymous):
        names = {str(node.this).lower()}
    else:
        names = {name.lower() for name in type(node).sql_names()} | {node.key.lower()}
    if not names & _FUNCTIONS and not isinstance(node, exp.Binary | exp.Case | exp.Cast):
        raise _refuse(
            "function",
            say("it calls {function}, which tags may not", function=_shorten(sorted(names)[0].upper())),
        )


def _refuse(code: str, problem: Text, remedy: Text | None = None) -> BadInput:
    return BadInput(
        f"engine.sql_{code}",
        say("This SQL is refused: {problem}.", problem=problem),
        remedy=remedy
        or say("Write one SELECT over the tables of the workspace, with functions that only compute."),
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
