"""What a person confirmed for a source, so that the next file of that source is not asked about again.

Reads and writes the store's definitions of the kind ``mapping``, by source and table.
"""

from __future__ import annotations

from dataclasses import dataclass

from aimwell.data.mapping import ROW, Confirmed, Mapping
from aimwell.engine.store import Store

KIND = "mapping"


@dataclass(frozen=True)
class Memory:
    """What was confirmed, with the answers that go with it: names given to a file without header, and so on."""

    confirmed: Confirmed
    header: tuple[str, ...] | None
    dates: str | None
    duplicates: str | None


def recall(
    store: Store, source: str, *, table: str | None, columns: tuple[str, ...] | None = None
) -> Memory | None:
    """What was confirmed for ``source``: of the same header if there is such, else of ``table`` or the only one."""
    found = [
        _read(body)
        for name, body in store.list_definitions(KIND).items()
        if name.rpartition("/")[0] == source and table in (None, body.get("table"))
    ]
    if columns is not None:
        same = [memory for memory in found if memory.confirmed.columns == columns]
        if same:
            return same[0]
        # Another header is the same kind of file only when most of it is still there.
        there = set(columns)
        found = [
            memory
            for memory in found
            if 2 * len(there & set(memory.confirmed.columns)) >= len(memory.confirmed.columns)
        ]
    return found[0] if len(found) == 1 else None


def remember(
    store: Store,
    source: str,
    mapping: Mapping,
    columns: tuple[str, ...],
    *,
    header: tuple[str, ...] | None,
    dates: str | None,
    duplicates: str | None,
) -> None:
    """Keep what was confirmed for ``source`` and the table."""
    choices = {match.field: _write_choice(match.column, match.constant) for match in mapping.matches}
    body = {
        "table": mapping.table,
        "columns": list(columns),
        "choices": choices,
        "header": list(header) if header else None,
        "dates": dates,
        "duplicates": duplicates,
    }
    store.save_definition(KIND, f"{source}/{mapping.table}", body)


def _write_choice(column: str | None, constant: str | None) -> str:
    if column is not None:
        return column
    return ROW if constant == ROW else f"={constant}"


def _read(body: dict[str, object]) -> Memory:
    header, columns, choices = body.get("header"), body["columns"], body["choices"]
    assert isinstance(columns, list) and isinstance(choices, dict)
    dates, duplicates = body.get("dates"), body.get("duplicates")
    return Memory(
        Confirmed(str(body["table"]), tuple(columns), choices),
        tuple(header) if isinstance(header, list) else None,
        str(dates) if dates else None,
        str(duplicates) if duplicates else None,
    )
