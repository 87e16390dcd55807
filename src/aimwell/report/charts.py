"""Charts as data: what is drawn, without a word on how.

A chart is a frozen dataclass; ``to_dict`` is what ``report.js`` turns into ECharts options in the reader's
language, and ``tabulate`` the same figures as a table for those who would rather read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from aimwell.core.text import say
from aimwell.report.figures import NONE, Unit, show, show_interval
from aimwell.report.markup import Both, make_both
from aimwell.report.reading import Figure

Rows = list[list[Both]]
MAX_TABLE_ROWS = 60


class Chart(Protocol):
    """What a card can hold."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""

    def to_dict(self) -> dict[str, Any]:
        """For the script."""

    def tabulate(self, currency: str) -> tuple[list[Both], Rows]:
        """Headings and rows."""


@dataclass(frozen=True)
class Axis:
    """What a direction measures."""

    title: Both
    unit: Unit
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Line:
    """Points joined by a line; ``tone`` is a colour role, or empty for the palette's next colour."""

    name: Both
    points: Sequence[tuple[float, ...]]
    tone: str = ""
    dashed: bool = False
    dots: bool = False
    area: bool = False


@dataclass(frozen=True)
class Band:
    """An interval along a line: (x, lower, upper)."""

    name: Both
    points: Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class Mark:
    """One point with its name, such as today's plan on the frontier."""

    x: float
    y: float
    name: Both
    tone: str = "accent"


@dataclass(frozen=True)
class Curves:
    """Lines, bands and marks over two measured axes."""

    x: Axis
    y: Axis
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()
    kind: ClassVar[str] = "curves"

    @property
    def empty(self) -> bool:
        """Whether no line has two points."""
        return not any(len(line.points) > 1 for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """For the script."""
        return {"kind": self.kind, **asdict(self)}

    def tabulate(self, currency: str) -> tuple[list[Both], Rows]:
        """One row a point; the interval beside it where a band holds the same place."""
        bands = {point[0]: point for band in self.bands for point in band.points}
        head = [make_both(say("Series")), self.x.title, self.y.title]
        rows = [
            [line.name, *(show(v, a.unit, currency) for v, a in zip(point, (self.x, self.y), strict=False))]
            for line in self.lines
            for point in line.points
        ]
        if bands:
            head.append(make_both(say("95% interval")))
            places = [point[0] for line in self.lines for point in line.points]
            for row, place in zip(rows, places, strict=True):
                found = bands.get(place)
                figure = Figure(0, found[1], found[2]) if found else Figure(0)
                row.append(show_interval(figure, self.y.unit, currency) if found else NONE)
        return head, rows


@dataclass(frozen=True)
class BarSeries:
    """One value a category; None leaves a gap."""

    name: Both
    values: Sequence[float | None]
    tone: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars by category, lying by default so that long names can be read; stacked where asked."""

    categories: Sequence[Both]
    series: Sequence[BarSeries]
    axis: Axis
    stacked: bool = False
    kind: ClassVar[str] = "bars"

    @property
    def empty(self) -> bool:
        """Whether there is no category with a value."""
        return not any(value is not None for series in self.series for value in series.values)

    def to_dict(self) -> dict[str, Any]:
        """For the script."""
        return {"kind": self.kind, **asdict(self)}

    def tabulate(self, currency: str) -> tuple[list[Both], Rows]:
        """One row a category, one column a series."""
        head = [make_both(say("Name")), *(series.name for series in self.series)]
        rows = [
            [name, *(show(series.values[at], self.axis.unit, currency) for series in self.series)]
            for at, name in enumerate(self.categories)
        ]
        return head, rows


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
                "tone": row.tone or {1: "gain", -1: "loss", 0: "quiet"}[row.figure.sense],
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


def thin_points(points: Sequence[tuple[float, ...]], most: int = 80) -> list[tuple[float, ...]]:
    """At most ``most`` points, evenly taken, first and last kept: a curve looks the same and weighs less."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(at * step)] for at in range(most)]


def is_rising(points: Sequence[tuple[float, ...]]) -> bool:
    """Whether x never falls: what a curve must be to be drawn as a line."""
    return all(before[0] <= after[0] for before, after in pairwise(points))
