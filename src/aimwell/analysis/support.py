"""What the delivered data can support: which tables and columns hold anything before ``as_of``.

A tag whose needs are not met is empty for everybody, and the step says so, with the remedy. Reads order_lines,
products, events, signals, customers, consents; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

from aimwell.analysis.tag import Tag
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.specification import Expression

_LINES = """\
SELECT
    COUNT(*) AS lines,
    COUNT(revenue) AS revenue,
    COUNT(quantity) AS quantity,
    COUNT(discount) AS discount,
    COUNT(product_id) AS product_id,
    COUNT(store_id) AS store_id,
    COUNT(ordered_hour) AS ordered_hour,
    MIN(ordered_on) AS first_day
FROM {rows}
WHERE ordered_on < $as_of"""
_PRODUCTS = """\
SELECT COUNT(department) AS department, COUNT(category) AS category, COUNT(brand) AS brand
FROM products"""
_EVENTS = "SELECT DISTINCT name FROM {rows} WHERE occurred_on < $as_of ORDER BY name"
_SIGNALS = "SELECT DISTINCT kind, name FROM {rows} WHERE given_on < $as_of ORDER BY kind, name"
ROWS: Mapping[str, Sequence[str]] = {name: (name,) for name in ("order_lines", "events", "signals")}
"""Where the rows of each dated table stand: in the table."""
_CONSENTS = "SELECT DISTINCT channel FROM consents WHERE purpose = 'marketing' ORDER BY channel"


@dataclass(frozen=True)
class Support:
    """What there is: names such as ``order_lines.revenue`` or ``events:Coupon Redeemed``, and the days of history."""

    names: frozenset[str]
    history_days: int
    first_day: date | None = None
    """The day of the first order."""

    def find_unsupported(self, tags: Iterable[Tag]) -> dict[str, str]:
        """The tags that must stay empty, each with the first thing that it lacks."""
        missing: dict[str, str] = {}
        for tag in tags:
            lacking = [need for need in tag.needs if need not in self.names]
            if isinstance(tag.spec, Expression):
                lacking += [missing[name] for name in tag.spec.inputs if name in missing]
            if lacking:
                missing[tag.name] = self._find_cause(lacking[0])
        return missing

    def _find_cause(self, need: str) -> str:
        """Without orders no column of theirs has values, and nothing of a product is known to have been bought."""
        is_of_orders = need.startswith(("order_lines.", "products."))
        return "order_lines" if is_of_orders and "order_lines" not in self.names else need


def probe_support(
    reader: Queryable,
    *,
    as_of: date,
    attributes: Iterable[str] = (),
    earlier: Support | None = None,
    rows: Mapping[str, Sequence[str]] = ROWS,
) -> Support:
    """Look once at each table and say what it holds before ``as_of``.

    ``earlier``: what was known before ``rows`` came, which names the relations with the new rows of each table.
    """
    names = set(earlier.names) if earlier else set()
    first_days = [earlier.first_day] if earlier else []
    for name in rows["order_lines"]:
        lines = reader.query(_LINES.format(rows=name), {"as_of": as_of}).to_pylist()[0]
        first_days.append(lines.pop("first_day"))
        names |= {"order_lines"} if lines.pop("lines") else set()
        names |= {f"order_lines.{column}" for column, count in lines.items() if count}
    products = reader.query(_PRODUCTS).to_pylist()[0]
    if "order_lines.product_id" in names:
        names |= {f"products.{name}" for name, count in products.items() if count}
    for name in rows["events"]:
        events = reader.query(_EVENTS.format(rows=name), {"as_of": as_of}).column("name").to_pylist()
        names |= {f"events:{event}" for event in events}
        names |= {"events"} if any(event != "Message Sent" for event in events) else set()
    for name in rows["signals"]:
        for row in reader.query(_SIGNALS.format(rows=name), {"as_of": as_of}).to_pylist():
            names |= {"signals", f"signals:{row['kind']}"}
            names |= {"signals:nps"} & {f"signals:{row['name']}"}
    names = {name for name in names if not name.startswith(("consents:", "customers"))}
    names |= {f"consents:{name}" for name in reader.query(_CONSENTS).column("channel").to_pylist()}
    names |= {"customers"} | {f"customers.{name}" for name in attributes}
    first_day = min((day for day in first_days if day is not None), default=None)
    return Support(frozenset(names), (as_of - first_day).days if first_day else 0, first_day)


def explain_missing(missing: Mapping[str, str]) -> tuple[Text, ...]:
    """One sentence for each kind of thing that is missing, with the number of tags that it keeps empty."""
    groups: dict[str, list[str]] = {}
    for need in missing.values():
        kind = need.partition(":")[0]
        groups.setdefault(kind, []).append(need.partition(":")[2])
    return tuple(_explain(need, groups[need]) for need in sorted(groups))


def is_essential(need: str) -> bool:
    """Whether a step that lacks ``need`` is partial: kinds of events differ between businesses, and do not count."""
    return not need.startswith(("events", "signals"))


_TITLES: Mapping[str, Mapping[str, Text]] = {
    "consents": {
        "email": say("E-mail"),
        "sms": say("SMS"),
        "call": say("Phone call"),
        "mail": say("Post"),
    },
    "signals": {
        "complaint": say("complaint"),
        "loyalty": say("loyalty"),
        "nps": say("recommendation (NPS)"),
        "preference": say("preference"),
        "satisfaction": say("satisfaction"),
    },
}
"""What stands as a code in needs, for people."""


def _list_names(need: str, names: list[str]) -> Text | None:
    """Each of ``names`` once, in words where there are any; None without any."""
    words = [
        _TITLES.get(need, {}).get(name) or Text("{words}", (("words", name),))
        for name in sorted({name for name in names if name})
    ]
    return (
        reduce(lambda left, right: say("{left}, {right}", left=left, right=right), words) if words else None
    )


def _explain(need: str, names: list[str]) -> Text:
    count, listed = len(names), _list_names(need, names)
    if need == "events":
        return say(
            "{count} tags are empty: no such events were delivered ({names}). Add a source of events.",
            count=count,
            names=listed or "events",
        )
    if need == "consents":
        return say(
            "{count} tags are empty: no consents are known for {names}. Add a source of consents.",
            count=count,
            names=listed or "consents",
        )
    if need == "signals":
        return say(
            "{count} tags are empty: no such signals were delivered ({names}). Add a source of signals.",
            count=count,
            names=listed or "signals",
        )
    if need == "order_lines":
        return say("{count} tags are empty: there are no orders. Add a source of order lines.", count=count)
    table, _, column = need.partition(".")
    return say(
        "{count} tags are empty: {table} has no values in '{column}'. Map that column of the source.",
        count=count,
        table=table,
        column=column,
    )
