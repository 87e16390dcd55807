"""Effects with their intervals, as a forest of rows or as columns in time order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from aimwell.core.text import say
from aimwell.report.charts import Axis, Rows
from aimwell.report.figures import NONE, find_tone, show, show_interval
from aimwell.report.markup import Both, make_both
from aimwell.report.reading import Figure


@dataclass(frozen=True)
class ForestRow:
    """One effect: the figure, and where known the truth (simulated) or what had been promised."""

    name: Both
    figure: Figure
    truth: float | None = None
    promised: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Forest:
    """Estimates with their intervals around a zero line; ``upright`` draws them as columns, in time order."""

    rows: Sequence[ForestRow]
    axis: Axis
    upright: bool = False
    kind: ClassVar[str] = "forest"

    @property
    def empty(self) -> bool:
        """Whether there is no row."""
        return not self.rows

    def to_dict(self) -> dict[str, Any]:
        """For the script; each row carries whether it is proven."""
        rows = [
            {
                "name": asdict(row.name),
                "estimate": row.figure.estimate,
                "lower": row.figure.lower,
                "upper": row.figure.upper,
                "n": row.figure.n,
                "truth": row.truth,
                "promised": row.promised,
                "tone": row.tone or find_tone(row.figure),
            }
            for row in self.rows
        ]
        return {"kind": self.kind, "upright": self.upright, "axis": asdict(self.axis), "rows": rows}

    def tabulate(self, currency: str) -> tuple[list[Both], Rows]:
        """Estimate, interval, n; truth and promise where any row has one."""
        head = [make_both(say("Name")), make_both(say("Estimate")), make_both(say("95% interval"))]
        head.append(Both("n", "n"))
        extras = []
        if any(row.truth is not None for row in self.rows):
            extras.append(("truth", make_both(say("Truth (simulated)"))))
        if any(row.promised is not None for row in self.rows):
            extras.append(("promised", make_both(say("Promised"))))
        rows = [self._tabulate_row(row, [name for name, _ in extras], currency) for row in self.rows]
        return head + [title for _, title in extras], rows

    def _tabulate_row(self, row: ForestRow, extras: list[str], currency: str) -> list[Both]:
        unit, figure = self.axis.unit, row.figure
        size = NONE if figure.n is None else show(figure.n, "count", currency)
        cells = [row.name, show(figure.estimate, unit, currency), show_interval(figure, unit, currency), size]
        return cells + [show(getattr(row, name), unit, currency) for name in extras]
