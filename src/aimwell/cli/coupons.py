"""``aimwell content coupons``: pools of codes, and their redemption."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import add_row, emit, make_table, read_day, state
from aimwell.core.text import Text, say
from aimwell.core.time import now, zone

if TYPE_CHECKING:
    import sqlalchemy as sa

app = App(help="Coupons, each issued once.  优惠券：每个券码只发一次")

Pool = Annotated[str, typer.Argument(help="The pool's name.  券池名称", metavar="POOL")]
Until = Annotated[
    str | None,
    typer.Option(help="Last day on which its codes can be used, YYYY-MM-DD.  最后可用日，YYYY-MM-DD"),
]
Days = Annotated[
    int | None, typer.Option(min=1, help="Days that a code can be used from its issue.  发出后可用天数")
]


@app.command()
def add(
    context: typer.Context,
    pool: Pool,
    file: Annotated[
        Path, typer.Argument(help="CSV or workbook with the codes in one column.  CSV 或工作簿，券码占一列")
    ],
    until: Until = None,
    days: Days = None,
) -> None:
    """Add the codes of a file to a pool.  将文件中的券码加入券池"""
    from aimwell.deployment.coupon_codes import read_codes
    from aimwell.deployment.coupons import add_codes

    codes = list(read_codes(file))
    with state(context).workspace.store.begin() as connection:
        _open(context, connection, pool, until, days)
        done = add_codes(connection, pool, codes)
    text = say(
        "{added} codes added, {repeated} known already, {refused} refused.",
        added=done.added,
        repeated=done.repeated,
        refused=done.refused,
    )
    _tell(
        context, {"pool": pool, "added": done.added, "repeated": done.repeated, "refused": done.refused}, text
    )


@app.command()
def make(
    context: typer.Context,
    pool: Pool,
    count: Annotated[int, typer.Argument(min=1, help="How many.  数量")],
    until: Until = None,
    days: Days = None,
) -> None:
    """Make codes that nobody can guess or misread.  生成无法猜测、不易读错的券码"""
    from aimwell.deployment.coupons import make_codes

    with state(context).workspace.store.begin() as connection:
        _open(context, connection, pool, until, days)
        made = make_codes(connection, pool, count)
    _tell(context, {"pool": pool, "made": made}, say("{count} codes made.", count=made))


@app.command(name="list")
def list_pools(context: typer.Context) -> None:
    """List pools with their codes by state.  列出券池及各状态券码数"""
    from dataclasses import asdict

    from aimwell.deployment.coupons import count_pools

    with state(context).workspace.store.snapshot() as connection:
        pools = [asdict(each) for each in count_pools(connection, _now_ms())]

    def draw(console: Console) -> None:
        head = (
            say("coupon pool"),
            say("all codes"),
            say("free"),
            say("issued"),
            say("redeemed"),
            say("expired"),
        )
        table = make_table(*(str(text) for text in head))
        for row in pools:
            add_row(
                table,
                row["pool"],
                *(f"{row[name]:,}" for name in ("total", "free", "issued", "redeemed", "expired")),
            )
        console.print(table)

    emit(context, {"pools": pools}, draw)


@app.command()
def redeem(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="The code.  券码", metavar="CODE")],
    by: Annotated[str, typer.Option(help="The order; repeating it changes nothing.  订单号；重复无影响")],
) -> None:
    """Redeem a code, once.  核销券码（仅一次）"""
    from aimwell.deployment.coupons import redeem as run_redeem
    from aimwell.deployment.coupons import title_redeemed

    with state(context).workspace.store.begin() as connection:
        outcome = run_redeem(connection, code, _now_ms(), by=by)
    _tell(context, {"outcome": outcome}, title_redeemed(outcome))
    if outcome != "redeemed":
        raise typer.Exit(1)


def _open(
    context: typer.Context, connection: sa.Connection, pool: str, until: str | None, days: int | None
) -> None:
    from aimwell.deployment.coupons import open_pool

    last = read_day(until)
    zone_name = state(context).workspace.settings.business.zone
    end = None if last is None else datetime.combine(last + timedelta(days=1), time(), zone(zone_name))
    open_pool(
        connection,
        pool,
        _now_ms(),
        expires_ms=None if end is None else int(end.timestamp() * 1000),
        valid_days=days,
    )


def _tell(context: typer.Context, payload: dict[str, Any], text: Text) -> None:
    emit(context, payload, lambda console: console.print(str(text), markup=False))


def _now_ms() -> int:
    return int(now().timestamp() * 1000)
