"""The loop as a ring of six steps, each with the one figure that it left; what was learnt feeds the first."""

from __future__ import annotations

from aimwell.core.text import Text, say
from aimwell.report.figures import NONE, show, show_count
from aimwell.report.icons import draw_icon
from aimwell.report.markup import Both, Html, fill, make, make_both
from aimwell.report.reading import Material, read_count, read_figure, read_list, read_map, read_number

_ORBIT = (
    '<svg class="orbit" viewBox="0 0 400 400" aria-hidden="true"><circle cx="200" cy="200" r="150"/>'
    + "".join(
        f'<path d="M-5 -6L4 0L-5 6" transform="rotate({angle} 200 200) translate(200 50)"/>'
        for angle in (30, 90, 157, 203, 270, 330)
    )
    + "</svg>"
)


def list_steps() -> tuple[tuple[str, Text], ...]:
    """The six steps: the id of the section, and the name."""
    return (
        ("goal", say("Goals")),
        ("data", say("Data")),
        ("analysis", say("Analysis and models")),
        ("strategy", say("Strategy")),
        ("deployment", say("Deployment")),
        ("evaluation", say("Evaluation")),
    )


def draw_ring(material: Material) -> Html:
    """The ring; every node leads to its section."""
    figures = _find_figures(material)
    nodes = [
        make(
            "li",
            make(
                "a",
                make("span", draw_icon(name), class_="disc"),
                make("span", make("b", f"{at} "), title, class_="node-title"),
                make("span", figures[name], class_="node-figure"),
                href=f"#{name}",
            ),
            class_=f"node node-{at}",
        )
        for at, (name, title) in enumerate(list_steps(), start=1)
    ]
    return make("div", Html(_ORBIT), _make_middle(material), make("ol", *nodes), class_="ring")


def _make_middle(material: Material) -> Html:
    rounds = material.rows("rounds")
    number = read_count(rounds[-1].get("round")) if rounds else None
    title = say("Round {number}", number=number or len(rounds) or 1)
    under = say("what was learnt starts the next one")
    return make("div", make("b", title), make("span", under), class_="middle")


def _find_figures(material: Material) -> dict[str, Both]:
    return {
        "goal": _tell_goal(material),
        "data": _tell_data(material),
        "analysis": _tell_analysis(material),
        "strategy": _tell_strategy(material),
        "deployment": _tell_deployment(material),
        "evaluation": _tell_evaluation(material),
    }


def _tell_goal(material: Material) -> Both:
    budget = read_number(material.part("goal").get("budget"))
    if budget is None:
        return NONE
    return fill(say("budget {amount}"), amount=show(budget, "money", material.currency))


def _tell_data(material: Material) -> Both:
    tables = read_map(material.part("data").get("tables")).values()
    rows = [count for count in map(read_count, tables) if count is not None]
    return fill(say("{count} rows"), count=show_count(sum(rows))) if rows else NONE


def _tell_analysis(material: Material) -> Both:
    analysis = material.part("analysis")
    tags = read_count(read_map(analysis.get("tags")).get("count"))
    segments = len(read_list(analysis.get("segments")))
    return (
        NONE
        if tags is None
        else make_both(say("{tags} tags · {segments} segments", tags=tags, segments=segments))
    )


def _tell_strategy(material: Material) -> Both:
    chosen = read_number(material.part("strategy").get("chosen"))
    return NONE if chosen is None else fill(say("{count} chosen"), count=show_count(chosen))


def _tell_deployment(material: Material) -> Both:
    sent = read_number(read_map(material.part("deployment").get("states")).get("sent"))
    return NONE if sent is None else fill(say("{count} sent"), count=show_count(sent))


def _tell_evaluation(material: Material) -> Both:
    figure = read_figure(material.part("evaluation").get("incremental_profit"))
    return NONE if figure is None else show(figure.estimate, "money", material.currency, signed=True)
