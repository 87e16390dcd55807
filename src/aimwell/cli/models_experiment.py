"""``aimwell models experiment``: learn from an experiment that stands in the customers' columns, with the guard."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.output import add_row, emit_result, in_language, make_table, read_day, read_money, state
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.money import show_money
from aimwell.core.text import current_language, say
from aimwell.core.time import business_day, now

if TYPE_CHECKING:
    from aimwell.loop.past_experiment import Arm


def learn_experiment(
    context: typer.Context,
    arm: Annotated[str, typer.Option(help="The column of the arm.  分组列")],
    outcome: Annotated[str, typer.Option(help="The column of the outcome.  结果列")],
    control: Annotated[str, typer.Option(help="The control's name.  对照组名称")],
    action: Annotated[
        list[str],
        typer.Option(help="ARM=CHANNEL or ARM=CHANNEL:COST, for each arm.  各组对应的渠道与单位成本"),
    ],
    trait: Annotated[
        list[str], typer.Option(help="A column known before; may be repeated.  实验前已知的列，可重复")
    ],
    worth: Annotated[
        str | None,
        typer.Option(help="Money that one unit of it is worth; else the margin rate.  一单位结果值多少钱"),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.1, max=0.9, help="Share kept apart to value the result.  留作检验的比例")
    ] = 0.5,
    as_of: Annotated[str | None, typer.Option(help="Business day, YYYY-MM-DD.  业务日，YYYY-MM-DD")] = None,
) -> None:
    """Learn effects from an experiment in the customers' columns, and say whether personalising is proven.

    从客户表中的随机实验学习效果，并说明个性化是否得到证实
    """
    from aimwell.loop.past_experiment import PastExperiment, learn_past_experiment

    workspace = state(context).workspace
    money = read_money(worth)
    settings = workspace.settings
    arms = tuple(
        _read_arm(value, {name: one.unit_cost for name, one in settings.channels.items()}) for value in action
    )
    experiment = PastExperiment(
        arm=arm,
        outcome=outcome,
        control=control,
        arms=arms,
        traits=tuple(trait),
        worth=settings.business.margin_rate if money is None else float(money),
        held_out=held_out,
    )
    day = read_day(as_of) or business_day(now(), settings.business.zone)
    result = learn_past_experiment(workspace, experiment, as_of=day)
    emit_result(context, result, lambda console: _draw(console, result.summary))


def _read_arm(value: str, costs: dict[str, Decimal]) -> Arm:
    from aimwell.loop.past_experiment import Arm

    name, _, rest = value.rpartition("=")
    channel, _, cost = rest.partition(":")
    if not name or channel not in costs:
        raise BadInput(
            "cli.bad_arm",
            say("'{value}' does not name an arm and a channel.", value=value),
            remedy=say(
                'Write it as "Mens E-Mail=email", with one of: {channels}.', channels=join_list(costs)
            ),
            where={"value": value},
        )
    return Arm(name, channel, read_money(cost or None) or costs[channel])


def _draw(console: Console, summary: dict[str, Any]) -> None:
    currency = summary["currency"]
    table = make_table(str(say("Action")), str(say("Effect per customer")), str(say("95 % interval")))
    for row in summary["actions"]:
        effect = row["effect"]
        lower, upper = (show_money(effect[end], currency, current_language()) for end in ("lower", "upper"))
        shown = show_money(effect["estimate"], currency, current_language())
        add_row(table, in_language(row["title"]), shown, f"{lower} … {upper}")
    console.print(table)
    for part in ("guard", "value"):
        console.print(in_language(summary[part]["sentence"]), markup=False, highlight=False)
