"""``aimwell desk``: what people do by hand: calls, replies to read, visits, letters that came back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.instants import read_instant, show_instant
from aimwell.cli.output import add_row, emit, make_table, read_day, state
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now

if TYPE_CHECKING:
    from aimwell.deployment.desk.tasks import Task
    from aimwell.deployment.desk.visits import Visit
    from aimwell.deployment.sheets import SheetRow
    from aimwell.engine.workspace import Workspace

app = App(help="Calls, replies and visits that people do.  人工服务：外呼、回复、拜访")
_WEEK = 7
_SHOWN = 12

Agent = Annotated[
    str | None, typer.Option(help="Who works; your login name when omitted.  坐席；省略则为登录名")
]
First = Annotated[
    str | None, typer.Option("--from", help="First day, YYYY-MM-DD; today when omitted.  首日；省略则为今天")
]
Days = Annotated[int, typer.Option(min=1, max=366, help="How many days.  天数")]


@app.command("next")
def take(context: typer.Context, agent: Agent = None) -> None:
    """Take the next-best call or reply; nobody else gets it meanwhile.  领取下一个最优任务，他人不会重复领取"""
    from aimwell.deployment.desk.desk import take_call

    taken = take_call(state(context).workspace, _name(agent), now())
    if taken.task is None:
        text = _explain(taken.why)
        emit(context, {"task": None, "why": taken.why}, lambda console: console.print(str(text)))
        return
    task = taken.task
    emit(context, {"task": asdict(task)}, lambda console: _draw_card(console, task))


@app.command()
def outcome(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(help="The task, or how it begins.  任务编号或其开头", metavar="TASK")
    ],
    result: Annotated[
        str,
        typer.Argument(
            help="reached, interested, declined, not_reached, call_back, do_not_call, wrong_number, complaint or "
            "answered.  结果：reached 接通、interested 有意向、declined 拒绝、not_reached 未接通、call_back 约定回拨、"
            "do_not_call 勿再致电、wrong_number 号码错误、complaint 投诉、answered 已答复",
            metavar="OUTCOME",
        ),
    ],
    agent: Agent = None,
    note: Annotated[str, typer.Option(help="A sentence or two.  备注")] = "",
    minutes: Annotated[float, typer.Option(min=0, help="How long it took.  通话分钟数")] = 0.0,
    at: Annotated[
        str | None,
        typer.Option(help="When to call back, YYYY-MM-DD HH:MM.  回拨时间，YYYY-MM-DD HH:MM"),
    ] = None,
) -> None:
    """Enter what came of a task that you took.  登记所领任务的结果"""
    from aimwell.deployment.desk.desk import enter_outcome
    from aimwell.deployment.desk.outcomes import CallResult, title_outcome

    workspace, who = state(context).workspace, _name(agent)
    call_back = read_instant(context, "--at", at)
    entered = CallResult(
        task,
        _find_turn(workspace, task),
        who,
        result,  # type: ignore[arg-type]  # checked where it is entered
        note=note,
        seconds=round(minutes * 60),
        call_back_at_ms=None if call_back is None else int(call_back.timestamp() * 1000),
    )
    after = enter_outcome(workspace, entered, now())
    forward(workspace)
    text = (
        say("Entered: {outcome}.", outcome=title_outcome(result))
        if after.state == "done"
        else say("Entered: {outcome}. The task comes again at {time}.", outcome=title_outcome(result),
                 time=show_instant(context, after.due_ms))
    )  # fmt: skip
    emit(context, {"task": asdict(after)}, lambda console: console.print(str(text), markup=False))


@app.command()
def release(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(help="The task, or how it begins.  任务编号或其开头", metavar="TASK")
    ],
    agent: Agent = None,
) -> None:
    """Give a task back that you took, for somebody else.  退回所领任务，由他人处理"""
    from aimwell.deployment.desk.tasks import read_task, release_task

    with state(context).workspace.store.begin() as connection:
        found = read_task(connection, task)
        given = found is not None and release_task(connection, found.task_id, _name(agent))
    text = say("The task is open again.") if given else say("This task is not yours any more.")
    emit(context, {"released": given}, lambda console: console.print(str(text)))


@app.command("list")
def list_all(
    context: typer.Context,
    only: Annotated[
        str | None, typer.Option("--state", help="open, taken or done.  状态：open、taken 或 done")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.  最多显示条数")] = 50,
) -> None:
    """List the tasks, the most valuable first.  任务列表，价值高者在前"""
    from aimwell.deployment.desk.tasks import count_tasks, list_tasks

    workspace = state(context).workspace
    with workspace.store.begin() as connection:
        counts = count_tasks(connection)
        tasks = list_tasks(connection, state=only, limit=limit)
    # What an agent sees of a customer is for whoever takes the task.
    rows = [{name: value for name, value in asdict(task).items() if name != "card"} for task in tasks]
    emit(context, {"counts": counts, "tasks": rows}, lambda console: _draw_tasks(context, console, tasks))


@app.command()
def visits(
    context: typer.Context,
    first: First = None,
    days: Days = _WEEK,
    plan: Annotated[
        bool, typer.Option("--plan/--show", help="Plan anew, or show what is planned.  重新规划或仅显示")
    ] = False,
    manager: Annotated[str | None, typer.Option(help="Of one account manager only.  仅某位客户经理")] = None,
) -> None:
    """Show or plan whom account managers visit on which day.  客户经理拜访计划：查看或规划"""
    from aimwell.deployment.desk.desk import plan_days
    from aimwell.deployment.desk.visits import list_visits

    workspace = state(context).workspace
    start = _find_day(workspace, first)
    late = plan_days(workspace, start, days, now())[1] if plan else []
    last = date.fromordinal(start.toordinal() + days - 1)
    with workspace.store.begin() as connection:
        found = list_visits(connection, first=start, last=last, account_manager=manager)
    payload: dict[str, Any] = {"visits": [asdict(visit) for visit in found], "left_out": len(late)}
    emit(context, payload, lambda console: _draw_visits(console, found, len(late)))


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The CSV to write.  要写入的 CSV 文件")],
    first: First = None,
    days: Days = _WEEK,
    manager: Annotated[str | None, typer.Option(help="Of one account manager only.  仅某位客户经理")] = None,
) -> None:
    """Write planned visits into a spreadsheet, to be filled in.  将拜访计划导出为表格，供填写结果"""
    from aimwell.deployment.desk.desk import export_days

    workspace = state(context).workspace
    rows = export_days(workspace, file, _find_day(workspace, first), days, account_manager=manager)
    text = say("{count} visits were written to {file}.", count=rows, file=str(file))
    emit(context, {"file": str(file), "rows": rows}, lambda console: console.print(str(text), markup=False))


@app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file that came back.  返回的文件")],
    kind: Annotated[
        Literal["visits", "returns"],
        typer.Option(
            "--as", help="visits, or returns: letters that came back.  visits 拜访结果，或 returns 退信"
        ),
    ] = "visits",
    rejects: Annotated[
        Path | None,
        typer.Option(help="Write returns that were put aside into this CSV.  将搁置的退信行写入此 CSV"),
    ] = None,
) -> None:
    """Take in what account managers or the letter shop filled in: all rows, or none where one is mistyped.

    Returns whose letter is not known (any more: its customer was erased) are put aside, and the others taken in.

    导入客户经理或印寄商填写的结果：全部导入，有误填则都不导入；已查无此信（如客户已被删除）的退信行单独搁置
    """
    from aimwell.deployment.channels.letters import import_returns, write_aside
    from aimwell.deployment.desk.visit_sheet import import_visits

    workspace = state(context).workspace
    at_ms = int(now().timestamp() * 1000)
    aside: tuple[SheetRow, ...] = ()
    with workspace.store.begin() as connection:
        if kind == "visits":
            visited = import_visits(connection, file, at_ms)
            news, known, problems = visited.entered, visited.unchanged, visited.problems
        else:
            returned = import_returns(connection, file, at_ms)
            news, known, problems = returned.returned, returned.known, returned.problems
            aside = returned.aside
    if problems:
        raise _refuse(file, problems)
    forward(workspace)
    if aside and rejects is not None:
        write_aside(rejects, aside)
    texts = [say("{count} rows were news, {known} stood already or say nothing.", count=news, known=known)]
    if aside:
        numbers = [str(row.number) for row in aside[:20]] + ["…"] * (len(aside) > 20)
        texts.append(_tell_aside(len(aside), join_list(numbers)))
    figures = {"entered": news, "unchanged": known, "aside": [row.number for row in aside]}
    emit(context, figures, lambda console: console.print(*map(str, texts), sep="\n", markup=False))


def _tell_aside(count: int, numbers: str | Text) -> Text:
    return say(
        "{count} rows were put aside (rows {rows}): no letter has their number, perhaps because its customer was"
        " erased. --rejects FILE writes them into a file, which can be imported again.",
        count=count,
        rows=numbers,
    )


def forward(workspace: Workspace) -> int:
    """Let the intake have what the desk learned; what cannot be taken now waits for the worker."""
    from aimwell.data.event_intake import take_events
    from aimwell.deployment.channels.event_outbox import forward_events

    return forward_events(workspace.store, lambda batch: take_events(workspace, batch, source="desk"))


def _name(agent: str | None) -> str:
    from aimwell.engine.audit import name_actor

    return (agent or name_actor()).strip()[:128]


def _find_turn(workspace: Workspace, task_id: str) -> int:
    from aimwell.deployment.desk.tasks import read_task

    with workspace.store.begin() as connection:
        found = read_task(connection, task_id)
    return 0 if found is None else found.turn


def _find_day(workspace: Workspace, value: str | None) -> date:
    return read_day(value) or business_day(now(), workspace.settings.business.zone)


def _explain(why: str) -> Text:
    if why == "capacity":
        return say("The minutes of this day are used up.")
    if why == "closed":
        return say("Nobody is called at this hour.")
    return say("Nothing is to be done now.")


def _draw_card(console: Console, task: Task) -> None:
    names = {
        "name": say("customer's name"),
        "phone": say("telephone"),
        "reason": say("reason for the call"),
        "offer": say("offer"),
        "products": say("products"),
        "script": say("what to say"),
        "text": say("what the customer wrote"),
    }
    table = make_table("", "")
    table.show_header = False
    add_row(table, str(say("task")), task.task_id[:_SHOWN])
    for name, title in names.items():
        if task.card.get(name):
            add_row(table, str(title), task.card[name])
    console.print(table)


def _draw_tasks(context: typer.Context, console: Console, tasks: list[Task]) -> None:
    from aimwell.deployment.desk.outcomes import title_outcome

    titles = (say("task"), say("customer"), say("state"), say("due at"), say("agent"), say("outcome"))
    table = make_table(*(str(title) for title in titles))
    for task in tasks:
        due = show_instant(context, task.due_ms)
        result = str(title_outcome(task.outcome)) if task.outcome else ""
        words = {"open": say("not taken yet"), "taken": say("taken"), "done": say("done")}
        add_row(
            table,
            task.task_id[:_SHOWN],
            task.customer_id,
            str(words[task.state]),
            due,
            task.agent or "",
            result,
        )
    console.print(table)


def _draw_visits(console: Console, found: list[Visit], left_out: int) -> None:
    from aimwell.deployment.desk.visits import title_visit_outcome, title_visit_reason

    people = (say("account manager"), say("customer"), say("class"))
    titles = (say("day of the visit"), *people, say("reason for the visit"), say("outcome"))
    table = make_table(*(str(title) for title in titles))
    for visit in found:
        result = str(title_visit_outcome(visit.outcome)) if visit.outcome else ""
        why = str(title_visit_reason(visit.reason))
        add_row(table, visit.visit_on.isoformat(), visit.account_manager, visit.customer_id, visit.customer_class,
                why, result)  # fmt: skip
    console.print(table)
    if left_out:
        console.print(
            str(say("For {count} customers there is no time within their standard.", count=left_out)),
            style="yellow",
        )


def _refuse(file: Path, problems: tuple[BadInput, ...]) -> BadInput:
    listed = "\n".join(f"• {problem.render()}" for problem in problems[:20])
    return BadInput(
        "deployment.sheet_refused",
        say("{count} cells of {file} are wrong; nothing was taken in.\n{problems}", count=len(problems),
            file=file.name, problems=listed),
        remedy=say("Correct them and import the file again."),
        where={"file": file.name, **{name: problems[0].where.get(name) for name in ("row", "column")}},
    )  # fmt: skip
