"""What actions change, as the experiments so far have shown: the uplift curve and the effect of each action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimwell.core.text import say
from aimwell.report.charts import Axis, Band, Curves, Line, is_rising, thin_points
from aimwell.report.figures import find_tone, show_effect, show_sample
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.markup import Child, Html, make, make_both
from aimwell.report.parts import fit_height, make_card, make_chart, make_facts, make_quiet
from aimwell.report.reading import Material, read_figure, read_map, read_pairs, read_rows, read_text


def make_uplift(models: Mapping[str, Any], material: Material) -> Html:
    """What treating the most promising customers first gains, with its band."""
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
        return make_card(title, body, span=5)
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
        span=5,
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


def make_effects(models: Mapping[str, Any], material: Material) -> Html:
    """The learnt effect of each action, with its interval."""
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
        height=fit_height(len(rows)),
    )
    note = say("Contribution per customer before the cost of contact. Grey: not proven.")
    return make_card(
        say("What each action changes"), body, span=7, simulated=material.simulated and bool(rows), note=note
    )
