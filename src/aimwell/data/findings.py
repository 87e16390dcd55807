"""What a check found, in the form of the table ``quality``.

Reads and writes nothing itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from aimwell.core.text import Text
from aimwell.data.checks import Wall, Words
from aimwell.data.titles import name_column
from aimwell.engine.session import Queryable

EVERYWHERE = "all"
"""The source of checks that look at all sources together."""


_DRAWN = 2_000_000
_SIMULATED = ("order_lines", "events")
"""The tables of this step in which rows can be simulated."""


@dataclass(frozen=True)
class Finding:
    """One row of ``quality`` before it has a run. ``finding`` says it in words."""

    source: str
    table: str
    column: str | None
    wall: Wall
    check: str
    affected: int
    total: int
    examples: tuple[str, ...]
    finding: Words
    remedy: Text
    warning: float
    error: float
    about: str = ""
    """Keeps findings of one column and check apart: the file."""

    @property
    def severity(self) -> str:
        """By the share of rows that fail."""
        if self.affected == 0:
            return "ok"
        share = self.affected / max(1, self.total)
        return "error" if share >= self.error else "warning" if share >= self.warning else "notice"

    def _tell(self) -> Text:
        """In words, with a declared column as people call it; rows set aside name the column of their own file."""
        column = self.column or ""
        told = self.finding(self.affected, self.total, column)
        title = None if self.check.startswith("rejected_") else name_column(self.table, column)
        return told if title is None else _name_in(told, column, title)

    def to_row(self, run_id: str) -> dict[str, Any]:
        """As it stands in the table."""
        key = "\x1f".join([self.source, self.table, self.column or "", self.check, self.about])
        return {
            "check_id": hashlib.sha256(key.encode()).hexdigest()[:24],
            "source": self.source,
            "table_name": self.table,
            "column_name": self.column,
            "wall": self.wall,
            "check_name": self.check,
            "severity": self.severity,
            "affected": self.affected,
            "total": self.total,
            "examples": json.dumps(list(self.examples), ensure_ascii=False),
            "finding": self._tell().to_json(),
            "remedy": self.remedy.to_json() if self.affected else None,
            "run_id": run_id,
        }


def _name_in(told: Text, column: str, title: Text) -> Text:
    named = (("column", column), ("column", title))
    return replace(told, parameters=tuple(named[1] if one == named[0] else one for one in told.parameters))


def ask(reader: Queryable, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows of a small answer."""
    return list(reader.query(sql, parameters).to_pylist())


def delivered(table: str) -> str:
    """``table`` to be read from, without what the market simulator made: a report judges what sources delivered."""
    return f"(SELECT * FROM {table} WHERE NOT simulated) AS {table}" if table in _SIMULATED else table


def draw_share(reader: Queryable, table: str) -> str:
    """A condition by which about two million rows of ``table`` are drawn, those of whole customers; all of fewer.

    For figures that a share tells as well as the whole: quantiles cost more than all other figures together.
    """
    rows = int(ask(reader, f"SELECT count(*) AS rows FROM {table}")[0]["rows"])
    parts = max(1, rows // _DRAWN)
    return f"hash(customer_id) % {parts} = 0" if parts > 1 else "true"
