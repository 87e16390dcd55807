"""Which pairs of records are compared at all: those that share a key that few others share.

Comparing every pair is out of the question from some ten thousand records on. Keys are made of one, two or three
attributes; a key's value that too many records share is left out (its members are met under longer keys), so
that the number of pairs stays within a budget on any data. Reads and writes the scratch table ``features``.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from aimwell.data.identity.backend import Backend

PAIRS_PER_RECORD = 100
LEAST_BUDGET = 1_000_000
LARGEST_BLOCK = 150
_MOST_KEYS = 32

_PARTS: dict[str, str] = {
    "id_number": "id_number",
    "phone": "phone",
    "email": "email",
    "mailbox": "mailbox",
    "birth_date": "birth_date",
    "family": "family_root",
    "given": "given_root",
    "postcode": "postcode",
    "street": "street",
    "city": "city",
    "family_start": "left(family_root, 3)",
    "given_start": "left(given_root, 3)",
    "birth_year": "left(birth_date, 4)",
    "birth_day": "substr(birth_date, 6)",
    "area": "area",
    "phone_end": "right(phone, 6)",
}
_ALONE = ("id_number", "phone", "email", "mailbox", "birth_date", "postcode", "street", "phone_end")
_VAGUE = ("family", "given")
"""Parts that may be a key by themselves, the most telling first."""


@dataclass(frozen=True)
class Key:
    """A blocking key: the parts it is made of, and how many pairs share a value of it."""

    parts: tuple[str, ...]
    pairs: int


def _needs(part: str) -> str:
    """The feature that a part is cut from."""
    found = re.search(
        r"[a-z]+_(?:number|date|root)|phone|email|mailbox|postcode|street|city|area", _PARTS[part]
    )
    assert found is not None, part
    return found[0]


def list_candidates(columns: frozenset[str]) -> list[tuple[str, ...]]:
    """Every key that the columns allow: single parts, pairs of different attributes, then triples of vague ones."""
    parts = [part for part in _PARTS if _needs(part) in columns]
    single: list[tuple[str, ...]] = [(part,) for part in _ALONE if part in parts]
    pairs: list[tuple[str, ...]] = [pair for pair in itertools.combinations(parts, 2) if _differ(pair)]
    return [*single, *pairs, *((part,) for part in _VAGUE if part in parts)]


def _differ(parts: tuple[str, ...]) -> bool:
    attributes = [_ATTRIBUTE[part] for part in parts]
    return len(set(attributes)) == len(attributes)


_ATTRIBUTE = {
    "id_number": "id",
    "phone": "phone",
    "phone_end": "phone",
    "email": "email",
    "mailbox": "email",
    "birth_date": "birth",
    "birth_year": "birth",
    "birth_day": "birth",
    "family": "family",
    "family_start": "family",
    "given": "given",
    "given_start": "given",
    "postcode": "place",
    "area": "place",
    "city": "town",
    "street": "street",
}


def make_pairs(backend: Backend, columns: frozenset[str], *, two: bool) -> list[Key]:
    """Fill the table ``candidates`` (``place_l`` < ``place_r``) from ``features`` (``place``, ``side``, attributes).

    With ``two`` only pairs across the sides are made. Answers the keys that were used.
    """
    rows = backend.query("SELECT count(*) AS rows FROM features")["rows"][0].as_py()
    budget = max(LEAST_BUDGET, PAIRS_PER_RECORD * rows)
    used: list[Key] = []
    selects: list[str] = []
    complete: list[tuple[str, ...]] = []
    """Keys none of whose values had to be left out: a longer key could only find the same pairs again."""
    spent = 0
    candidates = list_candidates(columns)
    single = len(list(itertools.takewhile(lambda parts: len(parts) == 1, candidates)))
    for some in (candidates[:single], candidates[single:]):
        asked = [parts for parts in some if not any(set(whole) <= set(parts) for whole in complete)]
        for parts, (limit, pairs, largest) in zip(
            asked, _fit(backend, [_key_sql(parts) for parts in asked], budget // 10, two=two), strict=True
        ):
            if limit == largest:
                complete.append(parts)
            if limit < 2 or pairs == 0 or spent + pairs > budget:
                continue
            used.append(Key(parts, pairs))
            spent += pairs
            selects.append(_join_sql(_key_sql(parts), limit, two=two))
    backend.keep(
        "candidates",
        " UNION ".join(selects) or "SELECT place AS place_l, place AS place_r FROM features WHERE false",
    )
    return used


def _key_sql(parts: tuple[str, ...]) -> str:
    # A null part makes the whole key null, and a null key meets nobody.
    # (not hashed: DuckDB's hash of null is a number).
    return "(" + " || '|' || ".join(_PARTS[part] for part in parts) + ")"


def _fit(backend: Backend, keys: list[str], budget: int, *, two: bool) -> list[tuple[int, int, int]]:
    """Per key the largest block size whose blocks stay within ``budget`` pairs, these pairs, and the largest block."""
    found = []
    for start in range(0, len(keys), backend.keys_at_once):
        some = keys[start : start + backend.keys_at_once]
        sizes: list[list[tuple[int, int]]] = [[] for _ in some]
        for row in backend.query(_size_sql(some, two=two)).to_pylist():
            sizes[row["place"]].append((row["size"], row["pairs"]))
        found += [_choose_limit(one, budget) for one in sizes]
    return found


def _choose_limit(sizes: list[tuple[int, int]], budget: int) -> tuple[int, int, int]:
    limit, spent = 0, 0
    for size, pairs in sizes:
        if size > LARGEST_BLOCK or spent + pairs > budget:
            break
        limit, spent = size, spent + pairs
    return limit, spent, sizes[-1][0] if sizes else 0


def _size_sql(keys: list[str], *, two: bool) -> str:
    """The pairs in the blocks of each size, smallest blocks first, for several keys."""
    pairs = (
        "sum(CASE WHEN side = 0 THEN 1 ELSE 0 END) * sum(side)" if two else "count(*) * (count(*) - 1) // 2"
    )
    blocks = " UNION ALL ".join(
        f"SELECT {place} AS place, count(*) AS size, {pairs} AS pairs FROM features"
        f" WHERE {key} IS NOT NULL GROUP BY {key}"
        for place, key in enumerate(keys)
    )
    return f"""
    SELECT place, size, CAST(sum(pairs) AS BIGINT) AS pairs FROM ({blocks}) AS blocks
    GROUP BY place, size ORDER BY place, size
    """


def _join_sql(key: str, limit: int, *, two: bool) -> str:
    side = "AND l.side <> r.side" if two else ""
    return f"""
    SELECT l.place AS place_l, r.place AS place_r
    FROM (SELECT place, side, {key} AS block FROM features
        WHERE {key} IS NOT NULL QUALIFY count(*) OVER (PARTITION BY block) BETWEEN 2 AND {limit}) AS l
    JOIN (SELECT place, side, {key} AS block FROM features WHERE {key} IS NOT NULL) AS r
        ON l.block = r.block AND l.place < r.place {side}
    """
