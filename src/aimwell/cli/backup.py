"""``aimwell backup`` and ``aimwell restore``: the whole workspace as one file, and back.  备份与恢复"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aimwell.cli.output import emit, show_progress, state
from aimwell.core.text import say


def backup(
    context: typer.Context,
    place: Annotated[
        Path,
        typer.Argument(
            help="The file to write, or a folder: then the name has the instant.  "
            "要写入的文件；若为文件夹，则文件名含时刻",
            metavar="FILE",
        ),
    ],
    with_secret: Annotated[
        bool,
        typer.Option(
            "--with-secret",
            help="Put the workspace's secret in: links in mails that were sent need it, and so does recognising erased "
            "persons. Whoever has it can forge such links.  包含工作区密钥：已发邮件中的链接及识别已删除的个人需要它；"
            "持有者可伪造此类链接",
        ),
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the backups in that folder only so many newest stay.  该文件夹中只保留最新的若干份",
        ),
    ] = None,
) -> None:
    """Copy the whole workspace into one file while everything goes on.  不停机地将整个工作区备份为一个文件"""
    from aimwell.loop.backup import back_up

    done = back_up(
        state(context).workspace, place, with_secret=with_secret, keep=keep, progress=show_progress(context)
    )
    message = say(
        "{file}: {rows} rows of the store, {members} files, {size} MB. Its checksum is {checksum}; the audit log ends "
        "at {anchor}. Keep both elsewhere.",
        file=str(done.file),
        rows=f"{sum(done.index.rows.values()):,}",
        members=f"{len(done.index.members):,}",
        size=f"{done.index.bytes / 1e6:,.1f}",
        checksum=done.checksum,
        anchor=done.index.anchor,
    )

    def draw(console: Console) -> None:
        console.print(str(message), markup=False, highlight=False)
        for name in done.removed:
            console.print(str(say("Removed: {file}", file=name)), markup=False)

    emit(context, {**done.to_dict(), "message": message.both()}, draw)


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What aimwell backup has written.  备份文件", metavar="FILE")],
    folder: Annotated[
        Path, typer.Argument(help="The folder to make; it must not hold anything.  要创建的文件夹，须为空")
    ],
    store: Annotated[
        str | None,
        typer.Option(
            help="Where the store shall be: postgresql://user@host/database; a file in the folder when omitted. The "
            "password: AIMWELL_STORE_PASSWORD.  存储所在的 PostgreSQL 地址；省略则为文件夹内的文件。"
            "密码：AIMWELL_STORE_PASSWORD"
        ),
    ] = None,
    schema: Annotated[
        str | None, typer.Option(help="The schema in that database.  该数据库中的模式（schema）")
    ] = None,
    moved: Annotated[
        bool,
        typer.Option(
            "--moved",
            help="The old workspace was stopped before the backup and stays so: sending goes on where it stood.  "
            "旧工作区在备份前已停止且不再启动：从原处继续发送",
        ),
    ] = False,
) -> None:
    """Make a workspace out of a backup, on SQLite or on PostgreSQL.  从备份建立工作区（SQLite 或 PostgreSQL）"""
    from aimwell.loop.restore import restore as restore_backup

    done = restore_backup(
        file, folder, url=store, schema_name=schema, moved=moved, progress=show_progress(context)
    )
    message = say(
        "The workspace {folder} is as it was at {at}: {rows} rows of the store, {files} files.",
        folder=str(done.folder),
        at=f"{done.created_at:%Y-%m-%d %H:%M} UTC",
        rows=f"{done.rows:,}",
        files=f"{done.files:,}",
    )

    def draw(console: Console) -> None:
        console.print(str(message), markup=False, highlight=False)
        for notice in done.notices:
            console.print(f"• {notice}", style="yellow", markup=False)

    payload = {
        "folder": str(done.folder),
        "created_at": done.created_at.isoformat(),
        "rows": done.rows,
        "files": done.files,
        "database": done.database,
        "halted": done.halted,
        "secret": done.has_secret,
        "notices": [text.both() for text in done.notices],
        "message": message.both(),
    }
    emit(context, payload, draw)
