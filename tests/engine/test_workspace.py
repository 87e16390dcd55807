"""A run is all or nothing; versions, damage and dead runs are noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict, ContractBroken, NotReady
from aimwell.core.tables import ORDER_LINES
from aimwell.engine.store_tables import RUNS, TABLE_FILES
from aimwell.engine.workspace import Reader, Workspace

DAY = date(2026, 3, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop", name="小店", zone="Asia/Shanghai", currency="CNY")


def make_lines(count: int, start: int = 0) -> pa.Table:
    return ORDER_LINES.build(
        [
            {
                "line_id": str(number),
                "order_id": f"o{number}",
                "customer_id": "001",
                "ordered_at": datetime(2026, 1 + number % 2, 5, tzinfo=UTC),
                "ordered_on": date(2026, 1 + number % 2, 5),
                "revenue": Decimal("1.10"),
                "source": "test",
                "simulated": False,
            }
            for number in range(start, start + count)
        ]
    )


def count_lines(workspace: Workspace) -> int:
    with workspace.read() as reader:
        return int(reader.query("SELECT COUNT(*) AS n FROM order_lines")["n"][0].as_py())


def test_tables_never_written_are_empty_views(workspace: Workspace) -> None:
    with workspace.read() as reader:
        assert reader.query("SELECT * FROM tags").num_rows == 0


def test_threads_that_share_a_reader_are_answered_one_after_the_other(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", make_lines(200))

    def ask(reader: Reader, number: int) -> tuple[int, int]:
        reader.register(f"own_{number}", pa.table({"order_id": [f"o{number}"]}))
        reader.execute(f"CREATE OR REPLACE TEMP TABLE kept_{number} AS SELECT * FROM own_{number}")
        sql = f"SELECT COUNT(*) AS n FROM order_lines JOIN kept_{number} USING (order_id) CROSS JOIN products"
        none = reader.query(sql)["n"][0].as_py()
        return none, reader.query(f"SELECT COUNT(*) AS n FROM kept_{number}")["n"][0].as_py()

    with workspace.read() as reader, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: ask(reader, number), range(40)))
    assert answers == [(0, 1)] * 40


def test_a_limit_of_time_stops_no_query_but_its_own(workspace: Workspace) -> None:
    sql = "SELECT COUNT(*) AS n FROM range(2000)"
    with workspace.read() as reader:
        for _ in range(40):
            with suppress(NotReady):
                reader.query_within(sql, tables=(), seconds=0.0005, memory="64MB")
            assert reader.query("SELECT COUNT(*) AS n FROM range(20000)")["n"][0].as_py() == 20_000
        answered = reader.query_within(sql, tables=(), seconds=30, memory="64MB")
    assert answered["n"][0].as_py() == 2_000


def test_a_run_sees_its_own_rows_and_others_see_them_at_its_end(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", make_lines(4))
        run.append("order_lines", make_lines(2, start=4))
        assert run.query("SELECT SUM(revenue) AS total FROM order_lines")["total"][0].as_py() == Decimal(
            "6.60"
        )
        assert count_lines(workspace) == 0
    assert count_lines(workspace) == 6


def test_a_failed_run_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", make_lines(4))
        raise ZeroDivisionError
    assert count_lines(workspace) == 0
    assert list(workspace.warehouse_folder.glob("order_lines/*")) == []


def test_replace_takes_the_place_of_all_rows(workspace: Workspace) -> None:
    for size in (3, 2):
        with workspace.run("data", as_of=DAY) as run:
            run.replace("order_lines", make_lines(size))
    assert count_lines(workspace) == 2


def test_append_after_replace_in_one_run_keeps_both(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.replace("order_lines", make_lines(3))
        run.append("order_lines", make_lines(2, start=3))
    assert count_lines(workspace) == 5


def test_two_runs_that_change_one_table_conflict(workspace: Workspace) -> None:
    with pytest.raises(Conflict), workspace.run("data", as_of=DAY) as first:
        first.append("order_lines", make_lines(1))
        with workspace.run("data", as_of=DAY) as second:
            second.append("order_lines", make_lines(1, start=1))
    assert count_lines(workspace) == 1


def test_the_contract_is_checked_at_the_door(workspace: Workspace) -> None:
    broken = make_lines(2).set_column(0, "line_id", pa.array(["1", "1"]))
    with pytest.raises(ContractBroken, match="repeated"), workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", broken)


def test_a_flipped_byte_is_noticed(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", make_lines(4))
    workspace.close()
    file = next(workspace.warehouse_folder.glob("order_lines/*.parquet"))
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    with pytest.raises(NotReady, match="altered"):
        count_lines(Workspace.open(workspace.path))


def test_a_run_records_inputs_parameters_and_seed(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", make_lines(1))
    with workspace.run("analysis", as_of=DAY, parameters={"a": 1}) as run:
        pass
    with workspace.store.begin() as connection:
        row = connection.execute(sa.select(RUNS).where(RUNS.c.run_id == run.id)).one()
    assert (row.status, row.inputs, row.parameters, row.seed) == (
        "done",
        {"order_lines": 1},
        {"a": 1},
        run.seed,
    )


KILLED = """
import os, sys, datetime
from aimwell.engine.workspace import Reader, Workspace
sys.path.insert(0, sys.argv[2])
from test_workspace import make_lines
with Workspace.open(sys.argv[1]).run("data", as_of=datetime.date(2026, 3, 1)) as run:
    run.append("order_lines", make_lines(4))
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_wrote_aside_is_removed(workspace: Workspace) -> None:
    code = subprocess.run(
        [sys.executable, "-c", KILLED, str(workspace.path), os.path.dirname(__file__)], check=False
    )
    assert code.returncode == -9
    assert list(workspace.warehouse_folder.glob("order_lines/*.parquet"))
    with workspace.run("data", as_of=DAY) as run:
        run.append("order_lines", make_lines(1))
    assert count_lines(workspace) == 1
    with workspace.store.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(TABLE_FILES)).scalar() == 1
        states = connection.execute(sa.select(RUNS.c.status).order_by(RUNS.c.started_at)).scalars().all()
    assert states == ["interrupted", "done"]


def test_creating_twice_and_opening_nothing_are_explained(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="already"):
        Workspace.create(workspace.path)
    with pytest.raises(NotReady, match="aimwell init"):
        Workspace.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="not a folder"):
        Workspace.create(tmp_path / "file")


def test_settings_survive_the_file_and_the_environment_wins(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Workspace.open(workspace.path).settings == workspace.settings
    assert workspace.settings.business.name == "小店"
    monkeypatch.setenv("AIMWELL_ENGINE__THREADS", "1")
    assert Workspace.open(workspace.path).settings.engine.threads == 1


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("margin_rate = 0.3", "margin_rate"),
        ('currency = "CNY"', "currency"),
        ('zone = "Asia/Shanghai"', "zone"),
    ],
)
def test_a_wrong_setting_is_named(workspace: Workspace, line: str, key: str) -> None:
    file = workspace.path / "aimwell.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(line, f'{key} = "wrong"'), encoding="utf-8")
    with pytest.raises(BadInput, match=key):
        Workspace.open(workspace.path)


def test_a_settings_file_that_is_no_toml_is_explained(workspace: Workspace) -> None:
    (workspace.path / "aimwell.toml").write_text("[[[", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be read"):
        Workspace.open(workspace.path)


def test_definitions_have_versions(workspace: Workspace) -> None:
    save = workspace.store.save_definition
    assert [save("goal", "g", {"a": 1}), save("goal", "g", {"a": 1}), save("goal", "g", {"a": 2})] == [
        1,
        1,
        2,
    ]
    assert workspace.store.load_definition("goal", "g") == {"a": 2}
    assert workspace.store.list_definitions("goal") == {"g": {"a": 2}}
    assert workspace.store.load_definition("goal", "x") is None


def test_the_store_keeps_what_it_promised_of_sqlite(workspace: Workspace) -> None:
    with workspace.store.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
