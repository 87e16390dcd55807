"""Section 3, first half: who the customers are: segments, RFM, lifecycle, and where the value lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import Axis, Bars, BarSeries, Curves, Line, thin_points
from aimwell.report.figures import show, show_count
from aimwell.report.heat import Cell, Heat
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import (
    fit_height,
    make_card,
    make_chart,
    make_lacks,
    make_pill,
    make_quiet,
    make_section,
    make_table,
)
from aimwell.report.reading import (
    Material,
    read_count,
    read_map,
    read_number,
    read_pairs,
    read_rows,
    read_text,
)
from aimwell.report.sections.models import make_models

MAX_SEGMENTS = 12


def make_analysis(material: Material) -> Html:
    """The section, with the models as its second half."""
    analysis = material.part("analysis")
    missing = say(
        "No analysis yet: it needs order lines with a customer and a day; then run `aimwell round`."
    )
    cards = [
        _make_segments(analysis, material),
        _make_value(analysis, material),
        _make_rfm(analysis, material),
        _make_lifecycle(analysis, material),
        _make_tags(analysis),
    ]
    return make_section(
        "analysis",
        3,
        say("Analysis and models"),
        say(
            "Who the customers are, what they are worth, and what the models can and cannot tell about them."
        ),
        *(cards if material.has("analysis") else ()),
        make_lacks(analysis, missing),
        *make_models(material),
    )


def _make_segments(analysis: Mapping[str, Any], material: Material) -> Html:
    rows = sorted(read_rows(analysis.get("segments")), key=lambda row: -(read_number(row.get("size")) or 0))
    shown = rows[:MAX_SEGMENTS]
    names = [read_text(row.get("title"), row.get("name") or "—") for row in shown]
    customers = [read_number(row.get("share")) for row in shown]
    chart = _draw_shares(names, customers, [read_number(row.get("revenue_share")) for row in shown])
    table = make_table(
        [say("Segment"), say("Rule"), say("Customers"), say("Share"), say("Revenue share")],
        [_list_segment(row, material.currency) for row in rows],
        names=2,
        kind="tale",
    )
    rules = make("details", make("summary", say("The rules of the segments")), table) if rows else None
    height = fit_height(len(shown))
    body = make_chart(chart, say("Segments by size and revenue"), currency=material.currency, height=height)
    note = say("A segment whose green bar is longer than its blue one spends more than its numbers.")
    return make_card(say("Segments: size and revenue"), body, rules, span=7, note=note)


def _draw_shares(names: list[Both], customers: list[float | None], revenue: list[float | None]) -> Bars:
    """Shares of customers and of revenue side by side; the axis ends at 100 %."""
    series = [
        BarSeries(make_both(say("share of customers")), customers, "accent"),
        BarSeries(make_both(say("share of revenue")), revenue, "gain"),
    ]
    most = max((value for value in (*customers, *revenue) if value is not None), default=0.0)
    return Bars(names, series, Axis(make_both(say("share")), "percent", 0, 1 if most > 0.5 else None))


def _list_segment(row: Mapping[str, Any], currency: str) -> list[Child]:
    return [
        read_text(row.get("title"), row.get("name") or "—"),
        make("small", read_text(row.get("rule_text"), "—")),
        show(read_number(row.get("size")), "count", currency),
        show(read_number(row.get("share")), "percent", currency),
        show(read_number(row.get("revenue_share")), "percent", currency),
    ]


def _make_rfm(analysis: Mapping[str, Any], material: Material) -> Html:
    cells = []
    for row in read_rows(read_map(analysis.get("rfm")).get("cells")):
        recency, frequency = read_count(row.get("r")), read_count(row.get("f"))
        if recency in range(1, 6) and frequency in range(1, 6):
            customers, revenue = read_number(row.get("customers")), read_number(row.get("revenue"))
            cells.append(Cell((recency or 1) - 1, (frequency or 1) - 1, customers or 0, revenue))
    grades = [Both(str(grade), str(grade)) for grade in range(1, 6)]
    chart = Heat(
        grades,
        grades,
        cells,
        make_both(say("recency (5 = bought lately)")),
        make_both(say("frequency (5 = buys often)")),
        make_both(say("customers")),
        make_both(say("revenue")),
    )
    body = make_chart(
        chart, say("RFM map: customers by recency and frequency"), currency=material.currency, height="medium"
    )
    note = say("Top right: the best customers. Top left: they used to come often, and stay away.")
    return make_card(say("RFM map"), body, span=6, note=note)


def name_stages() -> dict[str, Text]:
    """The lifecycle stages in order."""
    return {
        "prospect": say("prospect"),
        "new": say("new"),
        "active": say("active"),
        "declining": say("declining"),
        "dormant": say("dormant"),
        "lost": say("lost"),
    }


def _make_lifecycle(analysis: Mapping[str, Any], material: Material) -> Html:
    rows = read_rows(analysis.get("lifecycle"))
    order = list(name_stages())
    rows.sort(key=lambda row: order.index(str(row.get("stage"))) if row.get("stage") in order else 99)
    names = [
        read_text(row.get("title"), make_both(name_stages().get(str(row.get("stage")), "—"))) for row in rows
    ]
    chart = _draw_shares(names, _share_out(rows, "customers"), _share_out(rows, "revenue"))
    total = sum(read_number(row.get("customers")) or 0 for row in rows)
    note = say("{count} customers, from first contact to lost.", count=show_count(total).en)
    body = make_chart(chart, say("Customers and revenue by lifecycle stage"), currency=material.currency)
    return make_card(say("Lifecycle"), body, span=6, note=note)


def _share_out(rows: list[Mapping[str, Any]], name: str) -> list[float | None]:
    values = [read_number(row.get(name)) for row in rows]
    total = sum(value or 0 for value in values)
    return [value / total if value is not None and total else None for value in values]


def _make_value(analysis: Mapping[str, Any], material: Material) -> Html:
    value = read_map(analysis.get("value"))
    points = thin_points(read_pairs(value.get("curve")))
    equal = Line(make_both(say("if all were worth the same")), [(0.0, 0.0), (1.0, 1.0)], "quiet", dashed=True)
    curve = Line(make_both(say("revenue of the best customers")), points, "accent", area=True)
    chart = Curves(
        Axis(make_both(say("share of customers, best first")), "percent", 0, 1),
        Axis(make_both(say("share of revenue")), "percent", 0, 1),
        [curve, equal] if points else [],
    )
    top = read_number(value.get("top20_revenue_share"))
    share = show(top, "percent", material.currency)
    note = None
    if top is not None:
        note = say("The best 20% of customers bring {share} of the revenue.", share=share.en)
    body = make_chart(chart, say("Concentration of value"), currency=material.currency)
    return make_card(say("Concentration of value"), body, span=5, note=note)


def _make_tags(analysis: Mapping[str, Any]) -> Html:
    tags = read_map(analysis.get("tags"))
    rows = read_rows(tags.get("catalogue"))
    words = [
        make_pill(
            read_text(row.get("title"), row.get("name") or "—"),
            "plain" if (read_number(row.get("coverage")) or 0) >= 0.5 else "faded",
        )
        for row in rows
    ]
    count = read_count(tags.get("count"))
    body = make("div", *words, class_="pills cloud") if words else make_quiet(say("No tags yet."))
    note = say(
        "{count} tags for every customer; the faded ones are known for fewer than half.",
        count=count or len(rows),
    )
    return make_card(say("Tags"), body, span=12, note=note)
