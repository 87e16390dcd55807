"""What a check found, in the form of the table ``quality``.

Reads and writes nothing itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from aimwell.core.text import Text
from aimwell.data.checks import Wall, Words
from aimwell.engine.session import Queryable

EVERYWHERE = "all"
"""The source of checks that look at all sources together."""


_DRAWN = 2_000_000


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
            "finding": self.finding(self.affected, self.total, self.column or "").to_json(),
            "remedy": self.remedy.to_json() if self.affected else None,
            "run_id": run_id,
        }


def ask(reader: Queryable, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows of a small answer."""
    return list(reader.query(sql, parameters).to_pylist())


def draw_share(reader: Queryable, table: str) -> str:
    """A condition by which about two million rows of ``table`` are drawn, those of whole customers; all of fewer.

    For figures that a share tells as well as the whole: quantiles cost more than all other figures together.
    """
    rows = int(ask(reader, f"SELECT count(*) AS rows FROM {table}")[0]["rows"])
    parts = max(1, rows // _DRAWN)
    return f"hash(customer_id) % {parts} = 0" if parts > 1 else "true"
