"""Why a segment is empty where nobody can be in it: a tag of its rule needs data that nobody delivered.

Reads order_lines, products, events, signals, consents and the segments' rules; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

from aimwell.analysis.catalogue import CATALOGUE
from aimwell.analysis.support import probe_support
from aimwell.core.text import Text, say
from aimwell.engine.rule import All, Any, Between, Compare, OneOf, Rule
from aimwell.engine.rule_json import rule_from_json
from aimwell.engine.session import Queryable


def find_lacks(reader: Queryable, *, as_of: date) -> dict[str, Text]:
    """For each empty segment of the last analysis that lacks data, what it lacks; others are not in the answer."""
    rows = reader.query("SELECT segment, rule FROM segments WHERE size = 0 ORDER BY segment").to_pylist()
    if not rows:
        return {}
    missing = probe_support(reader, as_of=as_of).find_unsupported(CATALOGUE)
    # Which column of a source is a birthday is not looked for here.
    missing = {tag: need for tag, need in missing.items() if not need.startswith("customers")}
    return explain_empty({row["segment"]: rule_from_json(json.loads(row["rule"])) for row in rows}, missing)


def explain_empty(rules: Mapping[str, Rule], missing: Mapping[str, str]) -> dict[str, Text]:
    """For each of these empty segments what keeps it empty; ``missing``: the tags without data, each with its need."""
    found = {}
    for name, rule in rules.items():
        need = _find_need(rule, missing)
        if need is not None:
            found[name] = explain_need(need)
    return found


def explain_need(need: str) -> Text:
    """What is lacking, and what to do."""
    kind, _, name = need.partition(":")
    if kind == "order_lines":
        return say("There are no orders. Add them: aimwell data add FILE --as order_lines")
    if kind == "events":
        return say(
            "No event '{event}' was delivered. Add events: aimwell data add FILE --as events",
            event=name or "–",
        )
    if kind in ("signals", "consents"):
        return say(
            "Nothing was delivered for {table}. Add it: aimwell data add FILE --as {table}", table=kind
        )
    table, _, column = kind.partition(".")
    return say(
        "{table} has no values in '{column}'. Map that column of the source.", table=table, column=column
    )


def _find_need(rule: Rule, missing: Mapping[str, str]) -> str | None:
    """What lacks wherever the rule could hold."""
    match rule:
        case Compare(tag=tag) | OneOf(tag=tag) | Between(tag=tag):
            return missing.get(tag)
        case All(rules=parts):
            return next((need for part in parts if (need := _find_need(part, missing))), None)
        case Any(rules=parts):
            needs = [_find_need(part, missing) for part in parts]
            return needs[0] if needs and all(needs) else None
        case _:
            return None
