"""Whom a rule would hold, before it is kept: size, shares, breakdown, overlap with segments, examples; at once.

A ``Previewer`` holds one snapshot: customers numbered in the order of their ids, the columns that rules have asked
for as arrays, the figures that were measured, and the segments as bitmaps. A rule over tags is then decided in
memory; a figure over events is measured once, reading only the days of its window. Columns and counts of events come
from the published file where it is as new as the snapshot, else from the warehouse; ``prefetch`` loads the columns
before anybody asks. A customer is decided who has a row of tags: who came since they were computed is not.
Reads tags, customers, the sources of figures, segments, segment_members and the published file; writes nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any as AnyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyroaring import BitMap

from aimwell.analysis.bitmaps import SegmentBitmaps, number_members, read_bitmaps
from aimwell.analysis.coded_counts import count_events
from aimwell.analysis.value_titles import VALUE_TITLES
from aimwell.core.tables import Type
from aimwell.core.text import Text
from aimwell.engine.coded_reader import CodedRows
from aimwell.engine.compile_facts import Facts
from aimwell.engine.compile_rules import read_number
from aimwell.engine.rule import (
    ATTRIBUTE,
    All,
    Any,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Nearest,
    Not,
    OneOf,
    Rule,
    collect_segments,
    is_attribute,
    list_rule_tags,
)
from aimwell.engine.rule import Sequence as StepSequence
from aimwell.engine.rule_check import validate_rule
from aimwell.engine.specification import Aggregate, DaysSince, Operator, Value
from aimwell.engine.sql_text import quote_name, select, with_parts
from aimwell.engine.workspace import Reader

CHANNELS = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}
"""Channels with the attribute that holds their address."""
_BREAKDOWNS = {
    "lifecycle_stage": "lifecycle_stage",
    "value_tier": "value_tier",
    "region": f"{ATTRIBUTE}region",
}
_REVENUE = "revenue_365d"
_MOST_VALUES = 12
_MOST_REGIONS = 1_000
_AT_ONCE = 2
_PAUSE = 0.02
_NARROW = 2**31
_NUMBERED, _POSITIONS = "preview_numbered", "preview_positions"

_PLACES = 2
"""So many previews are worked on at a time: more would take turns of milliseconds, and all be late."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """One value per customer: numbers, days since 1970, flags, or codes of texts (−1: empty)."""

    values: NDArray[AnyType]
    known: Flags | None
    codes: Mapping[str, int] | None = None

    def keep_known(self, flags: Flags) -> Flags:
        """``flags`` where there is a value, else false."""
        return flags if self.known is None else flags & self.known


class Turns:
    """Lets so many in at a time as there are ``places``, in the order in which they came."""

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._waiting: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    @contextmanager
    def take(self) -> Iterator[None]:
        """A place while the body runs."""
        called = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                called.set()
            else:
                self._waiting.append(called)
        try:
            called.wait()
            yield
        finally:
            self._leave(called)

    def _leave(self, called: threading.Event) -> None:
        with self._lock:
            if not called.is_set():
                # Interrupted while waiting: there is no place to give back.
                self._waiting.remove(called)
            elif self._waiting:
                # Handed on rather than given back: who comes just now stands behind those who wait.
                self._waiting.popleft().set()
            else:
                self._free += 1


class Previewer:
    """One snapshot of tags and segments, on which many people may try out rules at the same time."""

    def __init__(
        self,
        reader: Reader,
        types: Mapping[str, Type],
        *,
        as_of: date,
        segments: Mapping[str, Rule] | None = None,
        bitmaps: SegmentBitmaps | None = None,
    ) -> None:
        self._reader = reader
        self._types = types
        self._as_of = as_of
        self._rules = dict(segments or {})
        self._lock = threading.Lock()
        self._turns = Turns(_PLACES)
        self._coded: CodedRows | None = getattr(reader, "coded", None)
        self._has_tags = self._coded is not None and self._coded.has_tags
        self._columns: dict[str, Column] = {}
        self._figures: dict[Aggregate | DaysSince | StepSequence, Column] = {}
        self._closing = threading.Event()
        self._loading: threading.Thread | None = None
        source = "coded.tags" if self._has_tags else "tags"
        ids = reader.query(f"SELECT customer_id FROM {source}").column("customer_id").combine_chunks()
        self._stored = ids
        # Tags are written in the order of the customers; where they are not, columns are put in order.
        self._order = None if _is_sorted(ids) else pc.sort_indices(ids)
        self.customers = ids if self._order is None else ids.take(self._order)
        numbers = pa.array(np.arange(len(ids)), pa.int64())
        reader.register(_NUMBERED, pa.table({"customer_id": self.customers, "position": numbers}))
        reader.execute(
            f"CREATE OR REPLACE TEMP TABLE {_POSITIONS} AS SELECT customer_id, position FROM {_NUMBERED}"
        )
        self._numbered = self._place_numbers()
        self._bitmaps = bitmaps if bitmaps is not None else read_bitmaps(reader)
        # In one query: while overlays lie over tags, each query joins all customers with them.
        self.warm([tag for tag in self._list_described() if tag in types])
        self._breakdowns = self._prepare_breakdowns()
        self._reachable = self._prepare_reachable()
        revenue = self._find_column(_REVENUE) if _REVENUE in types else None
        self._revenue = None if revenue is None else np.nan_to_num(revenue.values.astype(np.float64))
        self._total_revenue = 0.0 if self._revenue is None else float(self._revenue.sum())

    def preview(self, rule: Rule, *, examples: int = 10) -> dict[str, AnyType]:
        """Size, shares, breakdown, overlap and the first members of ``rule``; BadInput when it does not fit.

        Shares are 0–1: ``share`` of the customers, ``revenue_share`` of the revenue of 365 days (None without any).
        """
        validate_rule(rule, self._types, segments=self._rules)
        with self._turns.take():
            return self._describe(rule, examples)

    def _describe(self, rule: Rule, examples: int) -> dict[str, AnyType]:
        needed = collect_segments({"rule": rule}, self._rules)
        self.warm([tag for one in (rule, *needed.values()) for tag in list_rule_tags(one)])
        inside = self.decide(rule)
        members = number_members(inside)
        size, everybody = len(members), len(self.customers)
        return {
            "size": size,
            "customers": everybody,
            "share": size / everybody if everybody else 0.0,
            "revenue_share": self._share_revenue(inside),
            "breakdown": self._break_down(members, size),
            "channels": {
                channel: members.intersection_cardinality(reachable)
                for channel, reachable in self._reachable.items()
            },
            "overlap": self._count_overlap(self._bitmaps.count_shared(members), size),
            "examples": self.customers.take(pa.array(list(members[:examples]), pa.int64())).to_pylist(),
        }

    def decide(self, rule: Rule) -> Flags:
        """Whether ``rule`` holds, for each of ``customers``."""
        match rule:
            case All(rules=parts):
                return self._fold(np.logical_and, parts, empty=True)
            case Any(rules=parts):
                return self._fold(np.logical_or, parts, empty=False)
            case Not(rule=inner):
                return ~self.decide(inner)
            case InSegment(segment=segment):
                return self.decide(self._rules[segment])
            case Measured(of=of, operator=operator, value=value):
                return _compare(self._find_figure(of), operator, value)
            case StepSequence():
                return self._find_figure(rule).values.astype(np.bool_)
            case Nearest():
                return self._find_nearest(rule)
            case _:
                return self._decide_tag(rule)

    def warm(self, tags: Sequence[str]) -> None:
        """Load the columns of these tags now, in one query, rather than when a rule first asks for each."""
        with self._lock:
            wanted = [
                tag for tag in dict.fromkeys(tags) if not is_attribute(tag) and tag not in self._columns
            ]
            if wanted:
                self._columns |= self._load_tags(wanted)

    def prefetch(self) -> threading.Thread:
        """Load the columns of all tags in the background, a few at a time, so that people need not wait for them.

        Call ``close`` before the reader is closed; until then the reader keeps others waiting now and then. A million
        customers take 4 MB for each whole number or text, 8 MB for each real number.
        """
        waiting = [tag for tag in self._types if not is_attribute(tag)]

        def load() -> None:
            for start in range(0, len(waiting), _AT_ONCE):
                # A lock is given to whoever asks first: without a pause, people would hardly ever come to their turn.
                if self._closing.wait(_PAUSE):
                    return
                self.warm(waiting[start : start + _AT_ONCE])

        thread = threading.Thread(target=load, name="preview columns", daemon=True)
        self._loading = thread
        thread.start()
        return thread

    def close(self) -> None:
        """End what is done in the background."""
        self._closing.set()
        if self._loading is not None:
            self._loading.join()

    def _decide_tag(self, rule: Rule) -> Flags:
        match rule:
            case IsEmpty(tag=tag):
                known = self._find_column(tag).known
                return np.zeros(len(self.customers), np.bool_) if known is None else ~known
            case Compare(tag=tag, operator=operator, value=value):
                return _compare(self._find_column(tag, value), operator, value)
            case Between(tag=tag, low=low, high=high):
                column = self._find_column(tag, low)
                return _compare(column, ">=", low) & _compare(column, "<=", high)
            case OneOf(tag=tag, values=values):
                flags = [_compare(self._find_column(tag, value), "=", value) for value in values]
                return np.logical_or.reduce(flags) if flags else np.zeros(len(self.customers), np.bool_)
        raise AssertionError(rule)

    def _fold(self, join: np.ufunc, parts: tuple[Rule, ...], *, empty: bool) -> Flags:
        if not parts:
            return np.full(len(self.customers), empty)
        found = self.decide(parts[0])
        for part in parts[1:]:
            found = join(found, self.decide(part))
        return found

    def _find_nearest(self, rule: Nearest) -> Flags:
        columns = [self._find_column(axis.tag) for axis in rule.axes]
        places = []
        for axis, column in zip(rule.axes, columns, strict=True):
            value = column.values.astype(np.float64)
            value = np.copysign(np.log1p(np.abs(value)), value) if axis.log else value
            places.append((value - axis.centre) / axis.scale)
        points = np.asarray(rule.points, dtype=np.float64)
        scores = np.column_stack(places) @ points.T - (points**2).sum(axis=1) / 2
        found: Flags = np.argmax(np.nan_to_num(scores, nan=-np.inf), axis=1) == rule.which
        for column in columns:
            found = column.keep_known(found)
        return found

    # ------------------------------------------------------------ columns

    def _find_column(self, tag: str, like: Value | None = None) -> Column:
        """The column of a tag or attribute; an attribute as numbers when it is compared with one."""
        as_number = is_attribute(tag) and isinstance(like, int | float) and self._types[tag] is Type.TEXT
        key = f"{tag} #" if as_number else tag
        found = self._columns.get(key)
        if found is None:
            with self._lock:
                found = self._columns.setdefault(key, self._load_column(tag, as_number=as_number))
        return found

    def _load_column(self, tag: str, *, as_number: bool) -> Column:
        if not is_attribute(tag):
            return self._load_tags([tag])[tag]
        name = quote_name(tag.removeprefix(ATTRIBUTE))
        shown = read_number(name) if as_number else name
        table = self._reader.query(f"SELECT customer_id, {shown} AS value FROM customers")
        places = pc.index_in(self.customers, value_set=table.column("customer_id").combine_chunks())
        return _read_column(table.column("value").combine_chunks().take(places))

    def _load_tags(self, tags: Sequence[str]) -> dict[str, Column]:
        """One snapshot answers in one order; where an engine does not, the values are put in their places."""
        listed = ", ".join(quote_name(tag) for tag in tags)
        if self._has_tags:
            # One table in the order of its rows: the ids, which take longer than all else, need not be read again.
            table = self._reader.query(f"SELECT {listed} FROM coded.tags")
            found = {tag: table.column(tag).combine_chunks() for tag in tags}
            return {
                tag: _read_column(values if self._order is None else values.take(self._order))
                for tag, values in found.items()
            }
        table = self._reader.query(f"SELECT customer_id, {listed} FROM tags")
        ids = table.column("customer_id").combine_chunks()
        order = self._order if ids.equals(self._stored) else pc.index_in(self.customers, value_set=ids)
        columns = {tag: table.column(tag).combine_chunks() for tag in tags}
        return {
            tag: _read_column(values if order is None else values.take(order))
            for tag, values in columns.items()
        }

    def _find_figure(self, of: Aggregate | DaysSince | StepSequence) -> Column:
        """A figure, or whether a sequence was done, for each customer."""
        found = self._figures.get(of)
        if found is None:
            with self._lock:
                found = self._figures.setdefault(of, self._measure(of))
        return found

    def _place_numbers(self) -> NDArray[np.int64]:
        """Where each customer with a number in the published file stands among ``customers``."""
        if self._coded is None:
            return np.empty(0, np.int64)
        people = self._coded.query("SELECT customer_id FROM coded.numbers ORDER BY customer")
        return _find_places(people.column("customer_id").combine_chunks(), self.customers)

    def _count_coded(self, of: Aggregate) -> Column | None:
        """A count of events from the published file; None where it does not have what is asked."""
        counted = count_events(self._coded, of, self._as_of) if self._coded is not None else None
        if counted is None:
            return None
        values = np.zeros(len(self.customers), np.int64)
        known = self._numbered >= 0
        values[self._numbered[known]] = counted.numbers[known]
        if counted.others is not None:
            places = _find_places(counted.others.column("customer_id").combine_chunks(), self.customers)
            values[places[places >= 0]] += counted.others.column("n").to_numpy()[places >= 0]
        return Column(values, None)

    def _measure(self, of: Aggregate | DaysSince | StepSequence) -> Column:
        if isinstance(of, Aggregate) and (counted := self._count_coded(of)) is not None:
            return counted
        facts = Facts(self._as_of)
        if isinstance(of, StepSequence):
            value, empty = facts.render_deed(of), False
        else:
            value, _ = facts.render_figure(of)
            empty = isinstance(of, Aggregate) and of.function in ("count", "count_distinct", "sum")
        name = facts.joined[0]
        parts = facts.render_parts()
        body = select(
            ["p.position AS position", f"{value} AS value"],
            [f"    FROM {name}", f"    INNER JOIN {_POSITIONS} AS p ON p.customer_id = {name}.customer_id"],
        )
        table = self._reader.query(f"{with_parts(parts)}\n{body}", facts.binder.values)
        places = table.column("position").to_numpy()
        measured = _read_column(table.column("value").combine_chunks())
        values = np.zeros(len(self.customers), measured.values.dtype)
        values[places] = measured.values
        if empty or isinstance(of, StepSequence):
            return Column(values, None)
        known = np.zeros(len(self.customers), np.bool_)
        known[places] = True if measured.known is None else measured.known
        return Column(values, known, measured.codes)

    # ------------------------------------------------------------ what is said of the members

    def _list_described(self) -> list[str]:
        """The tags that every preview needs, whatever the rule."""
        channels = [
            tag for name, address in CHANNELS.items() for tag in (f"consent_{name}", f"{address}_known")
        ]
        return [*(tag for tag in _BREAKDOWNS.values() if not is_attribute(tag)), *channels, _REVENUE]

    def _prepare_breakdowns(self) -> dict[str, dict[str, BitMap]]:
        """Who has which lifecycle stage, value tier and region, as far as they are known."""
        found = {}
        for name, tag in _BREAKDOWNS.items():
            column = self._find_column(tag) if tag in self._types else None
            if column is not None and column.codes and len(column.codes) <= _MOST_REGIONS:
                found[name] = {
                    value: number_members(column.values == code) for value, code in column.codes.items()
                }
        return found

    def _prepare_reachable(self) -> dict[str, BitMap]:
        """Who has an address and a consent for each channel."""
        found = {}
        for channel, address in CHANNELS.items():
            if f"consent_{channel}" in self._types and f"{address}_known" in self._types:
                reachable = _compare(self._find_column(f"consent_{channel}"), "=", True)
                reachable &= _compare(self._find_column(f"{address}_known"), "=", True)
                found[channel] = number_members(reachable)
        return found

    def _break_down(self, members: BitMap, size: int) -> dict[str, list[dict[str, AnyType]]]:
        """Members by value, most first."""
        found = {}
        for name, values in self._breakdowns.items():
            counts = {value: members.intersection_cardinality(own) for value, own in values.items()}
            ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            found[name] = [
                {
                    "value": value,
                    "title": _name_value(name, value).both(),
                    "size": count,
                    "share": count / size if size else 0.0,
                }
                for value, count in ordered[:_MOST_VALUES]
                if count
            ]
        return found

    def _count_overlap(self, shared: Mapping[str, int], size: int) -> list[dict[str, AnyType]]:
        rows = [
            {"segment": name, "size": count, "share": count / size if size else 0.0}
            for name, count in shared.items()
            if count
        ]
        return sorted(rows, key=lambda row: (-row["size"], row["segment"]))

    def _share_revenue(self, inside: Flags) -> float | None:
        if self._revenue is None:
            return None
        total = self._total_revenue
        # ``dot`` would make the flags numbers of 64 bits first, which takes five times as long as all else here.
        return round(float(np.einsum("i,i", self._revenue, inside)) / total, 6) if total > 0 else None


def _is_sorted(ids: pa.Array) -> bool:
    return len(ids) < 2 or bool(pc.all(pc.less(ids[:-1], ids[1:])).as_py())


def _find_places(asked: pa.Array, customers: pa.Array) -> NDArray[np.int64]:
    """Where each of ``asked`` stands among ``customers``; −1: nowhere."""
    if asked.equals(customers):
        return np.arange(len(customers))
    places = pc.fill_null(pc.index_in(asked, value_set=customers), -1)
    return np.asarray(places.to_numpy(zero_copy_only=False), dtype=np.int64)


def _read_column(values: pa.Array) -> Column:
    """Arrow values as numbers beside the flags of which are known."""
    known = None if values.null_count == 0 else np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False))
    kind = values.type
    if pa.types.is_dictionary(kind):
        codes = pc.fill_null(values.indices.cast(pa.int16()), -1).to_numpy(zero_copy_only=False)
        return Column(
            codes, known, {str(word): code for code, word in enumerate(values.dictionary.to_pylist())}
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = pc.dictionary_encode(values)
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        words = {str(word): code for code, word in enumerate(encoded.dictionary.to_pylist())}
        return Column(np.asarray(codes, dtype=np.int32), known, words)
    if pa.types.is_boolean(kind):
        filled = pc.fill_null(values, False) if known is not None else values
        return Column(np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.bool_), known)
    if pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    numbers = pc.fill_null(values, 0) if known is not None else values
    filled = np.asarray(numbers.to_numpy(zero_copy_only=False))
    if filled.dtype == np.int64 and len(filled) and filled.min() > -_NARROW and filled.max() < _NARROW:
        filled = filled.astype(np.int32)
    return Column(filled, known)


def _compare(column: Column, operator: Operator, value: Value) -> Flags:
    """One comparison with every value; false where there is none."""
    wanted: AnyType = value
    if column.codes is not None:
        wanted = column.codes.get(str(value), -2)
    elif isinstance(value, str):
        wanted = (date.fromisoformat(value) - date(1970, 1, 1)).days
    compare = {
        "=": np.equal,
        "!=": np.not_equal,
        "<": np.less,
        "<=": np.less_equal,
        ">": np.greater,
        ">=": np.greater_equal,
    }[operator]
    return column.keep_known(compare(column.values, wanted))


def _name_value(name: str, value: str) -> Text:
    known = VALUE_TITLES.get(name, {}).get(value)
    return known if known is not None else Text("{words}", (("words", value),))


def preview_rule(
    reader: Reader,
    rule: Rule,
    types: Mapping[str, Type],
    *,
    as_of: date,
    segments: Mapping[str, Rule] | None = None,
    examples: int = 10,
) -> dict[str, AnyType]:
    """One preview of ``rule`` on a snapshot of its own, with the SQL that says the same."""
    from aimwell.analysis.segments import render_rule_sql

    found = Previewer(reader, types, as_of=as_of, segments=segments).preview(rule, examples=examples)
    return {**found, "sql": render_rule_sql(rule, types, as_of=as_of, segments=segments)}
