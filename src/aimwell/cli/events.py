"""``aimwell data events`` and ``aimwell worker``: batches of events in, and the process that tidies up after them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import emit, state, warn
from aimwell.core.errors import NotReady
from aimwell.core.text import say

app = App(help="Take batches of events in.  接入事件")


@app.command()
def add(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines or a JSON array of Segment's messages.  事件文件：Segment 消息，JSON Lines 或 JSON 数组"
        ),
    ],
    source: Annotated[str, typer.Option(help="Name of the source.  数据源名")] = "events",
) -> None:
    """Take events in; those that came before change nothing.  接入事件文件；已接入的事件不产生变化"""
    from aimwell.data.event_intake import take_file
    from aimwell.loop.worker import TASKS, run_once

    workspace = state(context).workspace
    counts = take_file(workspace, file, source=source)
    # Without a worker beside it, a large file would stay in the store.
    run_once(workspace, tuple(task for task in TASKS if task.name in ("move", "profiles", "merge")))
    message = say(
        "{file}: {accepted} events accepted, {duplicate} known already, {rejected} rejected.",
        file=file.name,
        accepted=f"{counts['accepted']:,}",
        duplicate=f"{counts['duplicate']:,}",
        rejected=f"{counts['rejected']:,}",
    )

    def draw(console: Console) -> None:
        console.print(str(message), markup=False)
        if counts["rejected"]:
            console.print(str(say("See what was rejected, and why: aimwell data rejects")), markup=False)

    emit(context, {"file": file.name, **counts, "message": message.both()}, draw)
    if counts["rejected"] and not counts["accepted"] + counts["duplicate"]:
        raise typer.Exit(1)


def worker(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Do everything once and end.  只执行一次")] = False,
) -> None:
    """Move new events into files, merge, publish and delete files, until interrupted.

    后台整理：写入、合并、发布、清理文件，直到中断
    """
    import signal
    from threading import Event

    from aimwell.analysis.data_end import tell_old_data
    from aimwell.core.logs import configure_logs, get_logger
    from aimwell.loop.worker import run_once, work

    workspace = state(context).workspace
    # Done once for somebody who waits for it, the message at the end says all.
    level = "warning" if once else workspace.settings.logs.level
    configure_logs(format=workspace.settings.logs.format, level=level)
    log = get_logger("worker")

    def tell(error: NotReady) -> None:
        log.warning("task.failed", code=error.code, error=error)
        warn(error)

    log.info("worker.started", once=once)
    if old := tell_old_data(workspace):
        warn(old)
    if once:
        tally = run_once(workspace, tell=tell)
    else:
        stop = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        tally = work(workspace, stop, tell=tell)
    log.info("worker.ended", done=tally.done, yielded=tally.yielded, failed=tally.failed)
    message = say(
        "{moved} rows were moved into files, {merged} files merged, {deleted} files deleted.",
        moved=f"{tally.done.get('move', 0):,}",
        merged=f"{tally.done.get('merge', 0):,}",
        deleted=f"{tally.done.get('vacuum', 0):,}",
    )
    emit(
        context,
        {"done": tally.done, "yielded": tally.yielded, "failed": tally.failed, "message": message.both()},
        lambda console: console.print(str(message), markup=False),
    )
