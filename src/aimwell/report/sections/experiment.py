"""The real experiment (Cai 2015): the same evaluation code on real randomised offers, with both intervals."""

from __future__ import annotations

from aimwell.core.text import say
from aimwell.report.charts import Axis
from aimwell.report.figures import find_tone, show, show_interval, show_sample
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.markup import Html, make, make_both
from aimwell.report.parts import make_card, make_chart, make_pill, make_tile
from aimwell.report.reading import Figure, Material, read_figure, read_map, read_text


def make_experiment(material: Material) -> list[Html]:
    """The cards; nothing where the payload has no real experiment."""
    experiment = material.part("real_experiment")
    if not experiment:
        return []
    names = {
        "default": say("insurance by default"),
        "default_clustered": say("by default, clustered by village"),
        "intensive": say("intensive session"),
        "intensive_clustered": say("intensive session, clustered by village"),
    }
    found = {name: _read_effect(experiment.get(name)) for name in names}
    rows = [ForestRow(make_both(names[name]), figure) for name, figure in found.items() if figure]
    chart = Forest(rows, Axis(make_both(say("effect on taking the insurance")), "points"))
    real = make_pill(make_both("real 真实"), "real")
    body = make_chart(
        chart, say("Effects of the real experiment, with both intervals"), currency=material.currency
    )
    sentence = read_text(experiment.get("sentence"))
    figure, clustered = found["default"], found["default_clustered"]
    tile = None
    if figure:
        interval = show_interval(figure, "points", material.currency)
        other = show_interval(clustered, "points", material.currency) if clustered else None
        tile = make_tile(
            say("Effect of the default"),
            show(figure.estimate, "points", material.currency, signed=True),
            make(
                "span",
                make("span", interval, " ", show_sample(figure)),
                make("span", make("br"), say("clustered by village"), " ", other) if other else None,
            ),
            tone=find_tone(figure),
        )
    side = make(
        "div",
        tile,
        make("p", sentence, class_="say"),
        make("p", str(experiment.get("source") or ""), class_="note"),
    )
    note = say("Real people, really randomised: what the evaluation finds where nothing is simulated.")
    title = make("span", say("A real experiment"), " ", real)
    return [make_card(title, make("div", side, body, class_="halves wide-right"), span=12, note=note)]


def _read_effect(value: object) -> Figure | None:
    """The effect per unit: some payloads keep it under ``per_unit`` beside the total."""
    inner = read_map(value).get("per_unit")
    return read_figure(inner) or read_figure(value)
