"""What messages say about people: attributes into ``customers``, evidence of identity into ``identifiers``.

Attributes come with identify and group, evidence with every message that names a user and an anonymous visitor.
They wait as hot rows (table ``event_profiles`` of the store's batches) until ``merge_profiles`` brings them in, in
one run. Reads ``customers`` and ``identifiers``; writes both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import sqlalchemy as sa

from aimwell.core.tables import CUSTOMERS, IDENTIFIERS
from aimwell.core.time import business_day, now
from aimwell.engine.hot_tables import HOT_BATCHES
from aimwell.engine.manifest import decode_batches
from aimwell.engine.workspace import Run, Workspace

PROFILES = "event_profiles"
PROFILE_SCHEMA = pa.schema([(name, pa.string()) for name in ("kind", "record_id", "name", "value", "source")])
MOST_TRAITS = 200
"""Columns that events may add to customers; the rest stays in the events' properties."""
_NEW_IDENTIFIERS = """\
SELECT DISTINCT record_id, kind, value, TRUE AS usable, source, $run_id AS run_id
FROM waiting AS w
WHERE kind = 'anonymous' AND NOT EXISTS (
    SELECT 1
    FROM identifiers AS i
    WHERE i.record_id = w.record_id AND i.kind = w.kind AND i.value = w.value AND i.source = w.source
)
ORDER BY record_id, kind, value, source"""


def merge_profiles(workspace: Workspace) -> int:
    """Bring in what waits; returns how many rows waited. Repeating it after a crash gives the same tables."""
    if not _list_waiting(workspace):
        return 0
    with workspace.run("events", as_of=business_day(now(), workspace.settings.business.zone)) as run:
        # Read once the run has begun: an erasure after this lets the run fail, one before it is seen here.
        found = _list_waiting(workspace)
        if not found:
            return 0
        waiting = decode_batches([data for _, data in found])
        run.register("waiting", waiting)
        run.append("identifiers", run.query(_NEW_IDENTIFIERS, {"run_id": run.id}))
        _merge_traits(run, waiting)
    with workspace.store.begin() as connection:
        done = HOT_BATCHES.c.position <= found[-1][0]
        connection.execute(sa.delete(HOT_BATCHES).where(_MINE, done))
    return len(waiting)


def read_waiting(workspace: Workspace) -> list[dict[str, str]]:
    """What messages said about people and no table holds yet: kind, record_id, name, value and source."""
    found = _list_waiting(workspace)
    return decode_batches([data for _, data in found]).to_pylist() if found else []


_MINE = HOT_BATCHES.c.table_name == PROFILES


def _list_waiting(workspace: Workspace) -> list[tuple[int, bytes]]:
    with workspace.store.snapshot() as connection:
        query = sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.data).where(_MINE)
        rows = connection.execute(query.order_by(HOT_BATCHES.c.position))
        return [(position, data) for position, data in rows]


def _merge_traits(run: Run, waiting: pa.Table) -> None:
    """The newest value of every attribute goes to its customer; customers who are new get a row."""
    # SQL knows no difference of case in the names of columns.
    there = {
        name.lower(): name for name in run.query("SELECT * FROM delivered_customers LIMIT 0").column_names
    }
    values: dict[str, dict[str, str]] = {}
    sources: dict[str, str] = {}
    new: list[str] = []
    for row in waiting.to_pylist():
        if row["kind"] != "trait":
            continue
        name = find_column(row["name"])
        if name not in there and name not in new:
            if len(new) >= MOST_TRAITS:
                continue
            new.append(name)
        values.setdefault(row["record_id"], {})[name] = row["value"]
        sources[row["record_id"]] = row["source"]
    if values:
        names = list(dict.fromkeys(name for row in values.values() for name in row))
        columns: dict[str, list[str | None]] = {
            name: [row.get(name) for row in values.values()] for name in names
        }
        columns |= {"customer_id": [*values], "source": [*sources.values()]}
        run.register(
            "patches", pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
        )
        run.replace("customers", run.query(_render_merged(there, names)))


def _render_merged(there: Mapping[str, str], names: Sequence[str]) -> str:
    """Customers with their patches; what is told now replaces what was known."""
    chosen = [f"COALESCE(c.{name}, p.{name}) AS {name}" for name in ("customer_id", "source")]
    for lower, name in there.items():
        if lower in names:
            chosen.append(f"COALESCE(p.{_quote(lower)}, CAST(c.{_quote(name)} AS VARCHAR)) AS {_quote(name)}")
        elif lower not in ("customer_id", "source"):
            chosen.append(f"c.{_quote(name)}")
    chosen += [f"p.{_quote(name)}" for name in names if name not in there]
    return (
        f"SELECT {', '.join(chosen)} FROM delivered_customers AS c"
        " FULL OUTER JOIN patches AS p ON p.customer_id = c.customer_id"
        " ORDER BY COALESCE(c.customer_id, p.customer_id)"
    )


def find_column(name: str) -> str:
    """The attribute that a trait becomes: those that have a meaning of their own are not overwritten by accident."""
    taken = {"customer_id", "source"}
    return f"trait_{name}" if name in taken else _SAME.get(name, name)


_SAME = {
    "phone_number": "phone",
    "mobile": "phone",
    "mail": "email",
    "state": "region",
    "address_state": "region",
}
assert set(_SAME.values()) <= {column.name for column in CUSTOMERS.columns}
assert IDENTIFIERS.key == ("record_id", "kind", "value", "source")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
