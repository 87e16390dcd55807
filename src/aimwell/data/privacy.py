"""Erased people stay erased: the filter that loading asks (``engine.erased`` knows who they are).

Whoever asks to be erased must not come back with the next delivery of the same file, and whoever must not be contacted
must not become reachable under a new number. Reads ``erasures``; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.engine.erased import digest, read_digests
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Run

CONTACTS = ("email", "phone")


def filter_erased(run: Run, data: pa.Table) -> pa.Table:
    """``data`` (typed rows with a ``customer_id``, or none) without the rows of erased people.

    Contacts of erased people who must not be contacted are left empty in the rows of others. Costs nothing until
    somebody was erased.
    """
    if "customer_id" not in data.column_names:
        return data
    known = read_digests(run)
    if not known:
        return data
    secret = load_secret(run.warehouse_folder.parent)
    if known.get("record"):
        gone = find_erased(pc.unique(data["customer_id"]).to_pylist(), known["record"], "record", secret)
        if gone:
            data = data.filter(
                pc.invert(pc.is_in(data["customer_id"], pa.array(gone, data["customer_id"].type)))
            )
    for name in CONTACTS:
        if known.get(name) and name in data.column_names:
            data = _empty_contacts(data, name, known[name], secret)
    return data


def find_erased(values: Iterable[str | None], digests: set[str], kind: str, secret: bytes) -> list[str]:
    """Those of ``values`` whose digest is known."""
    return [value for value in values if value and digest(secret, kind, value) in digests]


def _empty_contacts(data: pa.Table, name: str, digests: set[str], secret: bytes) -> pa.Table:
    column = data[name]
    gone = find_erased(pc.unique(column).to_pylist(), digests, name, secret)
    if not gone:
        return data
    emptied = pc.if_else(pc.is_in(column, pa.array(gone, column.type)), pa.scalar(None, column.type), column)
    return data.set_column(data.column_names.index(name), name, emptied)


def filter_rejects(run: Run, rejects: pa.Table) -> pa.Table:
    """``rejects`` without the rows in which a cell is an erased person's record id, e-mail or phone."""
    known = read_digests(run)
    if not known or not rejects.num_rows:
        return rejects
    secret = load_secret(run.warehouse_folder.parent)
    judged: dict[str, bool] = {}
    kept = [
        not _mentions(json.loads(record), known, secret, judged) for record in rejects["record"].to_pylist()
    ]
    return rejects.filter(pa.array(kept, pa.bool_()))


def _mentions(
    record: dict[str, Any], known: dict[str, set[str]], secret: bytes, judged: dict[str, bool]
) -> bool:
    cells = [value for value in record.values() if isinstance(value, str) and value]
    for value in cells:
        if value not in judged:
            judged[value] = any(
                digest(secret, kind, value) in known.get(kind, ()) for kind in ("record", "trace")
            )
    return any(judged[value] for value in cells)
