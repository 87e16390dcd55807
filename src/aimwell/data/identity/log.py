"""The log of who is one person, and what follows from it: replayed, it gives the table ``identities``.

An entry joins two records or holds them apart; nothing is ever taken out of the log. ``apart`` by a person forbids the
pair for good: no automatic entry joins it again, only a person's ``same`` that comes later. Links count by their
strength and never by their order, so that a replay always ends alike. Reads and writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from aimwell.data.identity.clustering import find_components

Pair = tuple[str, str]
_STRENGTH = {"person": 0, "deterministic": 1, "probabilistic": 2}


@dataclass(frozen=True)
class Entry:
    """One row of ``identity_links``; ``evidence`` is its JSON text."""

    link_id: str
    left: str
    right: str
    verdict: str
    method: str
    probability: float
    evidence: str
    decided_at: datetime

    @property
    def pair(self) -> Pair:
        """Both records, the smaller first."""
        return order(self.left, self.right)


@dataclass(frozen=True)
class State:
    """What holds after the whole log: the links in force, strongest first, and the pairs that must stay apart."""

    links: tuple[Entry, ...]
    forbidden: frozenset[Pair]


def order(one: str, other: str) -> Pair:
    """A pair of records, the smaller first."""
    return (one, other) if one < other else (other, one)


def read_entries(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """Entries from rows of the table ``identity_links``."""
    return [
        Entry(
            row["link_id"],
            row["left_record"],
            row["right_record"],
            row["verdict"],
            row["method"],
            row["probability"],
            row["evidence"],
            row["decided_at"],
        )
        for row in rows
    ]


def settle(entries: Iterable[Entry]) -> State:
    """For each pair what was said last; a person's word is only taken back by a person."""
    latest: dict[Pair, Entry] = {}
    for entry in sorted(entries, key=lambda entry: (entry.decided_at, entry.link_id)):
        earlier = latest.get(entry.pair)
        if earlier is None or entry.method == "person" or earlier.method != "person":
            latest[entry.pair] = entry
    links = [entry for entry in latest.values() if entry.verdict == "same"]
    links.sort(key=lambda entry: (_STRENGTH[entry.method], -entry.probability, entry.pair))
    return State(tuple(links), frozenset(pair for pair, entry in latest.items() if entry.verdict == "apart"))


def replay(state: State) -> tuple[dict[str, str], tuple[Entry, ...]]:
    """Record → customer for all joined records, and the links that were used.

    The customer is the smallest of the joined records. Links are taken strongest first; one that would bring a
    forbidden pair together, even through others, is left out.
    """
    if not state.links:
        return {}, ()
    records = sorted({record for entry in state.links for record in entry.pair})
    place = {record: number for number, record in enumerate(records)}
    ends = np.array([[place[record] for record in entry.pair] for entry in state.links], dtype=np.int64)
    groups = find_components(len(records), ends[:, 0], ends[:, 1])
    torn = {
        int(groups[place[one]])
        for one, other in state.forbidden
        if one in place and other in place and groups[place[one]] == groups[place[other]]
    }
    used = state.links
    if torn:
        # Only groups in which a forbidden pair would meet need the slow way.
        used = _leave_out(state, [bool(groups[end] in torn) for end in ends[:, 0].tolist()])
        kept = np.array([[place[record] for record in entry.pair] for entry in used], dtype=np.int64).reshape(
            -1, 2
        )
        groups = find_components(len(records), kept[:, 0], kept[:, 1])
    sizes = np.bincount(groups, minlength=len(records))
    return {
        record: records[group]
        for record, group in zip(records, groups.tolist(), strict=True)
        if sizes[group] > 1
    }, used


def _leave_out(state: State, torn: list[bool]) -> tuple[Entry, ...]:
    """The links without those that would bring a forbidden pair together."""
    parent: dict[str, str] = {}
    apart: dict[str, set[str]] = {}
    for one, other in state.forbidden:
        apart.setdefault(one, set()).add(other)
        apart.setdefault(other, set()).add(one)

    def find(record: str) -> str:
        while parent.setdefault(record, record) != record:
            record = parent[record]
        return record

    used: list[Entry] = []
    for entry, slow in zip(state.links, torn, strict=True):
        if slow:
            one, other = find(entry.left), find(entry.right)
            if other in apart.get(one, ()):
                continue
            if one != other:
                _absorb(one, other, parent, apart)
        used.append(entry)
    return tuple(used)


def _absorb(one: str, other: str, parent: dict[str, str], apart: dict[str, set[str]]) -> None:
    parent[other] = one
    for third in apart.pop(other, set()):
        apart.setdefault(one, set()).add(third)
        apart[third].discard(other)
        apart[third].add(one)


def find_path(links: Iterable[Entry], start: str, end: str) -> list[Entry] | None:
    """The shortest chain of links from one record to another; None when there is none."""
    near: dict[str, list[Entry]] = {}
    for entry in links:
        near.setdefault(entry.left, []).append(entry)
        near.setdefault(entry.right, []).append(entry)
    came: dict[str, Entry | None] = {start: None}
    waiting = [start]
    for record in waiting:
        for entry in near.get(record, []):
            third = entry.right if entry.left == record else entry.left
            if third not in came:
                came[third] = entry
                waiting.append(third)
    if end not in came:
        return None
    path: list[Entry] = []
    step = came[end]
    while step is not None:
        path.append(step)
        end = step.left if step.right == end else step.right
        step = came[end]
    return path[::-1]
