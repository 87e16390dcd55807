"""Everything that a workspace knows about one person, in one file that other systems can read.

A ``.json`` file holds one object with a list per table; a ``.zip`` holds one JSON file per table. Rows stand as they
were delivered, of all joined records. Reads every table and the store; writes the file, having brought in what
messages said about people a moment ago (``data.event_profiles``).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.tables import ALL_TABLES
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.data.erasure_store import list_person_tables
from aimwell.data.event_profiles import PROFILES, merge_profiles, read_waiting
from aimwell.data.findings import ask
from aimwell.data.person import Person, bind_records, build_patterns, list_person_columns, read_person
from aimwell.data.scratch import literal
from aimwell.engine.session import Queryable
from aimwell.engine.views import name_stored
from aimwell.engine.workspace import Workspace

_TRIES, _PAUSE = 20, 0.25
"""For so many turns, this many seconds apart, another process is left to finish."""


def export_person(workspace: Workspace, customer_id: str, out: Path) -> dict[str, Any]:
    """Write ``out`` (.json or .zip) and return how many rows of each table it holds.

    BadInput when nobody is known under the number, when ``out`` has another ending, or cannot be written.
    """
    if out.suffix.lower() not in (".json", ".zip"):
        raise BadInput(
            "data.export_format",
            say("The export is written as .json or .zip, not as '{suffix}'.", suffix=out.suffix),
            remedy=say("Choose a file that ends in .json or .zip."),
            where={"file": str(out)},
        )
    _bring_in(workspace)
    with workspace.read() as reader:
        person = read_person(reader, customer_id)
        tables = dict(_read_tables(reader, person))
    tables |= dict(_read_store(workspace, person))
    tables = {name: rows for name, rows in tables.items() if rows}
    rows = {name: len(listed) for name, listed in tables.items()}
    about = {
        "customer_id": person.customer_id,
        "records": list(person.records),
        "business": workspace.settings.business.name,
        "exported_at": now().isoformat(timespec="seconds"),
        "rows": rows,
    }
    _write(out, about, tables)
    detail = {"customer_id": person.customer_id, "rows": sum(rows.values())}
    workspace.store.audit("person.exported", out.suffix, detail)
    return {**about, "file": str(out)}


def _bring_in(workspace: Workspace) -> None:
    """Let what messages said about people a moment ago stand in the tables: it may tell more records of the person."""
    for _ in range(_TRIES):
        try:
            merge_profiles(workspace)
            return
        except Conflict:
            # The worker does the same, or somebody loads customers; what still waits at the end is told as it is.
            time.sleep(_PAUSE)


def _read_tables(reader: Queryable, person: Person) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    bound, listed = bind_records(person.records)
    for table in ALL_TABLES:
        columns = list_person_columns(table)
        if columns:
            who = " OR ".join(f"{column} IN ({listed})" for column in columns)
            order = ", ".join(table.key) or "1"
            yield (
                table.name,
                ask(reader, f"SELECT * FROM {name_stored(table.name)} WHERE {who} ORDER BY {order}", bound),
            )
        elif table.name == "rejects":
            yield table.name, _read_rejects(reader, person)


def _read_rejects(reader: Queryable, person: Person) -> list[dict[str, Any]]:
    tests = [
        f"coalesce(regexp_matches({column}, {literal(pattern)}), FALSE)"
        for column in ("record", "value")
        for pattern, _ in build_patterns(person)
    ]
    where = " OR ".join(tests) or "FALSE"
    return ask(reader, f"SELECT * FROM rejects WHERE {where} ORDER BY source, file, row_number, reject_id")


def _read_store(workspace: Workspace, person: Person) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with workspace.store.snapshot() as connection:
        for table, column in list_person_tables():
            query = sa.select(table).where(column.in_(person.records))
            rows = [dict(row) for row in connection.execute(query).mappings()]
            yield f"store_{table.name}", rows
    yield PROFILES, [row for row in read_waiting(workspace) if row["record_id"] in person.records]


def _write(out: Path, about: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> None:
    opened = {name: [_open(row) for row in rows] for name, rows in tables.items()}
    if out.suffix.lower() == ".json":
        raw = _render({"about": about, **opened})
    else:
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("about.json", _render(about))
            for name, rows in opened.items():
                archive.writestr(f"{name}.json", _render(rows))
        raw = packed.getvalue()
    aside = out.with_name(f".{out.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise BadInput(
            "data.export_unwritable",
            say("The file {file} cannot be written.", file=str(out)),
            remedy=say("Choose a folder that exists and that you may write to."),
            where={"file": str(out)},
        ) from error


def _open(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` with its JSON columns as JSON instead of text."""
    return {name: _open_value(value) for name, value in row.items() if value is not None}


def _open_value(value: Any) -> Any:
    if isinstance(value, str) and re.match(r"\s*[\[{]", value):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _render(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2, default=_encode).encode()


def _encode(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else repr(value)
