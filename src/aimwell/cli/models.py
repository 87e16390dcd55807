"""``aimwell models``: train models, learn effects, read model cards."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.models_experiment import learn_experiment
from aimwell.cli.output import (
    add_row,
    emit,
    emit_result,
    in_language,
    make_table,
    read_day,
    show_progress,
    state,
)
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say

app = App(help="Step 3: models.  第三步 建模")
app.command("experiment")(learn_experiment)


@app.command("train")
def train_command(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(help="Known before this day, YYYY-MM-DD.  截止日：仅用此日之前的数据，YYYY-MM-DD"),
    ] = None,
) -> None:
    """Train lifetime value, propensities and next products.  训练模型：终身价值、倾向得分、下一个商品"""
    from aimwell.loop.clock import find_as_of
    from aimwell.models.step import train

    workspace = state(context).workspace
    day = read_day(as_of) or find_as_of(workspace)
    result = train(workspace, as_of=day, progress=show_progress(context))
    emit_result(context, result, lambda console: _draw_cards(console, result.summary["cards"]))


@app.command("learn")
def learn_command(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(help="Known before this day, YYYY-MM-DD.  截止日：仅用此日之前的数据，YYYY-MM-DD"),
    ] = None,
) -> None:
    """Learn what each action changes, from past experiments.  从历次实验学习各动作的增量效果"""
    from aimwell.loop.clock import find_as_of
    from aimwell.models.step import learn

    workspace = state(context).workspace
    day = read_day(as_of) or find_as_of(workspace)
    result = learn(workspace, as_of=day)
    emit_result(context, result, lambda console: _draw_uplift(console, result.summary["uplift"]))


@app.command("list")
def list_command(context: typer.Context) -> None:
    """List the models and how they did.  模型列表与表现"""
    from aimwell.models.step import read_cards

    cards = read_cards(state(context).workspace)
    emit(context, {"cards": cards}, lambda console: _draw_cards(console, cards))


@app.command("card")
def card_command(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The model.  模型")]
) -> None:
    """Show one model card.  模型卡"""
    from aimwell.models.step import read_cards

    cards = {card["model"]: card for card in read_cards(state(context).workspace)}
    if name not in cards:
        raise BadInput(
            "models.unknown_model",
            say("There is no model '{name}'.", name=name),
            remedy=say("Models here: {names}.", names=join_list(cards))
            if cards
            else say("Train the models first: aimwell models train"),
            where={"value": name},
        )
    emit(context, cards[name], lambda console: _draw_card(console, cards[name]))


def _draw_cards(console: Console, cards: list[dict[str, Any]]) -> None:
    table = make_table(str(say("Model")), str(say("Title")), str(say("Rows")), str(say("Validation")))
    for card in cards:
        known = [(name, value) for name, value in card["validation"].items() if value is not None]
        shown = [f"{_name_figure(name)} {_show_figure(value)}" for name, value in known]
        add_row(
            table,
            card["model"],
            in_language(card["title"]),
            f"{card['n_train']:,}",
            str(join_list(shown[:4])),
        )
    console.print(table)


def _draw_card(console: Console, card: dict[str, Any]) -> None:
    console.print(f"{in_language(card['title'])}  {card['model']}", style="bold", markup=False)
    parts = (
        (say("Purpose"), "purpose"),
        (say("Data"), "data"),
        (say("Validated"), "validated"),
        (say("Intervals"), "intervals"),
        (say("Limits"), "limits"),
    )
    for title, key in parts:
        console.print(f"{title}: {in_language(card[key])}", markup=False)
    console.print(f"{say('Method')}: {card['method']} ({card['source']})")
    table = make_table(str(say("Figure")), str(say("Value")))
    for name, value in {**card["validation"], **card["parameters"]}.items():
        add_row(table, _name_figure(name), "–" if value is None else _show_figure(value))
    console.print(table)


def _show_figure(value: float) -> str:
    """Four figures that count; large numbers grouped rather than as powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _name_figure(name: str) -> str:
    from aimwell.report.sections.models import name_numbers

    bounds = {"qini_lower": say("Qini, lower"), "qini_upper": say("Qini, upper")}
    title = bounds.get(name) or name_numbers().get(name)
    return name if title is None else str(title)


def _draw_uplift(console: Console, uplift: dict[str, Any]) -> None:
    if uplift["status"] != "learnt":
        return
    console.print(in_language(uplift["heterogeneity"]["sentence"]))
    table = make_table(str(say("Action")), str(say("Effect per customer")), str(say("95 % interval")))
    for row in uplift["actions"]:
        effect = row["effect"]
        interval = f"{effect['lower']:.2f} … {effect['upper']:.2f}"
        add_row(table, in_language(row["title"]), f"{effect['estimate']:.2f}", interval)
    console.print(table)
