"""Packed files: ``.gz`` and ``.zip`` are unpacked beside the stage, within limits. Reads and writes files."""

from __future__ import annotations

import gzip
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say

_BOMB_SIZE = 256 << 20
_BOMB_RATIO = 200
"""A file that unfolds to more than 256 MB and to more than 200 times its size is no table."""
_OFFICE = ("xl/workbook.xml", "xl/workbook.bin", "[Content_Types].xml", "META-INF/manifest.xml")


def is_packed(path: Path) -> bool:
    """Whether ``path`` is a gzip or zip file that is no workbook."""
    with path.open("rb") as stream:
        head = stream.read(4)
    if head[:2] == b"\x1f\x8b":
        return True
    if head != b"PK\x03\x04" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return not any(name in _OFFICE for name in archive.namelist())


def unpack(path: Path, folder: Path, *, member: str | None) -> Path:
    """The unpacked file, in ``folder`` under its own name; BadInput when there are several and none is chosen."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"PK"
        if not zipped:
            target = folder / (path.stem if path.suffix.lower() == ".gz" else path.name)
            with gzip.open(path) as packed:
                _copy(packed, target, path)
            return target
        with zipfile.ZipFile(path) as archive:
            chosen = _choose(archive, path, member)
            if archive.getinfo(chosen).flag_bits & 1:
                raise _locked(path)
            target = folder / Path(chosen).name
            with archive.open(chosen) as packed:
                _copy(packed, target, path)
            return target
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise BadInput(
            "data.broken_archive",
            say("'{file}' cannot be unpacked: it is damaged or cut short.", file=path.name),
            remedy=say("Pack it again, or add the file that is inside."),
            where={"file": path.name},
        ) from error


def _choose(archive: zipfile.ZipFile, path: Path, member: str | None) -> str:
    names = [
        entry.filename
        for entry in archive.infolist()
        if not entry.is_dir()
        and entry.file_size
        and not entry.filename.startswith("__MACOSX/")
        and not Path(entry.filename).name.startswith(".")
    ]
    if member is not None:
        wanted = member.strip().casefold()
        found = [name for name in names if wanted in (name.casefold(), Path(name).name.casefold())]
        if len(found) == 1:
            return found[0]
        raise BadInput(
            "data.unknown_sheet",
            say("'{file}' has no part '{sheet}'.", file=path.name, sheet=member),
            remedy=say("Its parts are: {sheets}.", sheets=join_list(names)),
            where={"file": path.name, "value": member},
        )
    if not names:
        raise BadInput(
            "data.empty_file",
            say("'{file}' is empty.", file=path.name),
            remedy=say("Export the file again; its first line must name the columns."),
            where={"file": path.name},
        )
    if len(names) > 1:
        raise BadInput(
            "data.which_sheet",
            say("'{file}' has several parts: {sheets}.", file=path.name, sheets=join_list(names)),
            remedy=say('Say which is meant: --sheet "{sheet}"', sheet=Path(names[0]).name),
            where={"file": path.name, "value": ", ".join(names)},
        )
    return names[0]


def _copy(packed: IO[bytes] | gzip.GzipFile, target: Path, path: Path) -> None:
    """Copy, counting what comes out rather than believing what the archive says."""
    limit = max(_BOMB_SIZE, path.stat().st_size * _BOMB_RATIO)
    written = 0
    with target.open("wb") as out:
        while block := packed.read(1 << 20):
            written += len(block)
            if written > limit or shutil.disk_usage(target.parent).free < 1 << 28:
                raise BadInput(
                    "data.archive_too_large",
                    say("'{file}' unfolds to more than {size} MB.", file=path.name, size=written >> 20),
                    remedy=say("Unpack it yourself and add the file that is inside."),
                    where={"file": path.name},
                )
            out.write(block)


def _locked(path: Path) -> BadInput:
    return BadInput(
        "data.password",
        say("'{file}' is protected by a password.", file=path.name),
        remedy=say("Unpack it yourself and add the file that is inside."),
        where={"file": path.name},
    )
