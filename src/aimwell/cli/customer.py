"""``aimwell customer ID``: the customer 360.  客户画像"""

from __future__ import annotations

from datetime import tzinfo
from decimal import Decimal
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from aimwell.cli.naming import name_channel, name_purpose
from aimwell.cli.output import add_row, emit, in_language, make_table, state
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

_KINDS = {
    "descriptive": say("Who: descriptive"),
    "behavioural": say("What they do: behavioural"),
    "associated": say("What they think: associated"),
}
_SIGNALS = {
    "satisfaction": say("satisfaction"),
    "preference": say("preference"),
    "complaint": say("complaint"),
    "loyalty": say("loyalty"),
    "other": say("other"),
}
_ATTRIBUTES = {
    "email": say("e-mail address"),
    "phone": say("phone number"),
    "address": say("postal address"),
    "region": say("region"),
    "source": say("Source"),
}
_MOST_DRAWN = 20
_MOST_LISTED = 50


def show_customer(context: typer.Context, customer_id: str, *, show_personal: bool = False) -> None:
    """Print everything about one customer; identifiers masked unless ``show_personal``."""
    from aimwell.analysis.profile import open_profile
    from aimwell.core.time import zone

    workspace = state(context).workspace
    profile = open_profile(workspace, customer_id, show_personal=show_personal)
    here = zone(workspace.settings.business.zone)
    emit(context, profile, lambda console: draw_profile(console, profile, here))


def show_some(context: typer.Context) -> None:
    """Print the first customers' numbers: for whoever does not know how they are written."""
    from aimwell.analysis.profile import count_customers, list_customers

    with state(context).workspace.read() as reader:
        listed, total = list_customers(reader, count=_MOST_LISTED), count_customers(reader)

    def draw(console: Console) -> None:
        for one in listed:
            _print(console, one)
        _print(console, say("{shown} of {total} are shown.", shown=len(listed), total=total), "dim")

    emit(context, {"customers": listed, "total": total}, draw)


def draw_profile(console: Console, profile: dict[str, Any], here: tzinfo) -> None:
    """The page for people, the most useful first; ``here`` is the business's zone."""
    title = say("Customer {customer}", customer=profile["customer_id"])
    console.print(str(title), style="bold", highlight=False, markup=False)
    _draw_next(console, profile["next"])
    _draw_identity(console, profile)
    for kind, words in _KINDS.items():
        _draw_tags(console, words, [row for row in profile["tags"] if row["kind"] == kind])
    if profile["tags"]:
        _draw_segments(console, profile["segments"])
    else:
        _print(
            console, say("Its tags and segments are not computed yet. Next: aimwell analysis run"), "yellow"
        )
    _draw_scores(console, profile["scores"])
    _draw_timeline(console, profile["timeline"], here)
    _draw_signals(console, profile["signals"])
    _draw_consents(console, profile["consents"], here)
    _draw_plans(console, profile["plan_items"])
    _draw_recommendations(console, profile["recommendations"])


def show_value(value: object) -> str:
    """A tag's value or a figure, for people."""
    if isinstance(value, bool):
        return str(say("yes")) if value else str(say("no"))
    if isinstance(value, float | Decimal):
        return f"{value:,.2f}"
    return "" if value is None else str(value)


def _print(console: Console, text: Text | str, style: str | None = None) -> None:
    console.print(str(text), style=style, highlight=False, markup=False)


def _draw_next(console: Console, following: dict[str, Any]) -> None:
    _print(console, say("Next: {what}", what=in_language(following["what"])), "green")
    _print(console, say("Why: {why}", why=in_language(following["why"])))
    channels = join_list(map(name_channel, following["channels"]))
    _print(
        console,
        say("Allowed channels: {channels}", channels=channels)
        if channels
        else say("No consent to marketing is known on any channel."),
        None if channels else "yellow",
    )


def _draw_identity(console: Console, profile: dict[str, Any]) -> None:
    records = profile["identity"]["records"]
    if len(records) > 1:
        _print(
            console, say("Joined from {count} records: {ids}", count=len(records), ids=join_list(records[:8]))
        )
    rows = [(_name_attribute(name), show_value(value)) for name, value in profile["attributes"].items()]
    rows += [(_name_identifier(one["kind"]), one["value"]) for one in profile["identity"]["identifiers"]]
    shown = dict.fromkeys(rows)
    if shown:
        table = make_table(str(say("Attribute")), str(say("Value")))
        table.title = str(say("Identity and attributes"))
        for name, value in shown:
            add_row(table, name, value)
        console.print(table)


def _name_attribute(name: str) -> str:
    """A column that Aimwell knows, in words; others have their source's own name."""
    return str(_ATTRIBUTES.get(name, name))


def _name_identifier(kind: str) -> str:
    from aimwell.data.identity.explain import name_kind

    return str(name_kind(kind))


def _draw_tags(console: Console, words: Text, rows: list[dict[str, Any]]) -> None:
    """Two tags a line where there is room: a customer has dozens."""
    if not rows:
        return
    pairs = 2 if console.width >= 90 and len(rows) > 1 else 1
    table = make_table(*[str(say("Tag")), str(say("Value"))] * pairs)
    table.title = str(words)
    for first in range(0, len(rows), pairs):
        cells = [cell for row in rows[first : first + pairs] for cell in _name_tag(row)]
        add_row(table, *cells, *[""] * (2 * pairs - len(cells)))
    console.print(table)


def _name_tag(row: dict[str, Any]) -> tuple[str, str]:
    return in_language(row["title"]), in_language(row["value_title"]) or show_value(row["value"])


def _draw_segments(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        _print(console, say("In no segment."))
        return
    table = make_table(str(say("Segment")), str(say("Since")))
    table.title = str(say("Segments"))
    for row in rows:
        add_row(table, in_language(row["title"]) or row["segment"], row["entered_on"].isoformat())
    console.print(table)


def _draw_scores(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = make_table(str(say("Model")), str(say("Score")), str(say("95 % interval")), str(say("Meaning")))
    table.title = str(say("Scores"))
    for row in rows:
        known = row["lower"] is not None and row["upper"] is not None
        interval = f"{show_value(row['lower'])} … {show_value(row['upper'])}" if known else ""
        name = in_language(row["title"]) or row["model"]
        add_row(table, name, show_value(row["score"]), interval, in_language(row["reason"]))
    console.print(table)


def _draw_timeline(console: Console, rows: list[dict[str, Any]], here: tzinfo) -> None:
    if not rows:
        return
    table = make_table(str(say("Time")), str(say("What")), str(say("Detail")), str(say("Revenue")))
    table.title = str(say("Timeline, newest first"))
    for row in rows[:_MOST_DRAWN]:
        what = say("Order {order}", order=row["what"]) if row["kind"] == "order" else row["what"]
        marked = say("{order} (simulated)", order=what) if row["simulated"] else what
        detail = row["detail"] or ""
        add_row(
            table,
            f"{row['at'].astimezone(here):%Y-%m-%d %H:%M}",
            str(marked),
            detail,
            show_value(row["revenue"]),
        )
    console.print(table)
    if len(rows) > _MOST_DRAWN:
        _print(
            console,
            say("… and {count} earlier ones (--json shows them).", count=len(rows) - _MOST_DRAWN),
            "dim",
        )


def _draw_signals(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = make_table(
        str(say("Day")), str(say("Kind")), str(say("Topic")), str(say("Score")), str(say("Words"))
    )
    table.title = str(say("What they say"))
    for row in rows[:_MOST_DRAWN]:
        kind = str(_SIGNALS[row["kind"]])
        add_row(
            table, row["given_on"].isoformat(), kind, row["name"], show_value(row["score"]), row["text"] or ""
        )
    console.print(table)


def _draw_consents(console: Console, rows: list[dict[str, Any]], here: tzinfo) -> None:
    if not rows:
        return
    table: Table = make_table(
        str(say("Channel")), str(say("Purpose")), str(say("Allowed")), str(say("Since")), str(say("Until"))
    )
    table.title = str(say("Consents"))
    for row in rows:
        # Who once said yes has not refused since: the answer has ended.
        has_ended = row["answered"] and not row["allowed"]
        allowed = str(say("ended")) if has_ended else show_value(row["allowed"])
        days = [f"{at.astimezone(here):%Y-%m-%d}" if (at := row[name]) else "" for name in ("since", "until")]
        add_row(table, name_channel(row["channel"]), name_purpose(row["purpose"]), allowed, *days)
    console.print(table)


def _draw_plans(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        text = say(
            "Planned: {action}, expected profit {profit}. {reason}",
            action=in_language(row["title"]) or row["action_id"],
            profit=show_value(row["expected_profit"]),
            reason=in_language(row["reason"]),
        )
        _print(console, text)


def _draw_recommendations(console: Console, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = join_list(row["name"] or row["product_id"] for row in rows[:5])
        _print(console, say("Likely next products: {names}", names=names))
