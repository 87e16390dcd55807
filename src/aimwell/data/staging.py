"""The staged text of one source: pieces as Parquet files in a folder, with how far reading came.

Nothing is interpreted yet, so 001 stays 001. A stage in a workspace outlives the process that filled it: after
a crash, or when the load stopped with a question, reading goes on where it was. Writes the views ``raw``
(``row_number``, ``c0``, ``c1``, …) and ``faults`` (``row_number``, ``reason``, ``text``) of a scratch database.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.data.pieces import Delivery, Mark, Piece, find_padded, name_fields
from aimwell.data.scratch import Scratch, literal

FORMAT = 1
"""Raised whenever pieces are written differently: older stages are then read anew."""
_KEPT_FOR = 3 * 86_400
"""Seconds for which a stage that nobody used stays."""
_FAULTS = pa.schema([("row_number", pa.int64()), ("reason", pa.string()), ("text", pa.string())])
Watch = Callable[[int, int, int | None], None]
"""Told after each piece: rows so far, offset so far, the offset that will be reached (or None)."""


@dataclass
class State:
    """How far reading came, and what was seen; kept beside the pieces."""

    offset: int
    line: int
    pieces: int = 0
    rows: int = 0
    faults: int = 0
    blank: int = 0
    spanning: int = 0
    padded: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    complete: bool = False


class Stage:
    """The folder in which one delivery is staged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def fill(
        self,
        delivery: Delivery,
        *,
        signature: str = "",
        watch: Watch | None = None,
        pieces: int | None = None,
    ) -> State:
        """Read what is not staged yet; ``pieces``: stop after so many and a line. ``signature`` tells sources apart."""
        signature = signature and _sign(delivery, signature)
        state = self._resume(delivery, signature) or self._begin(delivery, signature)
        if state.complete:
            return state
        for piece in delivery.read(Mark(state.offset, state.line)):
            self._write(piece, state)
            self._save(state, signature)
            if watch is not None:
                watch(state.rows + state.faults, state.offset, delivery.size)
            # A first piece may be empty: its lines wait for the end of a quote.
            if pieces is not None and state.pieces >= pieces and state.rows + state.faults:
                return state
        state.complete = True
        self._save(state, signature)
        return state

    def show(self, scratch: Scratch, state: State) -> None:
        """Make the staged rows the views ``raw`` and ``faults`` of ``scratch``."""
        names = name_fields(len(state.columns))
        files = [self.folder / f"piece-{number:06}.parquet" for number in range(state.pieces)]
        files = [path for path in files if path.exists()]
        if files:
            listed = ", ".join(literal(str(path)) for path in files)
            widths = {len(pq.read_schema(path)) for path in files}
            if len(widths) > 1:
                # Columns that were found late are empty before.
                cells = ", ".join(f"coalesce({name}, '') AS {name}" for name in names)
                source = f"read_parquet([{listed}], union_by_name = true)"
            else:
                cells, source = ", ".join(names), f"read_parquet([{listed}])"
            scratch.execute(f"CREATE OR REPLACE VIEW raw AS SELECT row_number, {cells} FROM {source}")
        else:
            cells = ", ".join(f"CAST('' AS VARCHAR) AS {name}" for name in names)
            scratch.execute(
                f"CREATE OR REPLACE VIEW raw AS SELECT CAST(0 AS BIGINT) AS row_number, {cells} WHERE false"
            )
        broken = sorted(self.folder.glob("faults-*.parquet"))
        if broken:
            listed = ", ".join(literal(str(path)) for path in broken)
            scratch.execute(f"CREATE OR REPLACE VIEW faults AS SELECT * FROM read_parquet([{listed}])")
        else:
            scratch.execute(
                "CREATE OR REPLACE VIEW faults AS SELECT CAST(0 AS BIGINT) AS row_number, "
                "CAST('' AS VARCHAR) AS reason, CAST('' AS VARCHAR) AS text WHERE false"
            )

    def remove(self) -> None:
        """Delete the stage; its lock goes with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _resume(self, delivery: Delivery, signature: str) -> State | None:
        try:
            kept = json.loads((self.folder / "state.json").read_text("utf-8"))
            state = State(**kept["state"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        usable = delivery.resumable or state.complete
        if not usable or not signature or kept["signature"] != signature:
            return None
        for kind in ("piece", "faults"):
            # Written by a process that ended before it could say so.
            (self.folder / f"{kind}-{state.pieces:06}.parquet").unlink(missing_ok=True)
        return state if self._is_whole(state) else None

    def _is_whole(self, state: State) -> bool:
        """Whether the pieces hold what the state tells: after a power cut one may be torn or gone."""
        try:
            rows, faults = (
                sum(pq.read_metadata(path).num_rows for path in self.folder.glob(f"{kind}-*.parquet"))
                for kind in ("piece", "faults")
            )
        except (OSError, pa.ArrowInvalid):
            return False
        return bool(rows == state.rows and faults == state.faults)

    def _begin(self, delivery: Delivery, signature: str) -> State:
        for path in self.folder.glob("*.parquet"):
            path.unlink()
        start = delivery.start
        state = State(start.offset, start.line, columns=list(delivery.columns))
        self._save(state, signature)
        return state

    def _write(self, piece: Piece, state: State) -> None:
        if piece.records.num_rows:
            path = self.folder / f"piece-{state.pieces:06}.parquet"
            # Text is read back once and at once: neither dictionaries nor statistics pay.
            pq.write_table(
                piece.records, path, compression="lz4", use_dictionary=False, write_statistics=False
            )
            padded = piece.padded if piece.padded is not None else find_padded(piece.records)
            state.padded = sorted({*state.padded, *padded})
        if piece.faults:
            faults = pa.Table.from_pylist([asdict(fault) for fault in piece.faults], schema=_FAULTS)
            pq.write_table(faults, self.folder / f"faults-{state.pieces:06}.parquet", compression="lz4")
        state.pieces += 1
        state.rows += piece.records.num_rows
        state.faults += len(piece.faults)
        state.blank += piece.blank
        state.spanning += piece.spanning
        state.offset, state.line = piece.mark.offset, piece.mark.line
        if piece.columns is not None:
            state.columns = list(piece.columns)

    def _save(self, state: State, signature: str) -> None:
        # Renamed into place: after a crash it tells of whole pieces only, and the next piece is written anew.
        aside = self.folder / "state.writing"
        aside.write_text(json.dumps({"signature": signature, "state": asdict(state)}), "utf-8")
        aside.replace(self.folder / "state.json")


def _sign(delivery: Delivery, signature: str) -> str:
    parts = (FORMAT, signature, delivery.columns, delivery.encoding, delivery.delimiter)
    return json.dumps(parts, ensure_ascii=False)


@contextmanager
def hold_stage(root: Path, key: str, *, file: str) -> Iterator[Stage]:
    """The stage ``key`` below ``root``, which nobody else fills meanwhile; Conflict when somebody does.

    It is removed when the block ends without an error, and kept for the next try otherwise.
    """
    root.mkdir(parents=True, exist_ok=True)
    _forget_old(root)
    with _lock(root, key) as mine:
        if not mine:
            raise Conflict(
                "data.being_loaded",
                say("'{file}' is being loaded by another process.", file=file),
                remedy=say("Wait until it has ended, and run the command again."),
                where={"file": file},
            )
        stage = Stage(root / key)
        yield stage
        stage.remove()


def forget_stage(root: Path, key: str) -> None:
    """Remove the stage ``key`` below ``root`` if it is there and nobody fills it."""
    if not (root / key).exists():
        return
    with _lock(root, key) as mine:
        if mine:
            shutil.rmtree(root / key, ignore_errors=True)


@contextmanager
def _lock(root: Path, key: str) -> Iterator[bool]:
    """Whether the stage is this process's own while the block runs."""
    lock = os.open(root / f"{key}.lock", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _forget_old(root: Path) -> None:
    limit = time.time() - _KEPT_FOR
    for path in root.iterdir():
        if path.stat().st_mtime < limit:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
