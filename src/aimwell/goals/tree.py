"""The tree under a goal: its drivers, what each must do, and the campaigns that serve it, with what is left over.

Reads order_lines, products, deliveries, plans, segment_members; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Literal, TypeAlias

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.audience import count_shared
from aimwell.goals.company import CompanyGoal, Measure, make_tree
from aimwell.goals.drivers import (
    Node,
    find_parts,
    find_slopes,
    find_value,
    reach_alone,
    reach_together,
    round_parts,
)
from aimwell.goals.goal import Goal
from aimwell.goals.kept import AnyGoal, list_children
from aimwell.goals.measures import (
    Activity,
    Swing,
    list_windows,
    measure_swings,
    read_activity,
    read_period,
)
from aimwell.goals.worth import Worth, choose_measure, find_worth

SHORT = 28
"""Days of the windows that tell how drivers usually change, where those of the goal's length are too few."""
LEAST_CHANGES = 3

Split: TypeAlias = "Literal['swing', 'equal'] | Mapping[str, float]"


@dataclass(frozen=True)
class Driver:
    """One node. ``alone``: the value at which it reaches the goal by itself; ``together``: its value in the split.

    ``part``: its amount of the goal in the split; ``last_part``: of the baseline's difference from the window before.
    """

    node: Node
    depth: int
    baseline: float
    swing: Swing
    alone: float | None
    together: float
    share: float
    part: Decimal
    last_part: Decimal | None

    @property
    def swings_alone(self) -> float | None:
        """How many of its usual changes reaching the goal alone would be."""
        if self.alone is None or not self.swing.relative or not self.baseline:
            return None
        return abs(self.alone / self.baseline - 1) / self.swing.relative


@dataclass(frozen=True)
class Drivers:
    """All nodes of a company's goal, in reading order."""

    rows: tuple[Driver, ...]
    baseline: Decimal
    """The total as the data say today; the kept goal has what they said when it was set."""
    wanted: Decimal
    windows: int
    """From how many windows it is known how drivers usually change, and their length in days."""
    window_days: int
    parted: bool
    """Whether active customers could be parted into retained, won back and new."""


@dataclass(frozen=True)
class Campaign:
    """A goal that serves another: ``amount`` in the top's measure, given or found from its KPI (``worth``)."""

    goal: Goal
    amount: Decimal | None
    given: bool
    worth: Worth | None
    children: tuple[Campaign, ...]
    gap: Decimal | None
    """What of its own amount no campaign below it takes; None without any."""


@dataclass(frozen=True)
class Overlap:
    """Two campaigns that count the same customers in the same days."""

    one: str
    other: str
    customers: int


@dataclass(frozen=True)
class Tree:
    """A goal with everything below it; amounts in ``measure``. ``gap``: assigned to no campaign yet."""

    top: AnyGoal
    measure: Measure
    drivers: Drivers | None
    wanted: Decimal | None
    campaigns: tuple[Campaign, ...]
    gap: Decimal | None
    overlaps: tuple[Overlap, ...]


def grow_tree(
    reader: Queryable,
    top: AnyGoal,
    goals: Mapping[str, AnyGoal],
    *,
    margin_rate: float,
    split: Split = "swing",
) -> Tree:
    """The tree of ``top``; ``split``: shares by driver, all the same, or by what each driver usually moves."""
    measure = choose_measure(top)
    drivers, wanted = None, None
    if isinstance(top, CompanyGoal):
        drivers = break_down(reader, top, margin_rate=margin_rate, split=split)
        wanted = drivers.wanted
    else:
        own = _make_campaign(reader, top, goals, measure, margin_rate)
        wanted = own.amount
    campaigns = tuple(
        _make_campaign(reader, child, goals, measure, margin_rate) for child in list_children(goals, top.name)
    )
    return Tree(
        top,
        measure,
        drivers,
        wanted,
        campaigns,
        None if wanted is None else wanted - _add_up(campaigns),
        tuple(_find_overlaps(reader, list_children(goals, top.name))),
    )


def break_down(
    reader: Queryable, goal: CompanyGoal, *, margin_rate: float, split: Split = "swing"
) -> Drivers:
    """The drivers of a company's goal; BadInput when the split cannot be done."""
    first, _ = read_period(reader, with_revenue=goal.measure != "orders")
    window = goal.baseline_window
    history = _read_history(reader, window, first, margin_rate)
    usual = history
    if len(history) <= LEAST_CHANGES and window.days > SHORT:
        usual = _read_history(reader, Window.before(window.end, SHORT), first, margin_rate)
    # Without a whole window before it, everybody of the baseline would look new.
    parted = window.start - timedelta(days=window.days) >= first
    root = make_tree(goal.measure, by_history=parted)
    now = history[-1].leaves()
    total = history[-1].total(goal.measure)
    wanted = goal.target_amount - total
    swings = measure_swings(root, usual)
    target = find_value(root, now) + float(wanted)
    shares = _choose_shares(root, now, swings, split)
    alone, later = reach_alone(root, now, target), reach_together(root, now, target, shares)
    parts = _round_tree(root, find_parts(root, now, later), wanted)
    last = _explain_last(root, history, goal.measure)
    weights = {node.name: sum(shares.get(leaf.name, 0.0) for leaf in node.leaves()) for node in root.walk()}
    rows = tuple(
        Driver(
            node,
            depth,
            find_value(node, now),
            swings[node.name],
            alone.get(node.name) if node.kind == "leaf" else None,
            find_value(node, later),
            weights[node.name],
            parts[node.name],
            None if last is None else last[node.name],
        )
        for node, depth in _walk(root)
    )
    return Drivers(rows, total, wanted, len(usual), usual[-1].window.days, parted)


def _read_history(reader: Queryable, newest: Window, first: date, margin_rate: float) -> list[Activity]:
    windows = list_windows(newest, first)
    return [read_activity(reader, past, margin_rate=margin_rate) for past in windows]


def _walk(node: Node, depth: int = 0) -> list[tuple[Node, int]]:
    return [(node, depth)] + [pair for child in node.children for pair in _walk(child, depth + 1)]


def _round_tree(root: Node, parts: Mapping[str, float], total: Decimal) -> dict[str, Decimal]:
    """Cents at every node that add up to their parent's, and the top's to ``total``."""
    found = {root.name: total}
    for node in root.walk():
        found |= round_parts({child.name: parts[child.name] for child in node.children}, found[node.name])
    return found


def _explain_last(root: Node, history: Sequence[Activity], measure: Measure) -> dict[str, Decimal] | None:
    if len(history) < 2:
        return None
    earlier, later = history[-2], history[-1]
    parts = find_parts(root, earlier.leaves(), later.leaves())
    return _round_tree(root, parts, later.total(measure) - earlier.total(measure))


def _choose_shares(
    root: Node, now: Mapping[str, float], swings: Mapping[str, Swing], split: Split
) -> Mapping[str, float]:
    if not isinstance(split, str):
        return split
    # A driver that is 0 cannot grow by a factor; costs are no lever to plan on.
    leaves = [leaf for leaf in root.leaves() if leaf.sign > 0 and now[leaf.name] > 0]
    if not leaves:
        raise BadInput(
            "goals.nothing_to_raise",
            say("All drivers are 0 in the baseline, so none can be raised."),
            remedy=say("Choose a window in which there were orders."),
        )
    slopes = find_slopes(root, now)
    worth = {
        leaf.name: abs(slopes[leaf.name] * now[leaf.name]) * (swings[leaf.name].relative or 0.0)
        for leaf in leaves
    }
    total = sum(worth.values())
    if split == "equal" or not total:
        return {leaf.name: 1 / len(leaves) for leaf in leaves}
    return {name: value / total for name, value in worth.items()}


def _make_campaign(
    reader: Queryable, goal: Goal, goals: Mapping[str, AnyGoal], measure: Measure, margin_rate: float
) -> Campaign:
    worth = find_worth(reader, goal, measure, margin_rate=margin_rate)
    found = None if worth is None else worth.amount
    amount = found if goal.amount is None else goal.amount
    children = tuple(
        _make_campaign(reader, child, goals, measure, margin_rate)
        for child in list_children(goals, goal.name)
    )
    gap = None if amount is None or not children else amount - _add_up(children)
    return Campaign(goal, amount, goal.amount is not None, worth, children, gap)


def _add_up(campaigns: Sequence[Campaign]) -> Decimal:
    return sum((campaign.amount or Decimal(0) for campaign in campaigns), Decimal(0))


def _find_overlaps(reader: Queryable, goals: Sequence[Goal]) -> list[Overlap]:
    found = []
    for one, other in combinations(goals, 2):
        by_day = "customers" in (one.definition.kind, other.definition.kind)
        if by_day or not _meet(one.window, other.window):
            continue
        shared = count_shared(reader, one.segment, other.segment)
        if shared:
            found.append(Overlap(one.name, other.name, shared))
    return found


def _meet(one: Window, other: Window) -> bool:
    return one.start < other.end and other.start < one.end


def describe_gap(wanted: Decimal, gap: Decimal, shown: str) -> Text:
    """The sentence on what is left; ``shown``: the gap's size as people write it."""
    if gap == 0:
        return say("All of the goal is assigned to campaigns.")
    if (gap > 0) == (wanted > 0):
        return say("{amount} of the goal is assigned to no campaign yet.", amount=shown)
    return say("The campaigns aim at {amount} more than the goal.", amount=shown)
