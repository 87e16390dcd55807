"""``aimwell deployment`` beyond a launch: schedule, pace, test sends, kill switch, doubt and dead letters, sums."""

from __future__ import annotations

import getpass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.instants import read_instant, show_instant
from aimwell.cli.output import add_row, emit, in_language, make_table, read_day, state, warn
from aimwell.core.errors import BadInput
from aimwell.core.ids import fold_id
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.deployment.reconciliation import Unsettled

doubt = App(help="Deliveries in doubt: they may have arrived.  结果存疑的投放：可能已送达")
dead = App(help="Dead letters: deliveries that failed for good.  死信：最终失败的投放")

Plan = Annotated[
    str, typer.Argument(help="The plan, as in the table 'plans'.  投放计划，见 plans 表", metavar="PLAN")
]
By = Annotated[str | None, typer.Option(help="Who; your login name when omitted.  操作人；省略则为登录名")]
Source = Annotated[
    str | None,
    typer.Option(help="Only of one plan or journey.  只看某个投放计划或旅程", metavar="SOURCE"),
]
Ids = Annotated[list[str], typer.Argument(help="Deliveries, by their ids.  投放编号", metavar="DELIVERY…")]


def register(app: App) -> None:
    """Add these commands to ``aimwell deployment``."""
    app.command()(schedule)
    app.command()(pace)
    app.command("test")(send_test)
    app.command()(halt)
    app.command("continue")(go_on)
    app.command()(check)
    app.add_typer(doubt, name="doubt")
    app.add_typer(dead, name="dead")


def schedule(
    context: typer.Context,
    plan: Plan,
    at: Annotated[
        str | None, typer.Option(help="When, such as 2026-03-01 10:00.  开始时间，如 2026-03-01 10:00")
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="Business day of the contacts, YYYY-MM-DD.  触达日，YYYY-MM-DD")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take the start back.  取消定时")] = False,
    by: By = None,
) -> None:
    """Let the worker launch a plan at an instant.  定时启动：到时由 worker 启动投放计划"""
    from aimwell.deployment.schedule import schedule as run_schedule

    instant = None if cancel else _read_start(context, at)
    day: date | None = read_day(on)
    campaign = run_schedule(state(context).workspace, plan, at=instant, on=day, by=by or getpass.getuser())
    payload = {"plan_id": plan, "start_at": None if instant is None else instant.isoformat()}
    text = (
        say("The start of {plan} is taken back.", plan=plan)
        if campaign.start_at_ms is None or instant is None
        else say("{plan} starts at {instant}.", plan=plan, instant=show_instant(context, instant))
    )
    emit(context, payload, lambda console: console.print(str(text)))


def pace(
    context: typer.Context,
    plan: Plan,
    per_minute: Annotated[
        int | None, typer.Option(min=1, help="At most so many a minute.  每分钟最多条数")
    ] = None,
    per_hour: Annotated[
        int | None, typer.Option(min=1, help="At most so many an hour.  每小时最多条数")
    ] = None,
    warmup_per_hour: Annotated[
        int | None,
        typer.Option(min=1, help="The hourly rate at first; it doubles.  预热：起始每小时条数，逐步翻倍"),
    ] = None,
    warmup_hours: Annotated[float, typer.Option(help="Hours after which it doubles.  每隔几小时翻倍")] = 24.0,
    waves: Annotated[
        str | None,
        typer.Option(help="Shares of waves in percent, such as 10,30,60.  各批次占比（%），如 10,30,60"),
    ] = None,
    wave_hours: Annotated[float, typer.Option(help="Hours between waves.  批次间隔小时数")] = 24.0,
    by: By = None,
) -> None:
    """How fast a plan goes out: rates, warm-up, waves. Without options: no limit.

    投放速度：每分钟、每小时上限，预热，分批；不带选项则不限速
    """
    from aimwell.deployment.ramp import Pace
    from aimwell.deployment.schedule import set_pace

    shares = tuple(_read_share(part) for part in waves.split(",")) if waves else ()
    chosen = Pace(per_minute, per_hour, warmup_per_hour, warmup_hours, shares, wave_hours)
    set_pace(state(context).workspace, plan, chosen, by=by or getpass.getuser())
    text = say("The pace of {plan} is set.", plan=plan)
    emit(context, {"plan_id": plan, **chosen.to_json()}, lambda console: console.print(str(text)))


def send_test(
    context: typer.Context,
    plan: Plan,
    to: Annotated[list[str], typer.Option(help="Who gets it.  收件地址")],
    channel: Annotated[str | None, typer.Option(help="The channel.  渠道")] = None,
    customer: Annotated[
        str | None,
        typer.Option(
            parser=fold_id, help="Whose message it is; the first who fits when omitted.  以哪位客户的内容为例"
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--every", help="A proof: one of each action, variant and language.  样稿：每个版本各一条"
        ),
    ] = False,
) -> None:
    """Send what a customer of the plan would get to yourself. It counts to no cap.  测试发送：不计入触达上限"""
    from aimwell.deployment.trial import send_test as run_test

    states = run_test(
        state(context).workspace, plan, to=to, channel=channel, customer_id=customer, every=every
    )
    text = say(
        "Test messages sent: {sent} of {count}.", sent=states.get("sent", 0), count=sum(states.values())
    )
    emit(context, {"plan_id": plan, "states": states}, lambda console: console.print(str(text)))


def halt(context: typer.Context, by: By = None) -> None:
    """The kill switch: nothing of any campaign or journey goes out any more, until 'continue'.

    紧急停止：所有活动与旅程都不再发送，直到执行 continue
    """
    from aimwell.engine.permissions import halt as run_halt

    store, who = state(context).workspace.store, by or getpass.getuser()
    with store.begin() as connection:
        changed = run_halt(connection, who)
    if changed:
        store.audit("deployment.halted", "all", actor=who)
    text = say("Everything is halted.") if changed else say("That stood already.")
    emit(context, {"halted": True, "changed": changed}, lambda console: console.print(str(text)))


def warn_of_halt(context: typer.Context) -> None:
    """Say beside whatever is shown that the kill switch is on: else nobody sees why nothing goes out."""
    from aimwell.engine.permissions import find_halt

    with state(context).workspace.store.snapshot() as connection:
        found = find_halt(connection)
    if found is not None:
        since, by = found
        warn(
            say(
                "Everything is halted since {instant} by {who}: nothing goes out until aimwell deployment continue.",
                instant=show_instant(context, since),
                who=by,
            )
        )


def go_on(context: typer.Context, by: By = None) -> None:
    """Take the kill switch back.  解除紧急停止"""
    from aimwell.engine.permissions import go_on as run_go_on

    store = state(context).workspace.store
    with store.begin() as connection:
        changed = run_go_on(connection)
    if changed:
        store.audit("deployment.continued", "all", actor=by or getpass.getuser())
    text = say("Deliveries go on.") if changed else say("Nothing was halted.")
    emit(context, {"halted": False, "changed": changed}, lambda console: console.print(str(text)))


def check(context: typer.Context) -> None:
    """Check that what was sent, skipped, failed, waits or is in doubt adds up to every audience.

    核对：已发、跳过、失败、等待与存疑之和等于受众人数
    """
    from aimwell.deployment.reconciliation import check_sums

    sums = check_sums(state(context).workspace.store)
    wrong = [one for one in sums if not one.holds]
    payload = {
        "sources": len(sums),
        "wrong": [{"source": one.source, "audience": one.audience, "states": one.states} for one in wrong],
    }
    text = (
        say("All {count} sums hold.", count=len(sums))
        if not wrong
        else say(
            "{count} sums do not hold: {sources}",
            count=len(wrong),
            sources=join_list(x.source for x in wrong),
        )
    )
    emit(context, payload, lambda console: console.print(str(text)))
    if wrong:
        raise typer.Exit(1)


@doubt.command("list")
def list_doubt(context: typer.Context, source: Source = None) -> None:
    """List what is in doubt, the oldest first.  列出结果存疑的投放"""
    from aimwell.deployment.reconciliation import list_doubt as run_list

    _show(context, run_list(state(context).workspace.store, source))


@doubt.command()
def settle(
    context: typer.Context,
    deliveries: Ids,
    found: Annotated[
        str,
        typer.Option("--as", help="sent, not_sent, or repeat.  sent 已送达，not_sent 未送达，repeat 重发"),
    ],
    by: By = None,
) -> None:
    """Record what you found out about deliveries in doubt.  核定存疑投放的结果"""
    from aimwell.deployment.reconciliation import FINDINGS, settle_doubt

    finding = next((one for one in FINDINGS if one == found), None)
    if finding is None:
        raise BadInput(
            "deployment.unknown_finding",
            say("'{value}' is not a finding.", value=found),
            remedy=say("Use one of {values}.", values=join_list(FINDINGS)),
            where={"value": found},
        )
    changed = settle_doubt(state(context).workspace.store, deliveries, finding, by=by or getpass.getuser())
    _tell_changed(context, changed)


@dead.command("list")
def list_dead(context: typer.Context, source: Source = None) -> None:
    """List dead letters, the oldest first.  列出死信"""
    from aimwell.deployment.reconciliation import list_dead as run_list

    _show(context, run_list(state(context).workspace.store, source))


@dead.command()
def requeue(context: typer.Context, deliveries: Ids, by: By = None) -> None:
    """Try dead letters again from the beginning.  将死信重新排队"""
    from aimwell.deployment.reconciliation import requeue as run_requeue

    changed = run_requeue(state(context).workspace.store, deliveries, by=by or getpass.getuser())
    _tell_changed(context, changed)


def _tell_changed(context: typer.Context, changed: int) -> None:
    text = say("{count} deliveries changed.", count=changed)
    emit(context, {"changed": changed}, lambda console: console.print(str(text)))


def _show(context: typer.Context, rows: list[Unsettled]) -> None:
    from aimwell.deployment.policy import title_reason

    def describe(row: Unsettled) -> dict[str, Any]:
        title: Text | None = None if row.reason is None else title_reason(row.reason)
        return {**vars(row), "title": None if title is None else title.both()}

    described = [describe(row) for row in rows]

    def draw(console: Console) -> None:
        columns = (say("delivery"), say("plan"), say("customer"), say("channel"), say("reason"))
        table = make_table(*[str(column) for column in columns])
        for row in described:
            title = in_language(row["title"]) if row["title"] else ""
            add_row(table, row["delivery_id"], row["plan_id"], row["customer_id"], row["channel"], title)
        console.print(table)

    emit(context, {"deliveries": described}, draw)


def _read_start(context: typer.Context, text: str | None) -> datetime:
    instant = read_instant(context, "--at", text)
    if instant is None:
        raise BadInput(
            "deployment.no_start",
            say("When the plan is to start is not said."),
            remedy=say("Give --at with day and time, or --cancel."),
        )
    return instant


def _read_share(text: str) -> float:
    try:
        return float(text.strip().rstrip("%")) / 100
    except ValueError as error:
        raise BadInput(
            "deployment.bad_share",
            say("'{value}' is no percentage.", value=text),
            remedy=say("Write shares such as 10,30,60."),
            where={"value": text},
        ) from error
