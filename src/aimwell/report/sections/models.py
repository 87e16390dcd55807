"""Section 3, second half: the models, each with its validation and its limits, and what actions change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import Axis, Band, Curves, Forest, ForestRow, Line, is_rising, thin_points
from aimwell.report.figures import find_tone, show, show_date, show_effect, show_plain, show_sample
from aimwell.report.markup import Both, Child, Html, make, make_both
from aimwell.report.parts import make_card, make_chart, make_facts, make_lacks, make_quiet
from aimwell.report.reading import (
    Material,
    read_figure,
    read_map,
    read_number,
    read_pairs,
    read_rows,
    read_text,
)

MAX_LINES = 6


def make_models(material: Material) -> list[Html]:
    """The cards."""
    models = material.part("models")
    missing = say(
        "No models yet: they need customers with at least a few months of orders; then run `aimwell round`."
    )
    cards = [
        _make_lift(models, material),
        _make_calibration(models, material),
        _make_uplift(models, material),
        _make_actions(models, material),
        *(_make_model(card, models, material) for card in read_rows(models.get("cards"))),
    ]
    heading = make("h3", say("The models"), class_="subhead span-12")
    return [heading, *(cards if models else ()), make_lacks(models, missing)]


def _make_lift(models: Mapping[str, Any], material: Material) -> Html:
    rows = read_rows(models.get("lift"))
    lines = [_draw_model(row, 2) for row in rows[:MAX_LINES]]
    average = Line(make_both(say("chosen at random")), [(0.0, 1.0), (1.0, 1.0)], "quiet", dashed=True)
    chart = Curves(
        Axis(make_both(say("share of customers, best score first")), "percent", 0, 1),
        Axis(make_both(say("times the average")), "ratio", 0),
        [*lines, average] if any(line.points for line in lines) else [],
    )
    body = make_chart(chart, say("Lift of the propensity models"), currency=material.currency)
    note = say(
        "On customers and days that the models have not seen: how many times the average the best-scored bring."
    )
    return make_card(say("Lift"), body, _tell_rest(rows), span=6, note=note)


def _make_calibration(models: Mapping[str, Any], material: Material) -> Html:
    rows = read_rows(models.get("calibration"))
    lines = [_draw_model(row, 3, dots=True) for row in rows[:MAX_LINES]]
    top = max((max(point[:2]) for line in lines for point in line.points), default=1.0)
    exact = Line(
        make_both(say("what is said is what happens")), [(0.0, 0.0), (top, top)], "quiet", dashed=True
    )
    chart = Curves(
        Axis(make_both(say("predicted")), "percent", 0),
        Axis(make_both(say("observed")), "percent", 0),
        [*lines, exact] if any(line.points for line in lines) else [],
    )
    body = make_chart(chart, say("Calibration of the propensity models"), currency=material.currency)
    note = say("The closer to the dashed line, the more a score means what it says.")
    return make_card(say("Calibration"), body, _tell_rest(rows), span=6, note=note)


def _draw_model(row: Mapping[str, Any], width: int, *, dots: bool = False) -> Line:
    points = [point[:2] for point in sorted(read_pairs(row.get("points"), width))]
    return Line(read_text(row.get("title"), row.get("model") or "—"), thin_points(points), dots=dots)


def _tell_rest(rows: list[Mapping[str, Any]]) -> Html | None:
    more = len(rows) - MAX_LINES
    return make_quiet(say("{count} more models are not drawn.", count=more)) if more > 0 else None


def _make_uplift(models: Mapping[str, Any], material: Material) -> Html:
    uplift = read_map(models.get("uplift"))
    names = ("share", "gain", "lower", "upper")
    points = read_pairs([[row.get(name) for name in names] for row in read_rows(uplift.get("curve"))], 4)
    drawn = thin_points(sorted(points))
    title = say("Uplift curve")
    if uplift.get("status") != "learnt" and not drawn:
        body = make_quiet(
            say(
                "No experiment has ended yet, so nothing is known of what an action changes. The pilot finds out."
            )
        )
        return make_card(title, body, span=6)
    chart = _draw_uplift(drawn)
    heterogeneity = read_map(uplift.get("heterogeneity"))
    qini = read_figure(uplift.get("qini"))
    facts: list[tuple[Child, Child]] = []
    if qini:
        value = show_effect(qini, "plain", material.currency)
        facts.append(
            (say("Qini"), make("span", value, " ", make("small", show_sample(qini)), class_=find_tone(qini)))
        )
    sentence = read_text(heterogeneity.get("sentence"))
    return make_card(
        title,
        make_chart(
            chart,
            say("Cumulative gain by share of customers treated, with its band"),
            currency=material.currency,
        ),
        make_facts(facts) if facts else None,
        make("p", sentence, class_="say") if sentence.en else None,
        span=6,
        simulated=material.simulated,
        note=say(
            "Contribution gained when the customers with the largest expected effect are treated first."
        ),
    )


def _draw_uplift(points: list[tuple[float, ...]]) -> Curves:
    gain = Line(make_both(say("gain, largest effect first")), [point[:2] for point in points], "accent")
    lines = [gain]
    if points:
        last = points[-1]
        chance = [(0.0, 0.0), (last[0], last[1])]
        lines.append(Line(make_both(say("treated at random")), chance, "quiet", dashed=True))
    band = Band(make_both(say("95% interval")), [(p[0], p[2], p[3]) for p in points])
    return Curves(
        Axis(make_both(say("share of customers treated")), "percent", 0, 1),
        Axis(make_both(say("gain")), "money"),
        lines,
        [band] if points and is_rising(points) else [],
    )


def _make_actions(models: Mapping[str, Any], material: Material) -> Html:
    rows = []
    for row in read_rows(read_map(models.get("uplift")).get("actions")):
        figure = read_figure(row.get("effect"))
        if figure:
            rows.append(ForestRow(read_text(row.get("title"), row.get("action_id") or "—"), figure))
    chart = Forest(rows, Axis(make_both(say("effect per customer")), "money"))
    body = make_chart(
        chart,
        say("Learnt effect of each action"),
        currency=material.currency,
        height="tall" if len(rows) > 6 else "medium",
    )
    note = say(
        "Contribution per customer before the cost of contact. Grey: not proven, the interval holds zero."
    )
    return make_card(
        say("What each action changes"), body, span=6, simulated=material.simulated and bool(rows), note=note
    )


def name_numbers() -> dict[str, Text]:
    """Names of validation figures that many models share."""
    return {
        "auc": say("AUC"),
        "baseline_auc": say("AUC of the baseline"),
        "brier": say("Brier score"),
        "baseline_brier": say("Brier score of the baseline"),
        "log_loss": say("log loss"),
        "lift_top_decile": say("lift of the best tenth"),
        "calibration_slope": say("calibration slope"),
        "calibration_error": say("calibration error"),
        "mae": say("mean absolute error"),
        "rmse": say("root mean squared error"),
        "ndcg": say("NDCG"),
        "baseline_ndcg": say("NDCG of the baseline"),
        "hit_rate": say("hit rate"),
        "total_predicted": say("predicted in total"),
        "total_observed": say("observed in total"),
        "correlation": say("rank correlation"),
        "qini": say("Qini"),
        "n": say("customers"),
        "base_rate": say("base rate"),
    }


def _make_model(card: Mapping[str, Any], models: Mapping[str, Any], material: Material) -> Html:
    facts: list[tuple[Child, Child]] = []
    train, test = read_number(card.get("n_train")), read_number(card.get("n_test"))
    if train is not None:
        facts.append((say("learnt from"), show(train, "count", material.currency)))
    if test is not None:
        facts.append((say("tested on"), show(test, "count", material.currency)))
    facts += [(_name_number(name), _show_number(value)) for name, value in _list_numbers(card, models)]
    limits = read_text(card.get("limits"))
    return make_card(
        read_text(card.get("title"), card.get("model") or "—"),
        make("p", read_text(card.get("purpose")), class_="say"),
        make("p", make("code", str(card.get("method") or "—")), class_="method"),
        make_facts(facts[:9]),
        make("p", make("b", say("Limits")), " ", limits, class_="limits") if limits.en else None,
        span=4,
        simulated=material.simulated and "uplift" in f"{card.get('model')} {card.get('kind')}",
    )


def _list_numbers(card: Mapping[str, Any], models: Mapping[str, Any]) -> list[tuple[str, Any]]:
    numbers = dict(read_map(card.get("validation")))
    if "clv" in str(card.get("model")):
        clv = read_map(models.get("clv"))
        numbers = {
            **{name: clv.get(name) for name in ("total_predicted", "total_observed")},
            **read_map(clv.get("parameters")),
            **numbers,
        }
    if "next" in str(card.get("model")):
        numbers = {
            **{k: v for k, v in read_map(models.get("next_products")).items() if k != "method"},
            **numbers,
        }
    return [
        (name, value)
        for name, value in numbers.items()
        if isinstance(value, str) or read_number(value) is not None
    ]


def _name_number(name: str) -> Child:
    known = name_numbers().get(name)
    return known if known is not None else name.replace("_", " ")


def _show_number(value: object) -> Both:
    number = read_number(value)
    return show_date(value) if number is None else show_plain(number)
