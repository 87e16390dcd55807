"""Prints docs/tables.md from ``core.tables``: ``make docs``."""

from __future__ import annotations

from aimwell.core.tables import ALL_TABLES, Column, Table

HEAD = """\
# The tables that the steps hand over

Printed by `make docs` from `src/aimwell/core/tables.py`, where they are declared; a test holds the two
together. Each hand-over is checked against this: types, required values, value sets, keys.

Types: text; integer (64 bits); real (double precision); money (decimal, two places); boolean; date (the
business's calendar); instant (UTC, microseconds); json; message (a text in every language, with its values).
"""


def print_tables() -> str:
    """The whole page as Markdown."""
    index = [f"- [`{table.name}`](#{table.name}): {table.meaning}" for table in ALL_TABLES]
    return "\n".join([HEAD, *index, "", *(_print_table(table) for table in ALL_TABLES)])


def _print_table(table: Table) -> str:
    facts = [f"Written by {table.writer}; read by {', '.join(table.readers)}."]
    key = ", ".join(f"`{name}`" for name in table.key)
    facts.append(f"Key: {key}." if key else "No key: rows may repeat.")
    if table.open_columns:
        facts.append("More columns may stand in it.")
    if table.month_column:
        facts.append(f"Kept in one file for each month of `{table.month_column}`.")
    rows = [_print_column(column) for column in table.columns]
    head = ["| column | type | required | meaning |", "|---|---|---|---|"]
    meaning = table.meaning[0].upper() + table.meaning[1:]
    return "\n".join([f"## {table.name}", "", f"{meaning}.", "", " ".join(facts), "", *head, *rows, ""])


def _print_column(column: Column) -> str:
    values = f" One of: {', '.join(f'`{value}`' for value in column.one_of)}." if column.one_of else ""
    required = "yes" if column.required else ""
    return f"| `{column.name}` | {column.type.value} | {required} | {column.meaning}.{values} |"


if __name__ == "__main__":
    print(print_tables(), end="")
