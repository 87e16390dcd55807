"""The identifiers of every record in their normal form, and which of them may join records.

Reads ``delivered_customers`` and ``identifiers`` (for kinds that other sources wrote, such as anonymous ids); gives
rows for ``identifiers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.tables import IDENTIFIERS
from aimwell.data.identity.fields import IDENTIFIERS as KINDS
from aimwell.data.identity.fields import find_fields
from aimwell.data.identity.limits import Limits
from aimwell.data.identity.normalise import (
    normalise_email,
    normalise_id_number,
    normalise_key,
    normalise_member,
    normalise_phone,
)
from aimwell.engine.session import Queryable


@dataclass(frozen=True)
class Refused:
    """An identifier that joins nobody: how many records have it, and whether it is blocked or shared by too many."""

    kind: str
    value: str
    records: int
    blocked: bool


def read_identifiers(reader: Queryable, limits: Limits, run_id: str) -> pa.Table:
    """Rows for the table ``identifiers``, sorted; ``usable`` says whether the value may join records."""
    customers = reader.query("SELECT * FROM delivered_customers ORDER BY customer_id")
    records = customers["customer_id"].to_pylist()
    sources = customers["source"].to_pylist()
    rows: dict[tuple[str, str, str, str], None] = {}
    for field in find_fields(customers.column_names):
        if field.role not in KINDS:
            continue
        texts = customers[field.column].cast(pa.string())
        known = {
            value: _normalise(field.role, value, limits.region)
            for value in pc.unique(texts).to_pylist()
            if value
        }
        for record, source, value in zip(records, sources, texts.to_pylist(), strict=True):
            normal = known.get(value)
            if normal:
                rows[(record, field.kind, normal, source)] = None
    ours = {kind for _, kind, _, _ in rows} | set(KINDS)
    for row in reader.query("SELECT record_id, kind, value, source FROM identifiers").to_pylist():
        if row["kind"] not in ours and not row["kind"].startswith("openid:"):
            rows[(row["record_id"], row["kind"], row["value"], row["source"])] = None
    sharers = count_sharers([(record, kind, value) for record, kind, value, _ in rows])
    usable = {
        key: not limits.is_blocked(*key) and number <= limits.most_of(key[0])
        for key, number in sharers.items()
    }
    ordered = sorted(rows)
    columns = list(zip(*ordered, strict=True)) if ordered else [(), (), (), ()]
    table = pa.table(
        {
            "record_id": pa.array(columns[0], pa.string()),
            "kind": pa.array(columns[1], pa.string()),
            "value": pa.array(columns[2], pa.string()),
            "usable": pa.array([usable[(row[1], row[2])] for row in ordered], pa.bool_()),
            "source": pa.array(columns[3], pa.string()),
            "run_id": pa.array([run_id] * len(ordered), pa.string()),
        }
    )
    return IDENTIFIERS.validate(table)


def count_sharers(rows: list[tuple[str, str, str]]) -> dict[tuple[str, str], int]:
    """(kind, value) → how many records have it; ``rows`` are (record, kind, value)."""
    return dict(Counter((kind, value) for _, kind, value in set(rows)))


def list_refused(identifiers: pa.Table, limits: Limits) -> list[Refused]:
    """The identifiers that two or more records have and that join nobody, most shared first."""
    rows = [
        (row["record_id"], row["kind"], row["value"])
        for row in identifiers.filter(pc.invert(identifiers["usable"])).to_pylist()
    ]
    found = [
        Refused(kind, value, number, limits.is_blocked(kind, value))
        for (kind, value), number in count_sharers(rows).items()
        if number > 1
    ]
    return sorted(found, key=lambda one: (-one.records, one.kind, one.value))


def _normalise(role: str, value: str, region: str) -> str | None:
    if role == "phone":
        return normalise_phone(value, region)
    return _NORMAL[role](value)


_NORMAL: dict[str, Callable[[str], str | None]] = {
    "email": normalise_email,
    "id_number": normalise_id_number,
    "member": normalise_member,
    "openid": normalise_key,
    "unionid": normalise_key,
    "device": normalise_key,
}
