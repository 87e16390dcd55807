"""Commands within sentences: with the workspace that the reader's own command named, and never broken in two.

A remedy is there to be copied. What it says was written for any workspace ("aimwell data rejects"); whoever works with
``-w shop`` needs ``aimwell -w shop data rejects``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path

_WITHOUT = ("init", "demo", "restore")
"""Commands that make a workspace: they are told its folder as an argument."""
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[A-Za-z0-9_./:@#%+-][^\s，。；、：）;]*)"
_OPTION = rf"--[a-z][a-z-]*[ =]{_VALUE}"
_COMMAND = re.compile(
    r"(?<![A-Za-z0-9_./-])aimwell(?: -w (?:'[^']*'|[^\s']+))?(?: [a-z][a-z0-9_:-]*){1,4}"
    rf"(?: (?:{_OPTION}|--[a-z][a-z-]*|[A-Z]{{2,}}[^\s，。；、：）;]*|[^\s，。；、：）;]*[/.=][^\s，。；、：）;]*))*"
    rf"|(?<![A-Za-z0-9_-]){_OPTION}"
)
_chosen: ContextVar[tuple[str, re.Pattern[str]] | None] = ContextVar("aimwell_workspace", default=None)


def use_workspace(folder: Path, commands: Iterable[str]) -> None:
    """From now on ``commands``, where a text names them, are told with ``-w folder``; not where that is the default."""
    named = "|".join(re.escape(name) for name in commands if name not in _WITHOUT)
    pattern = re.compile(rf"(?<![A-Za-z0-9_./-])aimwell (?=(?:{named})(?![\w-]))")
    _chosen.set((f"aimwell -w {shlex.quote(str(folder))} ", pattern) if folder != Path() else None)


def complete_commands(text: str) -> str:
    """``text`` with the workspace in its commands."""
    chosen = _chosen.get()
    if chosen is None or "aimwell " not in text:
        return text
    words, pattern = chosen
    return pattern.sub(lambda _: words, text)


def find_commands(text: str) -> list[tuple[int, int]]:
    """Where in ``text`` commands, and options with their values, begin and end."""
    return [found.span() for found in _COMMAND.finditer(text)] if "aimwell " in text or "--" in text else []
