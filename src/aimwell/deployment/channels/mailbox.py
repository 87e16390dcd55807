"""Mails that other programs put into a folder: a maildir, an mbox file, or a folder of ``.eml`` files.

Whatever fetches mail (a mail server of one's own, getmail, fetchmail, an export) writes one of these. Each mail is
given once; only after the reader has come back for the next one is it marked as read, so that a crash in between
reads it again.
"""

from __future__ import annotations

import mailbox
import os
from collections.abc import Iterator
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.text import say

_DONE = "done"


def read_mails(place: Path) -> Iterator[bytes]:
    """The mails in ``place`` that were not read yet; BadInput when there is no mailbox.

    Of a maildir those in ``new`` (they move to ``cur``), of a folder its ``.eml`` files (they move to ``done``), of an
    mbox file all, each time: it belongs to the program that writes it.
    """
    if (place / "new").is_dir() and (place / "cur").is_dir():
        return _read_maildir(place)
    if place.is_dir():
        return _read_folder(place)
    if place.is_file():
        return _read_mbox(place)
    raise BadInput(
        "deployment.no_mailbox",
        say("There is no mailbox at {place}.", place=str(place)),
        remedy=say("Name a maildir, an mbox file or a folder of .eml files."),
        where={"file": str(place)},
    )


def _read_maildir(place: Path) -> Iterator[bytes]:
    for path in sorted((place / "new").iterdir()):
        yield path.read_bytes()
        path.rename(place / "cur" / f"{path.name}:2,S")


def _read_folder(place: Path) -> Iterator[bytes]:
    for path in sorted(place.glob("*.eml")):
        yield path.read_bytes()
        (place / _DONE).mkdir(exist_ok=True)
        path.rename(place / _DONE / path.name)


def _read_mbox(place: Path) -> Iterator[bytes]:
    box = mailbox.mbox(os.fspath(place), create=False)
    try:
        for key in box.iterkeys():
            yield box.get_bytes(key)
    finally:
        box.close()
