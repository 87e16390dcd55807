"""How commands print: readable for people, one JSON object with ``--json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from aimwell.cli.pages import Page, Words
from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.money import show_money, to_money
from aimwell.core.steps import StepResult
from aimwell.core.text import Text, current_language, say

if TYPE_CHECKING:
    from aimwell.engine.workspace import Workspace


@dataclass
class State:
    """What the options before the command said."""

    folder: Path
    json: bool
    _workspace: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        """The workspace, opened when first asked for; NotReady when there is none."""
        if self._workspace is None:
            from aimwell.engine.workspace import Workspace

            self._workspace = Workspace.open(self.folder)
        return self._workspace

    def close(self) -> None:
        """Close the workspace if it was opened."""
        if self._workspace is not None:
            self._workspace.close()


def state(context: typer.Context) -> State:
    """The options before the command."""
    found = context.find_object(State)
    assert found is not None
    return found


def emit(context: typer.Context, payload: dict[str, Any], render: Callable[[Console], None]) -> None:
    """Print ``payload`` as one JSON object with ``--json``, else let ``render`` draw it."""
    if state(context).json:
        sys.stdout.write(json.dumps(payload, ensure_ascii=False, default=encode_value) + "\n")
    else:
        render(Page())


def emit_result(context: typer.Context, result: StepResult, render: Callable[[Console], None]) -> None:
    """Print a step's result, and below it what it lacked."""

    def draw(console: Console) -> None:
        render(console)
        for text in result.lacks:
            console.print(f"• {text}", style="yellow", markup=False)

    emit(context, result.to_dict(), draw)


def encode_value(value: object) -> object:
    """JSON for what ``json`` does not know: money as text, dates as ISO, messages in the reader's language."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Text):
        return value.both()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def in_language(text: dict[str, str] | str | None) -> str:
    """The reader's side of a text that stands in both languages."""
    if text is None:
        return ""
    return text if isinstance(text, str) else text[current_language()]


def show_progress(context: typer.Context) -> Callable[[str | Text], None]:
    """A function that reports progress on standard error (so that ``--json`` stays clean)."""
    console = Page(stderr=True)
    quiet = state(context).json and not sys.stderr.isatty()

    def report(message: str | Text) -> None:
        if not quiet:
            console.print(str(message), style="dim", highlight=False, markup=False)

    return report


def warn(message: AimwellError | Text) -> None:
    """Say on standard error what could not be done for now, or what to beware of, and go on."""
    text = message.render() if isinstance(message, AimwellError) else str(message)
    Page(stderr=True).print(text, style="yellow", highlight=False, markup=False)


def make_table(*titles: str) -> Table:
    """A table whose cells are folded: Chinese has no blanks to break at, and would be cut."""
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def make_number_table(*titles: Text) -> Table:
    """Names on the left, numbers on the right."""
    table = Table(show_edge=False)
    for index, title in enumerate(titles):
        table.add_column(str(title), justify="left" if index == 0 else "right", overflow="fold")
    return table


def show_amount(amount: float | Decimal, currency: str) -> str:
    """Money as the reader writes it."""
    return show_money(amount, currency, current_language())


def add_row(table: Table, *cells: str | Styled) -> None:
    """Add a row of plain words: names from people's files may hold brackets, which are no markup."""
    table.add_row(*(Words(cell) if isinstance(cell, str) else cell for cell in cells))


def fail(message: Text) -> str:
    """The one line that stands before an error."""
    return str(say("Error: {message}", message=message))


def read_day(value: str | None) -> date | None:
    """A day given as YYYY-MM-DD; BadInput when it is none."""
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise BadInput(
            "cli.bad_day",
            say("'{value}' is not a day.", value=value),
            remedy=say("Write it as YYYY-MM-DD, for example 2026-03-01."),
            where={"value": value},
        ) from error


def read_money(value: str | None) -> Decimal | None:
    """An amount of money; BadInput when it is none or is negative."""
    if value is None:
        return None
    try:
        amount = to_money(value.replace(",", ""))
    except ArithmeticError as error:
        raise _bad_money(value) from error
    if amount < 0:
        raise _bad_money(value)
    return amount


def _bad_money(value: str) -> BadInput:
    return BadInput(
        "cli.bad_money",
        say("'{value}' is not an amount of money.", value=value),
        remedy=say("Give a number of at least 0, for example 1500 or 1500.50."),
        where={"value": value},
    )
