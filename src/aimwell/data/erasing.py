"""How one table loses a person: which rows go, which stay under a random number, which words in other rows are emptied.

A plan of one SELECT per table, run over each Parquet file (and hot batch) that holds the person; all other files stay
as they are, byte for byte. Reads files of the warehouse; writes new files beside them, which no reader sees before the
manifest names them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.core.table import Table
from aimwell.core.text import say
from aimwell.data.person import (
    Person,
    bind_records,
    build_patterns,
    list_person_columns,
    list_text_columns,
    names_person,
)
from aimwell.data.scratch import literal, quote
from aimwell.engine.file_stream import write_batches
from aimwell.engine.files import DataFile
from aimwell.engine.session import Session

KEPT_TABLES = ("order_lines", "plan_items", "assignments", "exposures", "deliveries", "outcomes")
"""Tables whose rows are kept without the person, so that revenue and experiments keep their totals."""
_REASON = say("The person was erased.")
_SUFFIX = re.compile(r"-(\d{4}-\d{2}|patch|overlay)\.parquet$")


@dataclass(frozen=True)
class Cut:
    """Who is cut out: the person, the random number that stands in, a random salt, the business's zone."""

    person: Person
    stand_in: str
    salt: str
    zone: str
    keep_amounts: bool

    @property
    def bound(self) -> dict[str, Any]:
        """The values that the statements of this module bind."""
        records, _ = bind_records(self.person.records)
        return records

    @property
    def listed(self) -> str:
        """The placeholders of the records."""
        return bind_records(self.person.records)[1]


@dataclass
class TableCut:
    """What happens to one table: per file the rows of the person, and the rows of others that mention the person."""

    table: Table
    files: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the person."""
        return sum(own for own, _ in self.files.values())

    @property
    def mentions(self) -> int:
        """Rows of others in which the person is named."""
        return sum(named for _, named in self.files.values())


def find_files(session: Session, folder: Path, table: Table, paths: Sequence[str], cut: Cut) -> TableCut:
    """The files of ``table`` that hold the person, with their counts."""
    found = TableCut(table)
    if not paths or table.name == "erasures":
        return found
    names = ", ".join(literal(str(folder / path)) for path in paths)
    source = (
        f"read_parquet([{names}], union_by_name = true, hive_partitioning = false, filename = 'file_name')"
    )
    columns = session.query(f"SELECT * EXCLUDE (file_name) FROM {source} LIMIT 0").schema
    own, named = _find_own(table, cut), _find_mention(table, columns, cut)
    rows = session.query(
        f"""
        SELECT file_name, CAST(sum(CASE WHEN {own} THEN 1 ELSE 0 END) AS BIGINT) AS own,
            CAST(sum(CASE WHEN {own} THEN 0 ELSE 1 END) AS BIGINT) AS named
        FROM {source} WHERE {own} OR {named} GROUP BY file_name ORDER BY file_name
        """,
        _choose(cut.bound, f"{own} {named}"),
    ).to_pylist()
    # A name may stand in both: whoever has no row of the table and is named in none costs nothing more.
    known = {str(folder / path): path for path in paths}
    found.files = {known[row["file_name"]]: (row["own"], row["named"]) for row in rows}
    return found


def rewrite_file(
    session: Session, folder: Path, table: Table, path: str, cut: Cut, run_id: str
) -> DataFile | None:
    """The file without the person, under a new name; None where no row is left."""
    old = folder / path
    schema = pq.read_schema(old)
    source = f"read_parquet({literal(str(old))}, hive_partitioning = false)"
    sql = render_cut(table, schema, source, cut)
    month = _SUFFIX.search(path)
    name = f"{run_id}-{os.urandom(4).hex()}{month[0] if month else '.parquet'}"
    batches = _conform(session.query_batches(sql, _choose(cut.bound, sql)), schema)
    file = write_batches(folder, folder / table.name / name, schema, batches)
    if file.rows or not table.month_column:
        return file
    (folder / file.path).unlink()
    return None


def cut_rows(session: Session, table: Table, rows: pa.Table, cut: Cut) -> pa.Table | None:
    """``rows`` (of a hot batch) without the person; None when they hold nothing of the person."""
    session.register("cut_rows", rows)
    own, named = _find_own(table, cut), _find_mention(table, rows.schema, cut)
    test = f"SELECT count(*) AS rows FROM cut_rows WHERE {own} OR {named}"
    if not session.query(test, _choose(cut.bound, test))["rows"][0].as_py():
        return None
    sql = render_cut(table, rows.schema, "cut_rows", cut)
    return session.query(sql, _choose(cut.bound, sql)).cast(rows.schema)


def render_cut(table: Table, columns: pa.Schema, source: str, cut: Cut) -> str:
    """The SELECT that gives ``source`` without the person."""
    own = _find_own(table, cut)
    keeps = cut.keep_amounts and table.name in KEPT_TABLES
    free = set(list_text_columns(table, columns))
    stand_ins = _stand_in(table, cut) if keeps else {}
    chosen = []
    for name in columns.names:
        value = _empty_words(table, name, cut) if name in free else quote(name)
        if name in stand_ins:
            value = f"CASE WHEN {own} THEN {stand_ins[name]} ELSE {value} END"
        chosen.append(f"{value} AS {quote(name)}")
    gone = own if not keeps else "FALSE"
    if table.name == "rejects":
        gone = _find_mention(table, columns, cut)
    # The place in the file would tell between which neighbours the person stood.
    order = " ORDER BY customer_id, " + ", ".join(table.key) if keeps else ""
    return f"SELECT {', '.join(chosen)} FROM {source} WHERE NOT coalesce({gone}, FALSE){order}"


def _find_own(table: Table, cut: Cut) -> str:
    found = " OR ".join(f"coalesce({name} IN ({cut.listed}), FALSE)" for name in list_person_columns(table))
    return f"({found})" if found else "FALSE"


def _find_mention(table: Table, columns: pa.Schema, cut: Cut) -> str:
    tests = [
        f"coalesce(regexp_matches(CAST({quote(name)} AS VARCHAR), {literal(pattern)}), FALSE)"
        for name in list_text_columns(table, columns)
        for pattern in _list_patterns(table, cut)
    ]
    tests += [
        f"coalesce({quote(name)} IN ({cut.listed}), FALSE)"
        for name in list_text_columns(table, columns)
        if _holds_person(table, name)
    ]
    return f"({' OR '.join(tests)})" if tests else "FALSE"


def _holds_person(table: Table, name: str) -> bool:
    """A column that a source delivered besides, such as who recommended the customer."""
    return table.open_columns and name not in {column.name for column in table.columns} and names_person(name)


def _list_patterns(table: Table, cut: Cut) -> dict[str, str]:
    """Patterns with what replaces them; lists of examples hold bare numbers of customers."""
    patterns = {pattern: put.replace(r"\g<1>", r"\1") for pattern, put in build_patterns(cut.person)}
    if table.name in ("quality", "quality_history"):
        bare = "|".join(re.escape(record) for record in cut.person.records)
        patterns[rf'(")({bare})(")'] = r"\1[erased]\3"
    return patterns


def _empty_words(table: Table, name: str, cut: Cut) -> str:
    value = f"CAST({quote(name)} AS VARCHAR)"
    if _holds_person(table, name):
        value = f"CASE WHEN {value} IN ({cut.listed}) THEN NULL ELSE {value} END"
    for pattern, put in _list_patterns(table, cut).items():
        # Twice: of two mentions with one sign between them the first pass takes the sign.
        for _ in range(2):
            value = f"regexp_replace({value}, {literal(pattern)}, {literal(put)}, 'g')"
    return value


def _stand_in(table: Table, cut: Cut) -> dict[str, str]:
    """What stands in the place of what names the person in a row that is kept."""
    number, salt = literal(cut.stand_in), literal(cut.salt)
    replaced = {"customer_id": number}
    if table.name == "order_lines":
        day = f"timezone({literal(cut.zone)}, CAST(ordered_on AS TIMESTAMP))"
        replaced |= {
            name: f"'erased-' || substring(sha256({salt} || {name}), 1, 24)"
            for name in ("line_id", "order_id")
        }
        replaced |= {"ordered_at": day, "ordered_hour": "NULL"}
    if table.name == "plan_items":
        replaced["reason"] = literal(_REASON.to_json())
    if table.name == "exposures":
        # The caller's name for the question may tell the customer, and the instant a visit.
        replaced["request_id"] = f"'erased-' || substring(sha256({salt} || request_id), 1, 24)"
        replaced["decided_at"] = f"timezone({literal(cut.zone)}, CAST(decided_on AS TIMESTAMP))"
    if table.name == "deliveries":
        replaced["delivery_id"] = f"sha256(plan_id || chr(31) || {number} || chr(31) || action_id)"
    return replaced


def _choose(bound: Mapping[str, Any], sql: str) -> dict[str, Any]:
    return dict(bound) if "$record_" in sql else {}


def _conform(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        arrays = [batch.column(number).cast(field.type) for number, field in enumerate(schema)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
