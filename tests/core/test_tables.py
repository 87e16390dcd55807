"""The door between two rooms: what is not as declared does not pass, and the breach is named."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import ContractBroken
from aimwell.core.tables import ALL_TABLES, ARROW_TYPES, TABLES, Column, Table, Type

SMALL = Table(
    "small",
    "for these tests",
    "data",
    ("analysis",),
    (
        Column("id", Type.TEXT, "the key"),
        Column("amount", Type.MONEY, "money", required=False),
        Column("share", Type.REAL, "a share", required=False),
        Column("kind", Type.TEXT, "the kind", required=False, one_of=("a", "b")),
    ),
    ("id",),
)
OPEN = Table("open", "for these tests", "data", (), SMALL.columns, ("id",), open_columns=True)
SAMPLES: dict[Type, Any] = {
    Type.TEXT: "text",
    Type.INTEGER: 1,
    Type.REAL: 0.5,
    Type.MONEY: Decimal("1.25"),
    Type.BOOLEAN: True,
    Type.DATE: date(2017, 9, 1),
    Type.INSTANT: datetime(2017, 9, 1, tzinfo=UTC),
    Type.JSON: "{}",
    Type.MESSAGE: '{"id": "text", "parameters": {}}',
}


def expect_breach(table: Table, data: pa.Table, column: str, problem: str) -> None:
    with pytest.raises(ContractBroken) as caught:
        table.validate(data)
    assert caught.value.where == {"table": table.name, "column": column}
    assert problem in caught.value.render("en")


def test_every_type_has_its_arrow_type() -> None:
    assert set(ARROW_TYPES) == set(Type)


def test_names_are_unique() -> None:
    assert len(TABLES) == len(ALL_TABLES)


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_a_declared_row_passes_its_own_door(table: Table) -> None:
    row = {
        column.name: column.one_of[0] if column.one_of else SAMPLES[column.type] for column in table.columns
    }
    built = table.build([row])
    assert table.validate(built).equals(built)
    assert built.schema.names == [column.name for column in table.columns]


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_an_empty_table_passes(table: Table) -> None:
    assert table.validate(table.schema.empty_table()).num_rows == 0


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_every_column_is_explained(table: Table) -> None:
    assert all(len(column.meaning) > 5 for column in table.columns)
    if table.month_column:
        assert table.column(table.month_column).type is Type.DATE


def test_absent_optional_columns_become_null() -> None:
    result = SMALL.validate(pa.table({"id": ["1", "2"]}))
    assert result.schema.names == ["id", "amount", "share", "kind"]
    assert result["amount"].null_count == 2


def test_columns_come_out_in_declared_order_and_type() -> None:
    result = SMALL.validate(pa.table({"amount": pa.array([3], pa.int32()), "id": ["1"]}))
    assert result.schema.types[:2] == [pa.string(), pa.decimal128(18, 2)]


def test_a_missing_column() -> None:
    expect_breach(SMALL, pa.table({"share": [0.5]}), "id", "missing")


def test_an_empty_required_value() -> None:
    expect_breach(SMALL, pa.table({"id": ["1", None]}), "id", "1 empty values")


def test_an_undeclared_column() -> None:
    expect_breach(SMALL, pa.table({"id": ["1"], "extra": [1]}), "extra", "not declared")
    assert OPEN.validate(pa.table({"id": ["1"], "extra": [1]}))["extra"].to_pylist() == [1]


def test_a_wrong_type() -> None:
    expect_breach(SMALL, pa.table({"id": ["1"], "share": ["many"]}), "share", "many")


def test_money_that_is_not_whole_cents() -> None:
    data = pa.table({"id": ["1"], "amount": pa.array([Decimal("1.005")], pa.decimal128(18, 3))})
    expect_breach(SMALL, data, "amount", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none(value: float) -> None:
    expect_breach(SMALL, pa.table({"id": ["1", "2"], "share": [0.5, value]}), "share", "NaN or infinite")


def test_a_value_outside_its_set() -> None:
    expect_breach(SMALL, pa.table({"id": ["1", "2"], "kind": ["a", "c"]}), "kind", "'c' is not one of")


@given(st.lists(st.text(max_size=3), min_size=1, max_size=8))
def test_a_repeated_key_never_passes(ids: list[str]) -> None:
    data = pa.table({"id": pa.array(ids, pa.string())})
    if len(set(ids)) == len(ids):
        assert SMALL.validate(data)["id"].to_pylist() == ids
    else:
        expect_breach(SMALL, data, "id", "repeated")


def test_rows_are_built_from_declared_names_only() -> None:
    with pytest.raises(ContractBroken, match="not declared"):
        SMALL.build([{"id": "1", "colour": "red"}])


def test_a_declaration_that_contradicts_itself_is_not_made() -> None:
    with pytest.raises(AssertionError):
        Table("twice", "", "data", (), (Column("a", Type.TEXT, ""), Column("a", Type.TEXT, "")), ())
    with pytest.raises(AssertionError):
        Table("keyless", "", "data", (), (Column("a", Type.TEXT, ""),), ("b",))
