"""Erases one person from a whole workspace, so that a crash at any moment leaves something that can be finished.

1. The erasure is put on record in the store (``pending_erasures``): whoever erases next finishes it first.
2. New Parquet files without the person are written beside the old ones.
3. One transaction puts them into the manifest, keeps the digests that hold the person out (``erasures``), and clears
   the store: deliveries, consents, suppressions, hot events, texts. Whoever loads meanwhile must load again.
4. Files that no reader may see any more are deleted, with all else in the folder that names the person.
5. The record of step 1 loses the person, the store's freed pages are overwritten, and the record goes.

Order lines and experiments are kept under a random number unless told otherwise: totals stay, but whoever knows a
person's purchases from elsewhere could recognise the series. Backups and what was sent elsewhere are out of reach.
Reads and rewrites every table; writes ``erasures``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from aimwell.core.ids import list_forms, new_id
from aimwell.core.tables import ALL_TABLES, ERASURES, TABLES
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now
from aimwell.data.consent import must_not_be_contacted
from aimwell.data.erasing import KEPT_TABLES, Cut, TableCut, find_files, rewrite_file
from aimwell.data.erasure_folder import clear_folder, delete_unlisted, find_mentioning
from aimwell.data.erasure_store import clear_store, count_store, list_deliveries, overwrite_freed
from aimwell.data.event_profiles import merge_profiles
from aimwell.data.person import Person, list_person_columns, read_person
from aimwell.engine.erased import digest, load_erased
from aimwell.engine.files import DataFile, write_files
from aimwell.engine.manifest import list_files, write_version
from aimwell.engine.privacy_tables import PENDING_ERASURES
from aimwell.engine.runs import end_run, start_run
from aimwell.engine.secret import load_secret
from aimwell.engine.session import Session
from aimwell.engine.store_tables import RUNS
from aimwell.engine.workspace import Workspace


@dataclass
class Erasure:
    """What goes and what stays, in rows per table (``store:…`` for the store, ``files`` for others in the folder)."""

    customer_id: str
    dry_run: bool
    erased: dict[str, int] = field(default_factory=dict)
    anonymised: dict[str, int] = field(default_factory=dict)
    notices: tuple[Text, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the number is the one that the caller gave."""
        return {
            "customer_id": self.customer_id,
            "dry_run": self.dry_run,
            "erased": self.erased,
            "anonymised": self.anonymised,
            "notices": [text.both() for text in self.notices],
        }


def erase_person(
    workspace: Workspace, customer_id: str, *, keep_amounts: bool = True, dry_run: bool = True
) -> Erasure:
    """Erase the customer with all joined records, or (``dry_run``) only count what would go.

    BadInput when nobody is known under the number; Conflict when another run changed the same files meanwhile.
    """
    finished = False
    if not dry_run:
        finished = any([_resume(workspace, row, customer_id) for row in _list_pending(workspace)])
    if finished:
        return Erasure(
            customer_id, False, notices=(say("An erasure that was interrupted has been finished."),)
        )
    if not dry_run:
        # What messages said about the person tells which cookies are theirs: it must not wait any longer.
        merge_profiles(workspace)
    with workspace.read() as reader:
        person = read_person(reader, customer_id)
    person = replace(person, values=(*person.values, *list_deliveries(workspace, person.records)))
    cut = _make_cut(workspace, person, keep_amounts)
    result = Erasure(customer_id, dry_run, notices=_tell_kept(keep_amounts))
    _count(workspace, cut, result)
    if not dry_run:
        erasure_id = new_id("erasure")
        with workspace.store.begin() as connection:
            packed = {**person.to_dict(), "stand_in": cut.stand_in, "salt": cut.salt}
            row = {
                "erasure_id": erasure_id,
                "person": packed,
                "keep_amounts": keep_amounts,
                "started_at": now(),
            }
            connection.execute(sa.insert(PENDING_ERASURES).values(row))
        _carry_out(workspace, erasure_id, cut)
    return result


def _carry_out(
    workspace: Workspace, erasure_id: str, cut: Cut, *, after: Callable[[str], None] = lambda stage: None
) -> None:
    """Steps 2 to 5; repeating them changes nothing more. ``after`` hears of every stage that is done."""
    run_id = new_id("run")
    _start_run(workspace, run_id, erasure_id)
    removed, written = _write_tables(workspace, cut, run_id)
    after("written")
    try:
        written["erasures"] = _write_digests(workspace, cut, run_id)
        _commit(workspace, cut, run_id, removed, written)
    except BaseException:
        for files in written.values():
            for file in files:
                (workspace.warehouse_folder / file.path).unlink(missing_ok=True)
        with workspace.store.begin() as connection:
            mine = (RUNS.c.run_id == run_id, RUNS.c.status == "running")
            connection.execute(sa.update(RUNS).where(*mine).values(status="failed", finished_at=now()))
        raise
    after("committed")
    delete_unlisted(workspace)
    clear_folder(workspace.path, cut)
    after("deleted")
    with workspace.store.begin() as connection:
        nobody = sa.update(PENDING_ERASURES).where(PENDING_ERASURES.c.erasure_id == erasure_id)
        connection.execute(nobody.values(person={}))
    after("emptied")
    _overwrite(workspace, erasure_id, cut.keep_amounts)


def _overwrite(workspace: Workspace, erasure_id: str, keep_amounts: bool) -> None:
    """The end of step 5. The record, which names nobody by now, stays until no freed page does either."""
    overwrite_freed(workspace.store)
    with workspace.store.begin() as connection:
        connection.execute(sa.delete(PENDING_ERASURES).where(PENDING_ERASURES.c.erasure_id == erasure_id))
    workspace.store.audit("person.erased", erasure_id, {"keep_amounts": keep_amounts})


def _resume(workspace: Workspace, row: dict[str, Any], customer_id: str) -> bool:
    """Finish an erasure that was interrupted; whether it was that of ``customer_id``."""
    if row["person"]:
        _carry_out(workspace, row["erasure_id"], _restore_cut(workspace, row))
        return customer_id in row["person"]["records"]
    _overwrite(workspace, row["erasure_id"], row["keep_amounts"])
    return load_erased(workspace, anew=True).tell(customer_id, "record")


def _list_pending(workspace: Workspace) -> list[dict[str, Any]]:
    with workspace.store.begin() as connection:
        rows = connection.execute(sa.select(PENDING_ERASURES).order_by(PENDING_ERASURES.c.erasure_id))
        return [dict(row) for row in rows.mappings()]


def _make_cut(workspace: Workspace, person: Person, keep_amounts: bool) -> Cut:
    zone = workspace.settings.business.zone
    return Cut(person, f"erased-{secrets.token_hex(12)}", secrets.token_hex(16), zone, keep_amounts)


def _restore_cut(workspace: Workspace, row: dict[str, Any]) -> Cut:
    packed = row["person"]
    zone = workspace.settings.business.zone
    return Cut(Person.from_dict(packed), packed["stand_in"], packed["salt"], zone, row["keep_amounts"])


def _count(workspace: Workspace, cut: Cut, result: Erasure) -> None:
    for name, found in _find_tables(workspace, cut).items():
        kept = cut.keep_amounts and name in KEPT_TABLES
        if found.rows:
            (result.anonymised if kept else result.erased)[name] = found.rows
        if found.mentions:
            result.erased[name] = result.erased.get(name, 0) + found.mentions
    for name, (erased, kept_rows) in count_store(workspace, cut).items():
        if erased:
            result.erased[f"store:{name}"] = erased
        if kept_rows:
            result.anonymised[f"store:{name}"] = kept_rows
    files = find_mentioning(workspace.path, cut)
    if files:
        result.erased["files"] = len(files)


def _find_tables(workspace: Workspace, cut: Cut) -> dict[str, TableCut]:
    with workspace.store.snapshot() as connection:
        files = list_files(connection)
    session = Session(workspace.settings.engine, workspace.warehouse_folder, {})
    try:
        folder = workspace.warehouse_folder
        found = [find_files(session, folder, table, files.get(table.name, []), cut) for table in ALL_TABLES]
    finally:
        session.close()
    return {one.table.name: one for one in found if one.files}


def _write_tables(
    workspace: Workspace, cut: Cut, run_id: str
) -> tuple[dict[str, list[str]], dict[str, list[DataFile]]]:
    """(files that go, files that come) by table."""
    removed, written = {}, {}
    session = Session(workspace.settings.engine, workspace.warehouse_folder, {})
    try:
        for name, found in _find_tables(workspace, cut).items():
            made = [
                rewrite_file(session, workspace.warehouse_folder, found.table, path, cut, run_id)
                for path in found.files
            ]
            removed[name], written[name] = list(found.files), [file for file in made if file is not None]
    finally:
        session.close()
    return removed, written


def _commit(
    workspace: Workspace,
    cut: Cut,
    run_id: str,
    removed: dict[str, list[str]],
    written: dict[str, list[DataFile]],
) -> None:
    with workspace.store.begin() as connection:
        end_run(connection, run_id)
        clear_store(connection, workspace, cut)
        for table in ALL_TABLES:
            name = table.name
            # A version even where no file changes: a run that has the person in its hands must not end well.
            if name in removed or list_person_columns(table):
                write_version(
                    connection,
                    name,
                    "rewrite",
                    written.get(name, []),
                    run_id=run_id,
                    removed=removed.get(name, []),
                )
        write_version(connection, "erasures", "append", written["erasures"], run_id=run_id)


def _write_digests(workspace: Workspace, cut: Cut, run_id: str) -> list[DataFile]:
    secret = load_secret(workspace.path)
    # Whatever comes in now is folded.
    forms = dict.fromkeys(form for record in cut.person.records for form in list_forms(record))
    kinds = [("record", form) for form in forms]
    kinds += [("trace", value) for value in cut.person.values]
    if must_not_be_contacted(workspace, cut.person.records):
        kinds += cut.person.contacts
    with workspace.read() as reader:
        known = {(row["kind"], row["digest"]) for row in reader.query("SELECT * FROM erasures").to_pylist()}
    new = {(kind, digest(secret, kind, value)) for kind, value in kinds} - known
    day = business_day(now(), workspace.settings.business.zone)
    rows = [
        {"digest": value, "kind": kind, "erased_on": day, "run_id": run_id} for kind, value in sorted(new)
    ]
    if not rows:
        return []
    return write_files(workspace.warehouse_folder, ERASURES, TABLES["erasures"].build(rows), run_id)


def _start_run(workspace: Workspace, run_id: str, erasure_id: str) -> None:
    """On record before a file is written, so that nobody takes its files for left over.

    An earlier attempt at the same erasure, wherever it stands, can no longer end well: its files go.
    """
    at, parameters = now(), {"erasure": erasure_id}
    with workspace.store.begin() as connection:
        _interrupt_runs(connection, parameters)
        start_run(connection, run_id, "data", as_of=at.date(), parameters=parameters)


def _interrupt_runs(connection: sa.Connection, parameters: dict[str, Any]) -> None:
    running = sa.select(RUNS.c.run_id, RUNS.c.parameters).where(RUNS.c.status == "running")
    for run_id, said in connection.execute(running).all():
        if said == parameters:
            ended = sa.update(RUNS).where(RUNS.c.run_id == run_id)
            connection.execute(ended.values(status="interrupted", finished_at=now()))


def _tell_kept(keep_amounts: bool) -> tuple[Text, ...]:
    kept = (
        say(
            "Kept under a random number: order lines (day, product, quantity, amount) and the plan, arm, outcome and "
            "ledger rows of experiments, so that totals stay. Who knows these purchases from elsewhere could recognise "
            "them; --no-keep-amounts erases them too."
        )
        if keep_amounts
        else say("Nothing of the person is kept; revenue and experiment totals become smaller.")
    )
    return (
        kept,
        say("Keyed digests of the numbers stay, so that no file brings the person back."),
        say("Backups, files outside the workspace and what providers received must be erased there."),
    )
