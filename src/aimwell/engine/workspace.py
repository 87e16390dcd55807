"""A workspace is a folder: settings, store and warehouse. No server is needed.

A ``Run`` is one atomic unit of work of one step. Tables that it replaces or appends to are validated at once,
visible to its own later queries, and become visible to everybody in one transaction at its end. A run that
fails leaves nothing behind. Its inputs' versions, parameters and seed are recorded, so that any number can be
traced back and recomputed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa

from aimwell import __version__
from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.ids import new_id
from aimwell.core.seeds import derive_seed
from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.files import DataFile, FileVerifier, write_files
from aimwell.engine.manifest import list_files, list_hashes, list_versions
from aimwell.engine.session import Session
from aimwell.engine.settings import FILE_NAME, Settings, check_settings, load_settings, write_settings
from aimwell.engine.store import Store
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS

Mode = Literal["replace", "append"]


class Reader:
    """A read-only snapshot of the warehouse."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``; every table of ``core.tables`` is a view."""
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
        session: Session,
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

    def replace(self, table: str, data: pa.Table) -> None:
        """Make ``data`` the whole content of ``table``; ContractBroken when it is not as declared."""
        self._stage(table, data, "replace")

    def append(self, table: str, data: pa.Table) -> None:
        """Add rows to ``table``; the caller sees to it that their keys are new."""
        if data.num_rows:
            self._stage(table, data, "append")

    def put(self, table: str, data: pa.Table, *, column: str, value: str) -> None:
        """Write ``data`` in place of the rows of ``table`` whose ``column`` is ``value``; all others stay."""
        name = TABLES[table].column(column).name
        kept = self.query(f"SELECT * FROM {table} WHERE {name} <> $value OR {name} IS NULL", {"value": value})
        if kept.num_rows == self.query(f"SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py():
            self.append(table, data)
        else:
            rows = TABLES[table].validate(data)
            self.replace(table, pa.concat_tables([TABLES[table].validate(kept), rows]))

    @property
    def staged(self) -> dict[str, tuple[Mode, list[DataFile]]]:
        """What the end of the run will make visible."""
        return self._staged

    def _stage(self, name: str, data: pa.Table, mode: Mode) -> None:
        table = TABLES[name]
        written = write_files(self._folder, table, table.validate(data), self.id)
        earlier_mode, earlier = self._staged.get(name, (mode, []))
        if mode == "replace":
            _remove_files(self._folder, earlier)
            self._staged[name] = ("replace", written)
            self._files[name] = []
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
        (path / "warehouse").mkdir(parents=True, exist_ok=True)
        Store.open_file(path / "store.sqlite").close()
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
        return cls(path, load_settings(path / FILE_NAME), Store.open_file(path / "store.sqlite"))

    def close(self) -> None:
        """Give the store's connections back."""
        self.store.close()

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A read-only snapshot, for as long as the block lasts."""
        session, _, _ = self._open_session()
        try:
            yield Reader(session)
        finally:
            session.close()

    @contextmanager
    def run(
        self, step: str, *, as_of: date, parameters: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> Iterator[Run]:
        """One atomic unit of work: all its tables become visible at the end of the block, or none."""
        session, files, versions = self._open_session()
        run = Run(
            session,
            run_id=new_id("run"),
            step=step,
            as_of=as_of,
            seed=derive_seed(self.settings.seed, step, as_of.isoformat()) if seed is None else seed,
            folder=self.warehouse_folder,
            files=files,
        )
        self._start(run, dict(parameters or {}), versions)
        try:
            yield run
            self._commit(run, versions)
        except BaseException:
            self._give_up(run)
            raise
        finally:
            session.close()

    def _open_session(self) -> tuple[Session, dict[str, list[str]], dict[str, int]]:
        with self.store.begin() as connection:
            files = list_files(connection)
            versions = list_versions(connection)
            hashes = list_hashes(connection)
        self._verifier.verify(hashes)
        return Session(self.settings.engine, self.warehouse_folder, files), files, versions

    def _start(self, run: Run, parameters: dict[str, Any], versions: dict[str, int]) -> None:
        with self.store.begin() as connection:
            self._clear_dead_runs(connection)
            connection.execute(
                sa.insert(RUNS).values(
                    run_id=run.id,
                    step=run.step,
                    as_of=run.as_of,
                    parameters=parameters,
                    inputs=versions,
                    seed=run.seed,
                    code_version=__version__,
                    process=_name_process(),
                    status="running",
                    started_at=now(),
                )
            )

    def _clear_dead_runs(self, connection: sa.Connection) -> None:
        """Remove what runs of processes that no longer exist had written aside."""
        query = sa.select(RUNS.c.run_id, RUNS.c.process).where(RUNS.c.status == "running")
        for run_id, process in connection.execute(query).all():
            if not _is_alive(process):
                _remove_run(self.warehouse_folder, run_id)
                connection.execute(
                    sa.update(RUNS)
                    .where(RUNS.c.run_id == run_id)
                    .values(status="interrupted", finished_at=now())
                )

    def _commit(self, run: Run, versions: dict[str, int]) -> None:
        with self.store.begin() as connection:
            current = list_versions(connection)
            for table, (mode, written) in run.staged.items():
                if current.get(table) != versions.get(table):
                    raise Conflict(
                        "engine.changed_meanwhile",
                        say("The table {table} was changed by another run meanwhile.", table=table),
                        remedy=say("Run the step again."),
                    )
                _record_version(connection, run.id, table, mode, written, current.get(table, 0) + 1)
            ended = connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.run_id == run.id, RUNS.c.status == "running")
                .values(status="done", finished_at=now())
            )
            if ended.rowcount != 1:
                raise Conflict(
                    "engine.run_cleared",
                    say("This run was cleared away by another process, which held it for dead."),
                    remedy=say("Run the step again."),
                )
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


def _record_version(
    connection: sa.Connection, run_id: str, table: str, mode: Mode, written: list[DataFile], version: int
) -> None:
    connection.execute(
        sa.insert(TABLE_VERSIONS).values(
            table_name=table,
            version=version,
            run_id=run_id,
            mode=mode,
            rows=sum(file.rows for file in written),
            created_at=now(),
        )
    )
    if mode == "replace":
        connection.execute(
            sa.update(TABLE_FILES)
            .where(TABLE_FILES.c.table_name == table, TABLE_FILES.c.removed_in.is_(None))
            .values(removed_in=version)
        )
    for file in written:
        connection.execute(
            sa.insert(TABLE_FILES).values(
                path=file.path,
                table_name=table,
                added_in=version,
                rows=file.rows,
                bytes=file.bytes,
                sha256=file.sha256,
            )
        )


def _remove_run(folder: Path, run_id: str) -> None:
    for path in folder.glob(f"*/{run_id}-*"):
        path.unlink(missing_ok=True)


def _remove_files(folder: Path, files: list[DataFile]) -> None:
    for file in files:
        (folder / file.path).unlink(missing_ok=True)


def _name_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_alive(process: str) -> bool:
    host, _, number = process.rpartition(":")
    if host != socket.gethostname():
        # Nothing can be known of a process elsewhere: what it wrote aside is left alone.
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
