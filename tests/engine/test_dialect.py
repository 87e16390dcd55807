"""What SQLGlot leaves out when DuckDB's SQL is said in Spark's and ClickHouse's words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from aimwell.core.errors import BadInput, NotReady
from aimwell.engine.dialect import Dialect, Statement, read_statement, translate
from aimwell.engine.engines import open_session
from aimwell.engine.session import Session
from aimwell.engine.settings import EngineSettings, check_settings

BOTH: tuple[Dialect, ...] = ("spark", "clickhouse")


def test_values_stay_bound_and_clickhouse_is_told_their_types() -> None:
    sql = "SELECT $text, $number, $real, $yes, $day, $at, $money, $nothing"
    values = {
        "text": "x' OR 1=1",
        "number": 1,
        "real": 0.5,
        "yes": True,
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, tzinfo=UTC),
        "money": Decimal("1.10"),
        "nothing": None,
    }
    assert (
        translate(sql, "spark", values).sql
        == "SELECT :text, :number, :real, :yes, CAST(:day AS DATE), :at, :money, NULL"
    )
    assert translate(sql, "clickhouse", values).sql == (
        "SELECT {text: String}, {number: Int64}, {real: Float64}, {yes: Bool}, {day: Date32},"
        " {at: DateTime64(6, 'UTC')}, {money: Decimal(38, 2)}, NULL"
    )


def test_what_stands_inside_a_changed_part_is_changed_too() -> None:
    text = translate("SELECT (EPOCH_US(t) - 1) >> 2 AS x, LOWER(UPPER(s)) AS y FROM a", "clickhouse").sql
    assert "bitShiftRight((toUnixTimestamp64Micro(t) - 1), 2)" in text
    assert "lowerUTF8(upperUTF8(s))" in text


def test_what_cannot_be_read_is_empty() -> None:
    sql = "SELECT TRY_CAST(a AS DOUBLE) AS x, TRY_CAST(b AS DATE) AS y FROM t"
    assert translate(sql, "spark").sql == sql
    assert translate(sql, "clickhouse").sql == (
        "SELECT accurateCastOrNull(a, 'Float64') AS x, accurateCastOrNull(b, 'Date32') AS y FROM t"
    )


def test_quotients_are_real_numbers_and_halves_go_away_from_zero() -> None:
    assert (
        translate("SELECT a / 30.0 AS x FROM t", "spark").sql == "SELECT CAST(a AS DOUBLE) / 30.0 AS x FROM t"
    )
    for dialect in BOTH:
        assert "FLOOR" in translate("SELECT ROUND(a, 2) AS x FROM t", dialect).sql


def test_the_tables_of_a_query_are_known() -> None:
    sql = "WITH a AS (SELECT 1 AS x FROM events) SELECT a.x FROM a LEFT JOIN tags AS t ON t.y = a.x"
    for dialect in BOTH:
        assert translate(sql, dialect).tables == {"a", "events", "tags"}


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "COPY events TO 'x.csv'", "ATTACH 'x.db'", "DELETE FROM events", ""]
)
def test_only_queries_are_translated(sql: str) -> None:
    for dialect in BOTH:
        with pytest.raises(BadInput) as caught:
            translate(sql, dialect)
        assert caught.value.code == "engine.not_portable"


def test_of_a_value_that_no_engine_knows_it_is_said_so() -> None:
    with pytest.raises(BadInput) as caught:
        translate("SELECT $x", "clickhouse", {"x": object()})
    assert caught.value.code == "engine.bad_value"


def test_statements_give_names_or_take_them_back() -> None:
    assert read_statement("CREATE OR REPLACE TEMP VIEW a AS SELECT * FROM b") == Statement(
        "a", "SELECT * FROM b"
    )
    assert read_statement("CREATE TEMP TABLE a AS SELECT 1 AS x") == Statement("a", "SELECT 1 AS x")
    assert read_statement("DROP TABLE IF EXISTS a") == Statement("a", None)
    with pytest.raises(BadInput):
        read_statement("INSERT INTO a VALUES (1)")


def test_only_goals_and_analysis_run_on_another_engine(tmp_path: Path) -> None:
    session = open_session(EngineSettings(name="clickhouse"), tmp_path, {}, step="strategy")
    assert isinstance(session, Session)
    session.close()


@pytest.mark.parametrize(("engine", "package"), [("spark", "pyspark"), ("clickhouse", "chdb")])
def test_a_missing_extra_is_named_with_its_remedy(
    tmp_path: Path, engine: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python refuses to import a module that stands as None.
    for name in (package, f"{package}.sql"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    settings = check_settings({"engine": {"name": engine}}, "aimwell.toml").engine
    with pytest.raises(NotReady) as caught:
        open_session(settings, tmp_path, {}, step="analysis")
    assert f"pip install aimwell[{engine}]" in str(caught.value)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        check_settings({"engine": {"name": "oracle"}}, "aimwell.toml")
    assert "'duckdb', 'spark' or 'clickhouse'" in str(caught.value)


def test_spark_takes_no_condition_for_an_alias() -> None:
    assert translate("SELECT 1 FROM seen WHERE ((TRUE))", "spark").sql == "SELECT 1 FROM seen WHERE TRUE"
    kept = translate("SELECT 1 FROM seen WHERE (a OR b) AND c", "spark").sql
    assert kept == "SELECT 1 FROM seen WHERE (a OR b) AND c"
