"""The coded rows of the published file for a reader of the warehouse: the same rows, as whole numbers.

The file is usually a little older than the snapshot. A month of events whose files are all in the edition, or were
added since, is read coded, with what was added beside it; a month whose files were rewritten is read from the
warehouse. Where too much is not in the file, nothing of it is used.
Reads the published file, events that are not in it, identities; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.tables import TABLES
from aimwell.engine.coded_rows import DICTIONARIES, MONTH_TABLE, WORD_COLUMNS, Month
from aimwell.engine.files import is_patch
from aimwell.engine.published import Edition, list_parts, read_pointer
from aimwell.engine.session import Session
from aimwell.engine.views import count_rows

EXTRA = "extra_events"
"""The view of the events that are not in the file, as they were delivered."""
MOST_EXTRA = 2_000_000
MOST_EXTRA_SHARE = 0.2


@dataclass(frozen=True)
class CodedRows:
    """What a reader can use of the published file, attached as ``coded``.

    ``people``: how many customers have a number. ``has_orders``: ``orders`` and ``order_lines`` are as new as the
    snapshot. ``has_extra``: the view ``extra_events`` has rows. ``has_tags``: ``tags`` are those of the snapshot, by
    customer_id.
    """

    session: Session
    months: tuple[Month, ...]
    people: int
    names: dict[int, int]
    """How many events of the months have each name, by its code."""
    has_orders: bool
    has_extra: bool
    has_tags: bool = False

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql`` over ``coded.events_YYYY_MM``, ``coded.numbers``… and the snapshot's views."""
        return self.session.query(sql, parameters)

    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, rows: int
    ) -> pa.RecordBatchReader:
        """The rows of ``sql`` over ``coded`` alone in batches of ``rows``; several may be read at the same time."""
        return self.session.query_beside(sql, parameters, rows=rows)

    def read_people(self) -> pa.Array:
        """The customer of each number."""
        table = self.query("SELECT customer, customer_id FROM coded.numbers").combine_chunks()
        people: pa.Array = table["customer_id"].combine_chunks()
        numbers = table["customer"].combine_chunks()
        # They were written in their order, and mostly come in it: sorting a million texts would take longer.
        in_order = numbers.equals(pa.array(np.arange(len(people), dtype=np.int32)))
        return people if in_order else people.take(pc.sort_indices(numbers))

    def find_codes(self, words: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The code of each (column, word); words that never stand in the file get negative ones of their own."""
        found: dict[tuple[str, str], int] = {}
        for kind in WORD_COLUMNS["events"]:
            wanted = [word for one, word in words if one == kind]
            sql = "SELECT word, code FROM coded.words WHERE kind = $kind AND word IN (SELECT UNNEST($words))"
            rows = self.query(sql, {"kind": kind, "words": wanted}).to_pylist() if wanted else []
            found |= {(kind, row["word"]): int(row["code"]) for row in rows}
        for number, pair in enumerate(words):
            found.setdefault(pair, -2 - number)
        return found


def open_coded(session: Session, folder: Path, files: Mapping[str, list[str]]) -> CodedRows | None:
    """The coded rows for a snapshot of these files and the hot rows that ``session`` holds; None: of no use here."""
    edition = read_pointer(folder)
    # Hot rows of other tables than events stand in no file at all.
    if edition is None or any(map(is_patch, files.get("events", ()))):
        return None
    current, extra = _compare(edition, files)
    hot = session.query("SELECT * FROM hot_events") if "events" in session.list_hot() else None
    if current is None or not _attach(session, folder / edition.file):
        return None
    rows = session.query("SELECT name, n, first_at, last_at FROM coded.months ORDER BY name").to_pylist()
    months = [Month(row["name"], row["n"], row["first_at"], row["last_at"]) for row in rows]
    kept = tuple(month for month in months if month.name in current)
    left = count_rows([folder / path for path in extra]) + (hot.num_rows if hot is not None else 0)
    if left > max(MOST_EXTRA_SHARE * sum(month.rows for month in kept), 1) or left > MOST_EXTRA:
        return None
    if left:
        table = replace(TABLES["events"], name=EXTRA)
        session.hold(table, hot)
        session.show(table, extra)
    counts = session.query("SELECT name, code, n FROM coded.month_names").to_pylist()
    names: dict[int, int] = {}
    for row in counts:
        if row["name"] in current:
            names[row["code"]] = names.get(row["code"], 0) + row["n"]
    people = int(session.query("SELECT COUNT(*) AS n FROM coded.numbers")["n"][0].as_py())
    parts = list_parts(files)
    has_orders = edition.parts.get("order_lines") == parts["order_lines"] and (
        "order_lines" not in session.list_hot()
    )
    has_tags = edition.parts.get("tags") == parts["tags"] and "tags" not in session.list_hot()
    return CodedRows(session, kept, people, names, has_orders, bool(left), has_tags)


def _compare(edition: Edition, files: Mapping[str, list[str]]) -> tuple[set[str] | None, list[str]]:
    """The months that are read coded, and the files of events whose rows are not in them; None: no month is."""
    parts = list_parts(files)
    known: set[str] = set()
    extra: list[str] = []
    for name, text in parts.items():
        if MONTH_TABLE.fullmatch(name) is None:
            continue
        paths, identities = _split(text)
        before, identities_then = _split(edition.parts.get(name, ";" + identities))
        if identities == identities_then and before and before <= paths:
            known.add(name)
            extra += sorted(paths - before)
        else:
            extra += sorted(paths)
    return (known or None), extra


def _split(text: str) -> tuple[set[str], str]:
    paths, _, identities = text.partition(";")
    return set(filter(None, paths.split(","))), identities


def _attach(session: Session, path: Path) -> bool:
    """Whether the edition could be opened: a newer one may have taken its place just now, or it may be torn."""
    try:
        session.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS coded (READ_ONLY)")
        for name in DICTIONARIES:
            session.query(f"SELECT COUNT(*) AS n FROM coded.{name}")
    except duckdb.Error:
        return False
    return True
