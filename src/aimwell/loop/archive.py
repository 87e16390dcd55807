"""The file that a backup is: a zip of the store's rows, the warehouse's files, settings and templates, and an index.

The index names every member with its size and SHA-256, and is written last: an archive without it is not whole.
Reads and writes no table.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.engine.store_copy import TableCopy

FORMAT = 1
INDEX = "aimwell-backup.json"
SUFFIX = ".aimwell.zip"
_PIECE = 1 << 20
_MOST_INDEX = 64 << 20
Progress = Callable[[Text], None]


@dataclass(frozen=True)
class Member:
    """One file of the archive."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """What the archive holds. ``anchor``: the newest entry of the audit log; ``position``: of the hot rows."""

    format: int
    aimwell: str
    revision: str
    created_at: str
    database: str
    anchor: str
    position: int
    tables: dict[str, TableCopy]
    rows: dict[str, int]
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def has_secret(self) -> bool:
        """Whether the workspace's secret is inside."""
        return "secret" in self.members

    @property
    def bytes(self) -> int:
        """Of everything, unpacked."""
        return sum(member.bytes for member in self.members.values())


class Writer:
    """Writes an archive; ``members`` grows with every file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w", allowZip64=True)
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        # While its stream is open: collected later, the zip would write its end to a closed file.
        with suppress(OSError):
            self._zip.close()

    def add(self, name: str, pieces: Iterable[bytes], *, packed: bool = True) -> Member:
        """A member out of pieces; ``packed``: made smaller, which gains nothing with Parquet."""
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        info.external_attr = 0o600 << 16
        digest, size = hashlib.sha256(), 0
        with self._zip.open(info, "w", force_zip64=True) as target:
            for piece in pieces:
                target.write(piece)
                digest.update(piece)
                size += len(piece)
        self.members[name] = Member(size, digest.hexdigest())
        return self.members[name]

    def finish(self, index: Index) -> str:
        """The index, and with it the end; its SHA-256, by which the whole archive is known."""
        content = msgspec.json.format(msgspec.json.encode(index), indent=1)
        self._zip.writestr(INDEX, content)
        self._zip.close()
        return hashlib.sha256(content).hexdigest()


class Archive:
    """An archive that is there, opened for reading."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise _no_backup(path) from error
        self.path = path
        self.index, self.checksum = self._read_index()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> Iterator[bytes]:
        """A member, piece by piece; BadInput when it is not what the index says."""
        expected = self.index.members[name]
        digest, size = hashlib.sha256(), 0
        try:
            with self._zip.open(name) as stream:
                while piece := stream.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
                    if size > expected.bytes:
                        break
                    yield piece
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError) as error:
            raise self._damaged(name) from error
        if (size, digest.hexdigest()) != (expected.bytes, expected.sha256):
            raise self._damaged(name)

    def read_lines(self, name: str) -> Iterator[bytes]:
        """A member line by line."""
        rest = b""
        for piece in self.read(name):
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            yield from lines
        if rest:
            yield rest

    def verify(self, progress: Progress) -> None:
        """Read everything once; BadInput at the first member that is missing, damaged or not in the index."""
        names = [info.filename for info in self._zip.infolist() if info.filename != INDEX]
        if sorted(names) != sorted(self.index.members) or not all(map(_is_safe, names)):
            raise self._damaged(INDEX)
        for number, name in enumerate(names, 1):
            if number % 100 == 1:
                progress(say("Checking file {number} of {count} …", number=number, count=len(names)))
            for _ in self.read(name):
                pass

    def _read_index(self) -> tuple[Index, str]:
        try:
            info = self._zip.getinfo(INDEX)
            if info.file_size > _MOST_INDEX:
                raise _no_backup(self.path)
            content = self._zip.read(INDEX)
            raw: dict[str, Any] = msgspec.json.decode(content)
            if raw.get("format") != FORMAT:
                raise _newer(self.path)
            return msgspec.convert(raw, Index), hashlib.sha256(content).hexdigest()
        except (KeyError, zipfile.BadZipFile, msgspec.MsgspecError, AttributeError, OSError) as error:
            raise _no_backup(self.path) from error

    def _damaged(self, name: str) -> BadInput:
        return BadInput(
            "loop.backup_damaged",
            say(
                "The backup {file} is damaged: {member} is not what was written.",
                file=self.path.name,
                member=name,
            ),
            remedy=say("Use another backup. Nothing was changed."),
            where={"file": str(self.path), "value": name},
        )


def read_pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces."""
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece


def copy_to(pieces: Iterable[bytes], stream: io.BufferedIOBase) -> None:
    """All pieces into ``stream``."""
    for piece in pieces:
        stream.write(piece)


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and path.as_posix() == name


def _no_backup(path: Path) -> BadInput:
    return BadInput(
        "loop.no_backup",
        say("{file} is not a whole backup of Aimwell.", file=path.name),
        remedy=say("Give a file that aimwell backup has written."),
        where={"file": str(path)},
    )


def _newer(path: Path) -> BadInput:
    return BadInput(
        "loop.backup_newer",
        say("The backup {file} was written by a newer version of Aimwell.", file=path.name),
        remedy=say("Install the newer version: pip install --upgrade aimwell."),
        where={"file": str(path)},
    )
