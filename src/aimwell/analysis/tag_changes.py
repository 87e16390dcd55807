"""What changed since tags were computed last, and whether computing only that gives the same tags.

The run that wrote ``tags`` recorded which versions of its tables it read, and (here) a fingerprint of the
definitions. New files of order_lines, events, signals, consents and customers name the customers who changed (of
customers that were replaced, ``changed_people`` finds them out); other dated tables that were replaced, other products
or other joined records leave nothing to build on, and everything is computed.
Reads the manifest, runs and tags; writes the fingerprint into its run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import sqlalchemy as sa

from aimwell.analysis.support import Support
from aimwell.core.text import Text, say
from aimwell.engine.layers import Layers, read_bounds
from aimwell.engine.manifest import list_changes
from aimwell.engine.specification import TagSpec
from aimwell.engine.specification_json import tag_to_json
from aimwell.engine.store import Store
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS
from aimwell.engine.workspace import Run

FACTS = ("order_lines", "events", "signals")
"""The dated tables that tags are measured on."""
SAID = ("customers", "consents")
"""The tables that say something about people."""
_PARAMETER = "tags_fingerprint"
_STATE = "tags_state"
_METHOD = 5
"""Raised whenever the same definitions give other values than before."""


@dataclass(frozen=True)
class TagsState:
    """What a run that computed tags knew, for the next to go on from."""

    layout: str
    """A SHA-256 of all that decides what stands in a row of ``tags``, other than data and day."""
    customers: int
    known: Mapping[str, int]
    """For how many customers each tag is known."""
    rhythm: float
    """The usual rhythm; days."""
    support: Support


@dataclass(frozen=True)
class Changes:
    """What is new since the tags of ``before``: files per table; ``reason`` says why everything is computed anew.

    ``customers_replaced``, ``consents_replaced``: that rows which were there may be gone, or others.
    """

    before: date | None = None
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same, of those of ``SAID`` that are not what they were, unless they were replaced."""
    customers_replaced: bool = False
    consents_replaced: bool = False
    reason: Text | None = None
    fingerprint: str = ""
    """What the measured tags of before are defined by."""
    state: TagsState | None = None
    """What else the run knew that computed them."""

    @property
    def is_full(self) -> bool:
        """Whether everything is computed."""
        return self.reason is not None

    @property
    def same_people(self) -> bool:
        """Whether customers and consents are what they were."""
        return not (self.said or self.customers_replaced or self.consents_replaced)

    def settle(self, fingerprint: str) -> Changes:
        """The same, unless tags are defined otherwise now."""
        if self.is_full or self.fingerprint == fingerprint:
            return self
        return Changes(reason=say("definitions of tags changed, or data that more tags can be had from."))

    def explain(self) -> Text:
        """In words, what is computed and why."""
        if self.reason is not None:
            return say("All customers were computed: {reason}", reason=self.reason)
        return say(
            "Only what changed since {day} was computed: new rows, and windows that moved.",
            day=self.before.isoformat() if self.before else "",
        )


def show_added(run: Run, added: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Relations that hold the rows of each table which the tags of before did not know, as delivered."""
    relations = {}
    for table, files in added.items():
        relations[table] = [f"hot_{table}"] if table in run.list_hot() else []
        if files:
            run.show_files(f"added_{table}", table, files)
            relations[table].append(f"added_{table}")
    return relations


def fingerprint_tags(specs: Mapping[str, TagSpec], *layout: Any) -> str:
    """A SHA-256 of everything that decides what measured tags are, other than the rows.

    ``layout``: what else decides what stands in a row (JSON).
    """
    body = {name: tag_to_json(spec) for name, spec in sorted(specs.items())}
    return hashlib.sha256(json.dumps([_METHOD, body, *layout], sort_keys=True).encode()).hexdigest()


def find_changes(store: Store, run: Run, layers: Layers) -> Changes:
    """Compare the snapshot of ``run`` with what the newest tags, in files that lie in ``layers``, rest on."""
    days, runs = read_bounds(layers, "as_of"), read_bounds(layers, "run_id")
    if days is None or runs is None:
        return Changes(reason=say("there were no tags yet."))
    # Runs that patched tags left the others' rows with the run that computed them; ids of runs grow with time.
    written = {"run_id": runs[1], "as_of": days[0]}
    with store.begin() as connection:
        earlier = (
            connection.execute(sa.select(RUNS).where(RUNS.c.run_id == written["run_id"])).mappings().first()
        )
        if earlier is None or _PARAMETER not in earlier["parameters"]:
            return Changes(reason=say("definitions of tags changed, or data that more tags can be had from."))
        if written["as_of"] > run.as_of:
            return Changes(reason=say("the tags there were are of a later day."))
        inputs: dict[str, int] = earlier["inputs"]
        for table in ("products", "identities"):
            if not _is_same(connection, run, table, inputs.get(table, 0)):
                return Changes(reason=say("{table} changed.", table=table))
        added = {}
        for table in FACTS:
            found = _find_added(connection, run, table, inputs.get(table, 0))
            if found is None:
                return Changes(reason=say("rows of {table} were replaced.", table=table))
            added[table] = found
        said, replaced = {}, set()
        for table in SAID:
            version = inputs.get(table, 0)
            if table in run.list_hot() or not _is_same(connection, run, table, version):
                found = _find_added(connection, run, table, version)
                if found is None:
                    replaced.add(table)
                else:
                    said[table] = found
    return Changes(
        written["as_of"],
        added,
        said,
        customers_replaced="customers" in replaced,
        consents_replaced="consents" in replaced,
        fingerprint=earlier["parameters"][_PARAMETER],
        state=_read_state(earlier["parameters"].get(_STATE)),
    )


def record_state(store: Store, run: Run, fingerprint: str, state: TagsState) -> None:
    """Note in the record of ``run`` what its tags are defined by; it counts only once the run is done."""
    with store.begin() as connection:
        query = sa.select(RUNS.c.parameters).where(RUNS.c.run_id == run.id)
        parameters = dict(connection.execute(query).scalar_one())
        connection.execute(
            sa.update(RUNS)
            .where(RUNS.c.run_id == run.id)
            .values(parameters={**parameters, _PARAMETER: fingerprint, _STATE: _show_state(state)})
        )


def _show_state(state: TagsState) -> dict[str, Any]:
    first = state.support.first_day
    return {
        "layout": state.layout,
        "customers": state.customers,
        "known": dict(state.known),
        "rhythm": state.rhythm,
        "support": sorted(state.support.names),
        "history_days": state.support.history_days,
        "first_day": first.isoformat() if first else None,
    }


def _read_state(body: Mapping[str, Any] | None) -> TagsState | None:
    if body is None:
        return None
    first = date.fromisoformat(body["first_day"]) if body["first_day"] else None
    support = Support(frozenset(body["support"]), body["history_days"], first)
    return TagsState(body["layout"], body["customers"], body["known"], body["rhythm"], support)


def _find_added(connection: sa.Connection, run: Run, table: str, version: int) -> tuple[str, ...] | None:
    """Files with rows that were not there at ``version``; None when rows of then are gone or altered."""
    modes = {change[0] for change in list_changes(connection, table, version)}
    if {"replace", "rewrite"} & modes:
        return None
    if not {"append", "move"} & modes:
        # Files were merged at most: the same rows under other names.
        return ()
    query = sa.select(TABLE_FILES.c.path).where(
        TABLE_FILES.c.table_name == table, TABLE_FILES.c.added_in > version
    )
    newer = set(connection.execute(query).scalars())
    return tuple(path for path in run.list_files(table) if path in newer)


def _is_same(connection: sa.Connection, run: Run, table: str, version: int) -> bool:
    """Whether ``table`` holds the same bytes as at ``version``, or nothing both times."""
    columns = TABLE_FILES.c
    newest = sa.select(sa.func.max(TABLE_VERSIONS.c.version)).where(TABLE_VERSIONS.c.table_name == table)
    if int(connection.execute(newest).scalar() or 0) == version:
        return True
    then = sa.select(columns.sha256, columns.rows).where(
        columns.table_name == table,
        columns.added_in <= version,
        sa.or_(columns.removed_in.is_(None), columns.removed_in > version),
    )
    current = sa.select(columns.sha256, columns.rows).where(
        columns.table_name == table, columns.path.in_(run.list_files(table) or [""])
    )
    before = sorted((sha, rows) for sha, rows in connection.execute(then) if rows)
    own = (TABLE_VERSIONS.c.table_name == table, TABLE_VERSIONS.c.version == version)
    if not before and connection.execute(sa.select(TABLE_VERSIONS.c.rows).where(*own)).scalar():
        # Its files are deleted and forgotten by now: what they held cannot be told from nothing.
        return False
    after = sorted((sha, rows) for sha, rows in connection.execute(current) if rows)
    return before == after
