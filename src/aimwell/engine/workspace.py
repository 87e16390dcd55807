"""A workspace is a folder: settings, store and warehouse. No server is needed.

A ``Run`` is one atomic unit of work of one step. Tables that it replaces or appends to are validated at once,
visible to its own later queries, and become visible to everybody in one transaction at its end. A run that
fails leaves nothing behind. Its inputs' versions, parameters and seed are recorded, so that any number can be
traced back and recomputed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.ids import new_id
from aimwell.core.seeds import derive_seed
from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.coded_reader import CodedRows, open_coded
from aimwell.engine.engines import open_session
from aimwell.engine.files import (
    DataFile,
    FileVerifier,
    is_overlay,
    is_patch,
    write_files,
    write_overlay,
    write_patch,
    write_stream,
)
from aimwell.engine.hot_events import HotRows
from aimwell.engine.hot_tables import HOT_BATCHES
from aimwell.engine.leases import hold_lease, is_alive
from aimwell.engine.manifest import (
    Snapshot,
    changed_meanwhile,
    find_moved,
    list_changes,
    read_snapshot,
    write_version,
)
from aimwell.engine.published import PublishedReader, open_published
from aimwell.engine.runs import end_run, start_run
from aimwell.engine.session import Session
from aimwell.engine.settings import FILE_NAME, Settings, check_settings, load_settings, write_settings
from aimwell.engine.store import Store, open_store
from aimwell.engine.store_errors import room_explained
from aimwell.engine.store_tables import RUNS
from aimwell.engine.translated_session import TranslatedSession
from aimwell.engine.views import name_stored, read_schema

Mode = Literal["replace", "append", "rewrite"]


class Reader:
    """A read-only snapshot of the warehouse. ``position``: the newest batch of hot rows that it knows.

    Threads may share it; they are answered one after the other.
    """

    def __init__(
        self,
        session: Session | TranslatedSession,
        position: int = 0,
        *,
        stored: tuple[Path, Mapping[str, list[str]]] | None = None,
    ) -> None:
        self._session = session
        self.position = position
        self._stored = stored

    @cached_property
    def coded(self) -> CodedRows | None:
        """The same rows as the published file has them; None where there is none that would do.

        A run has none: it sees rows that nobody else does yet.
        """
        if self._stored is None or not isinstance(self._session, Session):
            return None
        return open_coded(self._session, *self._stored)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``; every table of ``core.tables`` is a view."""
        return self._session.query(sql, parameters)

    def query_batches(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """The rows of ``sql`` batch by batch, for answers larger than memory; no other query may run meanwhile."""
        return self._session.query_batches(sql, parameters)

    def query_within(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        tables: Collection[str],
        seconds: float,
        memory: str,
    ) -> pa.Table:
        """Like ``query``, for SQL that a person wrote: it reaches ``tables`` and nothing else.

        NotReady when it takes more time or memory (such as 512MB). An engine on a cluster has limits of its own.
        """
        if isinstance(self._session, Session):
            return self._session.query_within(sql, parameters, tables=tables, seconds=seconds, memory=memory)
        return self._session.query(sql, parameters)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing (temporary tables of this snapshot)."""
        self._session.execute(sql, parameters)

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name`` for the queries that follow."""
        self._session.register(name, data)


class Run(Reader):
    """One atomic unit of work; made by ``Workspace.run``."""

    def __init__(
        self,
        session: Session | TranslatedSession,
        *,
        run_id: str,
        step: str,
        as_of: date,
        seed: int,
        folder: Path,
        files: dict[str, list[str]],
    ) -> None:
        super().__init__(session)
        self.id = run_id
        self.step = step
        self.as_of = as_of
        self.seed = seed
        self._folder = folder
        self._files = files
        self._staged: dict[str, tuple[Mode, list[DataFile]]] = {}
        self._outdated: dict[str, list[str]] = {}

    @property
    def warehouse_folder(self) -> Path:
        """The folder of the files."""
        return self._folder

    def replace(self, table: str, data: pa.Table) -> None:
        """Make ``data`` the whole content of ``table``; ContractBroken when it is not as declared."""
        self._stage(table, data, "replace")

    def append(self, table: str, data: pa.Table) -> None:
        """Add rows to ``table``; the caller sees to it that their keys are new."""
        if data.num_rows:
            self._stage(table, data, "append")

    def replace_stream(self, table: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Like ``replace``, in bounded memory; the number of rows. Keys are the caller's duty."""
        return self._stage_stream(table, batches, "replace")

    def append_stream(self, table: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Like ``append``, in bounded memory; the number of rows."""
        return self._stage_stream(table, batches, "append")

    def put(self, table: str, data: pa.Table, *, column: str, value: str) -> None:
        """Write ``data`` in place of the rows of ``table`` whose ``column`` is ``value``; all others stay."""
        name = TABLES[table].column(column).name
        stored = name_stored(table)
        kept = self.query(
            f"SELECT * FROM {stored} WHERE {name} <> $value OR {name} IS NULL", {"value": value}
        )
        if kept.num_rows == self.query(f"SELECT COUNT(*) AS n FROM {stored}")["n"][0].as_py():
            self.append(table, data)
        else:
            rows = TABLES[table].validate(data)
            self.replace(table, pa.concat_tables([TABLES[table].validate(kept), rows]))

    def patch(self, table: str, data: pa.Table) -> None:
        """Put rows in place of those with the same key, and add those whose key is new; all others stay untouched.

        They are written as one small file that readers lay over the others, together with what an earlier patch
        holds: for few rows of a wide table. Not together with ``replace`` or ``append`` of the same table.
        """
        rows = TABLES[table].validate(data)
        earlier = [path for path in self.list_files(table) if is_patch(path)]
        if earlier:
            self.show_files("patched_before", table, earlier)
            self.register("patching", rows)
            same = " AND ".join(f"p.{name} = patched_before.{name}" for name in TABLES[table].key)
            untouched = f"NOT EXISTS (SELECT 1 FROM patching AS p WHERE {same})"
            kept = self.query(f"SELECT * FROM patched_before WHERE {untouched}")
            rows = pa.concat_tables([TABLES[table].validate(kept), rows], promote_options="default")
            rows = rows.sort_by([(name, "ascending") for name in TABLES[table].key])
        self._take_place(table, earlier, [write_patch(self._folder, TABLES[table], rows, self.id)])

    def overlay(self, table: str, parts: Iterable[pa.Table]) -> None:
        """Put columns in place of those of the same name in every row that no patch holds.

        ``parts`` have the key and the same columns, together for all rows. Each is written as a file that readers
        join by key: for some columns of a wide table. An earlier overlay whose columns are all among them ends; one
        that has all of them and more stays below (ValueError: neither). Not together with ``replace`` or ``append``
        of the same table.
        """
        written = [write_overlay(self._folder, TABLES[table], part, self.id) for part in parts]
        columns = set(read_schema([self._folder / written[0].path]))
        earlier = []
        for path in filter(is_overlay, self.list_files(table)):
            there = set(read_schema([self._folder / path]))
            if there <= columns:
                earlier.append(path)
            elif not there > columns:
                raise ValueError(f"the overlay of {table} lacks {sorted(there - columns)}")
        self._take_place(table, earlier, written)

    def _take_place(self, table: str, earlier: list[str], files: list[DataFile]) -> None:
        self._outdated.setdefault(table, []).extend(earlier)
        self._files[table] = [path for path in self.list_files(table) if path not in earlier]
        self._keep(table, files, "rewrite")

    def list_files(self, table: str) -> list[str]:
        """The files of ``table`` as this run sees it."""
        return list(self._files.get(table, ()))

    def list_hot(self) -> list[str]:
        """The tables that have rows which no file holds yet: they stand in views such as ``hot_events``."""
        return self._session.list_hot()

    def show_files(self, name: str, table: str, paths: Iterable[str]) -> None:
        """Make some files of ``table`` a view called ``name``, whatever this run makes of the table itself."""
        self._session.show(replace(TABLES[table], name=name), paths)

    @property
    def staged(self) -> dict[str, tuple[Mode, list[DataFile]]]:
        """What the end of the run will make visible."""
        return self._staged

    def list_outdated(self, table: str) -> list[str]:
        """The files of ``table`` that what is staged makes superfluous, other than by replacing all."""
        return self._outdated.get(table, [])

    def _stage(self, name: str, data: pa.Table, mode: Mode) -> None:
        table = TABLES[name]
        self._keep(name, write_files(self._folder, table, table.validate(data), self.id), mode)

    def _stage_stream(self, name: str, batches: Iterable[pa.RecordBatch], mode: Mode) -> int:
        written = write_stream(self._folder, TABLES[name], batches, self.id)
        if written or mode == "replace":
            self._keep(name, written, mode)
        return sum(file.rows for file in written)

    def _keep(self, name: str, written: list[DataFile], mode: Mode) -> None:
        table = TABLES[name]
        earlier_mode, earlier = self._staged.get(name, (mode, []))
        if mode == "replace":
            _remove_files(self._folder, earlier)
            self._staged[name] = ("replace", written)
            self._files[name] = []
            self._session.hold(table, None)
        else:
            self._staged[name] = (earlier_mode, earlier + written)
        self._files[name] = self._files.get(name, []) + [file.path for file in written]
        self._session.show(table, self._files[name])


class Workspace:
    """An open workspace; ``create`` makes one, ``open`` opens one."""

    def __init__(self, path: Path, settings: Settings, store: Store) -> None:
        self.path = path
        self.settings = settings
        self.store = store
        self.warehouse_folder = path / "warehouse"
        self.hot = HotRows(store)
        self._verifier = FileVerifier(self.warehouse_folder)

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        name: str | None = None,
        zone: str = "Asia/Shanghai",
        currency: str = "CNY",
        settings: Settings | None = None,
    ) -> Workspace:
        """Make a workspace in the folder ``path``; Conflict when there is one already."""
        path = Path(path)
        if (path / FILE_NAME).exists():
            raise Conflict(
                "engine.workspace_exists",
                say("There is a workspace in {folder} already.", folder=str(path)),
                remedy=say("Choose another folder, or go on working in this one."),
                where={"file": str(path)},
            )
        if path.exists() and not path.is_dir():
            raise BadInput(
                "engine.not_a_folder",
                say("{folder} is a file, not a folder.", folder=str(path)),
                remedy=say("Choose another folder."),
                where={"file": str(path)},
            )
        business = {"name": name or path.resolve().name or "Aimwell", "zone": zone, "currency": currency}
        settings = settings or check_settings({"business": business}, FILE_NAME)
        store = open_store(path, settings, new=True)
        (path / "warehouse").mkdir(parents=True, exist_ok=True)
        store.close()
        # The settings come last: a folder counts as a workspace only once everything else stands.
        write_settings(settings, path / FILE_NAME)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str) -> Workspace:
        """Open the workspace in ``path``; NotReady when there is none."""
        path = Path(path)
        if not (path / FILE_NAME).is_file():
            raise NotReady(
                "engine.no_workspace",
                say("There is no workspace in {folder}.", folder=str(path)),
                remedy=say("Make one with: aimwell init {folder}", folder=str(path)),
                where={"file": str(path)},
            )
        settings = load_settings(path / FILE_NAME)
        return cls(path, settings, open_store(path, settings))

    def close(self) -> None:
        """Give the store's connections back."""
        self.store.close()

    @contextmanager
    def read(self, step: str | None = None) -> Iterator[Reader]:
        """A read-only snapshot, for as long as the block lasts; ``step`` names whose engine answers."""
        with hold_lease(self.warehouse_folder):
            session, snapshot = self._open_session(step)
            try:
                with session.spill.watch():
                    yield Reader(session, snapshot.position, stored=(self.warehouse_folder, snapshot.files))
            finally:
                session.close()

    @contextmanager
    def published(self) -> Iterator[PublishedReader]:
        """The newest published file of tags and events, read-only; NotReady when there is none."""
        with open_published(self.warehouse_folder, self.settings.engine) as reader:
            yield reader

    @contextmanager
    def run(
        self, step: str, *, as_of: date, parameters: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> Iterator[Run]:
        """One atomic unit of work: all its tables become visible at the end of the block, or none."""
        with room_explained(), hold_lease(self.warehouse_folder):
            session, snapshot = self._open_session(step)
            run = Run(
                session,
                run_id=new_id("run"),
                step=step,
                as_of=as_of,
                seed=derive_seed(self.settings.seed, step, as_of.isoformat()) if seed is None else seed,
                folder=self.warehouse_folder,
                files=dict(snapshot.files),
            )
            self._start(run, dict(parameters or {}), snapshot.versions)
            try:
                with session.spill.watch():
                    yield run
                self._commit(run, snapshot)
            except BaseException:
                self._give_up(run)
                raise
            finally:
                session.close()

    def _open_session(self, step: str | None) -> tuple[Session | TranslatedSession, Snapshot]:
        with self.store.snapshot() as connection:
            snapshot = read_snapshot(connection)
        self._verifier.verify(snapshot.hashes)
        session = open_session(self.settings.engine, self.warehouse_folder, snapshot.files, step=step)
        for name, rows in snapshot.read_hot().items():
            if name in TABLES:
                session.hold(TABLES[name], rows)
                session.show(TABLES[name], snapshot.files.get(name, []))
        return session, snapshot

    def _start(self, run: Run, parameters: dict[str, Any], versions: dict[str, int]) -> None:
        with self.store.begin() as connection:
            self._clear_dead_runs(connection)
            start_run(
                connection,
                run.id,
                run.step,
                as_of=run.as_of,
                parameters=parameters,
                inputs=versions,
                seed=run.seed,
            )

    def _clear_dead_runs(self, connection: sa.Connection) -> None:
        """Remove what runs of processes that no longer exist had written aside."""
        query = sa.select(RUNS.c.run_id, RUNS.c.process).where(RUNS.c.status == "running")
        for run_id, process in connection.execute(query).all():
            if not is_alive(process):
                _remove_run(self.warehouse_folder, run_id)
                connection.execute(
                    sa.update(RUNS)
                    .where(RUNS.c.run_id == run_id)
                    .values(status="interrupted", finished_at=now())
                )

    def _commit(self, run: Run, snapshot: Snapshot) -> None:
        with self.store.begin() as connection:
            for table, (mode, written) in run.staged.items():
                _check_commutes(connection, table, mode, run.step, snapshot)
                gone = run.list_outdated(table)
                write_version(connection, table, mode, written, run_id=run.id, removed=gone)
                if mode == "replace":
                    # Hot rows that the run saw are part of what it replaced; those that came later stay.
                    seen = (HOT_BATCHES.c.table_name == table, HOT_BATCHES.c.position <= snapshot.position)
                    connection.execute(sa.delete(HOT_BATCHES).where(*seen))
            end_run(connection, run.id)
        for _, written in run.staged.values():
            for file in written:
                self._verifier.trust(file)

    def _give_up(self, run: Run) -> None:
        """Leave nothing of a run behind, unless its end was reached (an interruption may arrive just after it)."""
        with self.store.begin() as connection:
            ended = connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.run_id == run.id, RUNS.c.status != "done")
                .values(status="failed", finished_at=now())
            )
        if ended.rowcount:
            _remove_run(self.warehouse_folder, run.id)


def _check_commutes(connection: sa.Connection, table: str, mode: Mode, step: str, snapshot: Snapshot) -> None:
    """Conflict when what others did to ``table`` meanwhile gives another result than one after the other.

    What moves or merges files changes no row that a run saw. Rows added by another step have keys of their own;
    two runs of one step may have added the same rows, each finding their keys new.
    """
    before = snapshot.versions.get(table, 0)
    # Hot rows that were moved into files are new to a run only when they came after its snapshot.
    moves_are_same = mode == "append" or find_moved(connection, table, before) <= snapshot.position
    for other_mode, other_step in list_changes(connection, table, before):
        same_rows = other_mode == "merge" or (other_mode == "move" and moves_are_same)
        new_keys = other_mode == mode == "append" and other_step != step
        if not same_rows and not new_keys:
            raise changed_meanwhile(table)


def _remove_run(folder: Path, run_id: str) -> None:
    for path in folder.glob(f"*/{run_id}-*"):
        path.unlink(missing_ok=True)


def _remove_files(folder: Path, files: list[DataFile]) -> None:
    for file in files:
        (folder / file.path).unlink(missing_ok=True)
