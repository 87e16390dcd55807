"""Section 2: what came in, and its quality by the four walls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.figures import show, show_count, show_date
from aimwell.report.markup import Both, Child, Html, join, make, make_both
from aimwell.report.parts import (
    make_card,
    make_facts,
    make_lacks,
    make_meter,
    make_pill,
    make_quiet,
    make_section,
    make_table,
)
from aimwell.report.reading import (
    Material,
    read_count,
    read_list,
    read_map,
    read_number,
    read_rows,
    read_text,
)

MAX_FINDINGS = 20


def make_data(material: Material) -> Html:
    """The section."""
    data = material.part("data")
    missing = say(
        "No data yet. `aimwell data add FILE --as order_lines` proposes how its columns are to be read."
    )
    cards = [_make_walls(data), _make_findings(data), _make_tables(data), _make_sources(data)]
    return make_section(
        "data",
        2,
        say("Data"),
        say("What came in, what was turned away, and how good the rest is: the four walls of customer data."),
        *(cards if material.has("data") else ()),
        make_lacks(data, missing),
    )


def name_walls() -> dict[str, tuple[Text, Text]]:
    """The four walls: name, and what each asks."""
    return {
        "unavailable": (say("Unavailable"), say("Is what is needed there at all?")),
        "partial": (say("Partial"), say("Is it there for every customer and day?")),
        "inaccurate": (say("Inaccurate"), say("Is what it says true?")),
        "unusable": (say("Unusable"), say("Can it be joined, read and contacted?")),
    }


def _make_walls(data: Mapping[str, Any]) -> Html:
    walls = read_map(data.get("walls"))
    return make(
        "div",
        *(_make_wall(name, read_map(walls.get(name))) for name in name_walls()),
        class_="kpis four span-12",
    )


def _make_wall(name: str, wall: Mapping[str, Any]) -> Html:
    title, question = name_walls()[name]
    score = read_number(wall.get("score"))
    tone = "quiet" if score is None else "gain" if score >= 0.95 else "amber" if score >= 0.8 else "loss"
    checks = read_count(wall.get("checks")) or 0
    pills = [
        make_pill(say("errors: {count}", count=count), "loss")
        for count in [read_count(wall.get("errors"))]
        if count
    ] + [
        make_pill(say("warnings: {count}", count=count), "amber")
        for count in [read_count(wall.get("warnings"))]
        if count
    ]
    return make(
        "div",
        make("div", title, class_="tile-name"),
        make("div", show(score, "percent", ""), class_=f"tile-value {tone}"),
        make_meter(score or 0, tone),
        make("div", question, class_="tile-under"),
        make("div", make_pill(say("checks: {count}", count=checks), "plain"), *pills, class_="pills"),
        class_="tile",
    )


def _make_findings(data: Mapping[str, Any]) -> Html:
    order = {"error": 0, "warning": 1, "notice": 2}
    findings = sorted(
        (row for row in read_rows(data.get("quality")) if row.get("severity") != "ok"),
        key=lambda row: (order.get(str(row.get("severity")), 2), -(read_number(row.get("affected")) or 0)),
    )
    if not findings:
        body = make_quiet(say("Every check passed: there is nothing to report."))
    else:
        body = make_table(
            [say("Where"), say("Wall"), say("Finding"), say("Affected rows")],
            [_make_finding(row) for row in findings[:MAX_FINDINGS]],
            names=3,
            kind="tale",
        )
    more = len(findings) - MAX_FINDINGS
    rest = make_quiet(say("and {count} more rows", count=more)) if more > 0 else None
    return make_card(say("What the checks found"), body, rest, span=12)


def _make_finding(row: Mapping[str, Any]) -> list[Child]:
    wall = name_walls().get(str(row.get("wall")))
    place = make("code", ".".join(str(part) for part in (row.get("table"), row.get("column")) if part) or "—")
    examples = ", ".join(str(item) for item in read_list(row.get("examples"))[:3])
    remedy = read_text(row.get("remedy"))
    text = join(
        make("span", read_text(row.get("finding"), row.get("check") or "—")),
        make("small", say("e.g."), f" {examples}", class_="example") if examples else None,
        make("small", remedy, class_="remedy") if remedy.en else None,
    )
    return [_mark_severity(row.get("severity"), place), wall[0] if wall else "—", text, _count_affected(row)]


def _mark_severity(severity: object, place: Html) -> Html:
    tone = {"error": "loss", "warning": "amber"}.get(str(severity), "quiet")
    words = {"error": say("error"), "warning": say("warning")}
    word = make_both(words.get(str(severity), say("note")))
    return join(make("i", class_=f"dot fill-{tone}", title=word), make("span", word, class_="unseen"), place)


def _count_affected(row: Mapping[str, Any]) -> Both:
    affected, total = read_number(row.get("affected")), read_number(row.get("total"))
    if affected is None or not total:
        return show(affected, "count", "")
    share, count = show(affected / total, "percent", ""), show_count(affected)
    return Both(f"{count.en} ({share.en})", f"{count.zh} ({share.zh})")


def _make_tables(data: Mapping[str, Any]) -> Html:
    tables = {str(name): read_number(rows) for name, rows in read_map(data.get("tables")).items()}
    kept = sorted(((rows, name) for name, rows in tables.items() if rows), reverse=True)[:12]
    period = read_map(data.get("period"))
    note = None
    if period.get("start") and period.get("end"):
        start, end = show_date(period["start"]), show_date(period["end"])
        note = Both(f"{start.en} – {end.en}", f"{start.zh} – {end.zh}")
    facts: list[tuple[Child, Child]] = [(make("code", name), show_count(rows)) for rows, name in kept]
    body = make_facts(facts) if facts else make_quiet(say("No table holds a row yet."))
    return make_card(say("Rows by table"), body, span=5, note=note)


def _make_sources(data: Mapping[str, Any]) -> Html:
    sources = read_rows(data.get("sources"))
    rows: list[list[Child]] = [
        [
            make("span", str(row.get("name") or row.get("file") or "—"), class_="long"),
            make("code", str(row.get("table") or "—")),
            *(show(read_number(row.get(name)), "count", "") for name in ("rows", "accepted", "rejected")),
        ]
        for row in sources
    ]
    head = [say("Source"), say("Read as"), say("Rows"), say("Accepted"), say("Rejected")]
    body = make_table(head, rows, names=2) if rows else make_quiet(say("No source has been read."))
    return make_card(say("Sources"), body, span=7)
