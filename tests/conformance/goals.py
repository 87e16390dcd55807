"""What goals ask of every engine: drivers' values in a window, and how each figure grew in a few windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from aimwell.core.time import Window
from aimwell.engine.workspace import Reader
from aimwell.goals.company import MEASURES, CompanyGoal
from aimwell.goals.curves import read_curves
from aimwell.goals.goal import Goal
from aimwell.goals.measures import read_activity
from aimwell.goals.metrics import METRICS
from tests.conformance.world import AS_OF

DAYS = 28
START = AS_OF - timedelta(days=14)
LOOKING_BACK = ("retention_rate", "reactivation_rate", "new_customers_per_day")
SEGMENTED = ("revenue_per_customer", "reactivation_rate")


def list_goal_questions() -> Iterator[tuple[str, Callable[[Reader], Any]]]:
    """The questions by name."""
    for segment in (None, "friends"):
        yield f"drivers of {segment}", partial(_ask_activity, segment)
        for metric in METRICS:
            if segment is None or metric in SEGMENTED:
                goal = Goal("g", metric, START, DAYS, Decimal(0), 0.05, segment=segment)
                yield f"path of {metric} of {segment}", partial(_ask_curves, goal)
    for measure in MEASURES:
        company = CompanyGoal("c", measure, START, DAYS, START, Decimal(1), Decimal(2))
        yield f"path of the total {measure}", partial(_ask_curves, company)


def _ask_activity(segment: str | None, reader: Reader) -> Any:
    found = read_activity(reader, Window.before(AS_OF, DAYS), margin_rate=0.3, segment=segment)
    return {
        "leaves": {**found.leaves()},
        "parts": [(part.part, part.customers, part.orders, part.revenue) for part in found.parts],
        "totals": [found.total(measure) for measure in MEASURES if measure != "contribution"],
    }


def _ask_curves(goal: Goal | CompanyGoal, reader: Reader) -> Any:
    # Nobody is in the segment: past windows are asked for, the goal's own would be refused.
    until = START if isinstance(goal, Goal) and goal.segment is not None else AS_OF
    # Two past windows; some KPIs need as many days again before each.
    back = isinstance(goal, Goal) and goal.metric in LOOKING_BACK
    first = START - timedelta(days=21 + DAYS * back)
    curves = read_curves(reader, goal, first=first, until=until, margin_rate=0.3)
    return {
        "so_far": list(curves.so_far),
        "starts": curves.past.starts.tolist(),
        "past": curves.past.values.tolist(),
    }
