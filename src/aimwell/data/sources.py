"""Places → staged text columns: files of many kinds and databases; nothing is interpreted yet, so 001 stays 001.

``open_source`` reads CSV, TSV, ``;``, ``|`` and blank-separated text in any usual encoding, workbooks, JSON, Parquet,
each also packed, and databases. The staged table is called ``raw`` in the scratch database: ``row_number`` and
``c0``, ``c1``, … in the order of ``Source.columns``. Reads files; writes nothing of the warehouse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.data import columnar, database, json_rows, workbook
from aimwell.data.archive import is_packed, unpack
from aimwell.data.delimited import open_text
from aimwell.data.encoding import Encoding, detect_encoding
from aimwell.data.expressions import clean
from aimwell.data.pieces import Delivery
from aimwell.data.records import CHUNK
from aimwell.data.scratch import Scratch
from aimwell.data.staging import Stage, State, Watch

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".psv", ".dat")
_FIRST = 1 << 20
"""Bytes of text that a proposal is made by."""
_PEEKED = 64 << 20
"""Bytes of a file by which its encoding is told before all of it is read."""


@dataclass(frozen=True)
class Options:
    """What a person says about a place: names of columns, a part of it, a table or a query."""

    header: tuple[str, ...] | None = None
    sheet: str | None = None
    table: str | None = None
    query: str | None = None


@dataclass(frozen=True)
class Source:
    """One file as it was found. ``rows`` counts records: staged ones and ``broken``; blank lines are none."""

    file: str
    columns: tuple[str, ...]
    encoding: str
    delimiter: str
    rows: int
    blank: int = 0
    spanning: int = 0
    broken: int = 0
    """Lines that are no records: the view ``faults``."""
    padded: frozenset[str] = frozenset()
    """Staged columns in which some value has blanks around it."""
    notices: tuple[Text, ...] = ()

    def read(self, column: str) -> str:
        """The SQL of the cleaned text of ``column``."""
        staged = self.staged(column)
        return clean(staged, padded=staged in self.padded)

    def staged(self, column: str) -> str:
        """The staged name (``c3``) of ``column``."""
        return f"c{self.columns.index(column)}"


def open_source(
    scratch: Scratch,
    place: Path | str,
    options: Options | None = None,
    *,
    stage: Stage | None = None,
    signature: str = "",
    watch: Watch | None = None,
    peek: bool = False,
) -> Source:
    """Stage ``place`` as table ``raw``; BadInput when it cannot be read, naming the remedy.

    ``stage`` keeps what was read under ``signature``, so that an interrupted reading goes on. ``peek``: only the
    first piece, to propose a mapping by.
    """
    delivery = open_delivery(scratch, place, options or Options(), peek=peek)
    stage = stage or Stage(scratch.folder / "stage")
    state = stage.fill(delivery, signature=signature, watch=watch, pieces=1 if peek else None)
    stage.show(scratch, state)
    if state.rows + state.faults == 0:
        raise _refuse(
            "data.no_rows",
            delivery.file,
            say("'{file}' has column names but no rows.", file=delivery.file),
            say("Export the file again with its rows."),
        )
    return _describe(delivery, state)


def _describe(delivery: Delivery, state: State) -> Source:
    return Source(
        delivery.file,
        tuple(state.columns),
        delivery.encoding,
        delivery.delimiter,
        state.rows + state.faults,
        state.blank,
        state.spanning,
        state.faults,
        frozenset(state.padded),
        delivery.notices,
    )


def open_delivery(scratch: Scratch, place: Path | str, options: Options, *, peek: bool = False) -> Delivery:
    """Find out what ``place`` is, and its columns."""
    if database.is_address(str(place)):
        return database.open_database(str(place), query=options.query, table=options.table)
    path = Path(place)
    check_file(path)
    name = path.name
    if is_packed(path):
        path = unpack(path, scratch.folder / "unpacked", member=options.sheet)
        name = f"{name}[{path.name}]" if options.sheet else name
        options = Options(options.header)
        _check_filled(path, name)
    ending = path.suffix.lower()
    if ending in columnar.ENDINGS or _starts_with(path, b"PAR1"):
        return columnar.open_parquet(scratch, path, name=name)
    if (
        ending in workbook.ENDINGS
        or _starts_with(path, b"PK\x03\x04")
        or _starts_with(path, workbook.OLE_MARK)
    ):
        return workbook.open_workbook(path, name=name, header=options.header, sheet=options.sheet)
    encoding = detect_encoding(path, limit=_PEEKED if peek else None)
    if ending in json_rows.ENDINGS:
        return json_rows.open_json(path, encoding, name=name)
    if ending not in TEXT_ENDINGS:
        _check_unknown(path, encoding, name)
    return open_text(
        scratch, path, encoding, name=name, header=options.header, size=_FIRST if peek else CHUNK
    )


def check_file(path: Path) -> None:
    """BadInput when ``path`` is no file that holds something."""
    if not path.exists():
        raise _refuse(
            "data.no_file",
            str(path),
            say("There is no file '{file}'.", file=str(path)),
            say("Check the name and the folder."),
        )
    if path.is_dir():
        raise _refuse(
            "data.is_folder",
            str(path),
            say("'{file}' is a folder.", file=str(path)),
            say("Name one file in it."),
        )
    _check_filled(path, path.name)


def _check_filled(path: Path, name: str) -> None:
    if path.stat().st_size == 0:
        raise _refuse(
            "data.empty_file",
            name,
            say("'{file}' is empty.", file=name),
            say("Export the file again; its first line must name the columns."),
        )


def _check_unknown(path: Path, encoding: Encoding, name: str) -> None:
    """A file of an unknown ending is read when it is text in columns: programs invent endings."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    binary = not encoding.codec.startswith("utf-16") and b"\0" in head
    lines = [line for line in head.splitlines() if line.strip()][:50]
    widths = {delimiter: {line.count(delimiter) for line in lines} for delimiter in (b",", b"\t", b";", b"|")}
    even = any(len(counts) == 1 and min(counts) > 0 for counts in widths.values() if counts)
    if binary or not even or len(lines) < 2:
        raise _refuse(
            "data.unknown_type",
            name,
            say("The type of '{file}' is not known.", file=name),
            say("Use CSV, TSV or text (.csv, .tsv, .txt), a workbook (.xlsx), JSON or Parquet."),
        )


def _starts_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(mark)) == mark


def _refuse(code: str, file: str, message: Text, remedy: Text) -> BadInput:
    return BadInput(code, message, remedy=remedy, where={"file": file})
