"""A map of squares, such as customers by recency and frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from aimwell.report.charts import Rows
from aimwell.report.figures import show
from aimwell.report.markup import Both


@dataclass(frozen=True)
class Cell:
    """One square of a map: column and row number from 0, its weight, and a second figure for the tool tip."""

    column: int
    row: int
    value: float
    money: float | None = None


@dataclass(frozen=True)
class Heat:
    """A map of squares, the darker the more customers."""

    columns: Sequence[Both]
    lines: Sequence[Both]
    cells: Sequence[Cell]
    x: Both
    y: Both
    value: Both
    money: Both
    kind: ClassVar[str] = "heat"

    @property
    def empty(self) -> bool:
        """Whether there is no square."""
        return not self.cells

    def to_dict(self) -> dict[str, Any]:
        """For the script."""
        return {"kind": self.kind, **asdict(self)}

    def tabulate(self, currency: str) -> tuple[list[Both], Rows]:
        """One row a square."""
        rows = [
            [
                self.columns[cell.column],
                self.lines[cell.row],
                show(cell.value, "count", currency),
                show(cell.money, "money", currency),
            ]
            for cell in self.cells
        ]
        return [self.x, self.y, self.value, self.money], rows
