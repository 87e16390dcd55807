"""The sets that identity is measured on: records as text, and which of them are one person.

FEBRL 1–4 (made-up Australians), splink's ``fake_1000`` and its 50k historical persons with planted errors. They are
looked for in the folder ``$AIMWELL_SHARED``, or in ``shared/data`` beside the repository.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

SHARED = Path(os.environ.get("AIMWELL_SHARED", Path(__file__).parents[1] / "../shared/data"))
NAMES = ("fake_1000", "febrl1", "febrl2", "febrl3", "febrl4", "historical_50k")


@dataclass(frozen=True)
class RecordSet:
    """One or two tables of records; ``truth`` has the columns unique_id and cluster."""

    name: str
    tables: list[pa.Table]
    truth: pa.Table


def load_set(name: str) -> RecordSet:
    """The set called ``name``; blanks are trimmed and empty text is null, nothing else is changed."""
    files = {
        "fake_1000": ["splink/fake_1000.csv"],
        "febrl4": ["febrl/dataset4a.csv", "febrl/dataset4b.csv"],
        "historical_50k": ["splink/historical_figures_with_errors_50k.parquet"],
    }.get(name) or [f"febrl/dataset{name[-1]}.csv"]
    with duckdb.connect() as connection:
        tables = [_read(connection, SHARED / file) for file in files]
        truths = [_find_truth(connection, name, table) for table in tables]
    kept = [table.drop_columns(["cluster"]) if "cluster" in table.column_names else table for table in tables]
    return RecordSet(name, kept, pa.concat_tables(truths))


def _read(connection: duckdb.DuckDBPyConnection, path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        connection.execute(f"CREATE OR REPLACE VIEW raw AS SELECT * FROM read_parquet('{path}')")
    else:
        connection.execute(
            f"CREATE OR REPLACE VIEW raw AS SELECT * FROM read_csv('{path}', all_varchar = true)"
        )
    names = [row[0] for row in connection.sql("DESCRIBE raw").fetchall()]
    clean = [
        f'nullif(trim(CAST("{name}" AS VARCHAR)), \'\') AS "{_NAMES.get(name.strip(), name.strip())}"'
        for name in names
    ]
    extra = ", first_name || ' ' || surname AS first_name_surname_concat" if "birth_place" in names else ""
    return connection.sql(f"SELECT {', '.join(clean)}{extra} FROM raw").to_arrow_table()


_NAMES = {"rec_id": "unique_id"}


def _find_truth(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> pa.Table:
    connection.register("records", table)
    cluster = "split_part(unique_id, '-', 2)" if name.startswith("febrl") else "cluster"
    return connection.sql(f"SELECT unique_id, {cluster} AS cluster FROM records").to_arrow_table()


def list_true_pairs(records: RecordSet) -> set[tuple[str, str]]:
    """Every pair of records that are one person, the smaller id first; across the tables only, when there are two."""
    places = [set(table["unique_id"].to_pylist()) for table in records.tables]
    groups: dict[str, list[str]] = {}
    for row in records.truth.to_pylist():
        groups.setdefault(row["cluster"], []).append(row["unique_id"])
    pairs = set()
    for members in groups.values():
        members.sort()
        for place, left in enumerate(members):
            for right in members[place + 1 :]:
                if len(places) == 1 or (left in places[0]) != (right in places[0]):
                    pairs.add((left, right))
    return pairs
