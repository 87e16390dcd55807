"""How the workspace's folder loses a person: old Parquet files, caches, and files that were written for people.

Of lists (CSV, JSON Lines, text) the lines of the person go and all others stay; any other file that names the person
is deleted whole, and so is one that is cut off and cannot be read. Settings, templates, the secret, the store and the
warehouse's own files are left to their owners.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.data.erasing import Cut
from aimwell.data.person import build_patterns, names_person
from aimwell.engine.files import sync_folder
from aimwell.engine.leases import find_oldest_lease, is_alive
from aimwell.engine.settings import FILE_NAME
from aimwell.engine.spill import clear
from aimwell.engine.store_tables import RUNS, TABLE_FILES
from aimwell.engine.workspace import Workspace

_LINES = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".log"}
_OWN = ("store.sqlite", FILE_NAME, "secret")
_FOLDERS = ("warehouse", "templates")
_PATIENCE = 10.0
"""Seconds that readers get to end before their files are deleted all the same."""


def delete_unlisted(workspace: Workspace) -> int:
    """Delete every file of the warehouse that the manifest does not list for today's readers; how many went.

    Files of runs that are under way stay: they cannot end well, and clear up after themselves.
    """
    folder = workspace.warehouse_folder
    _await_readers(folder)
    with workspace.store.begin() as connection:
        listed = set(
            connection.execute(
                sa.select(TABLE_FILES.c.path).where(TABLE_FILES.c.removed_in.is_(None))
            ).scalars()
        )
        running = connection.execute(
            sa.select(RUNS.c.run_id, RUNS.c.process).where(RUNS.c.status == "running")
        )
        alive = tuple(run_id for run_id, process in running if is_alive(process))
    count = 0
    for path in sorted(folder.glob("*/*")):
        name = path.relative_to(folder).as_posix()
        ours = path.suffix in (".parquet", ".writing")
        if ours and name not in listed and not (alive and path.name.startswith(alive)):
            path.unlink(missing_ok=True)
            count += 1
    clear(folder, patience=_PATIENCE)
    for path in folder.glob("published*"):
        shutil.rmtree(path, onerror=_pass_over_gone) if path.is_dir() else path.unlink(missing_ok=True)
    with workspace.store.begin() as connection:
        connection.execute(sa.delete(TABLE_FILES).where(TABLE_FILES.c.removed_in.is_not(None)))
    return count


def _pass_over_gone(_call: object, _path: object, raised: Any) -> None:
    """What a query that ends just now has removed itself is gone all the same."""
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


def find_mentioning(folder: Path, cut: Cut) -> list[Path]:
    """Files of the folder, other than store and warehouse, that name the person."""
    patterns = [re.compile(pattern) for pattern, _ in build_patterns(cut.person)]
    return [path for path in _list_files(folder) if _mentions(path, cut, patterns)]


def clear_folder(folder: Path, cut: Cut) -> None:
    """Take the person out of every file of ``find_mentioning``."""
    patterns = [re.compile(pattern) for pattern, _ in build_patterns(cut.person)]
    for path in find_mentioning(folder, cut):
        opened = _open_lines(path)
        if opened is None:
            path.unlink(missing_ok=True)
        else:
            codec, records = opened
            kept = [raw for raw, cells in records if not _names_line(cells, cut, patterns)]
            _write_whole(path, "".join(kept).encode(codec))
        sync_folder(path.parent)


def _await_readers(folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    since = now()
    while time.monotonic() < end:
        oldest = find_oldest_lease(folder, now())
        if oldest is None or oldest > since:
            return
        time.sleep(0.05)


def _list_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in _FOLDERS and not parts[0].startswith(_OWN):
            yield path


def _mentions(path: Path, cut: Cut, patterns: Sequence[re.Pattern[str]]) -> bool:
    opened = _open_lines(path)
    if opened is not None:
        return any(_names_line(cells, cut, patterns) for _, cells in opened[1])
    try:
        parts = _unpack(path)
    except (OSError, pa.ArrowInvalid, zipfile.BadZipFile, zlib.error, RuntimeError):
        # Cut off or locked: whom it names cannot be told, so it counts as naming everybody.
        return path.exists()
    texts = [part.decode(codec, "ignore") for part in parts for codec in ("utf-8", "gb18030", "utf-16-le")]
    return any(pattern.search(text) for text in texts for pattern in patterns)


def _unpack(path: Path) -> list[bytes]:
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        return [json.dumps(rows, ensure_ascii=False, default=str).encode()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            return [packed.read(name) for name in packed.namelist()]
    return [path.read_bytes()]


def _open_lines(path: Path) -> tuple[str, list[tuple[str, list[tuple[str, str]]]]] | None:
    """(codec, records of a list as they stand, each with its cells by name); None for any other file.

    A record may span lines inside double quotes.
    """
    if path.suffix.lower() not in _LINES:
        return None
    raw = path.read_bytes()
    codecs_tried = (
        ("utf-16",) if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ("utf-8", "gb18030")
    )
    for codec in codecs_tried:
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        return codec, list(_read_records(path.suffix.lower(), text))
    return None


def _read_records(suffix: str, text: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    tabular = suffix in (".csv", ".tsv")
    delimiter, header = _find_delimiter(text), None
    waiting = ""
    for line in text.splitlines(keepends=True):
        waiting += line
        if tabular and waiting.count('"') % 2:
            continue
        cells = next(csv.reader([waiting], delimiter=delimiter), []) if tabular else [waiting]
        names = header if header is not None and tabular else [""] * len(cells)
        yield waiting, list(zip(names, cells, strict=False))
        header = header or [cell.strip("\ufeff ") for cell in cells]
        waiting = ""
    if waiting:
        yield waiting, [("", waiting)]


def _find_delimiter(text: str) -> str:
    head = text[:4096]
    return max(",;\t|", key=head.count)


def _names_line(cells: list[tuple[str, str]], cut: Cut, patterns: Sequence[re.Pattern[str]]) -> bool:
    """A record's number under a name that says person, or any value that tells the person."""
    records, values = set(cut.person.records), set(cut.person.values)
    for name, cell in cells:
        text = cell.strip().removeprefix("'")
        if (text in values and not text.isdigit()) or (
            text in records and (names_person(name) or not text.isdigit())
        ):
            return True
        if any(pattern.search(cell) for pattern in patterns):
            return True
    return False


def _write_whole(path: Path, raw: bytes) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
