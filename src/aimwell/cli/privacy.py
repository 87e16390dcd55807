"""``aimwell data consent``, ``suppress`` and the rights of one person: export and erasure.  授权、抑制名单、个人数据"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from aimwell.cli.output import add_row, emit, in_language, make_table, state
from aimwell.core.errors import BadInput
from aimwell.core.text import say

if TYPE_CHECKING:
    from aimwell.data.erasure import Erasure


class _ShowByDefault(TyperGroup):
    """``consent CUSTOMER`` is ``consent show CUSTOMER``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``show`` before what is no command."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


consent = typer.Typer(
    cls=_ShowByDefault,
    help="What a customer allows, and the suppression list.  授权与抑制名单",
    no_args_is_help=True,
)

Customer = Annotated[str, typer.Argument(help="The customer.  客户编号", metavar="CUSTOMER")]
Channel = Annotated[
    str, typer.Argument(help="email, sms, push, call, mail, web or ad.  渠道", metavar="CHANNEL")
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
    at: Annotated[str | None, typer.Option(help="At this instant instead of now, ISO 8601.  时点")] = None,
) -> None:
    """Show what a customer allows, since when and from where, and the history.  查看授权"""
    from aimwell.data.consent import show_consents

    payload = show_consents(state(context).workspace, customer, at=_read_instant(context, "--at", at))
    emit(context, payload, lambda console: _draw_consents(context, console, payload))


@consent.command("preferences")
def preferences(context: typer.Context, customer: Customer) -> None:
    """Show what a preference centre would show: every channel and purpose.  偏好中心"""
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
                              at=_show_instant(context, payload["changed_at"]))), markup=False)  # fmt: skip
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
    purpose: Annotated[str, typer.Option(help="marketing or service.  用途")] = "marketing",
    source: Annotated[str, typer.Option(help="Where it was said.  来源")] = "cli",
    since: Annotated[
        str | None, typer.Option(help="When it was said, ISO 8601; now when omitted.  起始")
    ] = None,
    until: Annotated[str | None, typer.Option(help="From when it holds no longer.  截止")] = None,
) -> None:
    """Record what a customer allows or refuses; a refusal stops waiting deliveries.  登记授权"""
    from aimwell.data.consent import Answer, set_consent

    answer = Answer(
        channel,
        allow,
        purpose,
        source,
        _read_instant(context, "--since", since),
        _read_instant(context, "--until", until),
    )
    payload = set_consent(state(context).workspace, customer, answer)
    emit(context, payload, lambda console: _draw_consents(context, console, payload))


@consent.command("suppress")
def suppress(
    context: typer.Context,
    customer: Customer,
    channel: Annotated[str, typer.Option(help="One channel, or all.  渠道")] = "all",
    source: Annotated[str, typer.Option(help="Who asked for it.  来源")] = "cli",
) -> None:
    """Put a customer on the suppression list (as ``aimwell deployment suppress`` does).  加入抑制名单"""
    from aimwell.data.consent import suppress as run_suppress

    added = run_suppress(state(context).workspace, customer, channel=channel, source=source)
    text = say("Suppressed.") if added else say("That stood already.")
    payload = {"customer_id": customer, "channel": channel, "added": added}
    emit(context, payload, lambda console: console.print(str(text)))


@consent.command("unsuppress")
def unsuppress(
    context: typer.Context,
    customer: Customer,
    channel: Annotated[str | None, typer.Option(help="One channel's line only.  渠道")] = None,
) -> None:
    """Take a customer off the suppression list; consents stay as they are.  移出抑制名单"""
    from aimwell.data.consent import unsuppress as run_unsuppress

    removed = run_unsuppress(state(context).workspace, customer, channel=channel)
    text = say("{count} lines were taken off the suppression list.", count=removed)
    payload = {"customer_id": customer, "channel": channel, "removed": removed}
    emit(context, payload, lambda console: console.print(str(text)))


@consent.command("suppressions")
def suppressions(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, help="How many.  条数")] = 100
) -> None:
    """List who must not be contacted, newest first.  抑制名单"""
    from aimwell.data.consent import read_suppressions

    payload = read_suppressions(state(context).workspace, limit=limit)

    def draw(console: Console) -> None:
        table = make_table(str(say("Customer")), str(say("Channel")), str(say("Source")), str(say("Since")))
        for row in payload["suppressions"]:
            since = _show_instant(context, row["since"])
            add_row(table, row["customer_id"], row["channel"], row["source"], since)
        console.print(table)
        shown = len(payload["suppressions"])
        console.print(str(say("{shown} of {total} are shown.", shown=shown, total=payload["total"])))

    emit(context, payload, draw)


def export_person(
    context: typer.Context,
    customer: Customer,
    out: Annotated[Path, typer.Option(help="A .json file, or a .zip with one file per table.  输出文件")],
) -> None:
    """Write everything that is known about one person into a file.  导出个人数据"""
    from aimwell.data.export import export_person as run_export

    payload = run_export(state(context).workspace, customer, out)

    def draw(console: Console) -> None:
        table = make_table(str(say("Table")))
        table.add_column(str(say("Rows")), justify="right")
        for name, rows in payload["rows"].items():
            add_row(table, name, f"{rows:,}")
        console.print(table)
        console.print(str(say("Written to {file}. It holds personal data: keep it safe.", file=str(out))),
                      markup=False)  # fmt: skip

    emit(context, payload, draw)


def erase_person(
    context: typer.Context,
    customer: Customer,
    yes: Annotated[
        bool, typer.Option("--yes", help="Erase; without it only show what would go.  确认删除")
    ] = False,
    keep_amounts: Annotated[
        bool,
        typer.Option(
            "--keep-amounts/--no-keep-amounts",
            help="Keep order lines and experiments under a random number, so that totals stay.  保留匿名金额",
        ),
    ] = True,
) -> None:
    """Erase one person from the whole workspace; cannot be undone.  删除个人数据"""
    from aimwell.data.erasure import erase_person as run_erasure

    result = run_erasure(state(context).workspace, customer, keep_amounts=keep_amounts, dry_run=not yes)
    emit(context, result.to_dict(), lambda console: _draw_erasure(console, result))


def _draw_erasure(console: Console, result: Erasure) -> None:
    table = make_table(str(say("Where")))
    for title in (say("Erased"), say("Kept without the person")):
        table.add_column(str(title), justify="right")
    for name in sorted({*result.erased, *result.anonymised}):
        add_row(table, name, f"{result.erased.get(name, 0):,}", f"{result.anonymised.get(name, 0):,}")
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
            table, row["channel"], row["purpose"], word, _show_instant(context, row["since"]),
            _show_instant(context, row["until"]), row["source"],
        )  # fmt: skip
    console.print(table)
    for row in payload["suppressed"]:
        line = say(
            "On the suppression list: {channel}, since {since}, by {source}.",
            channel=row["channel"],
            since=_show_instant(context, row["since"]),
            source=row["source"],
        )
        console.print(str(line), style="yellow", markup=False)
    history = make_table(*(str(title) for title in titles))
    history.title = str(say("History"))
    for row in payload["history"]:
        cells = (row["channel"], row["purpose"], _word(row["allowed"]))
        period = (_show_instant(context, row["since"]), _show_instant(context, row["until"]))
        add_row(history, *cells, *period, row["source"])
    console.print(history)


def _word(answer: bool | None) -> str:
    if answer is None:
        return "–"
    return str(say("yes")) if answer else str(say("no"))


def _show_instant(context: typer.Context, instant: datetime | None) -> str:
    """Of the business's clock: a consent of its first of March must not seem to be of February."""
    if instant is None:
        return ""
    from aimwell.core.time import zone

    here = zone(state(context).workspace.settings.business.zone)
    return instant.astimezone(here).isoformat(sep=" ", timespec="seconds")


def _read_instant(context: typer.Context, option: str, value: str | None) -> datetime | None:
    """An instant as ISO 8601; without a zone it is the business's."""
    if value is None:
        return None
    from aimwell.core.time import zone

    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise BadInput(
            "cli.bad_instant",
            say("{option} '{value}' is no instant.", option=option, value=value),
            remedy=say("Write it as 2026-01-31 or 2026-01-31T18:30:00+08:00."),
            where={"value": value},
        ) from error
    if instant.tzinfo is None:
        return instant.replace(tzinfo=zone(state(context).workspace.settings.business.zone))
    return instant
