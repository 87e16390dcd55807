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
    """An interval along a line: (x, lower, upper); ``tone`` is a colour role, or empty for the accent."""

    name: Both
    points: Sequence[tuple[float, ...]]
    tone: str = ""


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
        """One row a point; the interval beside it where a band holds the same place.

        As many bands as lines: each is its line's. Otherwise any band speaks for all lines.
        """
        shared = {point[0]: point for band in self.bands for point in band.points}
        own = [{point[0]: point for point in band.points} for band in self.bands]
        bands = own if len(own) == len(self.lines) else [shared] * len(self.lines)
        head = [make_both(say("Series")), self.x.title, self.y.title]
        rows = [
            [line.name, *(show(v, a.unit, currency) for v, a in zip(point, (self.x, self.y), strict=False))]
            for line in self.lines
            for point in line.points
        ]
        if shared:
            head.append(make_both(say("95% interval")))
            places = [(at, point[0]) for at, line in enumerate(self.lines) for point in line.points]
            for row, (at, place) in zip(rows, places, strict=True):
                found = bands[at].get(place)
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


def thin_points(points: Sequence[tuple[float, ...]], most: int = 80) -> list[tuple[float, ...]]:
    """At most ``most`` points, evenly taken, first and last kept: a curve looks the same and weighs less."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(at * step)] for at in range(most)]


def is_rising(points: Sequence[tuple[float, ...]]) -> bool:
    """Whether x never falls: what a curve must be to be drawn as a line."""
    return all(before[0] <= after[0] for before, after in pairwise(points))
