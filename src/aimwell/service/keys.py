"""Keys of programs: made, rotated and revoked with a line in the audit log; found again by each request.

A key is ``aw_<12 hex digits>_<256 random bits>``; its first part may be shown, of the whole only SHA-256 is kept.
Reads and writes the store's ``api_keys``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.service_tables import API_KEYS
from aimwell.engine.store import Store

Scope = Literal["write", "decide", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
SCOPE_TITLES: Mapping[Scope, Text] = {
    "write": say("send events"),
    "decide": say("ask for live decisions"),
    "read": say("read metrics and let customers see their inbox"),
    "admin": say("everything"),
}
RATE = 1_000
"""Requests per second of a key, when nothing else is said."""
MOST_RATE = 1_000_000
OVERLAP = timedelta(days=1)
FRESH_SECONDS, OLDEST_SECONDS = 1.0, 2.0
"""After the first, what a process knows of the keys is read anew; older than the second it opens nothing: a revoked key
ends within two seconds."""
UNKNOWN_SECONDS = 0.2
"""For a key that is not known they are read anew as soon as that: a new key begins almost at once."""
_FORM = re.compile(r"(aw_[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_COLUMNS = API_KEYS.c


@dataclass(frozen=True)
class Key:
    """What is known of a key; never the key itself."""

    key_id: str
    name: str
    digest: str
    scopes: tuple[Scope, ...]
    rate: int
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def allows(self, scope: Scope) -> bool:
        """Whether it may do this."""
        return scope in self.scopes or "admin" in self.scopes

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``; without the digest."""
        instants = {name: getattr(self, name) for name in ("created_at", "expires_at", "revoked_at")}
        return {
            "key_id": self.key_id,
            "name": self.name,
            "scopes": list(self.scopes),
            "rate": self.rate,
            "valid": self.is_valid(now()),
            **{name: at and at.isoformat() for name, at in instants.items()},
        }


def create_key(store: Store, name: str, scopes: Collection[str], *, rate: int = RATE) -> tuple[Key, str]:
    """Make a key; it and what is known of it. The key itself is told this once. Audited."""
    name = name.strip()
    if not 0 < len(name) <= 100:
        raise BadInput(
            "service.key_name",
            say("A key needs a name of at most 100 characters."),
            remedy=say("Name the program that uses it, such as web-shop."),
        )
    if not 0 < rate <= MOST_RATE:
        raise BadInput(
            "service.key_rate",
            say("A key allows between 1 and {most} requests a second.", most=MOST_RATE),
            remedy=say("Correct the number."),
        )
    key, secret = _make(name, _check_scopes(scopes), rate)
    with store.begin() as connection:
        _insert(connection, key)
    store.audit("key.created", key.key_id, {"name": name, "scopes": list(key.scopes)})
    return key, secret


def rotate_key(store: Store, key_id: str, *, overlap: timedelta = OVERLAP) -> tuple[Key, str]:
    """Make a successor that may do the same; the old key ends after ``overlap``. Audited."""
    with store.begin() as connection:
        old = _read_valid(connection, key_id)
        key, secret = _make(old.name, old.scopes, old.rate)
        ends = key.created_at + overlap
        if old.expires_at is not None:
            ends = min(ends, old.expires_at)
        _insert(connection, key)
        connection.execute(sa.update(API_KEYS).where(_COLUMNS.key_id == key_id).values(expires_at=ends))
    store.audit("key.rotated", key_id, {"successor": key.key_id, "ends": ends.isoformat()})
    return key, secret


def revoke_key(store: Store, key_id: str) -> Key:
    """End a key at once. Audited."""
    with store.begin() as connection:
        _read_valid(connection, key_id)
        values = {"revoked_at": now()}
        connection.execute(sa.update(API_KEYS).where(_COLUMNS.key_id == key_id).values(values))
        ended = _read(connection, key_id)
    store.audit("key.revoked", key_id)
    assert ended is not None
    return ended


def list_keys(store: Store) -> list[Key]:
    """All keys, the oldest first."""
    query = sa.select(API_KEYS).order_by(_COLUMNS.created_at, _COLUMNS.key_id)
    with store.snapshot() as connection:
        return [_build(row) for row in connection.execute(query)]


def digest_key(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


class KnownKeys:
    """The keys as one process knows them; threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._keys: Mapping[str, Key] = {}
        self._read_at = -1e9

    @property
    def age(self) -> float:
        """Seconds since they were read."""
        return time.monotonic() - self._read_at

    def refresh(self, most_age: float = 0.0) -> None:
        """Read the store's keys anew, unless another thread just did."""
        with self._lock:
            if self.age >= most_age:
                started = time.monotonic()
                self._keys = {key.key_id: key for key in list_keys(self._store)}
                self._read_at = started

    def find(self, secret: str) -> Key | None:
        """The key, if it is one of ours and valid.

        Digests are compared in constant time, and also where no such key is known: what an answer takes tells nothing.
        """
        form = _FORM.fullmatch(secret)
        key = self._keys.get(form[1], _NOBODY) if form else _NOBODY
        is_same = hmac.compare_digest(digest_key(secret), key.digest)
        return key if is_same and key is not _NOBODY and key.is_valid(now()) else None


def _make(name: str, scopes: tuple[Scope, ...], rate: int) -> tuple[Key, str]:
    key_id = f"aw_{secrets.token_hex(6)}"
    secret = f"{key_id}_{secrets.token_urlsafe(32)}"
    return Key(key_id, name, digest_key(secret), scopes, rate, now()), secret


_NOBODY = Key("", "", digest_key(secrets.token_hex(32)), (), RATE, datetime.min)


def _check_scopes(scopes: Collection[str]) -> tuple[Scope, ...]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise BadInput(
            "service.key_scopes",
            say("A key needs one or more of these scopes: {scopes}.", scopes=join_list(SCOPES)),
            remedy=say("Give it what its program needs, and no more."),
            where={"value": ", ".join(unknown)},
        )
    return tuple(scope for scope in SCOPES if scope in scopes)


def _insert(connection: sa.Connection, key: Key) -> None:
    connection.execute(sa.insert(API_KEYS).values({**vars(key), "scopes": list(key.scopes)}))


def _read(connection: sa.Connection, key_id: str) -> Key | None:
    row = connection.execute(sa.select(API_KEYS).where(_COLUMNS.key_id == key_id)).one_or_none()
    return None if row is None else _build(row)


def _read_valid(connection: sa.Connection, key_id: str) -> Key:
    key = _read(connection, key_id)
    if key is None:
        raise BadInput(
            "service.no_such_key",
            say("There is no key '{key}'.", key=key_id[:40]),
            remedy=say("See the keys with: aimwell key list"),
        )
    if not key.is_valid(now()):
        raise Conflict(
            "service.key_ended",
            say("The key '{key}' has ended already.", key=key_id),
            remedy=say("Make a new one with: aimwell key create"),
        )
    return key


def _build(row: Any) -> Key:
    return Key(**{**row._mapping, "scopes": tuple(row.scopes)})
