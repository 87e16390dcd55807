"""``aimwell tracking``: opens and clicks with machines apart, links for customers who ask, the keys that sign."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.instants import show_instant
from aimwell.cli.output import add_row, emit, make_table, state
from aimwell.core.ids import fold_id
from aimwell.core.text import say
from aimwell.core.time import now

app = App(help="Opens, clicks, customers' own choices.  打开、点击与客户自主选择")


@app.command()
def show(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A plan, journey:… or another source; all when omitted.  计划、journey:… 等来源；省略则为全部"
        ),
    ] = None,
) -> None:
    """Count opens and clicks, people's and machines' apart.  统计打开与点击，人与机器分开"""
    from aimwell.deployment.tracking.hits import count_hits
    from aimwell.deployment.tracking.judging import KINDS, REASONS

    with state(context).workspace.store.snapshot() as connection:
        found = count_hits(connection, source)

    def draw(console: Console) -> None:
        if not found:
            console.print(str(say("Nothing was opened or clicked yet.")), markup=False)
            return
        what = (say("Delivery source"), say("What was done"), say("By whom"))
        table = make_table(*map(str, (*what, say("Why"), say("Hits"), say("Deliveries"))))
        for one in found:
            whom = say("a machine") if one.machine else say("a person")
            reason = str(REASONS[one.reason]) if one.reason else ""
            numbers = (str(one.hits), str(one.deliveries))
            add_row(table, one.plan_id, str(KINDS[one.kind]), str(whom), reason, *numbers)
        console.print(table)

    emit(context, {"hits": [vars(one) for one in found]}, draw)


@app.command()
def link(
    context: typer.Context,
    customer: Annotated[str, typer.Argument(parser=fold_id, help="The customer's number.  客户编号")],
    language: Annotated[str, typer.Option(help="zh or en.  zh 或 en")] = "",
) -> None:
    """Print the link to a customer's preference page, for a customer who asks.  输出客户偏好页面的链接"""
    from aimwell.deployment.tracking.keys import load_keyring
    from aimwell.deployment.unsubscribe import build_preferences_link, load_secret

    workspace = state(context).workspace
    with workspace.store.snapshot() as connection:
        keys = load_keyring(connection, load_secret(workspace.path))
    address = build_preferences_link(keys, customer_id=customer, language=language)
    emit(context, {"link": address}, lambda console: console.print(address, markup=False, soft_wrap=True))


@app.command()
def rotate(context: typer.Context) -> None:
    """Sign links with a new key from now on; older links work as long as the settings say.

    启用新的链接签名密钥；旧链接在设置的期限内仍有效
    """
    from aimwell.deployment.tracking.keys import rotate_keys

    workspace = state(context).workspace
    at_ms, days = int(now().timestamp() * 1000), workspace.settings.tracking.key_days
    with workspace.store.begin() as connection:
        generation = rotate_keys(connection, now_ms=at_ms, keep_days=days)
    workspace.store.audit("links.rotated", str(generation), {"keep_days": days})
    until = datetime.fromtimestamp(at_ms / 1000 + days * 86_400, UTC)

    def draw(console: Console) -> None:
        console.print(str(say("Links are signed with a new key from now on.")), markup=False)
        told = say("Links signed before still work until {day}.", day=show_instant(context, until)[:10])
        console.print(str(told), markup=False)
        restart = say("Restart the worker and the service, so that they sign with it.")
        console.print(str(restart), markup=False)

    emit(context, {"generation": generation, "former_until": until.isoformat()}, draw)
