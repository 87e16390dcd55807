"""``aimwell``: the options before every command, and the one place where errors become words."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from aimwell import __version__
from aimwell.cli.commands import use_workspace
from aimwell.cli.help import App, describe_usage
from aimwell.cli.output import State, emit, fail, read_day, read_money, show_progress, state
from aimwell.cli.pages import Page
from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.text import match_language, say, set_language
from aimwell.engine.secret import take_secret_files

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises for a line that it cannot read; typer gives no public name to it."""
GROUPS = ("goals", "data", "analysis", "models", "strategy", "deployment", "content", "evaluation")

app = App(
    name="aimwell",
    help="Aimwell 准星: precision marketing, from goal to measured incremental profit.  "
    "准星 Aimwell：精准营销闭环，从目标到实测的增量利润。",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _group in GROUPS:
    # Each group's module imports its step only inside its commands: --help stays quick.
    app.add_typer(import_module(f"aimwell.cli.{_group}").app, name=_group)
app.add_typer(import_module("aimwell.cli.journeys").app, name="journey")
app.add_typer(import_module("aimwell.cli.desk").app, name="desk")
app.command(name="worker")(import_module("aimwell.cli.events").worker)
_service = import_module("aimwell.cli.service")
app.command(name="service")(_service.service)
app.command(name="serve")(_service.serve)
app.add_typer(_service.app, name="key")
app.add_typer(import_module("aimwell.cli.mail").app, name="mail")
app.add_typer(import_module("aimwell.cli.tracking").app, name="tracking")
app.command(name="doctor")(import_module("aimwell.cli.doctor").doctor)
app.command(name="backup")(import_module("aimwell.cli.backup").backup)
app.command(name="restore")(import_module("aimwell.cli.backup").restore)
app.add_typer(import_module("aimwell.cli.audit").app, name="audit")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    workspace: Annotated[
        Path, typer.Option("-w", "--workspace", help="The workspace's folder.  工作区文件夹")
    ] = Path(),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.  输出一个 JSON 对象")
    ] = False,
    language: Annotated[str | None, typer.Option("--language", help="zh or en.  界面语言：zh 或 en")] = None,
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    """Read the options before the command."""
    if language is not None:
        chosen = match_language(language)
        if chosen is None:
            raise BadInput(
                "cli.unknown_language",
                say("The language '{language}' is not known.", language=language),
                remedy=say("Use zh or en."),
                where={"value": language},
            )
        set_language(chosen)
    group = context.command
    assert isinstance(group, TyperGroup)
    use_workspace(workspace, group.list_commands(context))
    context.obj = State(workspace, as_json)
    context.call_on_close(context.obj.close)


@app.command()
def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to make.  要创建的文件夹")],
    name: Annotated[str | None, typer.Option(help="The business's name.  企业名称")] = None,
    zone: Annotated[
        str, typer.Option(help="Time zone of the business's days.  业务日所用时区")
    ] = "Asia/Shanghai",
    currency: Annotated[str, typer.Option(help="ISO 4217.  币种（ISO 4217）")] = "CNY",
) -> None:
    """Make a workspace: a folder with settings, store and warehouse.  创建工作区：含设置、存储与数据仓库的文件夹"""
    from aimwell.engine.workspace import Workspace

    made = Workspace.create(folder, name=name, zone=zone, currency=currency)
    made.close()
    message = say(
        "The workspace {folder} is ready. Next: aimwell -w {named} data add FILE --as order_lines",
        folder=str(folder),
        named=shlex.quote(str(folder)),
    )
    emit(
        context,
        {"workspace": str(folder), "message": message.both()},
        lambda console: console.print(str(message), markup=False),
    )


@app.command()
def customer(
    context: typer.Context,
    customer_id: Annotated[
        str | None, typer.Argument(help="The customer; omitted, some numbers.  客户编号；省略则列出部分编号")
    ] = None,
    show_personal: Annotated[
        bool,
        typer.Option(
            "--show-personal",
            help="Do not mask phone, e-mail and the like; the audit log says so.  不遮盖手机号、邮箱等（记入审计日志）",
        ),
    ] = False,
) -> None:
    """Show everything known about one customer.  客户画像"""
    from aimwell.cli.customer import show_customer, show_some

    if customer_id is None:
        show_some(context)
        return
    show_customer(context, customer_id, show_personal=show_personal)


@app.command(name="round")
def run_round(
    context: typer.Context,
    as_of: Annotated[
        str | None, typer.Option(help="First business day of the plan, YYYY-MM-DD.  计划首日，YYYY-MM-DD")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="What a wave may spend.  每波预算")] = None,
    launch: Annotated[bool, typer.Option("--launch", help="Send what was planned.  按计划发送")] = False,
    wave: Annotated[
        str | None,
        typer.Option(
            help="pilot or rollout; decided from the past when omitted.  "
            "pilot 试点或 rollout 全面投放；省略则依历史判断"
        ),
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(help="A saved design of a test, for the wave's plan.  已保存的试验设计，用于本波计划"),
    ] = None,
) -> None:
    """Run the six steps on the workspace's data; an interrupted round goes on where it stopped.

    运行一轮六步；中断后从中断处继续
    """
    from aimwell.loop.round import continue_round
    from aimwell.loop.show import show_round

    opened = state(context).workspace
    results = continue_round(
        opened,
        as_of=read_day(as_of),
        budget=read_money(budget),
        wave=wave,
        design=design,
        launch_now=launch,
        progress=show_progress(context),
    )
    emit(context, results, lambda console: show_round(console, results))


@app.command()
def report(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where to write the page.  输出文件")] = Path("report.html"),
) -> None:
    """Write the newest round as one self-contained page.  将最新一轮生成单页报告"""
    from aimwell.loop.report import write_report

    written = write_report(state(context).workspace, out)
    message = say("The report is in {file}.", file=str(written))
    emit(context, {"report": str(written)}, lambda console: console.print(str(message), markup=False))


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(help="The folder for workspace and report.  工作区与报告所在文件夹")
    ] = Path("demo"),
    rounds: Annotated[int, typer.Option(min=1, max=3, help="How many rounds.  轮数")] = 2,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Of the randomisation and the simulated market.  随机化与模拟市场的随机种子"
        ),
    ] = 42,
) -> None:
    """Run two rounds on Complete Journey with a simulated market, and write the report.

    在 Complete Journey 数据与模拟市场上运行两轮并生成报告
    """
    from aimwell.loop.demo import run_demo
    from aimwell.loop.show import show_demo

    payload = run_demo(out, rounds=rounds, seed=seed, progress=show_progress(context))
    emit(context, payload, lambda console: show_demo(console, payload, out))


def put_first(arguments: list[str]) -> list[str]:
    """``--json`` and ``--language`` may stand anywhere on the line: they are moved to where the parser takes them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first: list[str] = []
    rest: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        if word == "--json":
            first = ["--json", *(one for one in first if one != "--json")]
        elif word == "--language":
            first += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith("--language="):
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest, *arguments[end:]]


def main() -> None:
    """The console script: errors become words and an exit code, never a traceback."""
    arguments = put_first(sys.argv[1:])
    _choose_language(arguments)
    take_secret_files()
    try:
        sys.exit(app(args=arguments, standalone_mode=False) or 0)
    except AimwellError as error:
        _print_error(error)
        sys.exit(2)
    except USAGE_ERROR as error:
        _print_usage(error)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _end_interrupted()
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # a defect of ours: people get a sentence, we get the details
        if _is_interruption(error):
            _end_interrupted()
        _print_defect(error)
        sys.exit(1)


def _choose_language(arguments: list[str]) -> None:
    """Before the line is parsed, so that what is wrong with it is said in the right language."""
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        tag = following if word == "--language" else word.removeprefix("--language=")
        chosen = match_language(tag)
        if chosen is not None and (word == "--language" or tag != word):
            set_language(chosen)


def _is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: DuckDB answers with an error of its own when it comes during a query."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "query interrupted" in str(error).casefold():
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_interrupted() -> NoReturn:
    Page(stderr=True).print(str(say("Interrupted. Run the same command again to go on.")))
    sys.exit(130)


def _print_error(error: AimwellError) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": error.to_dict()}, ensure_ascii=False, default=str) + "\n")
    console = Page(stderr=True)
    console.print(fail(error.message), style="red", highlight=False, markup=False)
    if error.remedy is not None:
        console.print(str(error.remedy), highlight=False, markup=False)


def _print_usage(error: Exception) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        return  # the page has been shown
    problem, remedy = describe_usage(error)
    if "--json" in sys.argv:
        answer = {"error": {"code": "cli.usage", "message": str(problem), "remedy": str(remedy)}}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    console = Page(stderr=True)
    console.print(fail(problem), style="red", highlight=False, markup=False)
    console.print(str(remedy), highlight=False, markup=False)


def _print_defect(error: Exception) -> None:
    with NamedTemporaryFile("w", prefix="aimwell-", suffix=".log", delete=False, encoding="utf-8") as stream:
        traceback.print_exception(error, file=stream)
    message = say(
        "Aimwell itself failed ({kind}). Nothing that was finished is lost. The details are in {file}: "
        "please report them. Look through them first: they may hold values of your data.",
        kind=type(error).__name__,
        file=stream.name,
    )
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": {"code": "cli.defect", "message": str(message)}}) + "\n")
    Page(stderr=True).print(fail(message), style="red", highlight=False, markup=False)
