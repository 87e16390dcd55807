"""``aimwell content``: contents that people write: bring in, show, check, use; and coupons."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.coupons import app as coupons
from aimwell.cli.help import App
from aimwell.cli.output import add_row, emit, make_table, state
from aimwell.core.errors import BadInput
from aimwell.core.ids import fold_id
from aimwell.core.lists import join_list
from aimwell.core.text import current_language, say

if TYPE_CHECKING:
    from aimwell.deployment.content.definition import Definition
    from aimwell.deployment.content.findings import Finding
    from aimwell.deployment.content.preview import Preview
    from aimwell.deployment.tracking.short import Shorten

app = App(help="Contents of messages, and coupons.  消息内容与优惠券")
app.add_typer(coupons, name="coupons")

Content = Annotated[str, typer.Argument(help="The content's id.  内容编号", metavar="CONTENT")]


@app.command(name="import")
def bring_in(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A folder content/<id>; all of the workspace's when omitted.  内容文件夹；省略则为全部"
        ),
    ] = None,
) -> None:
    """Keep contents from their folders, each as a new version if it changed.  从文件夹导入内容；有改动则存为新版本"""
    from aimwell.deployment.content.folder import list_folders, read_folder
    from aimwell.deployment.content.library import CONTENTS, save_content
    from aimwell.deployment.content.lint import lint_definition

    workspace = state(context).workspace
    folders = [folder] if folder is not None else list_folders(workspace.path / CONTENTS)
    kept = []
    for each in folders:
        definition = read_folder(each)
        version = save_content(workspace.store, definition)
        findings = lint_definition(definition)
        kept.append(
            {"content": definition.content_id, "version": version, "findings": _describe_findings(findings)}
        )

    def draw(console: Console) -> None:
        for row in kept:
            console.print(
                str(
                    say(
                        "{content}: version {version}",
                        content=str(row["content"]),
                        version=int(str(row["version"])),
                    )
                ),
                markup=False,
            )
            _draw_findings(console, row["findings"])
        if not kept:
            console.print(str(say("There is no content yet.")))

    emit(context, {"contents": kept}, draw)


@app.command()
def export(
    context: typer.Context,
    content: Content,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where to; the workspace's folder when omitted.  导出位置；省略则为工作区"),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="A version; the newest when omitted.  版本；省略则为最新")
    ] = None,
) -> None:
    """Write a content into files that people edit.  将内容导出为可编辑的文件"""
    from aimwell.deployment.content.folder import write_folder
    from aimwell.deployment.content.library import CONTENTS, load_definition

    workspace = state(context).workspace
    number, definition = load_definition(workspace.store, content, version)
    written = write_folder(folder or workspace.path / CONTENTS, definition)
    text = say(
        "Version {version} of {content} is in {folder}.", version=number, content=content, folder=str(written)
    )
    emit(
        context,
        {"content": content, "version": number, "folder": str(written)},
        lambda console: console.print(str(text), markup=False),
    )


@app.command(name="list")
def list_all(context: typer.Context) -> None:
    """List contents with their languages, parts and variants.  列出内容及其语言、部分、变体"""
    from aimwell.deployment.content.library import list_contents

    rows = [_describe(definition) for definition in list_contents(state(context).workspace.store).values()]

    def draw(console: Console) -> None:
        table = make_table(
            *(
                str(text)
                for text in (
                    say("content"),
                    say("title"),
                    say("languages"),
                    say("parts"),
                    say("variants"),
                    say("coupon pool"),
                )
            )
        )
        for row in rows:
            cells = (
                row["title"][current_language()],
                str(join_list(row["languages"])),
                str(join_list(row["parts"])),
                str(join_list(row["variants"])),
                row["coupon"] or "",
            )
            add_row(table, row["content"], *cells)
        console.print(table)

    emit(context, {"contents": rows}, draw)


@app.command()
def show(context: typer.Context, content: Content) -> None:
    """Show a content's texts as they are written.  显示内容的原文"""
    from aimwell.deployment.content.library import load_definition

    number, definition = load_definition(state(context).workspace.store, content)

    def draw(console: Console) -> None:
        console.print(str(say("{content}: version {version}", content=content, version=number)), markup=False)
        for path, source in definition.parts.items():
            console.rule(path)
            console.print(source, markup=False, highlight=False)

    emit(context, {"content": content, "version": number, **definition.to_body()}, draw)


@app.command()
def preview(
    context: typer.Context,
    content: Content,
    customer: Annotated[
        str | None,
        typer.Option(parser=fold_id, help="A customer; a sample when omitted.  客户；省略则为示例"),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="A variant; the customer's own when omitted.  变体；省略则为该客户的")
    ] = None,
) -> None:
    """Show what a customer would get, in every language.  预览客户将收到的内容（各语言）"""
    from aimwell.deployment.content.library import load_library
    from aimwell.deployment.content.preview import preview_content

    workspace = state(context).workspace
    previews = preview_content(
        workspace, load_library(workspace), content, customer_id=customer, variant=variant
    )
    if customer is not None:
        workspace.store.audit("content.previewed", content, {"customer_id": customer})
    payload = {"content": content, "previews": [each.to_dict() for each in previews]}
    emit(context, payload, lambda console: _draw_previews(console, previews))


@app.command()
def lint(
    context: typer.Context,
    content: Annotated[
        str | None,
        typer.Argument(help="One content; all when omitted.  某个内容；省略则为全部", metavar="CONTENT"),
    ] = None,
) -> None:
    """Find what is wrong with contents, and what their SMS cost; fails when there is an error.

    检查内容的问题与短信成本；有错误时以失败结束
    """
    from aimwell.deployment.content.library import list_contents, load_definition, load_library
    from aimwell.deployment.content.lint import lint_content, lint_definition

    workspace = state(context).workspace
    settings = workspace.settings.channels.get("sms")
    cost = None if settings is None else settings.unit_cost
    library = load_library(workspace)
    definitions = (
        [load_definition(workspace.store, content)[1]] if content else list_contents(workspace.store).values()
    )
    found: list[Finding] = []
    measured: list[dict[str, Any]] = []
    if content is None:
        for each in library.default.values():
            found += lint_content(each, shorten=library.shorten)
    for definition in definitions:
        found += lint_definition(definition, shorten=library.shorten)
        measured += _measure_sms(definition, cost, library.shorten)
    payload = {"findings": _describe_findings(found), "sms": measured}
    emit(context, payload, lambda console: _draw_lint(console, payload))
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)


@app.command()
def use(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="An action or an offer.  营销动作或优惠", metavar="TARGET")],
    content: Content,
) -> None:
    """Let an action, or all actions of an offer, use a content ('default' undoes it).

    让某个动作或某项优惠使用某内容（default 恢复默认）
    """
    from aimwell.deployment.content.library import use_content

    if not 0 < len(target) <= 128:
        raise BadInput(
            "deployment.bad_target",
            say("'{target}' is no action and no offer.", target=target[:60]),
            remedy=say("Take one from the table 'actions'."),
        )
    use_content(state(context).workspace.store, target, content)
    text = say("{target} uses the content {content} from now on.", target=target, content=content)
    emit(
        context,
        {"target": target, "content": content},
        lambda console: console.print(str(text), markup=False),
    )


def _describe(definition: Definition) -> dict[str, Any]:
    return {
        "content": definition.content_id,
        "title": dict(definition.title),
        "languages": list(definition.languages),
        "parts": sorted({path.rsplit("/", 1)[1] for path in definition.parts}),
        "variants": [variant.name for variant in definition.variants],
        "coupon": definition.coupon,
    }


def _measure_sms(
    definition: Definition, unit_cost: Decimal | None, shorten: Shorten | None
) -> list[dict[str, Any]]:
    from aimwell.deployment.content.lint import measure_content

    measured = []
    for language in definition.languages:
        longest = measure_content(definition.build(language), unit_cost, shorten=shorten)
        if longest is not None:
            length = {"encoding": longest.length.encoding, "segments": longest.length.segments}
            measured.append(
                {"content": definition.content_id, "language": language, **length, "cost": longest.cost}
            )
    return measured


def _describe_findings(findings: list[Finding]) -> list[dict[str, Any]]:
    return [finding.to_dict() for finding in findings]


def _draw_findings(console: Console, findings: Any) -> None:
    for finding in findings:
        style = "red" if finding["severity"] == "error" else "yellow"
        console.print(
            f"  {finding['message'][current_language()]}", style=style, markup=False, highlight=False
        )


def _draw_lint(console: Console, payload: dict[str, Any]) -> None:
    _draw_findings(console, payload["findings"])
    for row in payload["sms"]:
        text = say(
            "{content} ({language}): the longest SMS is {segments} × {encoding}, {cost} each",
            content=row["content"], language=row["language"], segments=row["segments"], encoding=row["encoding"],
            cost="–" if row["cost"] is None else str(row["cost"]),
        )  # fmt: skip
        console.print(f"  {text}", markup=False, highlight=False)
    if not payload["findings"]:
        console.print(str(say("Nothing is wrong.")))


def _draw_previews(console: Console, previews: list[Preview]) -> None:
    from aimwell.deployment.content.parts import title_part

    for each in previews:
        console.rule(f"{each.language} {each.variant or ''}".strip())
        for part, text in each.parts.items():
            console.print(str(title_part(part)), style="bold", markup=False)
            console.print(text, markup=False, highlight=False)
        for part, problem in each.problems.items():
            wrong = say("{part} would not be sent: {problem}", part=title_part(part), problem=problem)
            console.print(str(wrong), style="red", markup=False)
