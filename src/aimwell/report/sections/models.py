"""Section 3, second half: the models, each with its validation and its limits, and what actions change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import Text, say
from aimwell.report.charts import Axis, Curves, Line, thin_points
from aimwell.report.figures import Unit, show, show_interval
from aimwell.report.markup import Child, Html, join, make, make_both
from aimwell.report.parts import make_card, make_chart, make_facts, make_lacks, make_quiet
from aimwell.report.reading import (
    Figure,
    Material,
    read_map,
    read_number,
    read_pairs,
    read_rows,
    read_text,
)
from aimwell.report.sections.propensity import is_propensity, make_propensity, name_target
from aimwell.report.sections.uplift import make_effects, make_uplift

MAX_LINES = 6
MAX_FACTS = 12
SHARES = ("base_rate", "share_of_similar_customers", "total_error", "variance_explained_before")


def make_models(material: Material) -> list[Html]:
    """The cards."""
    models = material.part("models")
    missing = say(
        "No models yet: they need customers with at least a few months of orders; then run `aimwell round`."
    )
    every = read_rows(models.get("cards"))
    likely = [card for card in every if is_propensity(card)]
    others = [card for card in every if not is_propensity(card)]
    cards = [
        _make_lift(models, material),
        _make_calibration(models, material),
        make_uplift(models, material),
        make_effects(models, material),
        make_propensity(likely),
        make(
            "div",
            *(_make_model(card, models, material) for card in others),
            class_="cards span-12",
        ),
    ]
    heading = make("h3", say("The models"), class_="subhead span-12")
    return [heading, *(cards if material.has("models") else ()), make_lacks(models, missing)]


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
        Axis(make_both(say("predicted")), "percent", 0, 1 if top > 0.5 else None),
        Axis(make_both(say("observed")), "percent", 0, 1 if top > 0.5 else None),
        [*lines, exact] if any(line.points for line in lines) else [],
    )
    body = make_chart(chart, say("Calibration of the propensity models"), currency=material.currency)
    note = say("The closer to the dashed line, the more a score means what it says.")
    return make_card(say("Calibration"), body, _tell_rest(rows), span=6, note=note)


def _draw_model(row: Mapping[str, Any], width: int, *, dots: bool = False) -> Line:
    points = [point[:2] for point in sorted(read_pairs(row.get("points"), width))]
    return Line(name_target(row), thin_points(points), dots=dots)


def _tell_rest(rows: list[Mapping[str, Any]]) -> Html | None:
    more = len(rows) - MAX_LINES
    return make_quiet(say("{count} more models are not drawn.", count=more)) if more > 0 else None


def name_numbers() -> dict[str, Text]:
    """Names of the validation figures that models share."""
    return {
        "auc": say("AUC"),
        "baseline_auc": say("AUC of the baseline"),
        "average_precision": say("average precision"),
        "brier": say("Brier score"),
        "base_rate": say("base rate"),
        "lift_at_10": say("lift of the best tenth"),
        "calibration": say("predicted ÷ observed"),
        "calibration_slope": say("calibration slope"),
        "applied_slope": say("shrinkage applied"),
        "mean_absolute_error": say("mean absolute error"),
        "mean_absolute_error_of_past_rate": say("mean absolute error of the past rate"),
        "root_mean_square_error": say("root mean squared error"),
        "ndcg": say("NDCG"),
        "baseline_ndcg": say("NDCG of the baseline"),
        "hit_rate": say("hit rate"),
        "predicted_total": say("predicted in total"),
        "observed_total": say("observed in total"),
        "total_error": say("error of the total"),
        "share_of_similar_customers": say("weight of similar customers"),
        "qini": say("Qini"),
        "heterogeneity_p_value": say("p-value of differences in response"),
        "variance_explained_before": say("variance explained by the past"),
    }


def _make_model(card: Mapping[str, Any], models: Mapping[str, Any], material: Material) -> Html:
    facts: list[tuple[Child, Child]] = []
    train, test = read_number(card.get("n_train")), read_number(card.get("n_test"))
    if train is not None:
        facts.append((say("learnt from"), show(train, "count", material.currency)))
    if test is not None:
        facts.append((say("tested on"), show(test, "count", material.currency)))
    facts += _list_numbers(card, models)
    limits, validated = read_text(card.get("limits")), read_text(card.get("validated"))
    learnt = card.get("simulated") is True or "uplift" in f"{card.get('model')} {card.get('kind')}"
    return make_card(
        read_text(card.get("title"), card.get("model") or "—"),
        make("p", read_text(card.get("purpose")), class_="say"),
        make("p", make("code", str(card.get("method") or "—")), class_="method"),
        make_facts(facts[:MAX_FACTS]),
        make("p", make("b", say("Validated")), " ", validated, class_="limits") if validated.en else None,
        make("p", make("b", say("Limits")), " ", limits, class_="limits") if limits.en else None,
        span=4,
        simulated=material.simulated and learnt,
    )


def _list_numbers(card: Mapping[str, Any], models: Mapping[str, Any]) -> list[tuple[Child, Child]]:
    """Validation figures, an interval beside its figure, and then the parameters."""
    numbers = {**read_map(card.get("validation")), **_find_others(card, models)}
    rows: list[tuple[Child, Child]] = []
    for name, value in numbers.items():
        number = read_number(value)
        bound = name.endswith(("_lower", "_upper")) and name.rpartition("_")[0] in numbers
        if number is None or bound or name.startswith("sd "):
            continue
        lower, upper = (read_number(numbers.get(f"{name}_{end}")) for end in ("lower", "upper"))
        figure = Figure(number, lower, upper)
        rows.append((name_numbers().get(name) or name.replace("_", " "), _show_number(name, figure)))
    return rows


def _show_number(name: str, figure: Figure) -> Child:
    if name.endswith("p_value") and figure.estimate < 0.001:
        return "< 0.001"
    unit: Unit = "percent" if name in SHARES else "plain"
    value = show(figure.estimate, unit, "")
    return join(value, " ", show_interval(figure, unit, "")) if figure.bounded else value


def _find_others(card: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that a summary keeps beside the cards."""
    others = dict(read_map(card.get("parameters")))
    if "next" in str(card.get("model")):
        others |= {
            name: value for name, value in read_map(models.get("next_products")).items() if name != "n"
        }
    if "clv" in str(card.get("model")):
        others |= read_map(read_map(models.get("clv")).get("parameters"))
    return others
