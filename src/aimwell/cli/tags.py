"""``aimwell analysis tags`` and ``aimwell analysis tag …``: the catalogue, one tag, definitions of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import add_row, emit, in_language, make_table, state
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say

tag_app = App(help="One tag, and tags of your own.  单个标签与自定义标签")
_KINDS = {
    "descriptive": say("descriptive"),
    "behavioural": say("behavioural"),
    "associated": say("associated"),
}
NameArgument = Annotated[
    str, typer.Argument(help="Lower-case letters, digits and _.  代码：小写字母、数字与 _")
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``aimwell analysis``."""
    app.command("tags")(list_tags_command)
    app.add_typer(tag_app, name="tag")


def list_tags_command(context: typer.Context) -> None:
    """List the tags: what they mean, and for how many customers they are known.  标签目录：含义与覆盖率"""
    from aimwell.analysis.segments import read_as_of
    from aimwell.analysis.summary import count_known, summarise_tags
    from aimwell.analysis.tag_page import list_tags

    workspace = state(context).workspace
    with workspace.read() as reader:
        read_as_of(reader)
        columns = set(reader.query("SELECT * FROM tags LIMIT 0").column_names)
        tags = list_tags(workspace.store, sorted(columns))
        known, customers = count_known(reader, tuple(tag for tag in tags if tag.name in columns))
    payload = summarise_tags(tags, known, customers)
    emit(context, payload, lambda console: _draw_tags(console, payload["catalogue"]))


@tag_app.command("show")
def show_tag_command(context: typer.Context, name: NameArgument) -> None:
    """Show one tag: meaning, values, freshness, where it comes from, versions.

    标签详情：含义、取值、新鲜度、来源、版本
    """
    from aimwell.analysis.tag_page import show_tag

    workspace = state(context).workspace
    with workspace.read() as reader:
        page = show_tag(reader, workspace.store, name)
    emit(context, page, lambda console: _draw_page(console, page))


@tag_app.command("add")
def add_tag_command(
    context: typer.Context,
    name: NameArgument,
    form: Annotated[
        str | None,
        typer.Option(help="A specification as JSON, or a file of it.  表单定义：JSON，或 JSON 文件"),
    ] = None,
    sql: Annotated[
        Path | None,
        typer.Option(
            help="A file with one SELECT of customer_id and a value.  SQL 文件：一条 SELECT，返回 customer_id 与一个值"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The scores of this model.  取此模型的得分")] = None,
    thresholds: Annotated[str | None, typer.Option(help="Such as 0.2,0.6.  分档阈值，如 0.2,0.6")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Such as low,middle,high.  分档名称，如 低,中,高")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The name for people.  标签名称")] = None,
    description: Annotated[str | None, typer.Option(help="What it means.  标签说明")] = None,
    unit: Annotated[str | None, typer.Option(help="Such as days or money.  单位，如 days 或 money")] = None,
    history: Annotated[bool, typer.Option("--history", help="Keep what it was.  保留历史值")] = False,
) -> None:
    """Keep a tag of your own; the next run of the analysis fills it.  保存自定义标签；下次分析时计算"""
    from aimwell.analysis.own_tags import save_tag

    body: dict[str, Any] = {
        "form": None if form is None else _read_json(form),
        "sql": None if sql is None else _read_text(sql),
        "model": model,
        "thresholds": None if thresholds is None else [_read_number(part) for part in thresholds.split(",")],
        "classes": None if classes is None else [part.strip() for part in classes.split(",")],
        "title": title,
        "description": description,
        "unit": unit,
        "keeps_history": history or None,
    }
    workspace = state(context).workspace
    with workspace.read() as reader:
        given = {key: value for key, value in body.items() if value is not None}
        version = save_tag(reader, workspace.store, name, given)
    message = say(
        "The tag {name} is kept (version {version}). Next: aimwell analysis run", name=name, version=version
    )
    payload = {"tag": name, "version": version, "message": message.both()}
    emit(context, payload, lambda console: console.print(str(message), highlight=False))


@tag_app.command("remove")
def remove_tag_command(context: typer.Context, name: NameArgument) -> None:
    """Take a tag of your own out of use; its versions stay.  停用自定义标签；历史版本保留"""
    from aimwell.analysis.own_tags import remove_tag

    version = remove_tag(state(context).workspace.store, name)
    message = say("The tag {name} is no longer in use.", name=name)
    payload = {"tag": name, "version": version, "message": message.both()}
    emit(context, payload, lambda console: console.print(str(message), highlight=False))


def _read_json(text: str) -> object:
    try:
        return json.loads(text if text.lstrip().startswith(("{", "[")) else _read_text(Path(text)))
    except json.JSONDecodeError as error:
        raise BadInput(
            "cli.bad_json",
            say("The JSON cannot be read at character {position}.", position=error.pos + 1),
            remedy=say("Such as: {example}", example=_EXAMPLE),
        ) from error


_EXAMPLE = (
    '{"measure": {"table": "events", "function": "count", "conditions": [["name", "=", "Product Viewed"]], '
    '"window": {"days": 30}}}'
)


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            "cli.unreadable_file",
            say("The file {file} cannot be read.", file=str(path)),
            remedy=say("Give a text file in UTF-8."),
            where={"file": str(path)},
        ) from error


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadInput(
            "cli.bad_number",
            say("'{value}' is no number.", value=text),
            remedy=say("Such as 0.2,0.6."),
            where={"value": text},
        ) from error


def _draw_tags(console: Console, catalogue: list[dict[str, Any]]) -> None:
    table = make_table(
        str(say("Tag")), str(say("Name")), str(say("Kind")), str(say("Meaning")), str(say("Known for"))
    )
    for row in catalogue:
        add_row(
            table,
            row["name"],
            in_language(row["title"]),
            str(_KINDS[row["kind"]]),
            in_language(row["description"]),
            f"{row['coverage']:.0%}",
        )
    console.print(table)


def _draw_page(console: Console, page: dict[str, Any]) -> None:
    console.print(in_language(page["title"]), style="bold", highlight=False, markup=False)
    console.print(in_language(page["description"]), highlight=False, markup=False)
    if page["definition"]:
        console.print(in_language(page["definition"]), highlight=False, markup=False)
    if page["computed"]:
        text = say(
            "Known for {share} of {customers} customers as of {day}; newest row of {newest}",
            share=f"{page['coverage']:.1%}",
            customers=page["customers"],
            day=page["as_of"],
            newest=page["newest_row"] or "–",
        )
        console.print(str(text), highlight=False, markup=False)
    else:
        console.print(str(say("Not computed yet. Next: aimwell analysis run")), highlight=False)
    console.print(
        str(say("Comes from: {columns}", columns=join_list(page["lineage"]))), highlight=False, markup=False
    )
    if page["versions"]:
        console.print(str(say("Versions: {count}", count=len(page["versions"]))), highlight=False)
    _draw_distribution(console, page["distribution"])


def _name_bin(start: float, end: float) -> str:
    if isinstance(start, int):
        return f"{start:,}" if start == end else f"{start:,} – {end:,}"
    return f"{start:,.2f} – {end:,.2f}"


def _draw_distribution(console: Console, shape: dict[str, Any] | None) -> None:
    if shape is None:
        return
    table = make_table(str(say("Value")), str(say("Customers")))
    for row in shape.get("values", ()):
        add_row(table, str(row["value"]), f"{row['customers']:,}")
    for row in shape.get("bins", ()):
        add_row(table, _name_bin(row["from"], row["to"]), f"{row['customers']:,}")
    console.print(table)
