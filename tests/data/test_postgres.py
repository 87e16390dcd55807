"""A real PostgreSQL database as a source: Chinese names, exact amounts, instants with zones, nothing secret kept."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.data import database
from aimwell.data.step import add_source
from tests.data.shop import count, make_workspace, query
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)

SHOP = (
    "DROP SCHEMA IF EXISTS 商城 CASCADE",
    "CREATE SCHEMA 商城",
    """CREATE TABLE 商城.订单 (订单号 text, 会员编号 text, 下单时间 timestamptz, 商品名称 text, 数量 integer,
        金额 numeric(12,2), 备注 text)""",
    """INSERT INTO 商城.订单 VALUES
        ('A001', '001', '2026-01-02 01:30:00+00', '鲜牛奶', 2, 1234.50, NULL),
        ('A002', '440101199001011234', '2026-01-02 20:00:00+00', NULL, 1, 0.10, '急'),
        ('A003', NULL, '2026-01-03 02:00:00+00', '面包', 1, 5.00, NULL),
        ('A004', '002', NULL, '面包', 1, 5.00, NULL)""",
)


def read_store(folder: Path) -> bytes:
    """Every byte that the workspace keeps."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_table_with_chinese_names(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    postgres.run(*SHOP)
    shop = make_workspace(tmp_path)
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    first = add_source(
        shop,
        postgres.address(),
        database_table="商城.订单",
        accept=True,
        progress=lambda text: told.append(str(text)),
    ).summary
    assert (first["table"], first["rows"], first["accepted"]) == ("order_lines", 4, 2)
    assert first["reasons"] == {"missing_value": 1, "no_customer": 1}
    lines = query(
        shop, "SELECT customer_id, revenue, ordered_at, ordered_on FROM order_lines ORDER BY order_id"
    )
    assert [line["customer_id"] for line in lines] == ["001", "440101199001011234"]
    assert [line["revenue"] for line in lines] == [Decimal("1234.50"), Decimal("0.10")]
    assert lines[1]["ordered_at"] == datetime(2026, 1, 2, 20, tzinfo=UTC)
    # Eight in the evening of London is the next morning in Shanghai.
    assert [line["ordered_on"] for line in lines] == [date(2026, 1, 2), date(2026, 1, 3)]

    again = add_source(shop, postgres.address(), database_table="商城.订单", accept=True).summary
    assert (again["added"]["order_lines"], count(shop, "order_lines"), count(shop, "rejects")) == (0, 2, 2)
    postgres.run(
        "INSERT INTO 商城.订单 VALUES ('A005', '003', '2026-02-01 00:00:00+00', '茶', 1, 9.90, NULL)"
    )
    more = add_source(shop, postgres.address(), database_table="商城.订单", accept=True).summary
    assert (more["added"]["order_lines"], more["known"]) == (1, 2)
    shop.close()
    assert PASSWORD.encode() not in read_store(tmp_path)
    assert PASSWORD not in caplog.text + "".join(told) + str(first)


def test_rows_come_through_a_cursor_and_nothing_is_written(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
) -> None:
    postgres.run(*SHOP)
    made = database.open_database(
        postgres.address(), query="SELECT n FROM generate_series(1, 120000) n", table=None
    )
    pieces = [piece.records.num_rows for piece in made.read(made.start)]
    assert sum(pieces) == 120_000 and max(pieces) < 120_000
    with pytest.raises(BadInput) as refused:
        add_source(
            make_workspace(tmp_path),
            postgres.address(),
            query="DELETE FROM 商城.订单 RETURNING 会员编号, 下单时间",
            table="order_lines",
            accept=True,
        )
    assert refused.value.code == "data.database"
    assert postgres.run("SELECT count(*) FROM 商城.订单") == [(4,)]


def test_the_password_may_stand_in_the_environment(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres.run(*SHOP)
    shop = make_workspace(tmp_path)
    for address in (postgres.address(password="wrong-" + PASSWORD), postgres.address("nosuch")):
        with pytest.raises(BadInput) as refused:
            add_source(shop, address, database_table="商城.订单", accept=True)
        assert refused.value.code == "data.database"
        assert PASSWORD not in refused.value.render("en") + refused.value.render("zh") + str(
            refused.value.where
        )
    monkeypatch.setenv(database.PASSWORD, PASSWORD)
    url = sa.make_url(postgres.address(password=None))
    assert url.password is None
    done = add_source(
        shop,
        postgres.address(password=None),
        query="SELECT * FROM 商城.订单 WHERE 金额 > 1 AND 会员编号 LIKE '0%'",
        source="订单",
        table="order_lines",
        accept=True,
        dates=None,
    )
    assert done.summary["rows"] == 2
