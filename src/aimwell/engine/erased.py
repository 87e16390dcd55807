"""Who was erased, as keyed digests: all that is kept of a person who asked to be erased.

The digests of their record ids, and of the contacts of those who were suppressed, are HMAC-SHA-256 by the workspace's
secret, of which nobody can tell the person without both the secret and the id. With them whatever comes in later about
an erased person (a file, an event, an old unsubscribe link) is recognised, and not written down again. Reads
``erasures``; writes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from aimwell.engine.manifest import read_version
from aimwell.engine.secret import load_secret
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace

_PURPOSE = b"aimwell erasure 1\x00"
_NUMBER = re.compile(r"[+(]?[0-9][-0-9 ().]{6,20}")


def digest(secret: bytes, kind: str, value: str) -> str:
    """HMAC-SHA-256 of the value in its one form, 64 hexadecimal digits (RFC 2104)."""
    text = value if kind == "record" else normalise_contact(value)
    return hmac.new(secret, _PURPOSE + f"{kind}\x00{text}".encode(), hashlib.sha256).hexdigest()


def normalise_contact(value: str) -> str:
    """One form of a contact in all its spellings: case and width folded; of a number its digits, without 86.

    >>> normalise_contact("+86 138-0013-8000"), normalise_contact("Ａnn@Example.com ")
    ('13800138000', 'ann@example.com')
    """
    text = unicodedata.normalize("NFKC", value).casefold().strip()
    if not _NUMBER.fullmatch(text):
        return text
    digits = "".join(char for char in text if char.isdigit()).removeprefix("00")
    return digits.removeprefix("86") if len(digits) == 13 else digits


def read_digests(run: Queryable) -> dict[str, set[str]]:
    """The digests that are kept, by kind."""
    found: dict[str, set[str]] = {}
    for row in run.query("SELECT kind, digest FROM erasures").to_pylist():
        found.setdefault(row["kind"], set()).add(row["digest"])
    return found


@dataclass(frozen=True)
class Erased:
    """Who was erased, for those who take in single messages; ``version`` of ``erasures`` says since when it holds."""

    version: int = 0
    known: Mapping[str, set[str]] = field(default_factory=dict)
    secret: bytes = b""

    def tell(self, value: str, *kinds: str) -> bool:
        """Whether ``value`` is what one of ``kinds`` was erased as."""
        return any(
            kind in self.known and digest(self.secret, kind, value) in self.known[kind] for kind in kinds
        )

    def tell_any(self, packed: object) -> bool:
        """Whether a text anywhere in this JSON value is a record or a contact of somebody who was erased."""
        stack = [packed] if self.known else []
        while stack:
            value = stack.pop()
            if isinstance(value, dict):
                stack += value.values()
            elif isinstance(value, list):
                stack += value
            elif isinstance(value, str | int) and value and self.tell(str(value).strip(), "record", "trace"):
                return True
        return False


_ERASED: WeakKeyDictionary[Workspace, Erased] = WeakKeyDictionary()


def load_erased(workspace: Workspace, *, anew: bool = False) -> Erased:
    """Who was erased, as this process last read it (``anew``: as it is now)."""
    found = _ERASED.get(workspace)
    if found is None or anew:
        with workspace.store.snapshot() as connection:
            version = read_version(connection, "erasures")
        found = Erased()
        if version:
            # Read after the version: rows that are newer make whoever uses them look once more.
            with workspace.read() as reader:
                found = Erased(version, read_digests(reader), load_secret(workspace.path))
        _ERASED[workspace] = found
    return found


LoadErased: TypeAlias = Callable[[bool], Erased]
"""Gives who was erased; ``True``: as it is now."""


def ask_workspace(workspace: Workspace) -> LoadErased:
    """What gives those who were erased of a workspace."""
    return lambda anew: load_erased(workspace, anew=anew)


Begin: TypeAlias = Callable[[], AbstractContextManager[sa.Connection]]
"""Begins a transaction of the store."""


@contextmanager
def begin_knowing(begin: Begin, load: LoadErased | None) -> Iterator[tuple[sa.Connection, Erased]]:
    """A transaction, and who was erased before it: nobody is erased between the question and what is written.

    Without ``load`` nobody was: for a store without a workspace.
    """
    if load is None:
        with begin() as connection:
            yield connection, Erased()
        return
    anew = False
    while True:
        erased = load(anew)
        with begin() as connection:
            if read_version(connection, "erasures") == erased.version:
                yield connection, erased
                return
        anew = True
