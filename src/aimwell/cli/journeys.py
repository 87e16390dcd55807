"""``aimwell journey``: bring journeys in, check, start, pause, stop and simulate them; see how many are where."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.deployment_care import warn_of_halt
from aimwell.cli.help import App
from aimwell.cli.instants import show_instant
from aimwell.cli.output import add_row, emit, make_number_table, make_table, read_day, state
from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now

if TYPE_CHECKING:
    from aimwell.deployment.journeys.graph import Journey
    from aimwell.deployment.journeys.graph_check import Known
    from aimwell.deployment.journeys.versions import Running
    from aimwell.engine.workspace import Workspace

app = App(help="Automated journeys.  自动化旅程")

Name = Annotated[str, typer.Argument(help="The journey.  旅程名称", metavar="JOURNEY")]
_LARGEST = 5_000_000


@app.command(name="list")
def list_journeys(context: typer.Context) -> None:
    """Show all journeys and how they stand.  列出全部旅程及其状态"""
    from aimwell.deployment.journeys.graph_json import journey_from_json
    from aimwell.deployment.journeys.versions import KIND, list_running

    store = state(context).workspace.store
    with store.snapshot() as connection:
        running = {one.name: one for one in list_running(connection)}
    rows = [
        {"journey": name, "title": journey_from_json(body).title, **_describe(running.get(name))}
        for name, body in store.list_definitions(KIND).items()
    ]

    def draw(console: Console) -> None:
        table = make_table(str(say("journey")), str(say("title")), str(say("state")), str(say("version")))
        for row in rows:
            add_row(table, row["journey"], row["title"], _title(row["state"]), str(row["version"] or "–"))
        console.print(table)

    warn_of_halt(context)
    emit(context, {"journeys": rows}, draw)


@app.command()
def show(context: typer.Context, journey: Name) -> None:
    """Show a journey step by step.  逐节点显示旅程"""
    from aimwell.deployment.journeys.graph_json import journey_to_json
    from aimwell.deployment.journeys.versions import load_journey

    found = load_journey(state(context).workspace.store, journey)
    emit(context, journey_to_json(found), lambda console: _draw_graph(console, found))


@app.command()
def check(
    context: typer.Context,
    journey: Annotated[
        str, typer.Argument(help="A saved journey, or a JSON file.  已保存的旅程，或 JSON 文件")
    ],
) -> None:
    """Say what is wrong with a journey: names, ways, circles, contents, channels.

    检查旅程：名称、走向、死循环、内容、渠道
    """
    from aimwell.deployment.journeys.graph_check import find_errors
    from aimwell.deployment.journeys.versions import load_journey

    workspace = state(context).workspace
    path = Path(journey)
    found = _read_file(path) if path.suffix == ".json" else load_journey(workspace.store, journey)
    findings = [
        {"place": one.place, "message": one.message.both(), "remedy": one.remedy.both()}
        for one in find_errors(found, find_known(workspace))
    ]
    texts = [f"{one.message} {one.remedy}" for one in find_errors(found, find_known(workspace))]

    def draw(console: Console) -> None:
        for text in texts:
            console.print(f"• {text}", style="yellow", markup=False, highlight=False)
        if not texts:
            console.print(str(say("The journey {name} is in order.", name=found.name)), markup=False)

    emit(context, {"journey": found.name, "findings": findings}, draw)
    if findings:
        raise typer.Exit(1)


@app.command(name="import")
def bring_in(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A JSON file.  JSON 文件")],
) -> None:
    """Keep a journey from a file, as a new version if it changed; start lets people enter it.

    从文件导入旅程；有改动则存为新版本，start 之后才有人进入
    """
    from aimwell.deployment.journeys.versions import save_journey

    workspace = state(context).workspace
    journey = _read_file(file)
    version = save_journey(workspace.store, journey, known=find_known(workspace))
    text = say("The journey {name} is saved as version {version}.", name=journey.name, version=version)
    payload = {"journey": journey.name, "version": version}
    emit(context, payload, lambda console: console.print(str(text), markup=False))


@app.command()
def export(
    context: typer.Context,
    journey: Name,
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; shown when omitted.  输出文件；省略则显示")
    ] = None,
    version: Annotated[int | None, typer.Option(help="An older version.  旧版本")] = None,
) -> None:
    """Write a journey as JSON.  将旅程导出为 JSON"""
    from aimwell.deployment.journeys.graph_json import journey_to_json
    from aimwell.deployment.journeys.versions import load_journey

    body = journey_to_json(load_journey(state(context).workspace.store, journey, version))
    written = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    if out is not None:
        out.write_text(written, encoding="utf-8")
    shown = written if out is None else str(say("Written to {file}.", file=str(out)))
    emit(context, body, lambda console: console.print(shown, markup=False, highlight=False))


@app.command()
def start(context: typer.Context, journey: Name) -> None:
    """Let people enter the newest version from now on.  启动：从现在起进入最新版本"""
    from aimwell.deployment.content import load_library
    from aimwell.deployment.journeys.graph import Action
    from aimwell.deployment.journeys.graph_check import check_journey
    from aimwell.deployment.journeys.versions import load_journey, start_journey

    workspace = state(context).workspace
    found = load_journey(workspace.store, journey)
    check_journey(found, find_known(workspace))
    load_library(workspace).check({node.content for _, node in found.nodes if isinstance(node, Action)})
    _show_state(context, start_journey(workspace.store, journey, now_ms=_now_ms()))


@app.command()
def pause(context: typer.Context, journey: Name) -> None:
    """Let nobody in and move nobody until 'resume'; goals still count.  暂停：不进入、不移动、不发送，目标仍计入"""
    from aimwell.deployment.journeys.versions import control_journey

    workspace = state(context).workspace
    _show_state(context, control_journey(workspace.store, journey, "paused", now_ms=_now_ms()))


@app.command()
def resume(context: typer.Context, journey: Name) -> None:
    """Let a paused journey go on.  恢复已暂停的旅程"""
    from aimwell.deployment.journeys.versions import control_journey

    workspace = state(context).workspace
    _show_state(context, control_journey(workspace.store, journey, "running", now_ms=_now_ms()))


@app.command()
def stop(context: typer.Context, journey: Name) -> None:
    """End a journey for everybody; what waits to be sent is skipped.  永久停止：所有人退出，待发消息跳过"""
    from aimwell.deployment.journeys.versions import stop_journey

    done = stop_journey(state(context).workspace.store, journey, now_ms=_now_ms())
    text = say(
        "Stopped: {ended} people left, {skipped} waiting messages were skipped.",
        ended=done["ended"],
        skipped=done["skipped"],
    )
    emit(context, {"journey": journey, **done}, lambda console: console.print(str(text)))


@app.command()
def status(context: typer.Context, journey: Name) -> None:
    """Show how many are where, node by node, the held-out beside.  各节点人数，对照组并列"""
    from aimwell.deployment.journeys.figures import count_journey
    from aimwell.deployment.journeys.versions import find_running, load_journey

    store = state(context).workspace.store
    found = load_journey(store, journey)
    with store.snapshot() as connection:
        figures = count_journey(connection, found)
    payload = {**figures, **_describe(find_running(store, journey))}
    warn_of_halt(context)
    emit(context, payload, lambda console: _draw_figures(console, payload))


@app.command()
def simulate(
    context: typer.Context,
    journey: Name,
    start_on: Annotated[
        str | None, typer.Option("--start", help="First day, YYYY-MM-DD.  首日，YYYY-MM-DD")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3_660, help="How many days.  天数")] = 30,
    customers: Annotated[
        int,
        typer.Option(
            min=0,
            max=100_000,
            help="So many made-up customers; 0: what customers really did.  虚构客户数；0 表示用真实历史行为",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of made-up customers.  虚构客户的随机种子")] = 42,
) -> None:
    """Play a journey through with a clock of its own: how many come to each node, and when. Nothing is sent.

    用模拟时钟推演旅程：各节点到达人数与时间；不发送任何消息
    """
    from datetime import timedelta

    from aimwell.deployment.journeys.facts import WarehouseFacts
    from aimwell.deployment.journeys.simulate import find_start, make_events, simulate_history
    from aimwell.deployment.journeys.simulate import simulate as play
    from aimwell.deployment.journeys.versions import load_journey

    workspace = state(context).workspace
    found = load_journey(workspace.store, journey)
    zone = workspace.settings.business.zone
    first = read_day(start_on) or business_day(now(), zone) - timedelta(days=days)
    if customers:
        start_ms = find_start(first, zone)
        events = make_events(found, customers=customers, start_ms=start_ms, days=days, seed=seed)
        done = play(found, events, WarehouseFacts(workspace), start_ms=start_ms, days=days, zone=zone)
    else:
        done = simulate_history(workspace, found, start=first, days=days)
    payload = done.to_dict()
    emit(context, payload, lambda console: _draw_simulated(context, console, payload))


# ------------------------------------------------------------ what commands share


def find_known(workspace: Workspace) -> Known:
    """The channels, contents, tags and segments that journeys of ``workspace`` may name."""
    from aimwell.core.columns import CHANNELS
    from aimwell.deployment.content import DEFAULT_CONTENT
    from aimwell.deployment.content.library import list_contents
    from aimwell.deployment.journeys.facts import read_segments
    from aimwell.deployment.journeys.graph_check import Known
    from aimwell.engine.rule_types import read_rule_types

    with workspace.read() as reader:
        types, segments = read_rule_types(reader), read_segments(reader)
    contents = {DEFAULT_CONTENT, *list_contents(workspace.store)}
    return Known(CHANNELS, contents, types, segments)


def _read_file(path: Path) -> Journey:
    from aimwell.deployment.journeys.graph_json import journey_from_json

    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("larger than 5 MB")
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(
            "deployment.journey_file",
            say(
                "{file} cannot be read as a journey: {problem}.", file=str(path), problem=_tell_problem(error)
            ),
            remedy=say("Give a JSON file such as aimwell journey export writes."),
            where={"file": str(path)},
        ) from error
    return journey_from_json(body)


def _tell_problem(error: Exception) -> Text:
    if isinstance(error, json.JSONDecodeError):
        return say("line {line}, column {column} is no JSON", line=error.lineno, column=error.colno)
    if isinstance(error, UnicodeDecodeError):
        return say("it is not UTF-8")
    if isinstance(error, OSError):
        return say("it cannot be opened")
    if isinstance(error, RecursionError):
        return say("it is nested too deeply")
    return say("it is larger than 5 MB")


def _now_ms() -> int:
    return int(now().timestamp() * 1000)


def _describe(running: Running | None) -> dict[str, Any]:
    if running is None:
        return {"state": None, "version": None}
    return {"state": running.state, "version": running.version}


def _title(found: str | None) -> str:
    from aimwell.deployment.journeys.versions import title_state

    return str(say("not started")) if found is None else str(title_state(found))


def _show_state(context: typer.Context, running: Running) -> None:
    text = say("The journey {name} is {state}.", name=running.name, state=_title(running.state))
    payload = {"journey": running.name, **_describe(running)}
    emit(context, payload, lambda console: console.print(str(text), markup=False))


def _draw_graph(console: Console, journey: Journey) -> None:
    from aimwell.deployment.journeys.graph import list_targets
    from aimwell.deployment.journeys.graph_json import journey_to_json

    body = journey_to_json(journey)
    console.print(journey.title, style="bold", markup=False)
    for entry in body["entries"]:
        rest = {name: value for name, value in entry.items() if name not in ("on", "to")}
        console.print(f"→ {entry['to']}: {entry['on']} {_show_rest(rest)}", markup=False, highlight=False)
    table = make_table(str(say("node")), str(say("kind")), str(say("ways")), "")
    for name, node in journey.nodes:
        ways = [f"{edge} → {to or str(say('end'))}" for edge, to in list_targets(node)]
        rest = {
            key: value
            for key, value in body["nodes"][name].items()
            if key not in ("kind", "next", "then", "timeout", "otherwise", "ways", "choices")
        }
        add_row(table, name, body["nodes"][name]["kind"], "\n".join(ways), _show_rest(rest))
    console.print(table)


def _show_rest(rest: dict[str, Any]) -> str:
    return json.dumps(rest, ensure_ascii=False) if rest else ""


def _draw_figures(console: Console, figures: dict[str, Any]) -> None:
    arms = (("treatment", say("treatment")), ("holdout", say("holdout")))
    table = make_number_table(
        say("arm"), say("entered"), say("active"), say("goal"), say("exit"), say("end"), say("stopped")
    )
    for name, title in arms:
        row = figures["arms"][name]
        counts = [str(row[key]) for key in ("entered", "active", "goal", "exit", "end", "stopped")]
        add_row(table, str(title), *counts)
    console.print(table)
    heads = [say("node"), say("entered"), say("waiting"), say("left"), say("goal"), say("holdout")]
    table = make_number_table(*heads)
    for row in figures["nodes"]:
        own = row["treatment"]
        counts = [str(own[key]) for key in ("entered", "waiting", "left", "goal")]
        add_row(table, row["node"], *counts, str(row["holdout"]["entered"]))
    console.print(table)
    console.print(str(_tell_deliveries(figures["deliveries"])), markup=False)


def _tell_deliveries(states: dict[str, int]) -> Text:
    # Who passed a node need not have got its message: consent, caps or a failure may have stood against it.
    held = states.get("leased", 0) + states.get("intent", 0)
    return say(
        "Messages: {sent} sent, {skipped} skipped, {failed} failed, {doubt} in doubt, {waiting} waiting.",
        sent=states.get("sent", 0),
        skipped=states.get("skipped", 0),
        failed=states.get("failed", 0),
        doubt=states.get("in_doubt", 0),
        waiting=states.get("queued", 0) + held,
    )


def _draw_simulated(context: typer.Context, console: Console, payload: dict[str, Any]) -> None:
    def show_time(written: str) -> str:
        return show_instant(context, datetime.fromisoformat(written))

    line = say(
        "Simulated, from {start} to {end}: {events} events. Consent, caps and quiet hours were not asked.",
        start=show_time(payload["start"]),
        end=show_time(payload["end"]),
        events=payload["events"],
    )
    console.print(str(line), style="yellow", markup=False, highlight=False)
    _draw_figures(console, payload)
    table = make_table(str(say("node")), str(say("first")), str(say("median")), str(say("last")))
    for row in payload["nodes"]:
        times = payload["times"].get(row["node"])
        if times is not None:
            add_row(table, row["node"], *(show_time(times[name]) for name in ("first", "median", "last")))
    console.print(table)
