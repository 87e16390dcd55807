"""The parts that every section is put together from: cards, figures, tables, charts, and what is lacking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import MAX_TABLE_ROWS, Chart
from aimwell.report.figures import show_count
from aimwell.report.markup import Both, Child, Html, embed_json, join, join_all, make, make_both
from aimwell.report.reading import read_texts

LONG_VALUE = 56  # letters
SIMULATED = Both("simulated 模拟", "simulated 模拟")


def make_section(name: str, number: int | None, title: Child, lead: Child, *children: Child) -> Html:
    """A section of the page: its number and name, one sentence on what it answers, and its cards."""
    badge = make("span", number, class_="number") if number else None
    heading = make("h2", badge, title, id=f"{name}-title")
    top = make("header", heading, make("p", lead), class_="lead")
    return make(
        "section", top, make("div", *children, class_="grid"), id=name, aria_labelledby=f"{name}-title"
    )


def make_card(title: Child, *body: Child, span: int = 6, simulated: bool = False, note: Child = None) -> Html:
    """A white card over ``span`` of twelve columns."""
    label = make_simulated() if simulated else None
    head = make("div", make("h3", title), label, class_="head")
    under = make("p", note, class_="note") if note is not None else None
    return make("article", head, under, *body, class_=f"card span-{span}")


def make_simulated() -> Html:
    """The label that every simulated outcome carries, in both languages at once."""
    hint = say("Customers' responses come from the market simulator, not from real customers.")
    return make("span", SIMULATED, class_="pill simulated", title=make_both(hint))


def make_pill(text: Child, tone: str) -> Html:
    """A small coloured word."""
    return make("span", text, class_=f"pill {tone}")


def fit_height(rows: int) -> str:
    """The height that so many named rows take, each on two lines at most."""
    limits = {"short": 3, "medium": 6, "tall": 9, "huge": 12}
    return next((height for height, most in limits.items() if rows <= most), "vast")


def make_chart(
    chart: Chart, label: Both | Text, *, currency: str, height: str = "medium", tabulated: bool = True
) -> Html:
    """The chart, its spoken label, and the same figures as a table; a quiet line where there is nothing.

    ``tabulated=False`` where the figures stand in a table beside it.
    """
    if chart.empty:
        return make_quiet(say("There is nothing to draw yet."))
    canvas = make("div", class_=f"chart {height}", role="img", aria_label=make_both(label), tabindex="0")
    if not tabulated:
        return make("figure", canvas, embed_json(chart.to_dict()))
    head, rows = chart.tabulate(currency)
    more = max(0, len(rows) - MAX_TABLE_ROWS)
    rest = make_quiet(say("and {count} more rows", count=more)) if more else None
    table = make(
        "details", make("summary", say("Show as a table")), make_table(head, rows[:MAX_TABLE_ROWS]), rest
    )
    return make("figure", canvas, embed_json(chart.to_dict()), table)


def make_table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], *, names: int = 1, kind: str | None = None
) -> Html:
    """A table; the first ``names`` columns are words, the others numbers (set to the right).

    Kind "tale" becomes blocks on a small screen, each figure with its heading; "fit" never scrolls.
    """
    classes = ["word" if at < names else "digits" for at in range(len(head))]
    top = join_all(
        make("th", cell, class_=name, scope="col") for cell, name in zip(head, classes, strict=True)
    )
    body = join_all(
        make("tr", *(_make_cell(*cell, told=kind == "tale") for cell in zip(head, row, classes, strict=True)))
        for row in rows
    )
    kind = kind or ("wide" if len(head) > 3 else None)
    table = make("table", make("thead", make("tr", top)), make("tbody", body), class_=kind)
    return make("div", table, class_="table", tabindex="0", role="group", aria_label=make_both(say("Table")))


def _make_cell(title: Child, cell: Child, kind: str, *, told: bool) -> Html:
    label = make("span", title, class_="cell-name") if told and kind == "digits" else None
    return make("td", label, cell, class_=kind)


def is_long(value: Child) -> bool:
    """Whether a value is a sentence, which stands under its name rather than beside it."""
    return isinstance(value, Text | Both) and len(make_both(value).en) > LONG_VALUE


def make_facts(facts: Iterable[tuple[Child, Child]], kind: str = "") -> Html:
    """Name and value pairs; kind "columns" sets them in several columns."""
    return make(
        "dl",
        *(
            make("div", make("dt", name), make("dd", value), class_="long" if is_long(value) else None)
            for name, value in facts
        ),
        class_=f"facts {kind}".strip(),
    )


def make_tile(name: Child, value: Child, under: Child = None, *, tone: str = "", label: Child = None) -> Html:
    """One figure, large, with what stands beside it."""
    return make(
        "div",
        make("div", name, class_="tile-name"),
        make("div", value, class_=f"tile-value {tone}".strip()),
        make("div", under, class_="tile-under") if under is not None else None,
        make("div", label, class_="tile-label") if label is not None else None,
        class_="tile",
    )


def make_quiet(text: Child) -> Html:
    """A grey line."""
    return make("p", text, class_="quiet")


def make_points(texts: Sequence[Child], kind: str = "points") -> Html:
    """A list of sentences; nothing for none."""
    return make("ul", *(make("li", text) for text in texts), class_=kind) if texts else Html("")


def make_split(parts: Sequence[tuple[Child, float, str]]) -> Html:
    """One bar cut in proportion, with a legend: (name, size, colour role); parts of size 0 only in the legend."""
    total = sum(size for _, size, _ in parts if size > 0)
    if total <= 0:
        return make_quiet(say("Nobody yet."))
    drawn, at = [], 0.0
    for _, size, tone in parts:
        width = 1000 * max(size, 0) / total
        if width:
            drawn.append(
                make("rect", x=f"{at:.2f}", y="0", width=f"{width:.2f}", height="20", class_=f"fill-{tone}")
            )
        at += width
    bar = make(
        "svg", *drawn, class_="split", viewBox="0 0 1000 20", preserveAspectRatio="none", aria_hidden="true"
    )
    legend = [
        make(
            "li",
            make("i", class_=f"dot fill-{tone}"),
            name,
            make("b", show_count(size)),
            make("em", _share(size, total)),
        )
        for name, size, tone in parts
    ]
    return join(bar, make("ul", *legend, class_="legend"))


def _share(size: float, total: float) -> str:
    return f"{100 * size / total:.1f}%"


def make_meter(share: float, tone: str) -> Html:
    """A thin bar filled to ``share`` (0 to 1)."""
    width = f"{1000 * min(max(share, 0), 1):.1f}"
    full = make("rect", x="0", y="0", width="1000", height="8", class_="fill-none")
    part = make("rect", x="0", y="0", width=width, height="8", class_=f"fill-{tone}")
    return make(
        "svg",
        full,
        part,
        class_="meter",
        viewBox="0 0 1000 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def make_lacks(part: Mapping[str, Any], missing: Text) -> Html:
    """What a step could not do and the remedy; ``missing`` where the step left nothing at all."""
    texts: list[Child] = list(read_texts(part.get("lacks")))
    bare = not set(part) - {"status", "lacks"}
    if bare:
        texts = texts or [missing]
    if not texts:
        return Html("")
    title = say("Not done yet") if bare else say("What is lacking for more")
    return make("article", make("h3", title), make_points(texts), class_="card span-12 lacks")
