"""``aimwell deployment``: approve, launch and watch a plan's wave; suppress a customer; run the mail sink."""

from __future__ import annotations

import getpass
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.deployment_care import register, warn_of_halt
from aimwell.cli.help import App
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
from aimwell.core.tables import CHANNELS
from aimwell.core.text import say
from aimwell.core.time import business_day, now

if TYPE_CHECKING:
    from aimwell.engine.workspace import Workspace

app = App(help="Step 5: deployment.  第五步 投放部署")
register(app)

Plan = Annotated[
    str, typer.Argument(help="The plan, as in the table 'plans'.  投放计划，见 plans 表", metavar="PLAN")
]


@app.command()
def launch(
    context: typer.Context,
    plan: Plan,
    as_of: Annotated[
        str | None, typer.Option(help="Business day of the contacts, YYYY-MM-DD.  触达日，YYYY-MM-DD")
    ] = None,
) -> None:
    """Send a wave. Launching again after an interruption doubles nothing.  投放一波；中断后重新投放不会重复发送"""
    from aimwell.deployment.step import launch as run_launch

    workspace = state(context).workspace
    day = read_day(as_of) or _find_day(workspace, plan)
    result = run_launch(workspace, plan_id=plan, as_of=day, progress=show_progress(context))
    emit_result(context, result, lambda console: _draw_summary(console, result.summary))


@app.command()
def status(
    context: typer.Context,
    plan: Annotated[
        str | None,
        typer.Argument(help="The plan; all when omitted.  投放计划；省略则显示全部", metavar="PLAN"),
    ] = None,
) -> None:
    """Show where campaigns stand; with PLAN, its deliveries by state, reason and channel.

    营销活动状态；给出 PLAN 则按状态、原因、渠道列出投放记录
    """
    warn_of_halt(context)
    if plan is None:
        _show_campaigns(context)
    else:
        _show_plan(context, plan)


@app.command()
def approve(
    context: typer.Context,
    plan: Plan,
    by: Annotated[
        str | None, typer.Option(help="Who approves; your login name when omitted.  审批人；省略则为登录名")
    ] = None,
) -> None:
    """Approve a plan as it stands now. Any later change voids the approval.

    审批当前计划；此后任何改动都会使审批失效
    """
    from aimwell.deployment.step import approve as run_approve

    _show_campaign(context, run_approve(state(context).workspace, plan, by=by or getpass.getuser()))


@app.command()
def decide(
    context: typer.Context,
    plan: Plan,
    go: Annotated[
        bool, typer.Option("--go/--no-go", help="Whether the rollout may follow.  是否推进到全面投放")
    ],
    because: Annotated[str, typer.Option(help="Why, in a sentence.  理由，一句话")] = "",
) -> None:
    """Record by hand whether a pilot's rollout may follow.  手动登记试点后是否全面投放"""
    from aimwell.deployment.step import decide as run_decide

    sentence = {"en": because, "zh": because}
    decision = {"decision": {"go": go, "sentence": sentence, "reasons": []}}
    _show_campaign(context, run_decide(state(context).workspace, plan, decision))


@app.command()
def pause(context: typer.Context, plan: Plan) -> None:
    """Reserve nothing more until 'resume'; what is under way ends.  暂停：不再预留新的投放，进行中的会完成"""
    from aimwell.deployment.campaign import Campaigns

    _show_campaign(context, Campaigns(state(context).workspace.store).pause(plan))


@app.command()
def resume(context: typer.Context, plan: Plan) -> None:
    """Let a paused campaign go on; launch it again to send.  恢复已暂停的活动；再次投放以发送"""
    from aimwell.deployment.campaign import Campaigns

    _show_campaign(context, Campaigns(state(context).workspace.store).resume(plan))


@app.command()
def stop(context: typer.Context, plan: Plan) -> None:
    """End a campaign for good; what still waits is skipped.  永久停止活动；尚在等待的将跳过"""
    from aimwell.deployment.step import stop as run_stop

    skipped = run_stop(state(context).workspace, plan)
    text = say("Stopped; {count} waiting deliveries were skipped.", count=skipped)
    emit(context, {"plan_id": plan, "skipped": skipped}, lambda console: console.print(str(text)))


@app.command()
def suppress(
    context: typer.Context,
    customer: Annotated[str, typer.Argument(help="The customer.  客户编号", metavar="CUSTOMER")],
    channel: Annotated[str, typer.Option(help="One channel, or all.  某个渠道，或 all 表示全部")] = "all",
) -> None:
    """Never contact a customer again, in no plan.  加入抑制名单：任何计划都不再联系此客户"""
    from aimwell.deployment.step import suppress as run_suppress

    if channel not in (*CHANNELS, "all"):
        raise BadInput(
            "deployment.unknown_channel",
            say("The channel '{channel}' is not known.", channel=channel),
            remedy=say("Use one of {channels}.", channels=join_list((*CHANNELS, "all"))),
            where={"value": channel},
        )
    added = run_suppress(state(context).workspace, customer, channel=channel)
    text = say("Suppressed.") if added else say("That stood already.")
    payload = {"customer_id": customer, "channel": channel, "added": added}
    emit(context, payload, lambda console: console.print(str(text)))


@app.command()
def sink(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes a free one.  端口；0 表示任选空闲端口")
    ] = 2525,
    folder: Annotated[Path, typer.Option(help="Where the mails are kept.  邮件保存位置")] = Path(
        "outbox/mail"
    ),
) -> None:
    """Run a mail server on the loopback address that keeps every mail and sends nothing on.

    本地邮件接收器：保留每封邮件，不向外发送
    """
    from aimwell.deployment.sink import Sink

    with Sink(folder, port=port) as running:
        text = say("Taking mail on {host}:{port} into {folder}. Ctrl+C ends.", host=running.host, port=running.port,
                   folder=str(folder))  # fmt: skip
        payload = {"host": running.host, "port": running.port, "folder": str(folder)}
        emit(context, payload, lambda console: console.print(str(text)))
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            pass
        done = say("Took {count} mails.", count=running.count)
    emit(context, {"taken": running.count}, lambda console: console.print(str(done)))


def _find_day(workspace: Workspace, plan: str) -> date:
    with workspace.read() as reader:
        rows = reader.query("SELECT as_of FROM plans WHERE plan_id = $plan_id", {"plan_id": plan}).to_pylist()
    found: date = rows[0]["as_of"] if rows else business_day(now(), workspace.settings.business.zone)
    return found


def _show_campaigns(context: typer.Context) -> None:
    from aimwell.deployment.campaign import Campaigns, title_control, title_wave

    campaigns = [
        _describe_campaign(campaign) for campaign in Campaigns(state(context).workspace.store).list_all()
    ]

    def draw(console: Console) -> None:
        columns = (say("plan"), say("wave"), say("state"), say("Control state"), say("approved by"))
        if not campaigns:
            console.print(str(say("No campaign was launched yet.")), markup=False)
            return
        table = make_table(*[str(column) for column in columns])
        for row in campaigns:
            cells = (
                row["plan_id"],
                str(title_wave(row["wave"])),
                in_language(row["title"]),
                str(title_control(row["control"])),
                row["approved_by"] or "",
            )
            add_row(table, *cells)
        console.print(table)

    emit(context, {"campaigns": campaigns}, draw)


def _show_plan(context: typer.Context, plan_id: str) -> None:
    from aimwell.deployment.campaign import Campaigns
    from aimwell.deployment.summary import summarise
    from aimwell.deployment.ways import open_ledger

    workspace = state(context).workspace
    campaign = Campaigns(workspace.store).require(plan_id)
    counts = open_ledger(workspace).count_states(plan_id)
    audience = sum(rows for rows, _ in counts.values())
    summary = summarise(counts, plan_id=plan_id, wave=campaign.wave, audience=audience, outbox=[])
    emit(
        context,
        {"campaign": _describe_campaign(campaign), **summary},
        lambda console: _draw_summary(console, summary),
    )


def _show_campaign(context: typer.Context, campaign: Any) -> None:
    payload = _describe_campaign(campaign)
    text = say("Plan {plan}: {state}.", plan=campaign.plan_id, state=in_language(payload["title"]))
    emit(context, payload, lambda console: console.print(str(text)))


def _describe_campaign(campaign: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from aimwell.deployment.campaign import title_state

    return {**asdict(campaign), "title": title_state(campaign.state).both()}


def _draw_summary(console: Console, summary: dict[str, Any]) -> None:
    head = (
        say("channel"),
        say("planned"),
        say("sent"),
        say("skipped"),
        say("failed"),
        say("in doubt"),
        say("waiting"),
        say("cost"),
    )
    table = make_table(*[str(column) for column in head])
    for row in summary["by_channel"]:
        names = ("planned", "sent", "skipped", "failed", "in_doubt", "queued")
        add_row(table, in_language(row["title"]), *[str(row[name]) for name in names], f"{row['cost']:,.2f}")
    console.print(table)
    for reason in summary["reasons"]:
        console.print(f"  {in_language(reason['title'])}: {reason['customers']}")
    for file in summary["outbox"]:
        console.print(f"  {file['file']}: {file['rows']}")
