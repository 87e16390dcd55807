"""Pages for people: lines and cells that break where Chinese may be broken, in columns that know how wide it is.

Chinese has no blanks. Whoever breaks lines at blanks only would move a whole sentence to the next line, and think a
column of Chinese could not be narrower than its longest sentence. A command in a sentence stays on one line, so that it
can be copied: by itself on a line that is longer than the page, if need be.
"""

from __future__ import annotations

import re
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.containers import Lines
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text as Styled

from aimwell.cli.commands import complete_commands, find_commands

_CLOSERS = "，。、；：？！）》」』”’％,.;:?!)]}%…"
_NUMBER = re.compile(r"[-+]?[0-9][0-9,]*(\.[0-9]+)?%?")
_OPENERS = "（《「『“‘([{"
_PIECE = re.compile(
    r"\s+|[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef]|[^\s\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef]+"
)


class Words(Styled):
    """Text that may be broken after any Chinese character, but not before a closing sign.

    ``whole``: nor within a command, even where it is longer than the line.
    """

    whole = False

    @classmethod
    def of(cls, text: str | Styled, style: str | None = None) -> Words:
        """``text`` as words; markup in it is none."""
        if isinstance(text, str):
            return cls(text, style=style or "")
        made = cls(text.plain, style=text.style, justify=text.justify, overflow=text.overflow, end=text.end)
        made.spans = list(text.spans)
        return made

    def wrap(
        self,
        console: Console,
        width: int,
        *,
        justify: Any = None,
        overflow: Any = None,
        tab_size: int = 8,
        no_wrap: bool | None = None,
    ) -> Lines:
        """Lines of at most ``width`` cells."""
        if no_wrap or self.no_wrap or width < 2:
            return super().wrap(
                console, width, justify=justify, overflow=overflow, tab_size=tab_size, no_wrap=no_wrap
            )
        found = Lines()
        for line in self.split(allow_blank=True):
            parts = line.divide(find_breaks(line.plain, width, whole=self.whole))
            for part in parts:
                part.rstrip_end(width)
            chosen = justify or self.justify
            if chosen in ("left", "center", "right"):
                parts.justify(console, width, justify=chosen, overflow="fold")
            found.extend(parts)
        return found

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From the longest piece that is not broken to the longest line."""
        pieces = _join_pieces(self.plain)
        least = max((cell_len(piece.strip()) for piece in pieces), default=0)
        most = max((cell_len(line) for line in self.plain.splitlines()), default=0)
        return Measurement(min(least, most), most)


class Page(Console):
    """A console on which every string is ``Words``."""

    def render_str(self, *arguments: Any, **settings: Any) -> Styled:
        """The string as words."""
        return Words.of(super().render_str(*arguments, **settings))

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print one thing: a string as words, a table with its numbers to the right.

        Commands are told with the workspace; not in tables, whose cells would break them all the more.
        """
        objects = tuple(complete_commands(one) if isinstance(one, str) else one for one in objects)
        for one in objects:
            if isinstance(one, Table):
                align_numbers(one)
        if len(objects) == 1 and isinstance(objects[0], str):
            shown = self.render_str(
                objects[0],
                markup=settings.pop("markup", None),
                highlight=settings.pop("highlight", None),
                style=settings.pop("style", None) or "",
            )
            objects = (_Line(shown),)
            settings.setdefault("crop", False)
        super().print(*objects, **settings)


class _Line:
    """Words by themselves: as bare text they would be joined with others, and forget how they break."""

    def __init__(self, words: Styled) -> None:
        self._words = Words.of(words)
        self._words.whole = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._words


def align_numbers(table: Table) -> None:
    """Columns that hold nothing but numbers are set to the right, so that sizes can be compared."""
    for column in table.columns:
        cells = [str(cell) for cell in column.cells if str(cell)]
        if column.justify == "left" and cells and all(map(_NUMBER.fullmatch, cells)):
            column.justify = "right"


def find_breaks(text: str, width: int, *, whole: bool = False) -> list[int]:
    """The places at which ``text`` goes on in the next line, so that no line has more than ``width`` cells.

    ``whole``: but for a command that is longer, which has a line of its own.
    """
    breaks: list[int] = []
    place = filled = 0
    for piece in _join_commands(text, None if whole else width):
        size = cell_len(piece)
        if filled and filled + cell_len(piece.rstrip()) > width:
            breaks.append(place)
            filled = 0
        if size > width and piece.strip() and not (whole and find_commands(piece)):
            # A word longer than a line is cut wherever the line ends.
            for offset, sign in enumerate(piece):
                if filled + cell_len(sign) > width:
                    breaks.append(place + offset)
                    filled = 0
                filled += cell_len(sign)
        else:
            filled += size
        place += len(piece)
    return breaks


def _join_commands(text: str, most: int | None) -> list[str]:
    """Pieces, with each command of at most ``most`` cells as one."""
    pieces: list[str] = []
    place = reached = 0
    spans = find_commands(text)
    for piece in _join_pieces(text):
        # A piece may hold the sign before a command, or the one after it.
        inside = next((end for start, end in spans if start < place < end), None)
        if inside is not None and (most is None or place < reached):
            pieces[-1] += piece
        else:
            pieces.append(piece)
            started = next(
                ((start, end) for start, end in spans if place <= start < place + len(piece)), None
            )
            if started is not None and (most is None or cell_len(text[started[0] : started[1]]) <= most):
                reached = started[1]
        place += len(piece)
    return pieces


def _join_pieces(text: str) -> list[str]:
    """What stays on one line: a word or a character with what opens before it and closes or is blank after it."""
    pieces: list[str] = []
    for piece in _PIECE.findall(text):
        last = pieces[-1] if pieces else ""
        opened = bool(last) and last[-1] in _OPENERS
        closing = piece[0] in _CLOSERS or piece.isspace()
        if last and (opened or (closing and not (last.isspace() and not piece.isspace()))):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces
