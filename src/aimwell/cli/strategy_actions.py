"""``aimwell strategy actions``: list them, write them to a file, take in a file that a person edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import add_row, emit, in_language, make_number_table, show_amount, state
from aimwell.cli.plan_inputs import choose_day
from aimwell.core.errors import BadInput
from aimwell.core.spreadsheet import restore_cell, write_csv
from aimwell.core.text import Text, current_language, say

if TYPE_CHECKING:
    from aimwell.engine.rule import Rule
    from aimwell.engine.workspace import Reader, Workspace
    from aimwell.strategy.actions import Action
    from aimwell.strategy.actions_file import FileRow, Rules

app = App(
    invoke_without_command=True,
    no_args_is_help=False,
    help="Actions: offers × channels × time slots, with costs and conditions.  "
    "营销动作：优惠 × 渠道 × 时段，及其成本与条件",
)


@app.callback()
def list_actions(
    context: typer.Context,
    export: Annotated[
        Path | None,
        typer.Option(help="A CSV file to write them to, to be edited.  写出到 CSV 文件以便编辑"),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="First day of the plan, YYYY-MM-DD.  计划首日，YYYY-MM-DD"),
    ] = None,
) -> None:
    """List actions with their costs and conditions (proposed from the data when none are kept yet).

    营销动作：成本与条件（尚无时由数据建议）
    """
    if context.invoked_subcommand is not None:
        return
    from aimwell.strategy.eligibility import find_not_offered
    from aimwell.strategy.step import DAYS, propose_actions, read_actions

    workspace = state(context).workspace
    with workspace.read() as reader:
        kept = read_actions(reader)
        day = choose_day(workspace, as_of)
        actions = kept or propose_actions(reader, workspace.settings, as_of=day)
        rules = _make_rules(workspace, reader)
    closed = find_not_offered(actions, as_of=day, days=DAYS)
    rows = [_describe(action, rules, closed.get(action.action_id)) for action in actions]
    payload = {
        "actions": rows,
        "proposed": not kept,
        "currency": workspace.settings.business.currency,
        "file": None if export is None else str(export),
    }
    if export is not None:
        _write_file(export, actions, rules)
    emit(context, payload, lambda console: _draw_actions(console, payload))


@app.command("add")
def add_actions(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CSV or workbook, one row per action.  CSV 或工作簿，每行一个动作")
    ],
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="First day of the plan, YYYY-MM-DD.  计划首日，YYYY-MM-DD"),
    ] = None,
) -> None:
    """Add the actions of a file; those that are there already are replaced, all others stay.

    从文件添加动作；已有的同一动作被替换，其余不变
    """
    from aimwell.strategy.actions_file import read_action_rows
    from aimwell.strategy.offers import list_departments
    from aimwell.strategy.step import propose_actions, read_actions, save_actions

    workspace = state(context).workspace
    columns, rows = _read_file(workspace, file)
    day = choose_day(workspace, as_of)
    with workspace.read() as reader:
        kept = read_actions(reader)
        departments = list_departments(reader)
        # What is proposed gives its titles in both languages to whoever exported, edited and adds it.
        known = kept or (propose_actions(reader, workspace.settings, as_of=day) if departments else ())
        found = read_action_rows(
            file.name,
            columns,
            rows,
            channels=workspace.settings.channels,
            known=known,
            departments=departments,
            rules=_make_rules(workspace, reader),
        )
    done = save_actions(workspace, found, as_of=day)
    message = say(
        "{new} actions are new and {changed} changed; {count} in all.",
        new=done.new,
        changed=done.changed,
        count=done.count,
    )
    payload = {"file": str(file), **vars(done), "message": message.both()}
    emit(context, payload, lambda console: console.print(str(message), markup=False, highlight=False))


def _make_rules(workspace: Workspace, reader: Reader) -> Rules:
    """Rules as the segment language writes them, checked against the tags and segments that there are."""
    from aimwell.analysis.rule_text import parse_rule
    from aimwell.analysis.rule_writing import write_rule
    from aimwell.analysis.segments import check_rule, list_rules, load_segments
    from aimwell.engine.rule import InSegment
    from aimwell.engine.rule_json import rule_from_json, rule_to_json
    from aimwell.engine.rule_types import read_rule_types
    from aimwell.strategy.actions_file import Rules

    segments: dict[str, Rule] = {}

    def read(text: str) -> Mapping[str, Any]:
        if not segments:
            segments.update(list_rules(load_segments(workspace.store, read_rule_types(reader))[0]))
        rule = parse_rule(text)
        check_rule(reader, rule, segments)
        # A rule that is one segment follows it; inside a longer rule its meaning of today is written out.
        return rule_to_json(rule if isinstance(rule, InSegment) else _write_out(rule, segments))

    def write(body: Mapping[str, Any]) -> str:
        return write_rule(rule_from_json(body))

    return Rules(read, write)


def _write_out(rule: Rule, segments: Mapping[str, Rule]) -> Rule:
    from aimwell.engine.rule import All, InSegment, Not
    from aimwell.engine.rule import Any as AnyOne

    match rule:
        case InSegment(segment=name):
            return _write_out(segments[name], segments)
        case All(rules=parts):
            return All(tuple(_write_out(part, segments) for part in parts))
        case AnyOne(rules=parts):
            return AnyOne(tuple(_write_out(part, segments) for part in parts))
        case Not(rule=inner):
            return Not(_write_out(inner, segments))
        case _:
            return rule


def _read_file(workspace: Workspace, file: Path) -> tuple[tuple[str, ...], list[FileRow]]:
    """The columns and rows as text, from any kind of file that ``aimwell data add`` reads."""
    from aimwell.data.adding import open_scratch
    from aimwell.data.sources import open_source
    from aimwell.strategy.actions_file import FileRow

    with open_scratch(workspace) as scratch:
        source = open_source(scratch, file)
        _refuse_broken(file, scratch.rows("SELECT row_number FROM faults ORDER BY row_number LIMIT 1"))
        staged = scratch.rows("SELECT * FROM raw ORDER BY row_number")
    rows = [
        FileRow(
            int(row["row_number"]),
            {name: restore_cell(row[source.staged(name)] or "") for name in source.columns},
        )
        for row in staged
    ]
    return source.columns, rows


def _refuse_broken(file: Path, broken: Sequence[Mapping[str, Any]]) -> None:
    if broken:
        row = int(broken[0]["row_number"])
        raise BadInput(
            "cli.broken_row",
            say("In {file}, row {row} does not have as many cells as the header.", file=file.name, row=row),
            remedy=say("Correct the row: a comma inside a cell needs quotes around the cell."),
            where={"file": file.name, "row": row},
        )


def _write_file(file: Path, actions: Sequence[Action], rules: Rules) -> None:
    from aimwell.strategy.actions_file import write_action_rows

    header, rows = write_action_rows(actions, rules=rules, language=current_language())
    try:
        write_csv(file, header, rows)
    except OSError as error:
        raise BadInput(
            "cli.actions_not_written",
            say("The actions cannot be written to '{file}'.", file=str(file)),
            remedy=say("Choose a file in a folder that exists and may be written."),
            where={"file": str(file)},
        ) from error


def _describe(action: Action, rules: Rules, closed: Text | None) -> dict[str, Any]:
    return {
        **vars(action),
        "title": action.title.both(),
        "rule": None if action.rule is None else rules.write(action.rule),
        "closed": None if closed is None else closed.both(),
    }


def _draw_actions(console: Console, payload: dict[str, Any]) -> None:
    currency = payload["currency"]
    if payload["proposed"]:
        console.print(str(say("Proposed from the data; the first plan keeps them.")))
    table = make_number_table(say("Action"), say("Unit cost"), say("Cost when redeemed"), say("Minutes"))
    for row in payload["actions"]:
        add_row(
            table,
            in_language(row["title"]),
            show_amount(row["unit_cost"], currency),
            show_amount(row["redemption_cost"], currency),
            f"{row['minutes']:g}",
        )
    console.print(table)
    for row in payload["actions"]:
        for told in _list_conditions(row):
            words = say("{what}: {values}", what=in_language(row["title"]), values=told)
            console.print(f"• {words}", markup=False, highlight=False)
    if payload["file"] is not None:
        done = say(
            "Written to {file}. Edit it, then: aimwell strategy actions add FILE", file=payload["file"]
        )
        console.print(str(done), markup=False, highlight=False)


def _list_conditions(row: Mapping[str, Any]) -> list[Text]:
    found = []
    if row["closed"] is not None:
        found.append(say("not offered by a plan of this day: {reason}", reason=in_language(row["closed"])))
    if row["valid_from"] is not None or row["valid_to"] is not None:
        begin, end = (day.isoformat() if day else "…" for day in (row["valid_from"], row["valid_to"]))
        found.append(say("valid from {begin} to {end}", begin=begin, end=end))
    if row["lead_days"]:
        found.append(say("{count} days to prepare", count=row["lead_days"]))
    if row["exclusive_group"]:
        found.append(say("excludes others of the group '{group}'", group=row["exclusive_group"]))
    if row["minimum"]:
        found.append(say("at least {count} customers", count=row["minimum"]))
    if row["rule"]:
        found.append(say("for: {rule}", rule=row["rule"]))
    return found
