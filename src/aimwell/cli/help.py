"""The pages of ``--help`` and what is said of a line that cannot be read, in the reader's language.

A help text is written as ``English.  中文`` (two blanks or an empty line between): both stand side by side in the
source, and a reader sees one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Styled
from typer.core import TyperCommand, TyperGroup

from aimwell.cli.pages import Page, Words
from aimwell.core.lists import join_list
from aimwell.core.text import Text, current_language, say

_OWN = {
    "help": say("Show this page."),
    "install_completion": say("Let the shell complete words of this program."),
    "show_completion": say("Print what the shell needs to complete words of this program."),
    "_version": say("Print the version."),
}
"""Options that the parser brings along, or that need few words."""


def choose_language(help_text: str | None) -> str:
    """The reader's side of ``English.  中文``."""
    sides = re.split(r"\s{2,}", (help_text or "").strip())
    return sides[-1] if current_language() == "zh" else " ".join(sides[:-1] or sides)


class Command(TyperCommand):
    """A command whose help page is in the reader's language."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Draw the page."""
        _draw_page(self, ctx)


class Group(TyperGroup):
    """A group of commands whose help page is in the reader's language."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Draw the page."""
        _draw_page(self, ctx)


class App(typer.Typer):
    """A group to which commands are added; without a command it shows its help."""

    def __init__(
        self, *, cls: type[TyperGroup] = Group, no_args_is_help: bool = True, **settings: Any
    ) -> None:
        super().__init__(cls=cls, no_args_is_help=no_args_is_help, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Add a command."""
        return super().command(name, cls=Command, **settings)


def render_usage(ctx: Any) -> str:
    """How the command of ``ctx`` is written: ``aimwell data add FILE [OPTIONS]``."""
    words = [ctx.command_path]
    for param in ctx.command.params:
        if param.param_type_name == "argument":
            name = _name_argument(param)
            words.append(name if param.required else f"[{name}]")
        elif param.required and param.is_flag:
            words.append("|".join([*param.opts, *param.secondary_opts]))
        elif param.required:
            words.append(f"{param.opts[0]} {_name_value(param)}")
    if isinstance(ctx.command, TyperGroup):
        words.append(str(say("COMMAND")))
    return " ".join([*words, f"[{say('OPTIONS')}]"])


def _draw_page(command: Any, ctx: Any) -> None:
    console = Page()
    console.print(Styled(f"{say('Usage:')} {render_usage(ctx)}", style="bold"))
    if command.help:
        console.print(Padding(Words(choose_language(command.help)), (1, 0, 0, 2)))
    params = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    arguments = [one for one in params if one.param_type_name == "argument"]
    options = [one for one in params if one.param_type_name != "argument"]
    _draw_block(console, say("Arguments"), [(_name_argument(one), _describe(one)) for one in arguments])
    if isinstance(command, TyperGroup):
        found = ((name, command.get_command(ctx, name)) for name in command.list_commands(ctx))
        rows = [
            (name, choose_language(one.help)) for name, one in found if one is not None and not one.hidden
        ]
        _draw_block(console, say("Commands"), rows)
    _draw_block(console, say("Options"), [(_name_option(one), _describe(one)) for one in options])


def _draw_block(console: Console, title: Text, rows: list[tuple[str, str]]) -> None:
    if not rows:
        return
    console.print()
    console.print(str(title), style="bold", highlight=False)
    # A long name does not push all descriptions to the edge: it is folded.
    table = Table.grid(padding=(0, 2))
    table.add_column(max_width=max(console.width * 2 // 5, 16), overflow="fold", style="cyan")
    table.add_column(overflow="fold")
    for name, words in rows:
        table.add_row(Styled(name), Words(words))
    console.print(Padding(table, (0, 0, 0, 2)))


def _name_argument(param: Any) -> str:
    return str(param.metavar or param.name.upper()).strip("[]")


def _name_option(param: Any) -> str:
    names = ", ".join(sorted(param.opts, key=len))
    if param.secondary_opts:
        names += " / " + ", ".join(param.secondary_opts)
    return names if param.is_flag else f"{names} {_name_value(param)}"


def _name_value(param: Any) -> str:
    return str(param.metavar or param.name.removeprefix("_").upper())


def _describe(param: Any) -> str:
    """What the parameter means, which values it takes, and what holds without it."""
    own = _OWN.get(param.name)
    words = str(own) if own else choose_language(getattr(param, "help", None))
    notes = []
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    if least is not None and most is not None:
        notes.append(say("{least} to {most}", least=least, most=most))
    elif least is not None:
        notes.append(say("at least {least}", least=least))
    if param.multiple:
        notes.append(say("may be repeated"))
    if param.required and param.param_type_name != "argument":
        notes.append(say("required"))
    default = param.default
    if isinstance(default, str | int | float | Path) and not isinstance(default, bool) and str(default):
        notes.append(say("default: {value}", value=str(default)))
    return f"{words} [{'; '.join(map(str, notes))}]" if notes else words


def describe_usage(error: Any) -> tuple[Text, Text]:
    """What is wrong with the line, and where to look; ``error`` is what the parser raised."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "aimwell"
    problem = _find_problem(error, ctx)
    usage = render_usage(ctx) if ctx is not None and not isinstance(ctx.command, TyperGroup) else None
    help_page = say("See what there is with: {command}", command=f"{path} --help")
    if usage is None:
        return problem, help_page
    return problem, say("It is written: {usage}. {help}", usage=usage, help=help_page)


def _find_problem(error: Any, ctx: Any) -> Text:
    kind, message = type(error).__name__, str(getattr(error, "message", error))
    param = getattr(error, "param", None)
    if kind == "MissingParameter" and param is not None:
        return _say_missing(param)
    if kind == "NoSuchOption":
        near = join_list(sorted(error.possibilities or ()))
        if near:
            return say(
                "There is no option {name}. Did you mean: {names}?", name=error.option_name, names=near
            )
        return say("There is no option {name}.", name=error.option_name)
    if kind == "BadOptionUsage":
        if "does not take" in message:
            return say("The option {option} takes no value.", option=error.option_name)
        return say("The option {option} needs a value.", option=error.option_name)
    if param is not None:
        name = _name_argument(param) if param.param_type_name == "argument" else param.opts[0]
        return say("The value of {name} does not fit: {problem}", name=name, problem=_explain_value(error))
    if found := re.match(r"No such command '(.*?)'\.", message):
        near = join_list(_list_near(found[1], ctx.command))
        if near:
            return say("There is no command '{name}'. Did you mean: {names}?", name=found[1], names=near)
        return say("There is no command '{name}'.", name=found[1])
    if message.startswith("Missing command"):
        return say("A command is missing.")
    if found := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message, re.DOTALL):
        return say("What is this meant to be: {words}?", words=found[1])
    return say("The command cannot be read: {problem}", problem=message)


def _say_missing(param: Any) -> Text:
    meaning = choose_language(getattr(param, "help", None)).rstrip("。.")
    if param.param_type_name == "argument":
        return say("{name} is missing: {meaning}.", name=_name_argument(param), meaning=meaning)
    names = "|".join([*param.opts, *param.secondary_opts]) if param.is_flag else param.opts[0]
    return say("The option {option} is missing: {meaning}.", option=names, meaning=meaning)


def _explain_value(error: Any) -> Text:
    """The words of the checks that the parser makes; its own for those that are not known here."""
    cause = error.__cause__
    first = cause.errors()[0] if hasattr(cause, "errors") else {}
    kind, limits = str(first.get("type", "")), first.get("ctx", {})
    value = str(first.get("input", ""))
    if kind.startswith("int_"):
        return say("'{value}' is no whole number.", value=value)
    if kind.startswith("float_"):
        return say("'{value}' is no number.", value=value)
    if kind == "greater_than_equal":
        return say("{value} is less than {least}.", value=value, least=str(limits["ge"]))
    if kind == "less_than_equal":
        return say("{value} is more than {most}.", value=value, most=str(limits["le"]))
    return say("it is not accepted ({problem}).", problem=str(error.message))


def _list_near(name: str, group: Any) -> list[str]:
    """Commands of ``group`` that are spelled alike; those of its groups that are called just so come first."""
    inner = [
        f"{title} {name}" for title, one in group.commands.items() if name in getattr(one, "commands", ())
    ]
    return inner or get_close_matches(name, list(group.commands), n=3, cutoff=0.55)
