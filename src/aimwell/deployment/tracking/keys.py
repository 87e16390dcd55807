"""The keys that sign links: derived for each purpose and generation from the workspace's secret.

A new generation signs from the moment it is made; what older ones signed is accepted until a stated time, and so is
what was signed with a former secret that AIMWELL_FORMER_SECRETS names with the day on which it ends. Reads and
writes the store's ``link_keys``.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.tracking_tables import LINK_KEYS

Purpose = Literal["click", "short", "open", "trap", "visit", "unsubscribe", "preferences", "form"]
FORMER_VARIABLE = "AIMWELL_FORMER_SECRETS"
_LABEL = b"aimwell links 1\x00"
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Generation:
    """One generation of keys of one secret; ``until_ms`` is empty for the one that signs."""

    secret: bytes
    number: int = 1
    until_ms: int | None = None

    def derive(self, purpose: Purpose) -> bytes:
        """32 bytes that serve this purpose and no other."""
        label = _LABEL + purpose.encode() + b"\x00" + str(self.number).encode()
        return hmac.digest(self.secret, label, "sha256")


class Keyring:
    """The generation that signs, and those that are still accepted. ``clock`` gives seconds since 1970."""

    def __init__(
        self,
        signing: Generation,
        *,
        former: tuple[Generation, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._generations = (signing, *former)
        self._clock = clock
        self._known: dict[Purpose, list[tuple[bytes, bytes, int | None]]] = {}

    @classmethod
    def of(cls, secret: bytes) -> Keyring:
        """The ring of a workspace whose keys were never changed."""
        return cls(Generation(secret))

    def sign_with(self, purpose: Purpose) -> tuple[bytes, bytes]:
        """The byte that names the key, and the key that signs now."""
        name, key, _ = self._derive(purpose)[0]
        return name, key

    def verify_with(self, purpose: Purpose, name: bytes) -> Iterator[bytes]:
        """The keys of that name which are accepted now: mostly one."""
        now = self._clock() * 1000
        for known, key, until in self._derive(purpose):
            if known == name and (until is None or now < until):
                yield key

    def list_secrets(self) -> list[bytes]:
        """The secrets that are accepted now, for tokens that were made before there were generations."""
        now = self._clock() * 1000
        return [one.secret for one in self._generations if one.until_ms is None or now < one.until_ms]

    def _derive(self, purpose: Purpose) -> list[tuple[bytes, bytes, int | None]]:
        """Name, key and end of every generation."""
        if purpose not in self._known:
            keys = [(one.derive(purpose), one.until_ms) for one in self._generations]
            self._known[purpose] = [(name_key(key), key, until) for key, until in keys]
        return self._known[purpose]


def name_key(key: bytes) -> bytes:
    """One byte by which a token says which key made it; it tells nothing of the key."""
    return hmac.digest(key, b"name", "sha256")[:1]


def load_keyring(connection: sa.Connection, secret: bytes) -> Keyring:
    """The ring as the store and the environment know it."""
    columns = LINK_KEYS.c
    rows = connection.execute(
        sa.select(columns.generation, columns.until_ms).order_by(columns.generation.desc())
    ).all()
    own = [Generation(secret, row.generation, row.until_ms) for row in rows] or [Generation(secret)]
    # A former secret had generations, too: all that the store knows of, and the first.
    numbers = sorted({1, *(row.generation for row in rows)})
    former = [Generation(old, number, until) for old, until in read_former_secrets() for number in numbers]
    return Keyring(own[0], former=(*own[1:], *former))


def rotate_keys(connection: sa.Connection, *, now_ms: int, keep_days: int) -> int:
    """Sign with a new generation from now on; links of the one before work ``keep_days`` longer. Its number."""
    columns = LINK_KEYS.c
    newest = connection.execute(sa.select(sa.func.max(columns.generation))).scalar()
    if newest is None:
        connection.execute(sa.insert(LINK_KEYS).values(generation=1, since_ms=0))
    until = now_ms + keep_days * _DAY_MS
    connection.execute(sa.update(LINK_KEYS).where(columns.until_ms.is_(None)).values(until_ms=until))
    number = int(newest or 1) + 1
    connection.execute(sa.insert(LINK_KEYS).values(generation=number, since_ms=now_ms))
    return number


def read_former_secrets() -> list[tuple[bytes, int]]:
    """What AIMWELL_FORMER_SECRETS names, as ``secret@2027-01-31`` separated by spaces: secret and when it ends (ms)."""
    found = []
    for entry in os.environ.get(FORMER_VARIABLE, "").split():
        secret, mark, day = entry.rpartition("@")
        try:
            last = date.fromisoformat(day)
        except ValueError:
            mark = ""
        if not mark or not secret:
            raise BadInput(
                "deployment.bad_former_secret",
                say("{variable} is not written as secret@day.", variable=FORMER_VARIABLE),
                remedy=say(
                    "Write each former secret with the last day on which its links work: secret@2027-01-31."
                ),
            )
        end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
        found.append((_read_secret(secret), int(end.timestamp() * 1000)))
    return found


def _read_secret(text: str) -> bytes:
    # As ``engine.secret`` reads them: the workspace's file holds 64 hexadecimal digits, the variable plain text.
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return text.encode()
    return raw if len(raw) == 32 else text.encode()
