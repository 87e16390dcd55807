"""``aimwell data``: take files in, see their quality, repair what was rejected.  数据"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli import privacy
from aimwell.cli.events import app as events
from aimwell.cli.help import App
from aimwell.cli.identity import app as identity
from aimwell.cli.output import add_row, emit, emit_result, in_language, make_table, show_progress, state
from aimwell.cli.pages import Page
from aimwell.core.errors import BadInput
from aimwell.core.text import say

if TYPE_CHECKING:
    from datetime import date

    from aimwell.core.steps import StepResult

app = App(help="Take data in and see its quality.  第二步 数据：接入与质量")
app.add_typer(events, name="events")
app.add_typer(identity, name="identity")


Place = Annotated[
    str,
    typer.Argument(
        help="CSV, text, workbook, JSON, Parquet, .zip or .gz; or a database's address.  "
        "文件（CSV、文本、Excel、JSON、Parquet、.zip、.gz）或数据库地址"
    ),
]
TableName = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="customers, products, order_lines, events, consents or signals; proposed when omitted.  "
        "目标表（customers 等六种）；省略则自动建议",
    ),
]
Choices = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="FIELD=COLUMN, FIELD==constant, customer_id=#row, or FIELD= for none.  "
        "字段=列、字段==常量、customer_id=#row，或 字段= 表示无",
    ),
]


SourceName = Annotated[
    str | None,
    typer.Option(help="Name of the source; the file's when omitted.  数据源名；省略则用文件名"),
]
Header = Annotated[
    str | None,
    typer.Option(help="Names of the columns of a file without header: a,b,c.  无表头文件的列名：a,b,c"),
]
Sheet = Annotated[
    str | None,
    typer.Option(help="Which sheet of a workbook or file of an archive.  工作簿中的工作表，或压缩包中的文件"),
]
Query = Annotated[
    str | None, typer.Option(help="What to read of a database: SELECT …  从数据库读取什么：SELECT …")
]
DatabaseTable = Annotated[
    str | None, typer.Option("--table", help="Which table of a database to read.  读取数据库的哪张表")
]
Dates = Annotated[
    str | None,
    typer.Option(help="day-first or month-first.  日期写法：day-first 日在前或 month-first 月在前"),
]
Duplicates = Annotated[str | None, typer.Option(help="keep or reject.  重复行：keep 保留或 reject 搁置")]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="Rows from this day on come from the future, YYYY-MM-DD.  截止日：此日起的行视为未来，YYYY-MM-DD"
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Accept the proposed mapping.  接受建议的字段对应")]


@app.command()
def add(
    context: typer.Context,
    file: Place,
    table: TableName = None,
    chosen: Choices = None,
    yes: Yes = False,
    source: SourceName = None,
    header: Header = None,
    sheet: Sheet = None,
    query: Query = None,
    database_table: DatabaseTable = None,
    dates: Dates = None,
    duplicates: Duplicates = None,
    as_of: AsOf = None,
) -> None:
    """Take a file or a database into a table; loading it twice changes nothing.

    接入文件或数据库；重复接入不产生变化
    """
    from aimwell.data.step import add_source, propose

    workspace = state(context).workspace
    place: dict[str, Any] = {
        "mapping": _read_choices(chosen or []),
        "source": source,
        "header": tuple(name.strip() for name in header.split(",")) if header else None,
        "sheet": sheet,
        "query": query,
        "database_table": database_table,
    }
    if not yes:
        proposal = propose(workspace, file, table, **place)
        if proposal.asked != ():
            _ask_consent(context, proposal.to_dict())
        table = table or proposal.table
    result = add_source(
        workspace,
        file,
        table=table,
        **place,
        as_of=_read_day(as_of),
        accept=True,
        dates=dates,
        duplicates=duplicates,
        progress=show_progress(context),
    )
    emit_result(context, result, _draw_added(context, result))
    if result.summary["rejected"] and not result.summary["accepted"]:
        # The rows are kept for repair, but a script that goes on would work without them.
        raise typer.Exit(1)


def _read_day(text: str | None) -> date | None:
    from datetime import date

    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadInput(
            "data.bad_as_of",
            say("--as-of '{value}' is no day.", value=text),
            remedy=say("Write it as 2026-01-31."),
            where={"value": text},
        ) from error


@app.command()
def quality(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="Checks that passed, too.  也显示通过的检查")
    ] = False,
    source: Annotated[str | None, typer.Option(help="Only this source.  仅此数据源")] = None,
    trend: Annotated[
        bool, typer.Option("--trend", help="Scores over the last loads.  历次接入的得分走势")
    ] = False,
) -> None:
    """Show the four walls: what is missing, partial, wrong or unusable.  数据四堵墙：缺失、不全、有误、不可用"""
    from aimwell.cli.quality import show_quality

    show_quality(context, everything=everything, source=source, trend=trend)


@app.command()
def sources(context: typer.Context) -> None:
    """List the files and deliveries that were taken in.  已接入的数据源"""
    payload = {"sources": _summarise(context)["sources"]}

    def draw(console: Console) -> None:
        table = make_table(str(say("Source")), str(say("Table")), str(say("File")), str(say("Encoding")))
        for title in (say("Rows"), say("Accepted"), say("Rejected")):
            table.add_column(str(title), justify="right")
        for row in payload["sources"]:
            counts = [f"{row[name]:,}" for name in ("rows", "accepted", "rejected")]
            add_row(table, row["name"], row["table"], row["file"], row["encoding"] or "", *counts)
        console.print(table)

    emit(context, payload, draw)


@app.command()
def tables(context: typer.Context) -> None:
    """Count the rows of every table of this step.  各数据表的行数"""
    summary = _summarise(context)
    payload = {"tables": summary["tables"], "period": summary["period"]}

    def draw(console: Console) -> None:
        table = make_table(str(say("Table")))
        table.add_column(str(say("Rows")), justify="right")
        for name, rows in payload["tables"].items():
            table.add_row(name, f"{rows:,}")
        console.print(table)
        start, end = payload["period"]["start"], payload["period"]["end"]
        if start:
            console.print(str(say("Orders from {start} to {end}.", start=start, end=end)))

    emit(context, payload, draw)


@app.command()
def rejects(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="Write them as CSV, to be repaired and added.  输出为 CSV，修复后可再次接入"),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.  仅此数据源")] = None,
) -> None:
    """Show the rows that were set aside, or write them for repair.  查看被搁置的行，或导出以便修复"""
    from aimwell.data.step import list_rejects, write_rejected

    workspace = state(context).workspace
    if out is not None:
        count = write_rejected(workspace, out, source=source)
        message = say(
            "{count} rows were written to {file}. Repair them and add that file: aimwell data add {file} --as TABLE",
            count=count,
            file=str(out),
        )
        emit(
            context,
            {"file": str(out), "rows": count, "message": message.both()},
            lambda console: console.print(str(message), markup=False),
        )
        return
    payload = list_rejects(workspace, source=source)
    emit(context, payload, lambda console: _draw_rejects(console, payload))


def _summarise(context: typer.Context) -> dict[str, Any]:
    from aimwell.data.summary import summarise

    with state(context).workspace.read() as reader:
        return summarise(reader)


def _read_choices(pairs: list[str]) -> dict[str, str]:
    choices = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise BadInput(
                "data.bad_map",
                say("--map '{value}' has no '='.", value=pair),
                remedy=say("Write it as --map customer_id=COLUMN."),
                where={"value": pair},
            )
        choices[name.strip()] = value
    return choices


def _ask_consent(context: typer.Context, proposal: dict[str, Any]) -> None:
    """Show the proposed mapping and ask; without a terminal there is nobody to ask."""
    if not sys.stdin.isatty() or state(context).json:
        pairs = ", ".join(
            f"{match['field']}={match['column'] or '=' + match['constant']}"
            for match in proposal["matches"]
            if proposal["asked"] is None or match["field"] in proposal["asked"]
        )
        raise BadInput(
            "data.mapping_not_accepted",
            say("Nobody can be asked whether the proposed mapping is right: {mapping}.", mapping=pairs),
            remedy=say("Pass --yes to accept it, or correct it with --map."),
            where={"file": proposal["file"]},
        )
    _draw_mapping(Page(), proposal)
    if not typer.confirm(str(say("Take the file in like this?"))):
        raise typer.Exit(1)


def _draw_mapping(console: Console, proposal: dict[str, Any]) -> None:
    console.print(str(say("Table: {table}", table=proposal["table"])), markup=False)
    table = make_table(
        str(say("Field")), str(say("Meaning")), str(say("Column")), str(say("Confidence")), str(say("Why"))
    )
    for match in proposal["matches"]:
        column = match["column"] or f"= {match['constant']}"
        title, reason = in_language(match["title"]), in_language(match["reason"])
        add_row(table, match["field"], title, column, f"{match['confidence']:.0%}", reason)
    console.print(table)
    if proposal["unused"]:
        console.print(
            str(say("Other columns: {columns}.", columns=", ".join(proposal["unused"]))), markup=False
        )


def _draw_added(context: typer.Context, result: StepResult) -> Callable[[Console], None]:
    summary = result.summary

    def draw(console: Console) -> None:
        _draw_mapping(console, summary["mapping"])
        line = say(
            "{file}: {rows} rows, {accepted} accepted, {rejected} rejected.",
            file=summary["file"],
            rows=f"{summary['rows']:,}",
            accepted=f"{summary['accepted']:,}",
            rejected=f"{summary['rejected']:,}",
        )
        console.print(str(line), markup=False)
        for name, count in summary["added"].items():
            console.print(str(say("New in {table}: {count}", table=name, count=f"{count:,}")), markup=False)
        if summary["known"] and not summary["unchanged"]:
            known = say("{count} accepted rows were there already.", count=f"{summary['known']:,}")
            console.print(str(known), markup=False)
        for notice in summary["notices"]:
            console.print(f"• {in_language(notice)}", markup=False)
        if summary["rejected"]:
            console.print(str(say("See what was rejected, and why: aimwell data rejects")), markup=False)
        for error in _list_errors(context, summary["source"]):
            console.print(f"! {error}", markup=False)

    return draw


def _list_errors(context: typer.Context, source: str) -> list[str]:
    """What the checks call wrong in this source, or in all of them together."""
    from aimwell.data.findings import EVERYWHERE

    return [
        f"{in_language(row['finding'])} {in_language(row['remedy'])}"
        for row in _summarise(context)["quality"]
        if row["severity"] == "error" and row["source"] in (source, EVERYWHERE)
    ]


def _draw_rejects(console: Console, payload: dict[str, Any]) -> None:
    table = make_table(
        str(say("Source")),
        str(say("Row")),
        str(say("Column")),
        str(say("Value")),
        str(say("Reason and remedy")),
    )
    for row in payload["rejects"]:
        number = str(row["row_number"] or "") + (f" ×{row['rows']}" if row["rows"] > 1 else "")
        cells = (row["source"], number, row["column"] or "", row["value"] or "")
        add_row(table, *cells, in_language(row["message"]))
    console.print(table)
    line = say(
        "{shown} of {total} rejected rows are shown. All of them: --out FILE.csv",
        shown=sum(row["rows"] for row in payload["rejects"]),
        total=payload["total"],
    )
    console.print(str(line), markup=False)
    if len(payload["files"]) > 1:
        counts = make_table(str(say("Source")), str(say("File")), str(say("Rejected")))
        for file in payload["files"]:
            add_row(counts, file["source"], file["file"], f"{file['rows']:,}")
        console.print(counts)


privacy.register(app)
