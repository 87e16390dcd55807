"""The audit log: who did what, as a chain of hashes in which nothing can be changed, moved or taken out unnoticed.

Each entry has the SHA-256 over its number, its instant, its action, the hash of the entry before, and a digest of its
words (actor, subject, detail). The digest is salted: when an erasure takes a person's words out of an entry, its salt
goes, too, so that nobody can guess what stood there; the digest stays, and with it the chain. Which entries lost words
is said by a later entry, so that nobody can pass off another change as that.

A chain proves nothing of its own end, and whoever rewrites all of it leaves no trace in it: ``Anchor`` (number and hash
of the newest entry) is what must be kept elsewhere; backups hold it, and ``aimwell audit verify`` prints it.
Writes ``audit_log`` and ``audit_gate``.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.engine.store_tables import AUDIT_GATE, AUDIT_LOG, Instant

EMPTIED = "audit.emptied"
"""The action of the entry that names those which lost words."""
NO_HASH = "0" * 64
"""What stands before the first entry."""
_GATE = 1
_PAGE = 2_000
_WORDS = ("actor", "subject", "detail")

Problem = Literal["changed", "missing", "end_missing", "beyond_end", "unexplained", "anchor"]
"""An entry is not what was written; entries before it are missing or moved; entries at the end are missing; entries
stand there that were never counted; words went without an erasure that says so; the anchor has another hash."""


@dataclass(frozen=True)
class Anchor:
    """The newest entry of a chain: its number and its hash."""

    entry: int
    head: str

    def __str__(self) -> str:
        return f"{self.entry}:{self.head}"

    @classmethod
    def read(cls, written: str) -> Anchor:
        """What ``str`` wrote; ValueError when it is nothing of that kind."""
        number, _, head = written.strip().partition(":")
        if len(head) != len(NO_HASH) or not set(head) <= set("0123456789abcdef"):
            raise ValueError("no anchor")
        return cls(int(number), head)


@dataclass(frozen=True)
class Break:
    """Where the chain does not hold, and how."""

    entry: int
    problem: Problem


@dataclass(frozen=True)
class Verified:
    """What a look at the whole chain found."""

    entries: int
    emptied: int
    anchor: Anchor
    breaks: tuple[Break, ...]


def name_actor() -> str:
    """Who is signed in on this machine; in a container that names nobody, the user's number."""
    try:
        return getpass.getuser()[:128]
    except (OSError, KeyError, ImportError):
        return f"user {os.getuid()}"


def record(
    connection: sa.Connection,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
    *,
    actor: str | None = None,
) -> int:
    """Append an entry within the caller's transaction, as the last thing in it: the gate is held until its end.

    ``detail`` must hold no personal data but a customer's number, under ``customer_id``, where an erasure finds it.
    """
    # As it will be read: what JSON makes of it is what is hashed.
    kept = json.loads(json.dumps(dict(detail or {}), default=str))
    entry, before = _take_gate(connection)
    salt, at = secrets.token_hex(16), now()
    digest = digest_words(salt, actor or name_actor(), subject, kept)
    head = hash_entry(before, entry, write_instant(at), action, digest)
    connection.execute(
        sa.insert(AUDIT_LOG).values(
            entry=entry,
            at=at,
            actor=actor or name_actor(),
            action=action,
            subject=subject,
            detail=kept,
            salt=salt,
            words=digest,
            hash=head,
        )
    )
    connection.execute(sa.update(AUDIT_GATE).where(AUDIT_GATE.c.gate == _GATE).values(head=head))
    return entry


def empty_entries(connection: sa.Connection, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Put ``changes`` (entry → column → what is left of its words) in place, and say which entries it was."""
    for entry, values in sorted(changes.items()):
        kept = {name: value for name, value in values.items() if name in _WORDS}
        connection.execute(sa.update(AUDIT_LOG).where(AUDIT_LOG.c.entry == entry).values(**kept, salt=None))
    if changes:
        # Not as bare numbers, which a later erasure could take for a customer's.
        record(connection, EMPTIED, "audit", {"entries": [f"entry{entry}" for entry in sorted(changes)]})


def read_anchor(connection: sa.Connection) -> Anchor:
    """The newest entry's number and hash, as the gate has them."""
    row = connection.execute(sa.select(AUDIT_GATE.c.entry, AUDIT_GATE.c.head)).one_or_none()
    return Anchor(0, NO_HASH) if row is None else Anchor(row.entry, row.head)


def read_entries(connection: sa.Connection, *, after: int = 0) -> Iterator[sa.RowMapping]:
    """All entries after ``after``, in their order."""
    while True:
        page = sa.select(AUDIT_LOG).where(AUDIT_LOG.c.entry > after).order_by(AUDIT_LOG.c.entry).limit(_PAGE)
        rows = connection.execute(page).mappings().all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1]["entry"]


def list_entries(
    connection: sa.Connection, *, limit: int, action: str | None = None
) -> Sequence[sa.RowMapping]:
    """The newest entries (of one action), the newest first."""
    query = sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.entry.desc()).limit(limit)
    if action is not None:
        query = query.where(AUDIT_LOG.c.action == action)
    return connection.execute(query).mappings().all()


def verify(connection: sa.Connection, anchors: Sequence[Anchor] = ()) -> Verified:
    """Follow the chain from its beginning to its end; ``anchors`` are what was kept of it elsewhere."""
    breaks: list[Break] = []
    wanted = {anchor.entry: anchor.head for anchor in anchors if anchor.entry}
    without_words, explained = set(), set()
    entry, head, count = 0, NO_HASH, 0
    for row in read_entries(connection):
        count += 1
        digest = row["words"]
        if row["salt"] is None:
            without_words.add(row["entry"])
        else:
            digest = digest_words(row["salt"], row["actor"], row["subject"], row["detail"])
        expected = hash_entry(head, row["entry"], write_instant(row["at"]), row["action"], digest)
        if expected != row["hash"] or digest != row["words"]:
            breaks.append(Break(row["entry"], "missing" if row["entry"] != entry + 1 else "changed"))
        elif row["action"] == EMPTIED:
            explained |= {int(name.removeprefix("entry")) for name in row["detail"]["entries"]}
        entry, head = row["entry"], row["hash"]
        if wanted.get(entry, head) != head:
            breaks.append(Break(entry, "anchor"))
    breaks += [Break(one, "unexplained") for one in sorted(without_words - explained)]
    breaks += _check_end(Anchor(entry, head), read_anchor(connection), anchors)
    return Verified(count, len(without_words), Anchor(entry, head), tuple(breaks))


def _check_end(found: Anchor, counted: Anchor, anchors: Sequence[Anchor]) -> list[Break]:
    latest = max((counted, *anchors), key=lambda anchor: anchor.entry)
    if found.entry < latest.entry:
        return [Break(latest.entry, "end_missing")]
    if found != counted:
        return [Break(found.entry, "beyond_end" if found.entry > counted.entry else "changed")]
    return []


def digest_words(salt: str, actor: str, subject: str, detail: Any) -> str:
    """The digest of what an erasure may empty."""
    words = json.dumps([actor, subject, detail], ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{salt}\n{words}".encode()).hexdigest()


def hash_entry(before: str, entry: int, at: str, action: str, words: str) -> str:
    """The hash of an entry after the one whose hash is ``before``."""
    return hashlib.sha256("\n".join((before, str(entry), at, action, words)).encode()).hexdigest()


def write_instant(at: datetime) -> str:
    """As the store keeps it."""
    return str(Instant.write(at))


def _take_gate(connection: sa.Connection) -> tuple[int, str]:
    """The number of the next entry and the hash before it. The row stays locked, so that entries follow one another."""
    taken = (
        sa.update(AUDIT_GATE)
        .where(AUDIT_GATE.c.gate == _GATE)
        .values(entry=AUDIT_GATE.c.entry + 1)
        .returning(AUDIT_GATE.c.entry, AUDIT_GATE.c.head)
    )
    row = connection.execute(taken).one()
    return int(row.entry), str(row.head)
