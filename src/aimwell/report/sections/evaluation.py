"""Section 6: what the plan caused, against what was promised, and, in a simulated market, against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import Axis
from aimwell.report.figures import Unit, find_tone, show, show_date, show_interval, show_sample
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.markup import Child, Html, make, make_both
from aimwell.report.parts import (
    fit_height,
    make_card,
    make_chart,
    make_facts,
    make_lacks,
    make_pill,
    make_points,
    make_section,
    make_simulated,
    make_tile,
)
from aimwell.report.reading import (
    Figure,
    Material,
    read_figure,
    read_map,
    read_number,
    read_promise,
    read_rows,
    read_text,
    read_texts,
)
from aimwell.report.sections.experiment import make_experiment
from aimwell.report.sections.rounds import make_rounds, tell_exploring
from aimwell.report.sections.truth import make_truth


def make_evaluation(material: Material) -> Html:
    """The section, with the rounds, the truth and the real experiment."""
    evaluation = material.part("evaluation")
    missing = say(
        "Nothing has been measured yet: a plan is measured once its window has ended; then run `aimwell round`."
    )
    cards = [
        _make_tiles(evaluation, material),
        _make_promise(evaluation, material),
        _make_validity(evaluation, material),
        _make_effects(evaluation, "segments", say("Effect by segment"), material),
        _make_effects(evaluation, "by_action", say("Effect by action"), material),
        _make_decision(evaluation, material),
    ]
    return make_section(
        "evaluation",
        6,
        say("Evaluation"),
        say(
            "What the plan caused: customers treated against customers kept apart at random, with intervals."
        ),
        *(cards if material.has("evaluation") else ()),
        make_lacks(evaluation, missing),
        make_truth(material),
        *make_rounds(material),
        *make_experiment(material),
    )


def name_results() -> tuple[tuple[str, Text, Unit], ...]:
    """The results of a wave: key, name and unit."""
    return (
        ("incremental_profit", say("Incremental profit"), "money"),
        ("incremental_revenue", say("Incremental revenue"), "money"),
        ("incremental_orders", say("Incremental orders"), "count"),
        ("roi", say("ROI"), "ratio"),
    )


def _make_tiles(evaluation: Mapping[str, Any], material: Material) -> Html:
    tiles = []
    for name, title, unit in name_results():
        figure = read_figure(evaluation.get(name))
        label = make_simulated() if material.simulated else None
        value = show(figure.estimate if figure else None, unit, material.currency, signed=True)
        under = None
        if figure:
            under = make("span", show_interval(figure, unit, material.currency), " ", show_sample(figure))
        tiles.append(make_tile(title, value, under, tone=find_tone(figure), label=label))
    return make("div", *tiles, class_="kpis four span-12")


def _make_promise(evaluation: Mapping[str, Any], material: Material) -> Html:
    promised = find_promise(evaluation, material)
    realised = read_figure(evaluation.get("realised")) or read_figure(evaluation.get("incremental_profit"))
    rows = []
    if promised:
        rows.append(ForestRow(make_both(say("promised")), promised, tone="accent"))
    if realised:
        rows.append(
            ForestRow(make_both(say("realised")), realised, find_truth(material, "incremental_profit"))
        )
    chart = Forest(rows, Axis(make_both(say("incremental profit")), "money"))
    ratio = read_number(evaluation.get("promise_ratio"))
    note = None if promised else tell_exploring()
    if promised and ratio is not None:
        share = show(ratio, "percent", material.currency).en
        note = say("{share} of what was promised came in.", share=share)
    body = make_chart(chart, say("Promised and realised profit"), currency=material.currency, height="short")
    return make_card(say("Promised against realised"), body, span=7, simulated=material.simulated, note=note)


def find_promise(evaluation: Mapping[str, Any], material: Material) -> Figure | None:
    """What was promised for this wave, where anything was."""
    strategy = material.part("strategy")
    planned = strategy if strategy.get("plan_id") == evaluation.get("plan_id") else {}
    return read_promise(planned, {"promised": evaluation.get("promised")})


def find_truth(material: Material, metric: str) -> float | None:
    """The planted truth of a metric of the last wave, where it is known."""
    for row in read_rows(material.part("truth").get("metrics")):
        if row.get("metric") == metric:
            return read_number(row.get("truth"))
    return None


def _make_validity(evaluation: Mapping[str, Any], material: Material) -> Html:
    ratio, cuped = read_map(evaluation.get("sample_ratio")), read_map(evaluation.get("cuped"))
    window = read_map(evaluation.get("window"))
    ok = ratio.get("ok")
    verdict: Child = "—"
    if isinstance(ok, bool):
        verdict = make_pill(say("as drawn"), "gain") if ok else make_pill(say("not as drawn"), "loss")
    profit = read_figure(evaluation.get("incremental_profit"))
    method = profit.method if profit and profit.method else "—"
    days = read_number(window.get("days"))
    facts: list[tuple[Child, Child]] = [
        (say("Sizes of the arms"), verdict),
        (
            say("p-value of the sample ratio"),
            show(read_number(ratio.get("p_value")), "ratio", material.currency),
        ),
        (
            say("Noise removed (CUPED)"),
            show(read_number(cuped.get("variance_removed")), "percent", material.currency),
        ),
        (say("Window from"), show_date(window["start"]) if window.get("start") else "—"),
        (say("Days"), show(days, "count", material.currency)),
        (say("Method"), read_text(evaluation.get("method"), method)),
    ]
    return make_card(say("Can it be believed?"), make_facts(facts), span=5)


def _make_effects(evaluation: Mapping[str, Any], name: str, title: Text, material: Material) -> Html:
    rows, promised = [], find_promise(evaluation, material) is not None
    for row in read_rows(evaluation.get(name)):
        figure = read_figure(row.get("effect"))
        if figure:
            rows.append(
                ForestRow(
                    read_text(row.get("title"), row.get("segment") or row.get("action_id") or "—"),
                    figure,
                    read_number(row.get("truth")),
                    read_number(row.get("promised")) if promised else None,
                )
            )
    chart = Forest(rows, Axis(make_both(say("effect per customer")), "money"))
    body = make_chart(chart, title, currency=material.currency, height=fit_height(len(rows)))
    note = say("Green: proven gain. Red: proven loss. Grey: not proven.")
    span = 7 if name == "segments" else 5
    return make_card(title, body, span=span, simulated=material.simulated, note=note)


def _make_decision(evaluation: Mapping[str, Any], material: Material) -> Html:
    decision = read_map(evaluation.get("decision"))
    lessons: list[Child] = list(read_texts(evaluation.get("lessons")))
    reasons: list[Child] = list(read_texts(decision.get("reasons")))
    sentence = read_text(decision.get("sentence"))
    go = decision.get("go")
    if not (sentence.en or reasons or lessons):
        return Html("")
    pill = None
    if isinstance(go, bool):
        pill = make_pill(say("go on"), "gain") if go else make_pill(say("do not go on"), "amber")
    decided = make(
        "div", make("h4", say("Decision"), pill), make("p", sentence, class_="say"), make_points(reasons)
    )
    learnt = make("div", make("h4", say("Lessons for the next round")), make_points(lessons))
    return make_card(
        say("Decision and lessons"),
        make("div", decided, learnt, class_="halves"),
        span=12,
        simulated=material.simulated,
    )
