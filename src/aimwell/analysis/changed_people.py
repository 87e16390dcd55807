"""Who can have other tags than before because rows of theirs are new, and who is a customer no longer.

Rows name their customers. Of customers that were delivered anew as a whole (as every loading of a file does), what
they say now is compared with what stands in tags.
Reads rows that are new, customers, order_lines, events, tags as they were; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.aligned import align_rows, find_rows, mark_changes, sort_rows
from aimwell.analysis.contact_tags import TOLD, compile_told
from aimwell.analysis.tag import Tag
from aimwell.engine.specification import find_source
from aimwell.engine.sql_text import show_day
from aimwell.engine.workspace import Run

BEFORE = "tags_before"
"""The relation that holds tags as they were."""
_WITHOUT = "tags_without"


def list_owners(run: Run, relations: Iterable[str], earlier: Iterable[str] = ()) -> pa.Table:
    """To whom the rows of ``relations`` belong, as delivered, customers or not; and those of ``earlier``."""
    parts = ["SELECT customer_id FROM customers WHERE 1 = 0"]
    parts += [f"SELECT customer_id FROM {name}" for name in earlier]
    parts += [render_owners(name) for name in relations]
    return run.query(" UNION ".join(parts))


def list_patched(
    run: Run,
    added: Mapping[str, Sequence[str]],
    said: Mapping[str, Sequence[str]],
    earlier: Iterable[str] = (),
) -> pa.Table:
    """The customers whose tags of the same day the rows of ``added`` and ``said`` (see ``Changes``) can change, sorted.

    ``earlier``: relations whose customers count, too.
    """
    parts = ["SELECT customer_id FROM customers WHERE 1 = 0"]
    parts += [f"SELECT customer_id FROM {name}" for name in earlier]
    for relations in (*added.values(), said.get("consents", ())):
        owners = " UNION ".join(render_owners(name) for name in relations)
        if owners:
            parts.append(f"SELECT customer_id FROM {BEFORE} WHERE customer_id IN ({owners})")
    for table in ("events", "order_lines"):
        day = find_source(table).day
        # Who is there for the first time is there by something that has happened.
        parts += [
            f"{render_owners(name)} WHERE d.{day} < {show_day(run.as_of)}" for name in added.get(table, ())
        ]
    parts += [render_owners(name) for name in said.get("customers", ())]
    return run.query(f"{' UNION '.join(parts)} ORDER BY customer_id")


def render_owners(view: str, shown: str = "") -> str:
    """The customers of rows as delivered: who was joined to another record counts as the person."""
    return (
        f"SELECT COALESCE(i.customer_id, d.customer_id) AS customer_id{shown} FROM {view} AS d"
        " LEFT JOIN identities AS i ON i.record_id = d.customer_id"
    )


def list_staying(run: Run, known: pa.Table) -> pa.Table:
    """Who of ``known`` is still a customer: by a row of customers, or by what they did."""
    there = run.query("SELECT customer_id FROM customers")["customer_id"]
    without = known.select(["customer_id"]).filter(pc.invert(find_rows(known["customer_id"], there)))
    if not without.num_rows:
        return known
    run.register(_WITHOUT, without)
    parts = [
        f"SELECT customer_id FROM {table} WHERE {find_source(table).day} < {show_day(run.as_of)}"
        f" AND customer_id IN (SELECT customer_id FROM {_WITHOUT})"
        for table in ("order_lines", "events")
    ]
    active = run.query(" UNION ".join(parts))["customer_id"]
    gone = without.filter(pc.invert(find_rows(without["customer_id"], active)))
    return known.filter(pc.invert(find_rows(known["customer_id"], gone["customer_id"])))


def list_told(attributes: Iterable[Tag]) -> list[str]:
    """The tags that say what a row of customers holds: who has the same has the same row, as far as tags see."""
    return [*TOLD, *(tag.name for tag in attributes)]


def list_differing(run: Run, attributes: tuple[Tag, ...], before: pa.Table) -> pa.Table:
    """The customers whose row of customers is not what ``before`` (``list_told``, sorted) says of them, or new."""
    found = sort_rows(run.query(compile_told(attributes)))
    new = found.select(["customer_id"]).filter(
        pc.invert(find_rows(found["customer_id"], before["customer_id"]))
    )
    now = align_rows(found, before["customer_id"])
    marks = []
    for name in list_told(attributes):
        column = pc.fill_null(now[name], False) if name in TOLD else now[name]
        marks.append(mark_changes(column, before[name].cast(column.type)))
    differ = before.select(["customer_id"]).filter(reduce(pc.or_, marks))
    return sort_rows(pa.concat_tables([differ, new.cast(differ.schema)]))
