"""Files → staged text columns: nothing is interpreted yet, so 001 stays 001.

``open_source`` reads CSV, TSV, ``;``, ``|`` and blank-separated text in any usual encoding, and Parquet. The
staged table is called ``raw`` in the scratch database: ``row_number`` and ``c0``, ``c1``, … in the order of
``Source.columns``. Reads files; writes nothing of the warehouse.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.data.dialect import Dialect, looks_like_values, name_columns, sniff_dialect, split_line
from aimwell.data.encoding import Encoding, detect_encoding, read_text
from aimwell.data.expressions import clean
from aimwell.data.records import Fault, Reader, name_fields, split_lines, stage_schema
from aimwell.data.scratch import Scratch, quote
from aimwell.data.synonyms import knows_header

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".psv", ".dat")
PARQUET_ENDINGS = (".parquet", ".pq")


@dataclass(frozen=True)
class Source:
    """One file as it was found. ``rows`` counts records: staged ones and ``faults``; blank lines are none."""

    file: str
    columns: tuple[str, ...]
    encoding: str
    delimiter: str
    rows: int
    blank: int = 0
    spanning: int = 0
    faults: tuple[Fault, ...] = field(default=())
    padded: frozenset[str] = frozenset()
    """Staged columns in which some value has blanks around it."""

    def read(self, column: str) -> str:
        """The SQL of the cleaned text of ``column``."""
        staged = self.staged(column)
        return clean(staged, padded=staged in self.padded)

    def staged(self, column: str) -> str:
        """The staged name (``c3``) of ``column``."""
        return f"c{self.columns.index(column)}"


def open_source(scratch: Scratch, path: Path | str, *, header: tuple[str, ...] | None = None) -> Source:
    """Stage the file ``path`` as table ``raw``; BadInput when it cannot be read, naming the remedy.

    ``header`` names the columns of a file whose first line is data already.
    """
    path = Path(path)
    _check_file(path)
    if path.suffix.lower() in PARQUET_ENDINGS or _starts_with(path, b"PAR1"):
        source = _stage_parquet(scratch, path)
    else:
        source = _stage_text(scratch, path, header)
    if source.rows == 0:
        raise _refuse(
            "data.no_rows",
            path,
            say("'{file}' has column names but no rows.", file=path.name),
            say("Export the file again with its rows."),
        )
    return source


def _check_file(path: Path) -> None:
    if not path.exists():
        raise _refuse(
            "data.no_file",
            path,
            say("There is no file '{file}'.", file=str(path)),
            say("Check the name and the folder."),
        )
    if path.is_dir():
        raise _refuse(
            "data.is_folder", path, say("'{file}' is a folder.", file=str(path)), say("Name one file in it.")
        )
    if path.stat().st_size == 0:
        raise _refuse(
            "data.empty_file",
            path,
            say("'{file}' is empty.", file=path.name),
            say("Export the file again; its first line must name the columns."),
        )
    ending = path.suffix.lower()
    if ending in (".xlsx", ".xls", ".xlsm", ".et") or _starts_with(path, b"PK\x03\x04"):
        raise _refuse(
            "data.excel_file",
            path,
            say("'{file}' is a spreadsheet, which is not read.", file=path.name),
            say("In Excel or WPS choose 'Save as' and 'CSV UTF-8', and add that file."),
        )
    if ending not in (*TEXT_ENDINGS, *PARQUET_ENDINGS):
        raise _refuse(
            "data.unknown_type",
            path,
            say("The type of '{file}' is not known.", file=path.name),
            say("Use CSV, TSV or text (.csv, .tsv, .txt) or Parquet (.parquet)."),
        )


def _stage_text(scratch: Scratch, path: Path, header: tuple[str, ...] | None) -> Source:
    encoding = detect_encoding(path)
    dialect, columns, first_line = _read_header(path, encoding, header)
    reader = Reader(dialect, len(columns), first_line=first_line, damaged=encoding.damaged)
    lines = _skip(split_lines(read_text(path, encoding)), first_line - 1)
    staged, padded = _write_stage(scratch, reader.read(lines), len(columns))
    counts = reader.counts
    return Source(
        path.name,
        columns,
        encoding.codec,
        " " if not dialect.quotes else dialect.delimiter,
        staged + len(counts.faults),
        counts.blank,
        counts.spanning,
        tuple(counts.faults),
        padded,
    )


def _read_header(
    path: Path, encoding: Encoding, header: tuple[str, ...] | None
) -> tuple[Dialect, tuple[str, ...], int]:
    """The dialect, the names of the columns, and the number of the first line of data."""
    head = chain.from_iterable(split_lines(read_text(path, encoding)))
    lines = [line.decode("utf-8", "replace") for line in islice(head, 400)]
    dialect = sniff_dialect(lines)
    number = next((n for n, line in enumerate(lines, 1) if n > dialect.skip and line.strip()), 0)
    if number == 0:
        raise _refuse(
            "data.empty_file",
            path,
            say("'{file}' is empty.", file=path.name),
            say("Export the file again; its first line must name the columns."),
        )
    try:
        cells = split_line(lines[number - 1], dialect.delimiter)
    except csv.Error as error:
        raise _refuse(
            "data.bad_header",
            path,
            say("The quotes in the header line of '{file}' do not match.", file=path.name),
            say("Repair the first line and add the file again."),
        ) from error
    if header is not None:
        return dialect, _check_given(path, header, cells), number
    if looks_like_values(cells) and not knows_header(cells):
        raise _missing_header(path, cells)
    return dialect, name_columns(cells, path.name), number + 1


def _check_given(path: Path, header: tuple[str, ...], cells: list[str]) -> tuple[str, ...]:
    if len(header) != len(cells):
        raise _refuse(
            "data.header_width",
            path,
            say(
                "{given} column names were given, but the lines of '{file}' have {found} columns.",
                given=len(header),
                file=path.name,
                found=len(cells),
            ),
            say("Give one name for each column: --header a,b,c"),
        )
    return name_columns(list(header), path.name)


def _missing_header(path: Path, cells: list[str]) -> BadInput:
    example = ",".join(f"column_{position}" for position in range(1, len(cells) + 1))
    return BadInput(
        "data.no_header",
        say(
            "The first line of '{file}' holds values ({values}), not column names.",
            file=path.name,
            values=", ".join(cells[:5]),
        ),
        remedy=say("Name the {count} columns: --header {example}", count=len(cells), example=example),
        where={"file": path.name, "row": 1, "value": ",".join(cells[:5])},
    )


def _skip(batches: Iterator[list[bytes]], count: int) -> Iterator[list[bytes]]:
    for lines in batches:
        yield lines[count:]
        count = max(0, count - len(lines))


def _write_stage(
    scratch: Scratch, batches: Iterator[pa.RecordBatch], width: int
) -> tuple[int, frozenset[str]]:
    """Spool to a file that is mapped into memory, so that the size of the source does not matter.

    Answers how many rows there are, and in which columns some value has blanks around it.
    """
    padded: set[str] = set()
    spool = scratch.folder / "raw.arrow"
    rows = 0
    with pa.OSFile(str(spool), "wb") as sink, pa.ipc.new_file(sink, stage_schema(width)) as writer:
        for batch in batches:
            rows += batch.num_rows
            padded |= {name for name in name_fields(width) if name not in padded and _is_padded(batch[name])}
            writer.write_batch(batch)
    scratch.register("raw", pa.ipc.open_file(pa.memory_map(str(spool))).read_all())
    return rows, frozenset(padded)


def _is_padded(values: pa.Array) -> bool:
    trimmed = pc.sum(pc.binary_length(pc.utf8_trim_whitespace(values))).as_py()
    return bool(trimmed != pc.sum(pc.binary_length(values)).as_py())


def _stage_parquet(scratch: Scratch, path: Path) -> Source:
    # read_parquet takes a pattern: the signs of a pattern in a file's own name stand for themselves.
    name = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))
    try:
        described = scratch.rows("DESCRIBE SELECT * FROM read_parquet($path)", {"path": name})
        columns = name_columns([str(row["column_name"]) for row in described], path.name)
        casts = [
            f"{_cast_text(str(row['column_name']), str(row['column_type']))} AS {staged}"
            for row, staged in zip(described, name_fields(len(columns)), strict=True)
        ]
        sql = f"SELECT row_number() OVER () AS row_number, {', '.join(casts)} FROM read_parquet($path)"
        rows, padded = _write_stage(scratch, _cast_batches(scratch, sql, name, len(columns)), len(columns))
    except duckdb.Error as error:
        raise _refuse(
            "data.broken_parquet",
            path,
            say(
                "'{file}' cannot be read as Parquet: it is damaged, cut short or of another type.",
                file=path.name,
            ),
            say("Write the file again, or export it as CSV."),
        ) from error
    return Source(path.name, columns, "parquet", "", rows, padded=padded)


def _cast_batches(scratch: Scratch, sql: str, name: str, width: int) -> Iterator[pa.RecordBatch]:
    schema = stage_schema(width)
    for batch in scratch.stream(sql, {"path": name}):
        yield pa.RecordBatch.from_arrays(
            [column.cast(kind) for column, kind in zip(batch.columns, schema.types, strict=True)],
            schema=schema,
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


def _starts_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(mark)) == mark


def _refuse(code: str, path: Path, message: Text, remedy: Text) -> BadInput:
    return BadInput(code, message, remedy=remedy, where={"file": str(path)})
