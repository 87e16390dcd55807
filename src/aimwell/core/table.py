"""What a table is: typed and explained columns, a key, a writer and readers.

``Table.validate`` is the door between two rooms: types, required values, value sets and keys are checked,
and a breach is a ``ContractBroken`` that names table, column and example. Messages inside rows are kept
in the packed form of ``core.text.Text`` (type ``message``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.errors import ContractBroken
from aimwell.core.text import say


class Type(StrEnum):
    """The portable column types, the same on every engine."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    MONEY = "money"
    BOOLEAN = "boolean"
    DATE = "date"
    INSTANT = "instant"
    JSON = "json"
    MESSAGE = "message"


ARROW_TYPES: dict[Type, pa.DataType] = {
    Type.TEXT: pa.string(),
    Type.INTEGER: pa.int64(),
    Type.REAL: pa.float64(),
    Type.MONEY: pa.decimal128(18, 2),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
    Type.INSTANT: pa.timestamp("us", tz="UTC"),
    Type.JSON: pa.string(),
    Type.MESSAGE: pa.string(),
}


@dataclass(frozen=True)
class Column:
    """One column: its type, what it means, and what may stand in it."""

    name: str
    type: Type
    meaning: str
    required: bool = True
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table that steps hand over."""

    name: str
    meaning: str
    writer: str
    readers: tuple[str, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    open_columns: bool = False
    """More columns than declared may stand in it (one per tag, one per delivered attribute)."""
    month_column: str | None = None
    """The date column by whose month large tables are split into files."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        assert len(set(names)) == len(names), self.name
        assert set(self.key) <= set(names), self.name

    def column(self, name: str) -> Column:
        """The declared column called ``name``; KeyError when there is none."""
        return {column.name: column for column in self.columns}[name]

    @property
    def schema(self) -> pa.Schema:
        """The declared columns as an Arrow schema."""
        return pa.schema(
            [
                pa.field(column.name, ARROW_TYPES[column.type], nullable=not column.required)
                for column in self.columns
            ]
        )

    def build(self, rows: list[dict[str, Any]]) -> pa.Table:
        """An Arrow table of ``rows``; absent optional columns become null."""
        names = [column.name for column in self.columns]
        extra = {name for row in rows for name in row} - set(names)
        if extra:
            raise self._broken("column", ", ".join(sorted(extra)), "not declared")
        return pa.Table.from_pylist(
            [{name: row.get(name) for name in names} for row in rows], schema=self.schema
        )

    def validate(self, data: pa.Table) -> pa.Table:
        """``data`` with columns in declared order and declared types; ContractBroken if it breaks the contract."""
        result = self.conform(data)
        self._validate_key(result)
        return result

    def conform(self, data: pa.Table) -> pa.Table:
        """Like ``validate``, for a piece of a table: whether keys repeat is not looked at."""
        arrays = [self._validate_column(column, data) for column in self.columns]
        fields = list(self.schema)
        declared = {column.name for column in self.columns}
        for name in data.column_names:
            if name not in declared:
                if not self.open_columns:
                    raise self._broken("column", name, "not declared")
                arrays.append(data.column(name))
                fields.append(pa.field(name, data.column(name).type))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _validate_column(self, column: Column, data: pa.Table) -> pa.ChunkedArray:
        if column.name not in data.column_names:
            if column.required:
                raise self._broken("column", column.name, "missing")
            return pa.chunked_array([pa.nulls(data.num_rows, ARROW_TYPES[column.type])])
        values = data.column(column.name)
        try:
            values = values.cast(ARROW_TYPES[column.type])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._broken("column", column.name, str(error).splitlines()[0]) from error
        if column.required and values.null_count:
            raise self._broken("column", column.name, f"{values.null_count} empty values")
        if column.type is Type.REAL and values.null_count < len(values):
            finite = pc.all(pc.is_finite(values), skip_nulls=True).as_py()
            if not finite:
                raise self._broken("column", column.name, "NaN or infinite values")
        if column.one_of:
            wrong = pc.unique(values).to_pylist()
            wrong = [value for value in wrong if value is not None and value not in column.one_of]
            if wrong:
                raise self._broken("column", column.name, f"value {wrong[0]!r} is not one of {column.one_of}")
        return values

    def _validate_key(self, data: pa.Table) -> None:
        if not self.key or data.num_rows == 0:
            return
        counted = data.select(list(self.key)).group_by(list(self.key)).aggregate([([], "count_all")])
        if counted.num_rows != data.num_rows:
            repeated = counted.filter(pc.greater(counted["count_all"], 1)).slice(0, 1).to_pylist()[0]
            repeated.pop("count_all")
            raise self._broken("key", ", ".join(self.key), f"repeated, for example {repeated}")

    def _broken(self, part: str, name: str, problem: str) -> ContractBroken:
        return ContractBroken(
            "core.contract_broken",
            say(
                "The table '{table}' breaks its contract at {part} '{name}': {problem}.",
                table=self.name,
                part=part,
                name=name,
                problem=problem,
            ),
            where={"table": self.name, "column": name},
        )
