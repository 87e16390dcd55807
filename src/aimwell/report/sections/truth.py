"""Estimates beside the planted truth of a simulated market: are the intervals honest?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis
from aimwell.report.figures import NONE, Unit, show, show_interval
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import fit_height, make_card, make_chart, make_pill, make_points, make_table
from aimwell.report.reading import (
    Figure,
    Material,
    read_count,
    read_figure,
    read_number,
    read_rows,
    read_text,
)
from aimwell.report.sections.rounds import name_wave

MAX_CHECKS = 16


def make_truth(material: Material) -> Html:
    """The card."""
    truth = material.part("truth")
    metrics = [row for row in read_rows(truth.get("metrics")) if read_figure(row)]
    title = say("Do the intervals hold the truth?")
    if not metrics:
        body = make_points(
            [
                say("With real customers the truth is unknown: only the interval can be given."),
                say("The demo, whose market is simulated, shows how often such intervals hold the truth."),
            ]
        )
        return make_card(title, body, span=12)
    every = [row for row in read_rows(truth.get("all")) if read_figure(row)] or metrics
    rows = [ForestRow(_name_check(row), *_scale(row)) for row in every[-MAX_CHECKS:]]
    axis = Axis(make_both(say("half-widths of the interval from the estimate")), "ratio", -2, 2)
    kept = [row for row in rows if row.figure.bounded]
    chart = make_chart(
        Forest(kept, axis),
        say("Where the truth lies in each interval"),
        currency=material.currency,
        height=fit_height(len(kept)),
        tabulated=False,
    )
    head = [say("Figure"), say("Estimate"), say("95% interval"), say("Truth (simulated)"), say("Interval")]
    table = make_table(
        head, [_list_metric(row, material.currency) for row in every[-MAX_CHECKS:]], kind="tale"
    )
    body = make("div", chart, table, class_="halves wide-right") if len(kept) > 3 else table
    return make_card(title, body, span=12, simulated=True, note=_tell_share(truth))


def _name_check(row: Mapping[str, Any]) -> Both:
    """The figure's name, with its round and wave where the check says them."""
    title = read_text(row.get("title"), row.get("metric") or "—")
    number, wave = read_count(row.get("round")), row.get("wave")
    if number is None:
        return title
    name = make_both(name_wave(wave))
    return Both(f"{number} · {name.en} · {title.en}", f"{number} · {name.zh} · {title.zh}")


def _tell_share(truth: Mapping[str, Any]) -> Child:
    share, checked = read_number(truth.get("covered_share")), read_count(truth.get("n_checked"))
    if share is None or checked is None:
        return None
    text = say(
        "{held} of {count} intervals of all waves hold the truth; 95 of 100 should.",
        held=round(share * checked),
        count=checked,
    )
    return make_both(text)


def guess_unit(metric: object) -> Unit:
    """The unit of a metric, from its name."""
    name = str(metric)
    if "roi" in name:
        return "ratio"
    if any(
        word in name
        for word in ("profit", "revenue", "value", "cost", "contribution", "effect", "action", "segment")
    ):
        return "money"
    return "count" if any(word in name for word in ("orders", "customers")) else "plain"


def _scale(row: Mapping[str, Any]) -> tuple[Figure, float | None]:
    """The interval as -1 to 1, and the truth in the same units: figures of any unit side by side."""
    figure, actual = read_figure(row) or Figure(0), read_number(row.get("truth"))
    if figure.lower is None or figure.upper is None or figure.upper <= figure.lower:
        return Figure(0), None
    half = (figure.upper - figure.lower) / 2
    ends = (figure.lower - figure.estimate) / half, (figure.upper - figure.estimate) / half
    place = None if actual is None else (actual - figure.estimate) / half
    return Figure(0, *ends), place


def _list_metric(row: Mapping[str, Any], currency: str) -> list[Child]:
    figure, unit = read_figure(row) or Figure(0), guess_unit(row.get("metric"))
    covered = row.get("covered")
    mark: Child = NONE
    if isinstance(covered, bool):
        mark = make_pill(say("holds it"), "gain") if covered else make_pill(say("misses it"), "amber")
    return [
        make("span", _name_check(row), class_="line"),
        show(figure.estimate, unit, currency, signed=True),
        show_interval(figure, unit, currency),
        show(read_number(row.get("truth")), unit, currency, signed=True),
        mark,
    ]
