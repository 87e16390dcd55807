"""What changed since tags were computed last, and whether computing only that gives the same tags.

The run that wrote ``tags`` recorded which versions of its tables it read, and (here) a fingerprint of the
definitions. New files of order_lines, events and signals name the customers who changed; a replaced table, other
products or other joined records leave nothing to build on, and everything is computed.
Reads the manifest, runs and tags; writes the fingerprint into its run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from aimwell.core.text import Text, say
from aimwell.engine.manifest import list_changes
from aimwell.engine.specification import TagSpec
from aimwell.engine.specification_json import tag_to_json
from aimwell.engine.store import Store
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS
from aimwell.engine.workspace import Run

FACTS = ("order_lines", "events", "signals")
"""The dated tables that tags are measured on."""
_PARAMETER = "tags_fingerprint"
_METHOD = 3
"""Raised whenever the same definitions give other values than before."""


@dataclass(frozen=True)
class Changes:
    """What is new since the tags of ``before``: files per table; ``reason`` says why everything is computed anew."""

    before: date | None = None
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    customers_replaced: bool = False
    reason: Text | None = None

    @property
    def is_full(self) -> bool:
        """Whether everything is computed."""
        return self.reason is not None

    def explain(self) -> Text:
        """In words, what is computed and why."""
        if self.reason is not None:
            return say("All customers were computed: {reason}", reason=self.reason)
        return say(
            "Only what changed since {day} was computed: new rows, and windows that moved.",
            day=self.before.isoformat() if self.before else "",
        )


def fingerprint_tags(specs: Mapping[str, TagSpec]) -> str:
    """A SHA-256 of everything that decides what measured tags are, other than the rows."""
    body = {name: tag_to_json(spec) for name, spec in sorted(specs.items())}
    return hashlib.sha256(json.dumps([_METHOD, body], sort_keys=True).encode()).hexdigest()


def find_changes(store: Store, run: Run, fingerprint: str) -> Changes:
    """Compare the snapshot of ``run`` with what the newest tags rest on."""
    written = run.query(
        "SELECT MIN(run_id) AS run_id, MIN(as_of) AS as_of, COUNT(*) AS n FROM tags"
    ).to_pylist()[0]
    if not written["n"]:
        return Changes(reason=say("there were no tags yet."))
    with store.begin() as connection:
        earlier = (
            connection.execute(sa.select(RUNS).where(RUNS.c.run_id == written["run_id"])).mappings().first()
        )
        if earlier is None or earlier["parameters"].get(_PARAMETER) != fingerprint:
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
        modes = {change[0] for change in list_changes(connection, "customers", inputs.get("customers", 0))}
    return Changes(written["as_of"], added, customers_replaced=bool(modes - {"append"}))


def record_fingerprint(store: Store, run: Run, fingerprint: str) -> None:
    """Note in the record of ``run`` what its tags are defined by; it counts only once the run is done."""
    with store.begin() as connection:
        query = sa.select(RUNS.c.parameters).where(RUNS.c.run_id == run.id)
        parameters = dict(connection.execute(query).scalar_one())
        connection.execute(
            sa.update(RUNS)
            .where(RUNS.c.run_id == run.id)
            .values(parameters={**parameters, _PARAMETER: fingerprint})
        )


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
    after = sorted((sha, rows) for sha, rows in connection.execute(current) if rows)
    return before == after
