"""The second wall: what would get past the parser is refused by DuckDB itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from aimwell.core.errors import AimwellError, BadInput, NotReady
from aimwell.core.tables import CUSTOMERS, IDENTITIES
from aimwell.engine.engines import open_session
from aimwell.engine.settings import EngineSettings
from aimwell.engine.workspace import Reader, Workspace

FORBIDDEN = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT content FROM read_text('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT content FROM read_blob('{folder}/store.sqlite')",
    "SELECT * FROM sqlite_scan('{folder}/store.sqlite', 'runs')",
    "SELECT content FROM read_text('{folder}/aimwell.toml')",
    "COPY (SELECT 1 AS n) TO '{folder}/stolen.csv'",
    "COPY (SELECT 1 AS n) TO '{folder}/warehouse/stolen.parquet'",
    "COPY customers TO '/tmp/stolen.csv'",
    "ATTACH '{folder}/store.sqlite' AS store",
    "ATTACH '{folder}/new.duckdb' AS other",
    "INSTALL sqlite",
    "LOAD sqlite",
    "INSTALL httpfs",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "CREATE TABLE x AS SELECT 1 AS n",
    "SELECT 1 AS n; SELECT * FROM customers",
    "EXPORT DATABASE '{folder}/stolen'",
    # Tables that tags may not read are not even there.
    "SELECT * FROM identifiers",
    "SELECT * FROM made_before",
    # Names of our own code's variables are no tables.
    "SELECT * FROM rows",
]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "it's a shop")
    with made.run("data", as_of=date(2026, 1, 1)) as run:
        rows = [{"customer_id": f"C{n}", "email": f"{n}@x.cn", "source": "s"} for n in range(20)]
        run.replace("customers", CUSTOMERS.build(rows))
    yield made
    made.close()


def ask(reader: Reader, sql: str, seconds: float = 60.0, memory: str = "512MB") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = reader.query_within(
        sql, tables=("customers",), seconds=seconds, memory=memory
    ).to_pylist()
    return rows


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_gets_past_the_parser_is_refused(workspace: Workspace, sql: str) -> None:
    with workspace.read() as reader:
        reader.execute("CREATE TEMP TABLE made_before AS SELECT 1 AS n")
        with pytest.raises((AimwellError, duckdb.Error)):
            ask(reader, sql.format(folder=str(workspace.path).replace("'", "''")))
    assert not list(workspace.path.rglob("stolen*"))
    assert not list(workspace.path.rglob("new.duckdb*"))


def test_inside_the_fence_only_selects_are_run(workspace: Workspace) -> None:
    with workspace.read() as reader, pytest.raises(BadInput) as caught:
        ask(reader, "COPY (SELECT 1 AS n) TO '/tmp/stolen.csv'")
    assert caught.value.code == "engine.sql_not_a_select"


def test_the_session_itself_reaches_nothing_outside_the_warehouse(workspace: Workspace) -> None:
    with workspace.read() as reader:
        for sql in FORBIDDEN[:8]:
            with pytest.raises(duckdb.Error):
                reader.query(sql.format(folder=str(workspace.path).replace("'", "''")))


def test_the_fence_shows_the_same_rows(workspace: Workspace) -> None:
    with workspace.read() as reader:
        sql = "SELECT customer_id, email FROM customers ORDER BY customer_id"
        assert ask(reader, sql) == reader.query(sql).to_pylist()


def test_the_fence_sees_what_the_run_has_staged_and_who_was_joined(workspace: Workspace) -> None:
    with workspace.run("data", as_of=date(2026, 1, 1)) as run:
        run.append("customers", CUSTOMERS.build([{"customer_id": "D1", "source": "s"}]))
        assert ask(run, "SELECT COUNT(*) AS n FROM Customers") == [{"n": 21}]


@pytest.mark.parametrize("folder", ["customers", "order_lines", "it's events"])
def test_a_folder_called_like_a_table_is_no_table(tmp_path: Path, folder: str) -> None:
    workspace = Workspace.create(tmp_path / folder / "w")
    with workspace.run("data", as_of=date(2026, 1, 1)) as run:
        run.replace("customers", CUSTOMERS.build([{"customer_id": f"C{n}", "source": "s"} for n in range(2)]))
        joined = [{"record_id": "C1", "customer_id": "C0", "run_id": run.id}]
        run.replace("identities", IDENTITIES.build(joined))
    with workspace.read() as reader:
        limits: dict[str, Any] = {"seconds": 60.0, "memory": "512MB"}
        for name in ("customers", "events", "order_lines"):
            sql = f"SELECT COUNT(*) AS n FROM {name}"
            assert reader.query_within(sql, tables=(name,), **limits) == reader.query(sql)
        with pytest.raises(duckdb.Error):
            reader.query_within(
                "SELECT 1 AS n FROM products, order_lines AS o", tables=("products",), **limits
            )
    workspace.close()


def test_time_and_memory_are_limited(workspace: Workspace) -> None:
    many = (
        "FROM customers AS a, customers AS b, customers AS c, customers AS d, customers AS e, customers AS f"
    )
    with workspace.read() as reader:
        with pytest.raises(NotReady) as caught:
            ask(
                reader,
                f"SELECT SUM(LENGTH(a.email || b.email || c.email || d.email)) AS n {many}, customers AS g",
                0.2,
            )
        assert caught.value.code == "engine.query_too_slow"
        with pytest.raises(NotReady) as caught:
            ask(reader, f"SELECT LIST(a.email || b.email || c.email) AS n {many}", 60.0, "24MB")
        assert caught.value.code == "engine.query_too_large"
        assert ask(reader, "SELECT COUNT(*) AS n FROM customers") == [{"n": 20}]
    assert not list((workspace.warehouse_folder / "temporary").glob("fenced-*"))


def test_another_engine_is_not_even_asked(tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="ClickHouse is not installed")
    session = open_session(EngineSettings(name="clickhouse"), tmp_path, {}, step="analysis")
    for sql in ("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM file('/etc/passwd', 'LineAsString')"):
        with pytest.raises((AimwellError, duckdb.Error)) as caught:
            session.query(sql)
        assert "root:" not in str(caught.value)
    session.close()
