"""``aimwell strategy live``: open a live day, decide for one customer, say what was shown, see how it stands, close."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import (
    add_row,
    emit,
    in_language,
    make_number_table,
    read_day,
    read_money,
    show_amount,
    state,
)
from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.engine.workspace import Workspace
    from aimwell.strategy.live.decide import LiveDecider

live = App(help="Decide one customer at a time.  实时决策：逐个客户")
LivePlanName = Annotated[
    str | None, typer.Option("--plan", help="The live day; the newest open one.  实时日名称；省略则取最新")
]
Request = Annotated[str, typer.Argument(help="The request id of the decision.  决策的请求编号")]


@live.command(name="open")
def open_live(
    context: typer.Context,
    day: Annotated[str | None, typer.Option(help="The day, YYYY-MM-DD; today.  日期；省略则为今天")] = None,
    name: Annotated[str | None, typer.Option(help="A name for it.  名称")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="The plan it rests on; the newest.  所依据的计划；省略则取最新"),
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Share of what the plan has left.  占计划剩余的比例")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="The day's budget.  当日预算")] = None,
    hold: Annotated[
        int, typer.Option(help="Seconds that a decision waits to be confirmed.  决策等待确认的秒数")
    ] = 900,
    solve: Annotated[
        bool, typer.Option("--solve", help="Optimise prices now.  现在重新求解影子价格")
    ] = False,
) -> None:
    """Open a live day by the newest plan: its prices, and what it has left. Days that are over are closed.

    按最新计划开启实时日：沿用其影子价格与可用额度；已过的实时日随之关闭
    """
    from aimwell.strategy.live.closing import close_day, list_past
    from aimwell.strategy.live.opening import open_day

    workspace = state(context).workspace
    past = list_past(workspace.store, _now_ms())
    for name_past in past:
        close_day(workspace, name_past, clock=_clock)
    opened = open_day(
        workspace,
        day=read_day(day) or _find_today(workspace),
        name=name,
        plan_id=source,
        share=share,
        budget=read_money(budget),
        hold_seconds=hold,
        solve=solve,
    )
    payload = {
        **_describe(workspace, opened.plan.plan_id),
        "customers": opened.customers,
        "able": opened.able,
        "share": opened.share,
        "closed": past,
    }
    emit(context, payload, lambda console: _show_opened(console, payload))


@live.command()
def decide(
    context: typer.Context,
    customer: Annotated[str, typer.Argument(help="The customer.  客户编号")],
    known: Annotated[
        str | None,
        typer.Option(
            "--context", help="What is known now, as JSON: channels, actions, profit.  当下情况（JSON）"
        ),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(help="A name for this question; repeated, the same answer.  请求编号；重复则同答"),
    ] = None,
    plan: LivePlanName = None,
) -> None:
    """Decide for one customer who is here now, and reserve what the action takes.

    为眼前的客户决策，并预留所需额度
    """
    payload = _decide(state(context).workspace, customer, _read_context(known), request, plan)
    emit(context, payload, lambda console: _show_decision(console, payload))


@live.command()
def confirm(context: typer.Context, request: Request, plan: LivePlanName = None) -> None:
    """Say that the action was shown.  确认营销动作已展示"""
    _settle(context, request, plan, shown=True)


@live.command()
def cancel(context: typer.Context, request: Request, plan: LivePlanName = None) -> None:
    """Say that the action was not shown: what it reserved is given back.  告知动作未展示，退回预留额度"""
    _settle(context, request, plan, shown=False)


@live.command()
def status(
    context: typer.Context,
    plan: Annotated[
        str | None, typer.Argument(help="The live day; the newest.  实时日名称；省略则取最新")
    ] = None,
) -> None:
    """Show what of each limit is used, reserved and left, its pace and price.

    查看各约束的已用、预留与剩余，进度与影子价格
    """
    workspace = state(context).workspace
    decider = _open_decider(workspace, plan)
    decider.release_expired()
    payload = _describe(workspace, decider.plan.plan_id)
    emit(context, payload, lambda console: _show_status(console, payload))


@live.command()
def close(
    context: typer.Context,
    plan: Annotated[
        str | None, typer.Argument(help="The live day; the newest.  实时日名称；省略则取最新")
    ] = None,
) -> None:
    """Close a live day, and hand its decisions to the steps that learn from them. Safe to repeat.

    关闭实时日，并把决策记录交给学习环节；可重复执行
    """
    from aimwell.strategy.live.closing import close_day
    from aimwell.strategy.live.status import find_live_plan

    workspace = state(context).workspace
    name = find_live_plan(workspace.store, plan)
    handed = close_day(workspace, name, clock=_clock)
    payload = {**_describe(workspace, name), "handed_over": handed}
    emit(context, payload, lambda console: _show_closed(console, payload))


def _find_today(workspace: Workspace) -> Any:
    from aimwell.core.time import business_day, now

    return business_day(now(), workspace.settings.business.zone)


def _clock() -> float:
    return time.time()


def _now_ms() -> int:
    return int(_clock() * 1000)


def _open_decider(workspace: Workspace, plan: str | None) -> LiveDecider:
    from aimwell.strategy.live.decide import LiveDecider
    from aimwell.strategy.live.status import find_live_plan

    return LiveDecider(workspace.store, find_live_plan(workspace.store, plan), clock=_clock)


def _describe(workspace: Workspace, plan_id: str) -> dict[str, Any]:
    from aimwell.strategy.live.plan import read_plan
    from aimwell.strategy.live.status import describe_day

    found = describe_day(workspace.store, read_plan(workspace.store, plan_id), _now_ms())
    with workspace.read() as reader:
        told = reader.query("SELECT COUNT(*) AS n FROM plans WHERE simulated")["n"][0].as_py()
    return {**found, "currency": workspace.settings.business.currency, "rests_on_simulated": bool(told)}


def _decide(
    workspace: Workspace, customer: str, given: dict[str, Any], request: str | None, plan: str | None
) -> dict[str, Any]:
    from aimwell.core.ids import new_id
    from aimwell.strategy.live.answer import Moment, explain_decision
    from aimwell.strategy.live.profiles import check_context, read_profile
    from aimwell.strategy.live.requests import Visit

    decider = _open_decider(workspace, plan)
    profile = read_profile(workspace.store, decider.plan.plan_id, customer)
    at_ms = _now_ms()
    answer = decider.meet([(customer, Visit(request or new_id("live"), given, at_ms))])[0]
    if isinstance(answer, AimwellError):
        raise answer
    moment = Moment(
        answer,
        profile,
        check_context(decider.plan, given),
        decider.read_used() if answer.repeated else decider.before,
        at_ms,
        workspace.settings.business.currency,
    )
    return explain_decision(workspace.store, decider.plan, moment)


def _settle(context: typer.Context, request: str, plan: str | None, *, shown: bool) -> None:
    from aimwell.strategy.live.settle import Outcome

    decider = _open_decider(state(context).workspace, plan)
    decider.release_expired()
    answer = decider.settle([Outcome(request, shown)])[0]
    if isinstance(answer, AimwellError):
        raise answer
    payload = {**answer._asdict(), "plan_id": decider.plan.plan_id}
    emit(context, payload, lambda console: _say(console, _tell_state(answer.state, repeated=answer.repeated)))


def _tell_state(name: str, *, repeated: bool) -> Text:
    told = {
        "confirmed": say("Confirmed: the action was shown, and what it took stays used."),
        "cancelled": say("Cancelled: what was reserved is given back."),
        "expired": say("Nothing to cancel: what was reserved had been given back already."),
    }[name]
    return say("{told} It stood so before.", told=told) if repeated and name != "expired" else told


def _read_context(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            "cli.bad_context",
            say("The context is not a JSON object."),
            remedy=say("Write it like this: {example}", example='{"channels": ["sms"]}'),
            where={"value": text[:100]},
        )
    return found


def _show_opened(console: Console, payload: dict[str, Any]) -> None:
    if payload["closed"]:
        names = ", ".join(payload["closed"])
        _say(console, say("Closed, since they are over, and handed over: {names}.", names=names))
    told = say(
        "The live day {plan} is open on {day}: {able} of {customers} customers may get something.",
        plan=payload["plan_id"],
        day=payload["day"],
        able=payload["able"],
        customers=payload["customers"],
    )
    _say(console, told)
    if payload["source"] is not None:
        _say(console, say("It rests on the plan {plan}.", plan=payload["source"]))
    _show_limits(console, payload)


def _show_status(console: Console, payload: dict[str, Any]) -> None:
    states = {
        "open": say("open"),
        "closed": say("closed"),
        "over": say("over"),
        "not_begun": say("not begun"),
    }
    told = say(
        "Live day {plan} ({day}): {state}. By now {passed} % of a usual day's customers have come.",
        plan=payload["plan_id"],
        day=payload["day"],
        state=states[payload["state"]],
        passed=f"{100 * payload['passed']:.0f}",
    )
    _say(console, told)
    counts = payload["states"]
    told = say(
        "{decisions} decisions, {actions} with an action: {reserved} reserved, {confirmed} shown, {cancelled} not "
        "shown, {expired} never confirmed.",
        decisions=payload["decisions"],
        actions=payload["with_action"],
        **counts,
    )
    _say(console, told)
    for row in payload["reasons"]:
        console.print(f"  {in_language(row['title'])}: {row['decisions']}", markup=False, highlight=False)
    if payload["decisions"]:
        profit = show_amount(payload["expected_profit"], payload["currency"])
        _say(console, say("Expected profit of what is reserved or was shown: {profit}.", profit=profit))
    _show_limits(console, payload)


def _show_limits(console: Console, payload: dict[str, Any]) -> None:
    currency = payload["currency"]
    table = make_number_table(
        say("Constraint"), say("Limit"), say("Used"), say("Reserved"), say("Still left"), say("Ahead of its pace"),
        say("Price now"), say("Plan's price"),
    )  # fmt: skip
    for row in payload["limits"]:
        ahead = "" if row["ahead"] is None else f"{100 * row['ahead']:+.0f} %"
        title = in_language(row["title"]) if row["exact"] else f"{in_language(row['title'])} ≥"
        amounts = [f"{row[name]:,.2f}" for name in ("limit", "kept", "reserved", "left")]
        prices = [show_amount(row[name], currency) for name in ("price", "plan_price")]
        add_row(table, title, *amounts, ahead, *prices)
    console.print(table)
    for told in payload["notices"]:
        console.print(f"• {in_language(told)}", markup=False, highlight=False)
    if payload["rests_on_simulated"]:
        _say(
            console,
            say("Customers' answers in this workspace are simulated: what is expected rests on them, too."),
        )


def _show_decision(console: Console, payload: dict[str, Any]) -> None:
    currency = payload["currency"]
    if payload["action_id"] is None:
        _say(console, say("{customer}: no action. {why}.", customer=payload["customer_id"],
                          why=in_language(payload["why"])))  # fmt: skip
    else:
        told = say(
            "{customer}: {action}. {why}; probability {probability} of {choices} near-best.",
            customer=payload["customer_id"],
            action=in_language(payload["title"]),
            why=in_language(payload["why"]),
            probability=f"{payload['probability']:.4g}",
            choices=payload["choices"],
        )
        _say(console, told)
        _say(console, say("Request {request}. Say whether it was shown: aimwell strategy live confirm {request}",
                          request=payload["request_id"]))  # fmt: skip
    if payload["repeated"]:
        _say(console, say("It was decided before; what stands below is by the prices of now."))
    table = make_number_table(
        say("Action"), say("Expected profit"), say("Cost"), say("Caution"), say("Resources"), say("Left")
    )
    for row in payload["actions"]:
        if row["expected_profit"] is not None:
            names = ("expected_profit", "cost", "handicap", "resources", "net")
            add_row(table, in_language(row["title"]), *(show_amount(row[name], currency) for name in names))
    if table.row_count:
        console.print(table)
    for row in payload["actions"]:
        words = f"• {in_language(row['title'])}: {in_language(row['reason'])}"
        console.print(words, markup=False, highlight=False)


def _show_closed(console: Console, payload: dict[str, Any]) -> None:
    _show_status(console, payload)
    told = say(
        "{count} decisions are handed over to the steps that learn from them.", count=payload["handed_over"]
    )
    _say(console, told)


def _say(console: Console, told: Text) -> None:
    console.print(str(told), markup=False, highlight=False)
