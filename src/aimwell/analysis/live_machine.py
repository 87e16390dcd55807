"""Rules over events as state machines: what must be remembered of customers, and what follows from it.

A count remembers how many events fell on each business day, a sequence the events that can be one of its steps.
Both forget what no window can reach any more. Because days are kept and not totals, an event that arrives late
changes the state exactly as if it had come in time, and the machine always says what ``engine.compile_rules`` says
of the same events: that is a property test. All customers with news are decided together, column by column: a
sequence is a running maximum over rows in the order of customer and time. Pure functions; nothing is read or written.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any as AnyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aimwell.analysis.live_state import BEFORE_ALL, LEAVES, Counts, Deeds, find_places, find_starts
from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.rule import All, Any, Measured, Not, Rule, Sequence, Step
from aimwell.engine.specification import Aggregate, Condition, Window

COLUMNS = ("event_id", "name", "product_id", "campaign_id", "channel")
"""What conditions of a live rule may ask for."""
NEVER = np.int64(2**31 - 1)
"""The due day of whom time alone does not change."""
Flags = NDArray[np.bool_]
Whole = NDArray[np.int64]
_COMPARE: dict[str, Callable[[AnyType, AnyType], AnyType]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARROW = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_MOST_STEPS = 60
_SPAN = 22
_SHIFT = 1 << 20
"""Days are shifted to be positive and take this many bits, under those of the customer's place."""


@dataclass(frozen=True)
class CountLeaf:
    """How often an event happened, against a number."""

    rule: Measured
    conditions: tuple[Condition, ...]
    window: Window | None

    def holds(self, place: Whole, days: Whole, times: Whole, size: int, as_of: int) -> Flags:
        """Whether the count compares so, with what happened before day ``as_of``; shape (size,)."""
        ending = 0 if self.window is None else self.window.ending
        counts = days < as_of - ending
        if self.window is not None:
            counts &= days >= as_of - ending - self.window.days
        totals = np.bincount(place[counts], weights=times[counts], minlength=size)
        return np.asarray(_COMPARE[self.rule.operator](totals, self.rule.value), dtype=np.bool_)

    def list_edges(self) -> tuple[int, ...]:
        """So many days after a row the count changes by itself."""
        if self.window is None:
            return (1,)
        return (self.window.ending + 1, self.window.ending + self.window.days + 1)


@dataclass(frozen=True)
class SequenceLeaf:
    """Whether the steps were done one after the other, and what must not follow did not."""

    rule: Sequence

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps; what must stay away is the last."""
        without = self.rule.without
        return self.rule.steps if without is None else (*self.rule.steps, without)

    @property
    def window(self) -> Window | None:
        """Where the first step lies; nothing before it matters."""
        return self.rule.window

    def holds(self, place: Whole, days: Whole, bits: Whole, size: int, as_of: int) -> Flags:
        """Whether the sequence was done before day ``as_of``; shape (size,). Rows by place, instant and id.

        Only the gap to the step before is limited, so the latest day on which that was reached decides.
        """
        over = days < as_of
        place, days, bits = place[over], days[over], bits[over]
        base, day = place << _SPAN, days + _SHIFT
        window = self.rule.window
        reached = (bits & 1).astype(np.bool_)
        if window is not None:
            last = as_of - window.ending
            reached &= (days < last) & (days >= last - window.days)
        for number, step in enumerate(self.rule.steps[1:], 1):
            before = _find_latest_before(reached, base, day)
            near = before > 0
            if step.within is not None:
                near &= day - before <= step.within
            reached = near & (bits >> number & 1).astype(np.bool_)
        if self.rule.without is not None:
            within = self.rule.without.within
            ended = _find_next_after((bits >> len(self.rule.steps) & 1).astype(np.bool_), base, day)
            if within is None:
                reached &= ended == _NONE
            else:
                reached &= (days < as_of - within) & (ended - day > within)
        return np.bincount(place[reached], minlength=size) > 0

    def list_edges(self) -> tuple[int, ...]:
        """So many days after a row the answer may change by itself."""
        window, absent = self.rule.window, self.rule.without
        edges = [1]
        if window is not None:
            edges += [window.ending + 1, window.ending + window.days + 1]
        if absent is not None and absent.within is not None:
            edges.append(absent.within + 1)
        return tuple(edges)


class Machine:
    """Some rules, ready to take events in. BadInput when one asks for more than events."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.names = tuple(rules)
        self.leaves: list[CountLeaf | SequenceLeaf] = []
        self._roots = [self._compile(rule) for rule in rules.values()]
        if len(self.leaves) > LEAVES:
            raise _refuse(str(len(self.leaves)))
        self._horizons = [
            None if leaf.window is None else leaf.window.ending + leaf.window.days for leaf in self.leaves
        ]

    @property
    def horizon(self) -> int | None:
        """So many days before ``as_of`` anything can matter; None: all time."""
        known = [days for days in self._horizons if days is not None]
        return max(known, default=0) if len(known) == len(self._horizons) else None

    def consume(self, events: pa.Table, customers: Whole) -> tuple[Counts, Deeds]:
        """What new events add; columns of ``events`` and ``day`` (number since 1970), the customer of each event."""
        counts, deeds = [], []
        days = events["day"].to_numpy()
        for number, leaf in enumerate(self.leaves):
            if isinstance(leaf, CountLeaf):
                met = _mask(leaf.conditions, events)
                counts.append(Counts.build(customers[met], number, days[met]))
                continue
            bits = np.zeros(len(days), np.int64)
            for place, step in enumerate(leaf.steps):
                bits |= _mask(step.conditions, events).astype(np.int64) << place
            rows = np.flatnonzero(bits)
            at = pc.cast(events["occurred_at"], pa.int64()).to_numpy()[rows]
            ids = events["event_id"].take(pa.array(rows)).cast(pa.large_string())
            deeds.append(Deeds.build(customers[rows], number, days[rows], at, bits[rows], ids))
        return Counts.join(counts), Deeds.join(deeds)

    def forget(self, counts: Counts, deeds: Deeds, as_of: int) -> tuple[Counts, Deeds]:
        """The state less what can never count again, as ``as_of`` only grows."""
        firsts = np.array(
            [BEFORE_ALL if days is None else as_of - days for days in self._horizons], dtype=np.int64
        )
        endless = np.array([days is None for days in self._horizons], dtype=np.bool_)
        return counts.forget(firsts, endless, as_of), deeds.forget(firsts)

    def decide(
        self, counts: Counts, deeds: Deeds, customers: Whole, as_of: int
    ) -> tuple[Flags, NDArray[np.int32]]:
        """Of these customers (sorted), of whom ``counts`` and ``deeds`` hold everything: which rules hold, next due.

        Shapes (customers, rules) and (customers,): the next day after ``as_of`` on which an answer may change although
        nothing happens.
        """
        size = len(customers)
        due = np.full(size, NEVER, np.int64)
        answers: list[Flags] = []
        deeds = deeds.arrange()
        for number, leaf in enumerate(self.leaves):
            rows: Counts | Deeds = counts if isinstance(leaf, CountLeaf) else deeds
            mine = rows.leaf == number
            place = find_places(rows.customer[mine], customers)
            days, value = rows.day[mine], rows.value[mine]
            answers.append(leaf.holds(place, days, value, size, as_of))
            if len(place):
                next_days = np.full(len(place), NEVER, np.int64)
                for after in leaf.list_edges():
                    np.minimum(next_days, days + after, out=next_days, where=days + after > as_of)
                starts = find_starts(place)
                named = place[starts]
                due[named] = np.minimum(due[named], np.minimum.reduceat(next_days, starts))
        inside = [root(answers, size) for root in self._roots]
        shaped = np.column_stack(inside) if inside else np.zeros((size, 0), np.bool_)
        return shaped, np.minimum(due, NEVER).astype(np.int32)

    def decide_stranger(self) -> Flags:
        """Which rules hold for somebody who did nothing, shape (rules,)."""
        inside, _ = self.decide(Counts.join([]), Deeds.join([]), np.zeros(1, np.int64), 0)
        return np.asarray(inside[0], dtype=np.bool_)

    def _compile(self, rule: Rule) -> Callable[[list[Flags], int], Flags]:
        match rule:
            case All(rules=parts):
                every = [self._compile(part) for part in parts]
                return lambda answers, size: np.logical_and.reduce(
                    [np.ones(size, np.bool_), *(part(answers, size) for part in every)]
                )
            case Any(rules=parts):
                some = [self._compile(part) for part in parts]
                return lambda answers, size: np.logical_or.reduce(
                    [np.zeros(size, np.bool_), *(part(answers, size) for part in some)]
                )
            case Not(rule=inner):
                part = self._compile(inner)
                return lambda answers, size: ~part(answers, size)
        leaf = _make_leaf(rule)
        if leaf not in self.leaves:
            self.leaves.append(leaf)
        number = self.leaves.index(leaf)
        return lambda answers, size: answers[number]


_NONE = np.int64(1 << 40)


def _find_latest_before(reached: Flags, base: Whole, day: Whole) -> Whole:
    """For each row the latest day that was reached by an earlier row of the same customer; 0: none."""
    marked = np.maximum.accumulate(base + np.where(reached, day, 0))
    before = np.concatenate([np.full(min(1, len(base)), -1, np.int64), marked[:-1]])
    return np.maximum(before - base, 0)


def _find_next_after(marked: Flags, base: Whole, day: Whole) -> Whole:
    """For each row the first day of a marked later row of the same customer; ``_NONE``: none."""
    far = np.int64((1 << _SPAN) - 1)
    nearest = np.minimum.accumulate((base + np.where(marked, day, far))[::-1])[::-1]
    after = np.concatenate([nearest[1:], np.full(min(1, len(base)), np.iinfo(np.int64).max)]) - base
    return np.where(after >= far, _NONE, after)


def _make_leaf(rule: Rule) -> CountLeaf | SequenceLeaf:
    match rule:
        case Measured(of=Aggregate(table="events", function="count", column=None)):
            assert isinstance(rule.of, Aggregate)
            _check_conditions(rule.of.conditions)
            return CountLeaf(rule, rule.of.conditions, rule.of.window)
        case Sequence():
            leaf = SequenceLeaf(rule)
            if len(leaf.steps) > _MOST_STEPS:
                raise _refuse(str(len(leaf.steps)))
            for step in leaf.steps:
                if step.table != "events":
                    raise _refuse(step.table)
                _check_conditions(step.conditions)
            return leaf
        case _:
            raise _refuse(type(rule).__name__)


def _check_conditions(conditions: Iterable[Condition]) -> None:
    for one in conditions:
        if one.column not in COLUMNS or not isinstance(one.value, str):
            raise _refuse(one.column)


def _refuse(part: str) -> BadInput:
    return BadInput(
        "analysis.rule_not_live",
        say("A live rule cannot ask for '{part}'.", part=part),
        remedy=say("Use counts and sequences of events, by name, product, campaign and channel."),
        where={"value": part},
    )


def _mask(conditions: Iterable[Condition], events: pa.Table) -> Flags:
    """Which events meet all conditions; an empty column never does."""
    mask = np.ones(events.num_rows, np.bool_)
    for one in conditions:
        met = pc.fill_null(_ARROW[one.operator](events[one.column], pa.scalar(one.value, pa.string())), False)
        mask &= np.asarray(met.to_numpy(), dtype=np.bool_)
    return mask
