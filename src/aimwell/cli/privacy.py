"""``aimwell data consent``, ``suppress`` and the rights of one person: export and erasure.  授权、抑制名单、个人数据"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App, Group
from aimwell.cli.instants import read_instant, show_instant
from aimwell.cli.naming import name_channel, name_purpose, name_source
from aimwell.cli.output import add_row, emit, in_language, make_table, state
from aimwell.core.text import say

if TYPE_CHECKING:
    from aimwell.data.erasure import Erasure


class _ShowByDefault(Group):
    """``consent CUSTOMER`` is ``consent show CUSTOMER``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``show`` before what is no command."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


consent = App(
    cls=_ShowByDefault,
    help="What a customer allows, and the suppression list.  授权与抑制名单",
)

Customer = Annotated[str, typer.Argument(help="The customer.  客户编号", metavar="CUSTOMER")]
Channel = Annotated[
    str,
    typer.Argument(
        help="email, sms, push, wechat, call, mail, web or ad.  渠道：email、sms、push、wechat、call、mail、web 或 ad",
        metavar="CHANNEL",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``aimwell data``."""
    app.add_typer(consent, name="consent")
    app.command("export-person")(export_person)
    app.command("erase-person")(erase_person)


@consent.command("show")
def show(
    context: typer.Context,
    customer: Customer,
    at: Annotated[
        str | None,
        typer.Option(help="At this instant instead of now, ISO 8601.  查看此时点而非现在，ISO 8601"),
    ] = None,
) -> None:
    """Show what a customer allows, since when and from where, and the history.  查看客户授权：何时、由何处登记及历史"""
    from aimwell.data.consent import show_consents

    payload = show_consents(state(context).workspace, customer, at=read_instant(context, "--at", at))
    emit(context, payload, lambda console: _draw_consents(context, console, payload))


@consent.command("preferences")
def preferences(context: typer.Context, customer: Customer) -> None:
    """Show what a preference centre would show: every channel and purpose.  偏好中心：各渠道、各用途的授权"""
    from aimwell.data.consent import describe_preferences

    payload = describe_preferences(state(context).workspace, customer)

    def draw(console: Console) -> None:
        table = make_table(str(say("Channel")), str(say("Reachable")))
        for purpose in payload["channels"][0]["purposes"]:
            table.add_column(in_language(purpose["title"]))
        for row in payload["channels"]:
            words = [_word(purpose["allowed"]) for purpose in row["purposes"]]
            add_row(table, in_language(row["title"]), _word(row["reachable"]), *words)
        console.print(table)
        language = payload["language"] or "–"
        console.print(str(say("Language: {language}. Last change: {at}.", language=language,
                              at=show_instant(context, payload["changed_at"]))), markup=False)  # fmt: skip
        if payload["suppressed"]:
            console.print(
                str(say("The customer is on the suppression list for all channels.")), style="yellow"
            )

    emit(context, payload, draw)


@consent.command("set")
def set_(
    context: typer.Context,
    customer: Customer,
    channel: Channel,
    allow: Annotated[bool, typer.Option("--allow/--refuse", help="What the customer said.  允许或拒绝")],
    purpose: Annotated[
        str, typer.Option(help="marketing or service.  用途：marketing 营销或 service 服务")
    ] = "marketing",
    source: Annotated[str, typer.Option(help="Where it was said.  在何处登记")] = "cli",
    since: Annotated[
        str | None,
        typer.Option(help="When it was said, ISO 8601; now when omitted.  起始时间，ISO 8601；省略则为现在"),
    ] = None,
    until: Annotated[str | None, typer.Option(help="From when it holds no longer.  从何时起失效")] = None,
) -> None:
    """Record what a customer allows or refuses; a refusal stops waiting deliveries.

    登记客户的允许或拒绝；拒绝会停止待发的投放
    """
    from aimwell.data.consent import Answer, set_consent

    answer = Answer(
        channel,
        allow,
        purpose,
        source,
        read_instant(context, "--since", since),
        read_instant(context, "--until", until),
    )
    payload = set_consent(state(context).workspace, customer, answer)
    emit(context, payload, lambda console: _draw_consents(context, console, payload))


@consent.command("suppress")
def suppress(
    context: typer.Context,
    customer: Customer,
    channel: Annotated[str, typer.Option(help="One channel, or all.  某个渠道，或 all 表示全部")] = "all",
    source: Annotated[str, typer.Option(help="Who asked for it.  由谁提出")] = "cli",
) -> None:
    """Put a customer on the suppression list (as ``aimwell deployment suppress`` does).

    加入抑制名单（同 deployment suppress）
    """
    from aimwell.data.consent import suppress as run_suppress

    added = run_suppress(state(context).workspace, customer, channel=channel, source=source)
    text = say("Suppressed.") if added else say("That stood already.")
    payload = {"customer_id": customer, "channel": channel, "added": added}
    emit(context, payload, lambda console: console.print(str(text)))


@consent.command("unsuppress")
def unsuppress(
    context: typer.Context,
    customer: Customer,
    channel: Annotated[str | None, typer.Option(help="One channel's line only.  仅移除此渠道")] = None,
) -> None:
    """Take a customer off the suppression list; consents stay as they are.  移出抑制名单；授权不变"""
    from aimwell.data.consent import unsuppress as run_unsuppress

    removed = run_unsuppress(state(context).workspace, customer, channel=channel)
    text = say("{count} lines were taken off the suppression list.", count=removed)
    payload = {"customer_id": customer, "channel": channel, "removed": removed}
    emit(context, payload, lambda console: console.print(str(text)))


@consent.command("suppressions")
def suppressions(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, help="How many.  条数")] = 100
) -> None:
    """List who must not be contacted, newest first.  抑制名单：不得联系的客户，最新在前"""
    from aimwell.data.consent import read_suppressions

    payload = read_suppressions(state(context).workspace, limit=limit)

    def draw(console: Console) -> None:
        table = make_table(str(say("Customer")), str(say("Channel")), str(say("Source")), str(say("Since")))
        for row in payload["suppressions"]:
            since = show_instant(context, row["since"])
            cells = (name_channel(row["channel"]), name_source(row["source"]), since)
            add_row(table, row["customer_id"], *cells)
        console.print(table)
        shown = len(payload["suppressions"])
        console.print(str(say("{shown} of {total} are shown.", shown=shown, total=payload["total"])))

    emit(context, payload, draw)


def export_person(
    context: typer.Context,
    customer: Customer,
    out: Annotated[
        Path,
        typer.Option(
            help="A .json file, or a .zip with one file per table.  输出文件：.json，或每表一个文件的 .zip"
        ),
    ],
) -> None:
    """Write everything that is known about one person into a file.  将某人的全部已知数据导出到文件"""
    from aimwell.data.export import export_person as run_export
    from aimwell.data.titles import name_place

    payload = run_export(state(context).workspace, customer, out)

    def draw(console: Console) -> None:
        table = make_table(str(say("Table")))
        table.add_column(str(say("Rows")), justify="right")
        for name, rows in payload["rows"].items():
            add_row(table, str(name_place(name)), f"{rows:,}")
        console.print(table)
        console.print(str(say("Written to {file}. It holds personal data: keep it safe.", file=str(out))),
                      markup=False)  # fmt: skip

    emit(context, payload, draw)


def erase_person(
    context: typer.Context,
    customer: Customer,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Erase; without it only show what would go.  确认删除；不加则只显示将删除什么"
        ),
    ] = False,
    keep_amounts: Annotated[
        bool,
        typer.Option(
            "--keep-amounts/--no-keep-amounts",
            help="Keep order lines and experiments under a random number, so that totals stay.  "
            "以随机编号保留订单与实验，使合计不变",
        ),
    ] = True,
) -> None:
    """Erase one person from the whole workspace; cannot be undone.  从整个工作区删除某人的数据；不可撤销"""
    from aimwell.data.erasure import erase_person as run_erasure

    result = run_erasure(state(context).workspace, customer, keep_amounts=keep_amounts, dry_run=not yes)
    emit(context, result.to_dict(), lambda console: _draw_erasure(console, result))


def _draw_erasure(console: Console, result: Erasure) -> None:
    from aimwell.data.titles import name_place

    table = make_table(str(say("Where")))
    for title in (say("Erased"), say("Kept without the person")):
        table.add_column(str(title), justify="right")
    for name in sorted({*result.erased, *result.anonymised}):
        counts = (result.erased.get(name, 0), result.anonymised.get(name, 0))
        add_row(table, str(name_place(name)), *(f"{count:,}" for count in counts))
    console.print(table)
    for text in result.notices:
        console.print(f"• {text}", markup=False)
    if result.dry_run:
        console.print(str(say("Nothing was changed. To erase, add --yes.")), style="yellow")


def _draw_consents(context: typer.Context, console: Console, payload: dict[str, Any]) -> None:
    titles = (say("Channel"), say("Purpose"), say("Allowed"), say("Since"), say("Until"), say("Source"))
    table = make_table(*(str(title) for title in titles))
    for row in payload["states"]:
        word = str(say("ended")) if row["expired"] else _word(row["allowed"])
        if row["allowed"] and not row["effective"]:
            word = str(say("suppressed"))
        add_row(
            table, name_channel(row["channel"]), name_purpose(row["purpose"]), word,
            show_instant(context, row["since"]), show_instant(context, row["until"]), name_source(row["source"]),
        )  # fmt: skip
    console.print(table)
    for row in payload["suppressed"]:
        line = say(
            "On the suppression list: {channel}, since {since}, by {source}.",
            channel=name_channel(row["channel"]),
            since=show_instant(context, row["since"]),
            source=name_source(row["source"]),
        )
        console.print(str(line), style="yellow", markup=False)
    history = make_table(*(str(title) for title in titles))
    history.title = str(say("History"))
    for row in payload["history"]:
        cells = (name_channel(row["channel"]), name_purpose(row["purpose"]), _word(row["allowed"]))
        period = (show_instant(context, row["since"]), show_instant(context, row["until"]))
        add_row(history, *cells, *period, name_source(row["source"]))
    console.print(history)


def _word(answer: bool | None) -> str:
    if answer is None:
        return "–"
    return str(say("yes")) if answer else str(say("no"))
