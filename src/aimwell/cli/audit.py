"""``aimwell audit``: who did what, and whether the log still is what was written.  审计日志"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.instants import show_instant
from aimwell.cli.output import add_row, emit, encode_value, make_table, state
from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.engine.audit import Anchor

app = App(help="The audit log: who did what, as a chain of hashes.  审计日志：以哈希链记录谁做了什么")

_PROBLEMS: dict[str, Text] = {
    "changed": say("It is not what was written."),
    "missing": say("Entries before it are missing or were moved."),
    "end_missing": say("Entries at the end are missing, up to this one."),
    "beyond_end": say("It stands behind the end that the log knows of."),
    "unexplained": say("It lost words, and no erasure says so."),
    "anchor": say("It has another hash than was kept elsewhere: the log was written anew."),
}


@app.command()
def verify(
    context: typer.Context,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            help="NUMBER:HASH as verify or backup once printed it; finds entries that were cut off or written anew.  "
            "verify 或 backup 曾输出的“编号:哈希”，用于发现被截断或重写的记录"
        ),
    ] = None,
) -> None:
    """Follow the chain from its beginning to its end.  从头到尾验证哈希链"""
    from aimwell.engine.audit import verify as verify_chain

    kept = [_read_anchor(one) for one in anchor or ()]
    with state(context).workspace.store.snapshot() as connection:
        found = verify_chain(connection, kept)
    if found.breaks:
        message = say("The audit log was changed at entry {entry}.", entry=found.breaks[0].entry)
    else:
        message = say(
            "The audit log holds: {count} entries, of which {emptied} lost words to erasures. Its end is {anchor}: "
            "keep that elsewhere.",
            count=found.entries,
            emptied=found.emptied,
            anchor=str(found.anchor),
        )

    def draw(console: Console) -> None:
        console.print(str(message), style="red" if found.breaks else None, markup=False, highlight=False)
        for one in found.breaks[:100]:
            line = say("Entry {entry}: {problem}", entry=one.entry, problem=_PROBLEMS[one.problem])
            console.print(str(line), markup=False)

    payload = {
        "entries": found.entries,
        "emptied": found.emptied,
        "anchor": str(found.anchor),
        "breaks": [{"entry": one.entry, "problem": one.problem} for one in found.breaks],
        "message": message.both(),
    }
    emit(context, payload, draw)
    if found.breaks:
        raise typer.Exit(1)


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many of the newest.  显示最新多少条")
    ] = 50,
    action: Annotated[
        str | None, typer.Option(help="Only this action, such as person.erased.  仅此类操作")
    ] = None,
) -> None:
    """Show the newest entries.  查看最新记录"""
    from aimwell.engine.audit import list_entries

    with state(context).workspace.store.snapshot() as connection:
        rows = [dict(row) for row in list_entries(connection, limit=limit, action=action)]

    def draw(console: Console) -> None:
        titles = (say("Entry"), say("Time"), say("Who"), say("What was done"), say("Subject"), say("Detail"))
        table = make_table(*map(str, titles))
        for row in rows:
            detail = json.dumps(row["detail"], ensure_ascii=False)
            at = show_instant(context, row["at"])
            add_row(table, str(row["entry"]), at, row["actor"], row["action"], row["subject"], detail)
        console.print(table)

    emit(context, {"entries": [_show(row) for row in rows]}, draw)


@app.command()
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="The file to write, JSON Lines.  输出文件（JSON Lines）")],
) -> None:
    """Write the whole log with its hashes, one entry a line; the log says so.  导出全部记录及哈希（记入审计日志）"""
    from aimwell.engine.audit import read_entries

    workspace = state(context).workspace
    workspace.store.audit("audit.exported", out.name)
    count = 0
    with workspace.store.snapshot() as connection, _open_new(out) as stream:
        for row in read_entries(connection):
            stream.write(json.dumps(_show(dict(row)), ensure_ascii=False, default=encode_value) + "\n")
            count += 1
    message = say("{count} entries are in {file}.", count=count, file=str(out))
    emit(
        context,
        {"file": str(out), "entries": count, "message": message.both()},
        lambda console: console.print(str(message), markup=False),
    )


def _open_new(out: Path) -> Any:
    try:
        return out.open("w", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            "cli.cannot_write",
            say("The file {file} cannot be written.", file=str(out)),
            remedy=say("Check the name and the folder."),
            where={"file": str(out)},
        ) from error


def _show(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "at": row["at"].isoformat()}


def _read_anchor(written: str) -> Anchor:
    from aimwell.engine.audit import Anchor

    try:
        return Anchor.read(written)
    except ValueError as error:
        raise BadInput(
            "cli.bad_anchor",
            say("'{value}' is no end of an audit log.", value=written[:100]),
            remedy=say("Give it as verify or backup printed it: a number, a colon and 64 signs."),
            where={"value": written[:100]},
        ) from error
