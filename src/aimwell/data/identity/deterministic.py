"""Records that share a usable identifier are one person, unless something stronger says that they are two.

Two different valid ID numbers, or two openids of one app, contradict each other: records that have them are not
joined, not even through a third record, and the pair is listed for review. Reads and writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from aimwell.data.identity.clustering import find_components

ORDER = ("id_number", "unionid", "openid", "member", "email", "phone", "device")
"""The kinds, strongest first: what joins earlier decides where a contradiction is met."""
_CHECKED = re.compile(r"\d{17}[0-9X]")

Strong = dict[str, frozenset[str]]
"""A record's identifiers that contradict another one's: kind → values."""


@dataclass(frozen=True)
class Match:
    """Two records (the smaller first) and the kinds of identifier that they share."""

    left: str
    right: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Contradiction:
    """Two records that ``kinds`` would join, and the kind of strong identifier in which their groups differ."""

    left: str
    right: str
    kinds: tuple[str, ...]
    differs: str


@dataclass
class Resolution:
    """Who is joined by identifiers, and who would be but for a contradiction."""

    matches: list[Match] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)


def find_strong(identifiers: pa.Table) -> dict[str, Strong]:
    """Record → its strong identifiers. Typed numbers without a check digit may be slips, and are not strong."""
    found: dict[str, dict[str, set[str]]] = {}
    for row in identifiers.select(["record_id", "kind", "value", "usable"]).to_pylist():
        if row["usable"] and _is_strong(row["kind"], row["value"]):
            found.setdefault(row["record_id"], {}).setdefault(row["kind"], set()).add(row["value"])
    return {
        record: {kind: frozenset(values) for kind, values in kinds.items()} for record, kinds in found.items()
    }


def resolve(identifiers: pa.Table) -> Resolution:
    """Who is joined by the usable rows of the table ``identifiers``; the same rows give the same answer."""
    pairs = _list_pairs(identifiers)
    strong = find_strong(identifiers)
    if not pairs:
        return Resolution()
    records = sorted({record for pair in pairs for record in pair})
    place = {record: number for number, record in enumerate(records)}
    left = np.array([place[pair[0]] for pair in pairs])
    right = np.array([place[pair[1]] for pair in pairs])
    groups = find_components(len(records), left, right).tolist()
    suspect = _find_suspects(records, groups, strong)
    result = Resolution()
    guarded: list[Match] = []
    for (one, other), kinds in sorted(pairs.items()):
        match = Match(one, other, tuple(sorted(kinds, key=_rank)))
        (guarded if groups[place[one]] in suspect else result.matches).append(match)
    _join_guarded(guarded, strong, result)
    result.matches.sort(key=lambda match: (match.left, match.right))
    return result


def contradict(one: Strong, other: Strong) -> str | None:
    """The kind in which both have values and none in common."""
    for kind in sorted(one.keys() & other.keys()):
        if not one[kind] & other[kind]:
            return kind
    return None


def _list_pairs(identifiers: pa.Table) -> dict[tuple[str, str], set[str]]:
    """Each record with the smallest that has the same value: enough to join all, without every pair of them."""
    holders: dict[tuple[str, str], set[str]] = {}
    for row in identifiers.select(["record_id", "kind", "value", "usable"]).to_pylist():
        if row["usable"]:
            holders.setdefault((row["kind"], row["value"]), set()).add(row["record_id"])
    pairs: dict[tuple[str, str], set[str]] = {}
    for (kind, _), members in holders.items():
        first, *others = sorted(members)
        for other in others:
            pairs.setdefault((first, other), set()).add(kind)
    return pairs


def _is_strong(kind: str, value: str) -> bool:
    plain = kind.split(":")[0]
    return plain in ("openid", "unionid") or (plain == "id_number" and bool(_CHECKED.fullmatch(value)))


def _find_suspects(records: list[str], groups: list[int], strong: dict[str, Strong]) -> set[int]:
    """Groups in which two values of one strong kind meet: only these need the slow, guarded way."""
    seen: dict[tuple[int, str], str] = {}
    suspect: set[int] = set()
    for record, group in zip(records, groups, strict=True):
        for kind, values in strong.get(record, {}).items():
            for value in values:
                if seen.setdefault((group, kind), value) != value:
                    suspect.add(group)
    return suspect


def _join_guarded(matches: list[Match], strong: dict[str, Strong], result: Resolution) -> None:
    """Join one match after the other, the strongest kind first, as long as the groups do not contradict."""
    parent: dict[str, str] = {}
    held: dict[str, Strong] = {}

    def find(record: str) -> str:
        while parent.setdefault(record, record) != record:
            record = parent[record]
        return record

    for match in sorted(matches, key=lambda match: (_rank(match.kinds[0]), match.left, match.right)):
        one, other = find(match.left), find(match.right)
        mine = held.get(one, strong.get(one, {}))
        theirs = held.get(other, strong.get(other, {}))
        differs = contradict(mine, theirs) if one != other else None
        if differs:
            result.contradictions.append(Contradiction(match.left, match.right, match.kinds, differs))
            continue
        result.matches.append(match)
        if one != other:
            parent[max(one, other)] = min(one, other)
            both = mine.keys() | theirs.keys()
            held[min(one, other)] = {
                kind: mine.get(kind, frozenset()) | theirs.get(kind, frozenset()) for kind in both
            }


def _rank(kind: str) -> tuple[int, str]:
    plain = kind.split(":")[0]
    return (ORDER.index(plain) if plain in ORDER else len(ORDER), kind)
