"""Parquet files as deliveries: every value as text, in its shortest exact form. Reads files; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.data.dialect import name_columns
from aimwell.data.pieces import Delivery, Mark, Piece, name_fields, stage_schema
from aimwell.data.scratch import Scratch, quote

ENDINGS = (".parquet", ".pq")
_PIECE = 200_000
"""Rows of a piece."""


def open_parquet(scratch: Scratch, path: Path, *, name: str) -> Delivery:
    """The Parquet file ``path``; BadInput when it is damaged."""
    # read_parquet takes a pattern: the signs of a pattern in a file's own name stand for themselves.
    pattern = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))
    try:
        described = scratch.rows("DESCRIBE SELECT * FROM read_parquet($path)", {"path": pattern})
    except duckdb.Error as error:
        raise _broken(name) from error
    columns = name_columns([str(row["column_name"]) for row in described], name)
    casts = [
        f"{_cast_text(str(row['column_name']), str(row['column_type']))} AS {staged}"
        for row, staged in zip(described, name_fields(len(columns)), strict=True)
    ]
    sql = f"SELECT {', '.join(casts)} FROM read_parquet($path)"

    def read(mark: Mark) -> Iterator[Piece]:
        line = mark.line
        try:
            for batch in scratch.stream(sql, {"path": pattern}, rows=_PIECE):
                numbers = pa.array(range(line, line + batch.num_rows), pa.int64())
                arrays = [numbers, *(column.cast(pa.string()) for column in batch.columns)]
                line += batch.num_rows
                records = pa.Table.from_arrays(arrays, schema=stage_schema(len(columns)))
                yield Piece(records, Mark(line - 1, line))
        except duckdb.Error as error:
            raise _broken(name) from error

    return Delivery(name, columns, "parquet", "", read, Mark(0, 1))


def _broken(name: str) -> BadInput:
    return BadInput(
        "data.broken_parquet",
        say("'{file}' cannot be read as Parquet: it is damaged, cut short or of another type.", file=name),
        remedy=say("Write the file again, or export it as CSV."),
        where={"file": name},
    )


def _cast_text(name: str, kind: str) -> str:
    """Whole numbers kept as floats (ids with gaps) lose their '.0'; the rest keeps its shortest exact form."""
    column = quote(name)
    if kind in ("DOUBLE", "FLOAT"):
        return (
            f"CASE WHEN {column} IS NULL OR isnan({column}) THEN '' "
            f"WHEN abs({column}) < 1e15 AND {column} = floor({column}) "
            f"THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
    if kind.startswith(("STRUCT", "MAP")) or kind.endswith("]"):
        return f"coalesce(CAST(to_json({column}) AS VARCHAR), '')"
    if kind == "BLOB":
        return f"coalesce(hex({column}), '')"
    return f"coalesce(CAST({column} AS VARCHAR), '')"
