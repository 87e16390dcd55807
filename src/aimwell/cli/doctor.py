"""``aimwell doctor``: whether everything is in order, and what to do where it is not.  体检"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from aimwell.cli.output import emit, state
from aimwell.core.text import say

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def doctor(
    context: typer.Context,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Read every file of the warehouse and the store whole.  完整读取数据仓库与存储的每个文件",
        ),
    ] = False,
) -> None:
    """Look whether everything is in order around the workspace, with the remedy where it is not; nothing is changed.

    检查工作区的运行状况并给出解决办法；不作任何改动
    """
    from aimwell.loop.doctor import examine

    found = examine(state(context).folder, thorough=thorough)

    def draw(console: Console) -> None:
        for one in found.findings:
            mark, style = _MARKS[one.severity]
            console.print(f"{mark} {one.title}: {one.message}", style=style, markup=False, highlight=False)
            if one.remedy is not None:
                console.print(f"  → {one.remedy}", markup=False, highlight=False)
        errors = sum(one.severity == "error" for one in found.findings)
        warnings = sum(one.severity == "warning" for one in found.findings)
        console.print(
            str(say("{errors} errors, {warnings} warnings.", errors=errors, warnings=warnings)), markup=False
        )

    emit(context, found.to_dict(), draw)
    if found.severity == "error":
        raise typer.Exit(1)
