"""Computes all tags of all customers from what happened before ``as_of``, a range of customers at a time.

A range's row is put together from what was measured of each customer (``tag_measuring``), what customers and consents
say (``contact_tags``), how the customer compares with all others (``standing``) and what people defined themselves
(``own_tags``). Tags that the data cannot support are empty.
Reads order_lines, products, events, signals, customers, consents, scores, tags as they were; writes tags, tag_history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from aimwell.analysis.catalogue import CATALOGUE, MEASURED_TAGS, STANDING_TAGS
from aimwell.analysis.contact_tags import (
    KNOWN_TAGS,
    PERMISSIONS,
    compile_contacts,
    compile_permissions,
    define_attributes,
)
from aimwell.analysis.lifecycle import LIFECYCLE_TAG, find_usual_rhythm, render_stage
from aimwell.analysis.own_tags import OwnTags, answer_own_tags, load_own_tags
from aimwell.analysis.person_tags import PERSON_TAGS, find_columns
from aimwell.analysis.standing import (
    FIGURES,
    INPUTS,
    RHYTHM,
    SCORES,
    add_empty_columns,
    compile_scores,
    render_standing,
)
from aimwell.analysis.support import Support, explain_missing, probe_support
from aimwell.analysis.tag import Tag
from aimwell.analysis.tag_changes import (
    Changes,
    TagsState,
    find_changes,
    fingerprint_tags,
    record_state,
    show_added,
)
from aimwell.analysis.tag_history import keep_history
from aimwell.analysis.tag_measuring import BEFORE, EVERYBODY, Measuring, list_patched
from aimwell.core.text import Text, say
from aimwell.engine.compile_tags import compile_expressions
from aimwell.engine.specification import Expression, TagSpec, TopValue
from aimwell.engine.specification_json import tag_to_json
from aimwell.engine.sql_text import SQL_TYPES, Binder, quote_name
from aimwell.engine.tag_plan import Among
from aimwell.engine.workspace import Run, Workspace

_MEASURED, _KNOWN, _PUT_TOGETHER = "tags_measured", "tags_known", "tags_put_together"
_MOST_PATCHED = 0.1
"""The share of customers above which all rows are written anew."""
_COMPARED = ("customer_id", *(tag.name for tag in STANDING_TAGS if tag.name != LIFECYCLE_TAG.name))
_OUTDATED = f"SELECT * FROM {BEFORE} WHERE customer_id IN (SELECT customer_id FROM {EVERYBODY})"
_RANGE = """\
SELECT
    m.customer_id,
    $as_of AS as_of,
    $run_id AS run_id,
{columns}
FROM tags_reckoned AS m
LEFT JOIN tags_scored AS s ON s.customer_id = m.customer_id
LEFT JOIN tags_known AS k ON k.customer_id = m.customer_id
{joins}ORDER BY m.customer_id"""


@dataclass(frozen=True)
class ComputedTags:
    """What stands in ``tags`` now: definitions of its columns, customers for whom each is known, what data lacked."""

    customers: int
    tags: tuple[Tag, ...]
    known: Mapping[str, int]
    missing: Mapping[str, str]
    support: Support
    changes: Changes
    troubles: tuple[Text, ...] = ()
    """Definitions of people that could not be answered, in words."""

    @property
    def lacks(self) -> tuple[Text, ...]:
        """In words, what keeps tags empty."""
        return (*explain_missing(self.missing), *self.troubles)


def compute_tags(workspace: Workspace, run: Run, *, everything: bool = False) -> ComputedTags:
    """All tags of everybody in customers or order_lines, as of ``run.as_of``; one row per customer, sorted.

    ``everything``: measure all customers, whatever is known of before.
    """
    return _Computation(workspace, run, everything=everything).compute()


class _Computation:
    """One computation of all tags; its parts are worked out when they are first needed."""

    def __init__(self, workspace: Workspace, run: Run, *, everything: bool) -> None:
        self._run = run
        self._store = workspace.store
        self._zone = workspace.settings.business.zone
        columns = run.query("SELECT * FROM customers LIMIT 0").column_names
        self._attributes = _find_attributes(run, columns)
        delivered = [_attribute_of(tag) for tag in self._attributes]
        self._person = find_columns(delivered)
        self._changes = self._find_changes(everything=everything)
        self._added = {} if self._changes.is_full else show_added(run, self._changes)
        self._support = self._probe([*delivered, *self._person])
        self._own: OwnTags = load_own_tags(workspace.store, {tag.name for tag in self._attributes})
        self._tags = (*CATALOGUE, *self._attributes, *self._own.tags)
        self._missing = self._support.find_unsupported((*CATALOGUE, *self._attributes))

    def compute(self) -> ComputedTags:
        fingerprint = fingerprint_tags(self._specs)
        self._changes = self._changes.settle(fingerprint)
        patched = self._list_patched()
        if patched is None:
            state, troubles = self._compute_everybody()
        else:
            state, troubles = self._compute_patch(patched), ()
        record_state(self._store, self._run, fingerprint, state)
        return ComputedTags(
            state.customers,
            self._tags,
            state.known,
            self._missing,
            self._support,
            self._changes,
            (*self._own.troubles, *troubles),
        )

    def _compute_everybody(self) -> tuple[TagsState, tuple[Text, ...]]:
        """Put together the rows of all customers, a range at a time."""
        run = self._run
        measuring = Measuring(run, self._specs, self._changes, self._added)
        ranges = measuring.split()
        rhythm = self._compare(measuring)
        if not self._are_people_known():
            permissions = compile_permissions(as_of=run.as_of, zone_name=self._zone)
            run.register(PERMISSIONS, run.query(permissions.sql, permissions.parameters))
        answered, troubles = answer_own_tags(run, self._own)
        known: Counter[str] = Counter()
        customers = 0
        for number, among in enumerate(ranges):
            run.register(_KNOWN, self._find_known(among))
            part = self._put_together(measuring, among, rhythm, answered)
            (run.append if number else run.replace)("tags", part)
            customers += part.num_rows
            known.update(self._count_known(part))
            del part
        keep_history(run, [tag for tag in self._tags if tag.keeps_history], self._changes)
        return TagsState(self._layout, customers, known, rhythm, self._support), troubles

    def _compute_patch(self, people: pa.Table) -> TagsState:
        """Put together the rows of these customers; all others stay what they are."""
        run, state = self._run, self._changes.state
        assert state is not None
        known, customers = Counter(state.known), state.customers
        if people.num_rows:
            measuring = Measuring(run, self._specs, self._changes, self._added, people)
            run.register("tags_outdated", run.query(_OUTDATED))
            outdated = run.query("SELECT * FROM tags_outdated")
            run.register(SCORES, run.query(f"SELECT {_list(_COMPARED)} FROM tags_outdated"))
            run.register(_KNOWN, run.query(f"SELECT {self._list_known()} FROM tags_outdated"))
            part = self._put_together(measuring, Among(everybody=EVERYBODY), state.rhythm, {})
            run.patch("tags", part)
            known.update(self._count_known(part))
            known.subtract(self._count_known(outdated))
            customers += part.num_rows - outdated.num_rows
            remembered = [tag for tag in self._tags if tag.keeps_history]
            if any(_differs(part, outdated, tag.name) for tag in remembered):
                keep_history(run, remembered, self._changes)
        return TagsState(state.layout, customers, known, state.rhythm, self._support)

    def _find_changes(self, *, everything: bool) -> Changes:
        if everything:
            return Changes(reason=say("that was asked for."))
        changes = find_changes(self._store, self._run)
        if not changes.is_full:
            self._run.show_files(BEFORE, "tags", self._run.list_files("tags"))
        return changes

    def _probe(self, attributes: list[str]) -> Support:
        """What the data can support: looked at as a whole, or in the rows that are new."""
        run, changes = self._run, self._changes
        if changes.is_full or changes.state is None:
            return probe_support(run, as_of=run.as_of, attributes=attributes)
        rows = {table: list(relations) for table, relations in self._added.items()}
        for table in rows:
            if changes.before != run.as_of or table in run.list_hot():
                # Days that were to come have come; and rows that no file holds may lack columns.
                rows[table] = [table]
        return probe_support(
            run, as_of=run.as_of, attributes=attributes, earlier=changes.state.support, rows=rows
        )

    def _list_patched(self) -> pa.Table | None:
        """The only customers whose rows can have changed; None when others' can have, or most have."""
        changes, run = self._changes, self._run
        compared = changes.added.get("order_lines") or "order_lines" in run.list_hot()
        if not self._are_people_known() or compared or self._own.separate or changes.state is None:
            return None
        people = list_patched(run, self._added)
        return people if people.num_rows <= _MOST_PATCHED * changes.state.customers else None

    def _are_people_known(self) -> bool:
        """Whether what customers and consents say of somebody stands in the tags of before."""
        changes = self._changes
        same = not changes.is_full and changes.before == self._run.as_of and changes.same_people
        return same and changes.state is not None and changes.state.layout == self._layout

    @cached_property
    def _layout(self) -> str:
        definitions = [[tag.name, tag.type.value, tag.keeps_history] for tag in self._tags]
        reckoned = {
            name: tag_to_json(one) for name, one in (self._expressions | dict(self._own.expressions)).items()
        }
        return fingerprint_tags(
            self._specs, definitions, reckoned, sorted(self._missing), dict(self._person), self._zone
        )

    def _find_known(self, among: Among) -> pa.Table:
        """What customers and consents say."""
        if self._are_people_known():
            binder = Binder()
            tests = " AND ".join(among.render("customer_id", binder))
            where = f" WHERE {tests}" if tests else ""
            return self._run.query(f"SELECT {self._list_known()} FROM {BEFORE}{where}", binder.values)
        contacts = compile_contacts(self._attributes, as_of=self._run.as_of, person=self._person, among=among)
        return self._run.query(contacts.sql, contacts.parameters)

    def _list_known(self) -> str:
        found = [tag.name for tag in self._tags if self._is_known(tag) and tag.name not in self._missing]
        return _list(["customer_id", *found])

    def _is_known(self, tag: Tag) -> bool:
        return tag in KNOWN_TAGS or tag in PERSON_TAGS or tag in self._attributes

    def _count_known(self, part: pa.Table) -> dict[str, int]:
        return {tag.name: len(part) - part.column(tag.name).null_count for tag in self._tags}

    @cached_property
    def _specs(self) -> dict[str, TagSpec]:
        """What is measured on rows: built-in tags that the data support, and those defined by form."""
        found = {tag.name: tag.spec for tag in MEASURED_TAGS if tag.spec and tag.name not in self._missing}
        found |= self._own.specs
        return {
            name: _fit_spec(spec, self._support)
            for name, spec in found.items()
            if not isinstance(spec, Expression)
        }

    @cached_property
    def _expressions(self) -> dict[str, Expression]:
        return {
            tag.name: tag.spec
            for tag in MEASURED_TAGS
            if isinstance(tag.spec, Expression) and tag.name not in self._missing
        }

    def _compare(self, measuring: Measuring) -> float:
        """Prepare what compares everybody; the usual rhythm in days."""
        needed = [name for name in dict.fromkeys((*INPUTS, *RHYTHM)) if name in self._specs]
        found = measuring.measure(Among(everybody="tags_everybody"), needed)
        figures = add_empty_columns(found, [tag for tag in MEASURED_TAGS if tag.name in (*INPUTS, *RHYTHM)])
        self._run.register(FIGURES, figures)
        self._run.register(SCORES, self._run.query(compile_scores()))
        spacing = {"days_between_orders": self._expressions.get("days_between_orders")}
        rhythm = {name: one for name, one in spacing.items() if one is not None}
        if not rhythm:
            return find_usual_rhythm(pa.table({"days_between_orders": pa.array([], pa.float64())}))
        sql = compile_expressions(rhythm, table=FIGURES, columns=RHYTHM)
        return find_usual_rhythm(self._run.query(sql))

    def _put_together(
        self, measuring: Measuring, among: Among, rhythm: float, answered: Mapping[str, str]
    ) -> pa.Table:
        run = self._run
        run.register(_MEASURED, measuring.measure(among))
        reckoned = compile_expressions(
            self._expressions, table=_MEASURED, columns=["customer_id", *self._specs]
        )
        run.register("tags_reckoned", add_empty_columns(run.query(reckoned), MEASURED_TAGS))
        own = self._own.expressions
        plain = [tag for tag in self._tags if tag.name not in own]
        columns = ",\n".join(f"    {self._render(tag, rhythm, answered)}" for tag in plain)
        joins = "".join(
            f"LEFT JOIN {table} ON {table}.customer_id = m.customer_id\n"
            for table in dict.fromkeys(answered.values())
        )
        bound = {"as_of": run.as_of, "run_id": run.id}
        part = run.query(_RANGE.format(columns=columns, joins=joins), bound)
        if not own:
            return part
        run.register(_PUT_TOGETHER, part)
        names = ["customer_id", "as_of", "run_id", *(tag.name for tag in plain)]
        sql = compile_expressions(own, table=_PUT_TOGETHER, columns=names)
        return run.query(f"{sql}\nORDER BY customer_id")

    def _render(self, tag: Tag, rhythm: float, answered: Mapping[str, str]) -> str:
        """The SQL of one column of ``tags``."""
        name, kind = quote_name(tag.name), SQL_TYPES[tag.type]
        if tag.name in answered:
            return f"CAST({answered[tag.name]}.{name} AS {kind}) AS {name}"
        if tag.name in self._missing or tag.name in self._own.separate:
            return f"CAST(NULL AS {kind}) AS {name}"
        if tag.name == LIFECYCLE_TAG.name:
            return f"{render_stage(rhythm)} AS {name}"
        if tag in STANDING_TAGS:
            return f"CAST({render_standing(tag.name)} AS {kind}) AS {name}"
        if not self._is_known(tag):
            return f"m.{name}"
        if tag.name.endswith("_known") or tag.name.startswith("contactable_"):
            return f"COALESCE(k.{name}, FALSE) AS {name}"
        return f"CAST(k.{name} AS {kind}) AS {name}"


def _find_attributes(run: Run, columns: list[str]) -> tuple[Tag, ...]:
    """Attributes that hold anything: a region that nobody delivered is no attribute."""
    found = define_attributes(columns)
    if not found:
        return ()
    counts = ", ".join(f"COUNT({quote_name(_attribute_of(tag))}) AS {quote_name(tag.name)}" for tag in found)
    filled = run.query(f"SELECT {counts} FROM customers").to_pylist()[0]
    return tuple(tag for tag in found if filled[tag.name])


def _list(names: Iterable[str]) -> str:
    return ", ".join(quote_name(name) for name in names)


def _differs(part: pa.Table, outdated: pa.Table, name: str) -> bool:
    """Whether a tag is new or another for anybody in ``part``."""
    one, other = (
        dict(zip(rows["customer_id"].to_pylist(), rows[name].to_pylist(), strict=True))
        for rows in (part, outdated)
    )
    return any(value != other.get(customer) for customer, value in one.items())


def _attribute_of(tag: Tag) -> str:
    return tag.name.removeprefix("attribute_")


def _fit_spec(spec: TagSpec, support: Support) -> TagSpec:
    """Favourites are weighed by revenue; where there is none, by the number of rows."""
    if isinstance(spec, TopValue) and spec.weight and f"{spec.table}.{spec.weight}" not in support.names:
        return replace(spec, weight=None)
    return spec


__all__ = ["CATALOGUE", "ComputedTags", "compute_tags"]
