"""Computes all tags of all customers from what happened before ``as_of``, a range of customers at a time.

A range's row is put together from what was measured of each customer (``tag_measuring``), what customers and consents
say (``contact_tags``), how the customer compares with all others (``standing``) and what people defined themselves
(``own_tags``). Tags that the data cannot support are empty.

A refresh writes whole rows, as a patch, for the few whom new rows concern (``changed_people``), and for all others,
as an overlay, only the columns that the day or the others' orders can have changed. When the patch has grown too
large, rows are written for everybody, which ends both.
Reads order_lines, products, events, signals, customers, consents, scores, tags as they were; writes tags, tag_history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.aligned import (
    align_rows,
    find_rows,
    join_layers,
    lay_over,
    sort_rows,
    unite_people,
)
from aimwell.analysis.catalogue import CATALOGUE, MEASURED_TAGS, STANDING_TAGS
from aimwell.analysis.changed_people import (
    BEFORE,
    list_differing,
    list_owners,
    list_patched,
    list_staying,
    list_told,
)
from aimwell.analysis.contact_tags import (
    KNOWN_TAGS,
    define_attributes,
)
from aimwell.analysis.known_tags import KnownTags
from aimwell.analysis.lifecycle import LIFECYCLE_TAG, find_usual_rhythm
from aimwell.analysis.own_tags import OwnTags, answer_own_tags, load_own_tags
from aimwell.analysis.person_tags import PERSON_TAGS, find_columns
from aimwell.analysis.standing import (
    FIGURES,
    INPUTS,
    RHYTHM,
    add_empty_columns,
    compile_scores,
    number_figures,
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
from aimwell.analysis.tag_history import News, keep_history, note_changes
from aimwell.analysis.tag_measuring import EVERYBODY, Measuring
from aimwell.analysis.tag_rows import Comparison, TagRows
from aimwell.core.text import Text, say
from aimwell.engine.compile_tags import compile_expressions
from aimwell.engine.files import is_patch
from aimwell.engine.layers import Layers, read_layers, split_layers
from aimwell.engine.specification import Expression, TagSpec, TopValue, find_source
from aimwell.engine.specification_json import tag_to_json
from aimwell.engine.sql_text import quote_name, show_day
from aimwell.engine.tag_plan import Among
from aimwell.engine.views import count_rows, read_schema
from aimwell.engine.workspace import Run, Workspace

_OUTDATED, _PATCHED, _FEW = "tags_outdated", "tags_patched", "tags_few"
_MOST_PATCHED = 0.2
"""The share of customers above which all rows are written anew, rather than theirs as a patch."""
_MOST_COLUMNS = 0.8
"""The share of tags above which rows are written rather than columns laid over them."""
_COMPARED = ("customer_id", *(tag.name for tag in STANDING_TAGS if tag.name != LIFECYCLE_TAG.name))


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
    """All tags of everybody in customers, order_lines or events, as of ``run.as_of``; one row per customer, sorted.

    Who only did something, on a website say, is a customer like all others: without orders, a prospect.

    ``everything``: measure all customers, whatever is known of before.
    """
    return _Computation(workspace, run, everything=everything).compute()


@dataclass
class _Written:
    """For how many customers each tag that was written is known, and what changed of those that are remembered."""

    known: Counter[str]
    news: News

    def count(self, tags: Iterable[Tag], part: pa.Table, *, less: bool = False) -> None:
        """Add the rows of ``part`` to ``known``, or take them off."""
        (self.known.subtract if less else self.known.update)(_count_known(tags, part))


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
        self._layers = Layers([], [], [])
        self._changes = self._find_changes(everything=everything)
        self._added = {} if self._changes.is_full else show_added(run, self._changes.added)
        self._said = {} if self._changes.is_full else show_added(run, self._changes.said)
        self._support = self._probe([*delivered, *self._person])
        self._own: OwnTags = load_own_tags(workspace.store, {tag.name for tag in self._attributes})
        self._tags = (*CATALOGUE, *self._attributes, *self._own.tags)
        self._missing = self._support.find_unsupported((*CATALOGUE, *self._attributes))

    def compute(self) -> ComputedTags:
        fingerprint = fingerprint_tags(self._specs)
        self._changes = self._changes.settle(fingerprint)
        patched = self._list_patched()
        state, troubles = self._compute_everybody() if patched is None else self._compute_patch(patched)
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
        """Put together the rows of all customers, a range at a time; or of few, and columns of the others."""
        run, built = self._run, not self._changes.is_full
        layers = self._layers if built else None
        measuring = Measuring(run, self._specs, self._changes, self._added, layers=layers)
        answered, troubles = answer_own_tags(run, self._own)
        comparison = self._compare(measuring, answered)
        apart = self._list_apart(measuring) if built else None
        only = self._list_touched(measuring, apart["customer_id"]) if apart is not None else None
        written = _Written(Counter(), News())
        if apart is not None and only is not None:
            run.overlay("tags", self._put_columns(measuring, comparison, only, apart, written))
            kept = self._changes.state.known if self._changes.state is not None else {}
            written.known.update({name: count for name, count in kept.items() if name not in only})
            if apart.num_rows:
                run.patch("tags", self._put_rows(measuring, comparison, only, apart, written))
        else:
            for number, part in enumerate(self._put_together(measuring, comparison, written)):
                (run.append if number else run.replace)("tags", part)
        keep_history(run, self._remembered, self._changes, written.news if built else None)
        customers = measuring.everybody.num_rows
        state = TagsState(self._layout, customers, written.known, comparison.rhythm, self._support)
        return state, troubles

    def _put_together(
        self, measuring: Measuring, comparison: Comparison, written: _Written
    ) -> Iterator[pa.Table]:
        """The rows of each range. Notes in ``written`` what they hold."""
        built = not self._changes.is_full
        keeps = self._are_columns_known and self._changes.same_people
        known = self._known_tags.names if keeps else []
        needed = ["customer_id", *self._specs, *(tag.name for tag in self._remembered), *known]
        for among in measuring.split():
            before = measuring.read_before(among, needed) if built else None
            measured = measuring.measure(among, before=before)
            found = self._known_tags.find(among, before if keeps else None)
            part = self._rows.put_together(measured, found, comparison)
            written.count(self._tags, part)
            if before is not None:
                note_changes(written.news, self._remembered, part, before)
            del before, measured
            yield part

    def _put_columns(
        self,
        measuring: Measuring,
        comparison: Comparison,
        only: list[str],
        apart: pa.Table,
        written: _Written,
    ) -> Iterator[pa.Table]:
        """The columns ``only`` of each range of the lowest layer, whose rows of those ``apart`` nobody will see.

        Notes in ``written`` what the others hold.
        """
        chosen = [name for name in self._specs if name in only]
        needs = list(dict.fromkeys((*self._rows.list_needs(only), *measuring.list_inputs(chosen))))
        remembered = [tag for tag in self._remembered if tag.name in only]
        known = [name for name in self._known_tags.names if name in only]
        needed = ["customer_id", *chosen, *needs, *(tag.name for tag in remembered), *known]
        for among in measuring.split(lowest=True):
            before = measuring.read_before(among, needed, lowest=True)
            measured = measuring.measure(among, chosen, before=before, lowest=True)
            for name in needs:
                measured = measured.append_column(name, before[name])
            part = self._rows.put_together(measured, self._known_tags.find(among, before), comparison, only)
            written.count(self._tags, part)
            seen = [part, before]
            if apart.num_rows:
                hidden = find_rows(part["customer_id"], apart["customer_id"])
                written.count(self._tags, part.filter(hidden), less=True)
                names = ["customer_id", *(tag.name for tag in remembered)]
                seen = [rows.select(names).filter(pc.invert(hidden)) for rows in seen]
            note_changes(written.news, remembered, *seen)
            del before, measured, seen
            yield part

    def _put_rows(
        self,
        measuring: Measuring,
        comparison: Comparison,
        only: list[str],
        apart: pa.Table,
        written: _Written,
    ) -> pa.Table:
        """The rows of those ``apart``; ``written``: what was noted of the columns ``only`` of all others."""
        there = apart.filter(pc.invert(find_rows(apart["customer_id"], measuring.new)))
        before = align_rows(self._read_rows(there), apart["customer_id"])
        measured = measuring.measure(Among(), before=before)
        part = self._rows.put_together(measured, self._known_tags.find_few(apart), comparison)
        written.count(self._tags, part)
        written.count([tag for tag in self._tags if tag.name not in only], before, less=True)
        note_changes(written.news, self._remembered, part, before)
        return part

    def _list_touched(self, measuring: Measuring, apart: pa.ChunkedArray) -> list[str] | None:
        """The only tags that can be others for those who do not stand ``apart``; None when they are most."""
        measuring.set_apart(apart)
        changed = {*measuring.list_changed(), *self._known_tags.list_changing(apart)}
        # What lies in an overlay is written again with it, so that layers do not pile up.
        changed |= set(read_schema(path for files in self._layers.overlays for path in files))
        touched = self._rows.list_touched(changed)
        return touched if len(touched) <= _MOST_COLUMNS * len(self._tags) else None

    def _list_apart(self, measuring: Measuring) -> pa.Table | None:
        """The customers, sorted, whose rows a patch will hold: new rows concern them, or a patch holds them now.

        None when they are many, or somebody is a customer no longer.
        """
        if measuring.has_gone or self._changes.consents_replaced or not self._are_columns_known:
            return None
        relations = [name for one in (self._added, self._said) for names in one.values() for name in names]
        owners = list_owners(self._run, relations, self._show_patch())
        found = [owners, pa.table({"customer_id": measuring.new})]
        if self._changes.customers_replaced:
            found.append(list_differing(self._run, self._attributes, self._read_told()))
        # Who said something that begins or ends with the day: so that the others' columns stay out of it.
        for parts in ([*found, self._known_tags.spoken], found):
            people = unite_people(parts)
            people = people.filter(find_rows(people["customer_id"], measuring.everybody["customer_id"]))
            if self._are_few(people):
                return people
        return None

    def _compute_patch(self, people: pa.Table) -> tuple[TagsState, tuple[Text, ...]]:
        """Put together the rows of these customers, and what compares them with all; all else stays what it is."""
        run, state = self._run, self._changes.state
        assert state is not None
        if not people.num_rows and not self._is_compared:
            return replace(state, support=self._support), ()
        run.register(EVERYBODY, people)
        run.register(_OUTDATED, self._read_rows(people))
        measuring = Measuring(run, self._specs, self._changes, self._added, people, _OUTDATED)
        before = measuring.read_before(Among())
        measured = measuring.measure(Among(), before=before)
        comparison = Comparison(before.select(_COMPARED), state.rhythm, {})
        troubles: tuple[Text, ...] = ()
        if self._is_compared:
            everybody = self._read_compared(people.filter(before["as_of"].is_null()))
            answered, troubles = answer_own_tags(run, self._own)
            comparison = self._compare_again(everybody, self._rows.reckon(measured), answered)
        known_columns = before.select(["customer_id", *self._known_tags.names])
        if not self._changes.same_people:
            known_columns = self._known_tags.find_few(people)
        part = self._rows.put_together(measured, known_columns, comparison)
        known, news = Counter(state.known), News()
        known.update(_count_known(self._tags, part))
        known.subtract(_count_known(self._tags, before))
        compared = set(self._rows.compared) if self._is_compared else set()
        note_changes(news, [tag for tag in self._remembered if tag.name not in compared], part, before)
        if self._is_compared:
            over = self._overlay(everybody, part, comparison)
            known = Counter({**known, **_count_known(self._tags, over)})
            note_changes(news, [tag for tag in self._remembered if tag.name in compared], over, everybody)
        if part.num_rows:
            run.patch("tags", part)
        keep_history(run, self._remembered, self._changes, news)
        customers = state.customers + before["as_of"].null_count
        return TagsState(state.layout, customers, known, comparison.rhythm, self._support), troubles

    def _find_changes(self, *, everything: bool) -> Changes:
        if everything:
            return Changes(reason=say("that was asked for."))
        files = self._run.list_files("tags")
        if not files:
            return Changes(reason=say("there were no tags yet."))
        self._layers = split_layers(self._run.warehouse_folder / path for path in files)
        if not self._layers.base:
            # Whom the lowest layer held was erased.
            return Changes(reason=say("there were no tags yet."))
        changes = find_changes(self._store, self._run, self._layers)
        if not changes.is_full:
            self._run.show_files(BEFORE, "tags", files)
        return changes

    def _probe(self, attributes: list[str]) -> Support:
        """What the data can support: looked at as a whole, or in the rows that are new."""
        run, changes = self._run, self._changes
        if changes.is_full or changes.state is None:
            return probe_support(run, as_of=run.as_of, attributes=attributes)
        rows = {table: list(relations) for table, relations in self._added.items()}
        for table in rows:
            if table in run.list_hot():
                # Rows that no file holds may lack columns.
                rows[table] = [table]
            elif changes.before is not None and changes.before < run.as_of:
                # Days that were to come have come.
                come = f"{find_source(table).day} >= {show_day(changes.before)}"
                rows[table].append(f"(SELECT * FROM {table} WHERE {come}) AS come")
        return probe_support(
            run, as_of=run.as_of, attributes=attributes, earlier=changes.state.support, rows=rows
        )

    def _list_patched(self) -> pa.Table | None:
        """The only customers whose rows can have changed other than by comparison; None when most have."""
        changes, run = self._changes, self._run
        if not self._are_columns_known or changes.before != run.as_of or changes.consents_replaced:
            return None
        assert changes.state is not None
        # An overlay lies below a patch: what compares customers is written anew for those of the patch, too.
        earlier = self._show_patch() if self._is_compared else []
        people = list_patched(run, self._added, self._said, earlier)
        if changes.customers_replaced:
            before = self._read_told()
            # Whoever took rows out of tags since did not count what is left.
            if not list_staying(run, before).num_rows == before.num_rows == changes.state.customers:
                return None
            people = unite_people([people, list_differing(run, self._attributes, before)])
        return people if self._are_few(people) else None

    def _read_told(self) -> pa.Table:
        """What tags say of everybody's row of customers, sorted."""
        names = ["customer_id", *list_told(self._attributes)]
        layers = read_layers(self._layers, "customer_id", names)
        return join_layers(layers, self._layers.patches != [], names)

    def _show_patch(self) -> list[str]:
        """The relation that holds the rows of the patch, if there is one."""
        paths = [path for path in self._run.list_files("tags") if is_patch(path)]
        if paths:
            self._run.show_files(_PATCHED, "tags", paths)
        return [_PATCHED] if paths else []

    def _read_rows(self, people: pa.Table) -> pa.Table:
        """The rows of ``tags`` of these customers as they were: from the patch alone, where it holds them all."""
        run, source = self._run, BEFORE
        if self._show_patch():
            patched = run.query(f"SELECT customer_id FROM {_PATCHED}")["customer_id"]
            source = _PATCHED if pc.all(find_rows(people["customer_id"], patched)).as_py() else BEFORE
        run.register(_FEW, people)
        return sort_rows(
            run.query(f"SELECT * FROM {source} WHERE customer_id IN (SELECT customer_id FROM {_FEW})")
        )

    def _are_few(self, people: pa.Table) -> bool:
        state = self._changes.state
        return state is not None and people.num_rows <= _MOST_PATCHED * state.customers

    @cached_property
    def _is_compared(self) -> bool:
        """Whether the rows of a customer can change because those of another do, or for a reason nobody knows."""
        orders = self._changes.added.get("order_lines") or "order_lines" in self._run.list_hot()
        return bool(orders or self._own.separate)

    @cached_property
    def _remembered(self) -> list[Tag]:
        return [tag for tag in self._tags if tag.keeps_history]

    @cached_property
    def _rows(self) -> TagRows:
        return TagRows(self._run, self._tags, self._missing, self._expressions, self._own)

    @cached_property
    def _are_columns_known(self) -> bool:
        """Whether tags have the columns that they had, and these are worked out in the same way."""
        state = self._changes.state
        return not self._changes.is_full and state is not None and state.layout == self._layout

    @cached_property
    def _layout(self) -> str:
        definitions = [[tag.name, tag.type.value, tag.keeps_history] for tag in self._tags]
        reckoned = {
            name: tag_to_json(one) for name, one in (self._expressions | dict(self._own.expressions)).items()
        }
        return fingerprint_tags(
            self._specs, definitions, reckoned, sorted(self._missing), dict(self._person), self._zone
        )

    @cached_property
    def _known_tags(self) -> KnownTags:
        found = [tag.name for tag in self._tags if self._is_known(tag) and tag.name not in self._missing]
        before = self._changes.before if self._are_columns_known else None
        return KnownTags(self._run, found, self._attributes, self._person, self._zone, before)

    def _is_known(self, tag: Tag) -> bool:
        return tag in KNOWN_TAGS or tag in PERSON_TAGS or tag in self._attributes

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

    def _compare(self, measuring: Measuring, answered: Mapping[str, pa.Table]) -> Comparison:
        """Compare everybody."""
        needed = [name for name in dict.fromkeys((*INPUTS, *RHYTHM)) if name in self._specs]
        found = measuring.measure(Among(everybody=EVERYBODY), needed)
        figures = add_empty_columns(found, [tag for tag in MEASURED_TAGS if tag.name in (*INPUTS, *RHYTHM)])
        self._run.register(FIGURES, number_figures(figures))
        scores = sort_rows(self._run.query(compile_scores()))
        spacing = {"days_between_orders": self._expressions.get("days_between_orders")}
        rhythm = {name: one for name, one in spacing.items() if one is not None}
        gaps = pa.table({"days_between_orders": pa.array([], pa.float64())})
        if rhythm:
            gaps = self._run.query(compile_expressions(rhythm, table=FIGURES, columns=RHYTHM))
        return Comparison(scores, find_usual_rhythm(gaps), answered)

    def _read_compared(self, new: pa.Table) -> pa.Table:
        """Of everybody, and who is ``new``, what compared tags are worked out from, and those remembered."""
        remembered = [tag.name for tag in self._remembered if tag.name in self._rows.compared]
        names = list(dict.fromkeys(("customer_id", *INPUTS, *self._rows.list_inputs(), *remembered)))
        layers = read_layers(self._layers, "customer_id", names)
        before = join_layers(layers, self._layers.patches != [], names)
        if not new.num_rows:
            return before
        everybody = pa.concat_tables(
            [before.select(["customer_id"]), new.cast(before.select(["customer_id"]).schema)]
        )
        return align_rows(before, sort_rows(everybody)["customer_id"])

    def _compare_again(
        self, everybody: pa.Table, reckoned: pa.Table, answered: Mapping[str, pa.Table]
    ) -> Comparison:
        """Compare everybody, with what is new for some: ``reckoned``."""
        wanted = [name for name in (*INPUTS, "days_between_orders") if name in reckoned.column_names]
        columns = {name: everybody[name] for name in everybody.column_names}
        columns |= lay_over(columns["customer_id"], {name: columns[name] for name in wanted}, reckoned)
        figures = pa.table({name: columns[name] for name in ("customer_id", *INPUTS)})
        self._run.register(FIGURES, number_figures(figures))
        scores = sort_rows(self._run.query(compile_scores()))
        return Comparison(scores, find_usual_rhythm(pa.table(columns)), answered)

    def _overlay(self, everybody: pa.Table, part: pa.Table, comparison: Comparison) -> pa.Table:
        """Write what compares customers, for all of them; what was written."""
        names = everybody["customer_id"]
        inputs = {name: everybody[name] for name in self._rows.list_inputs()}
        columns = {"customer_id": names, **lay_over(names, inputs, part)}
        over = self._rows.compare(columns, comparison)
        self._run.overlay("tags", [self._cut_to_lowest(over)])
        return over

    def _cut_to_lowest(self, over: pa.Table) -> pa.Table:
        """The rows whose customers the lowest layer holds: a patch holds the others."""
        if count_rows(self._layers.base) == over.num_rows:
            return over
        (lowest,) = read_layers(Layers(self._layers.base, [], []), "customer_id", ())
        return over.filter(find_rows(over["customer_id"], lowest["customer_id"]))


def _find_attributes(run: Run, columns: list[str]) -> tuple[Tag, ...]:
    """Attributes that hold anything: a region that nobody delivered is no attribute."""
    found = define_attributes(columns)
    if not found:
        return ()
    counts = ", ".join(f"COUNT({quote_name(_attribute_of(tag))}) AS {quote_name(tag.name)}" for tag in found)
    filled = run.query(f"SELECT {counts} FROM customers").to_pylist()[0]
    return tuple(tag for tag in found if filled[tag.name])


def _attribute_of(tag: Tag) -> str:
    return tag.name.removeprefix("attribute_")


def _count_known(tags: Iterable[Tag], part: pa.Table) -> dict[str, int]:
    """For how many customers of ``part`` each of the tags that stand there is known."""
    there = set(part.column_names)
    names = [tag.name for tag in tags if tag.name in there]
    return {name: len(part) - part.column(name).null_count for name in names}


def _fit_spec(spec: TagSpec, support: Support) -> TagSpec:
    """Favourites are weighed by revenue; where there is none, by the number of rows."""
    if isinstance(spec, TopValue) and spec.weight and f"{spec.table}.{spec.weight}" not in support.names:
        return replace(spec, weight=None)
    return spec


__all__ = ["CATALOGUE", "ComputedTags", "compute_tags"]
