"""Two sources against each other, such as a CRM and a shop: each record has at most one partner on the other side.

Reads ``delivered_customers``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.data.findings import ask
from aimwell.data.identity.clustering import Integers
from aimwell.data.identity.log import Pair
from aimwell.engine.session import Queryable

_MOST_NAMED = 20


def read_sides(reader: Queryable, between: tuple[str, str] | None) -> tuple[pa.Table, Integers | None]:
    """The records to be compared, by number, and for each the side (0 or 1) on which its source stands.

    Without ``between`` all records, and no sides. BadInput when both sources are one, or one delivered no customers.
    """
    if between is None:
        return reader.query("SELECT * FROM delivered_customers ORDER BY customer_id"), None
    _check(reader, between)
    one, other = between
    rows = reader.query(
        "SELECT * FROM delivered_customers WHERE source IN ($one, $other) ORDER BY customer_id",
        {"one": one, "other": other},
    )
    sides = np.array([source == other for source in rows["source"].to_pylist()], dtype=np.int64)
    return rows, sides


def leave_second_partners(
    found: Iterable[Pair], known: Iterable[Pair], names: Sequence[str], sides: Integers
) -> set[Pair]:
    """Those of ``found`` (best first) in which nobody has another partner already; ``known`` pairs count before.

    ``names`` and ``sides`` go together; pairs of records that have no side, or the same one, are no partners.
    """
    side = dict(zip(names, sides.tolist(), strict=True))
    taken = {record for pair in known if _face(pair, side) for record in pair}
    kept: set[Pair] = set()
    for pair in found:
        if not taken.intersection(pair):
            taken.update(pair)
            kept.add(pair)
    return kept


def _face(pair: Pair, side: dict[str, int]) -> bool:
    return pair[0] in side and pair[1] in side and side[pair[0]] != side[pair[1]]


def _check(reader: Queryable, between: tuple[str, str]) -> None:
    rows = ask(reader, "SELECT DISTINCT source FROM delivered_customers ORDER BY source")
    known = [str(row["source"]) for row in rows]
    for source in between:
        if source not in known:
            near = get_close_matches(source, known, n=3, cutoff=0.5)
            listed = [*near, *(one for one in known if one not in near)][:_MOST_NAMED]
            raise BadInput(
                "data.identity_unknown_side",
                say("No customers came from a source '{source}'.", source=source),
                remedy=say("The sources of customers are: {sources}.", sources=join_list(listed) or "–"),
                where={"value": source},
            )
    if between[0] == between[1]:
        raise BadInput(
            "data.identity_one_side",
            say("Both sides are the source '{source}'.", source=between[0]),
            remedy=say("Name two sources, or leave --between away to look for duplicates in all."),
            where={"value": between[0]},
        )
