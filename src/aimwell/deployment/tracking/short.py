"""Short links for SMS: twelve signs that nobody can guess, of which the store knows delivery, link and place.

A signed link takes 52 signs, most of an SMS of 70. These are the beginning of an HMAC over what they stand for, so that
a message which is made again says the same; what they stand for is in the store before the message is handed over, and
is forgotten at its time. A row leads only to an address that ``tracked_links`` has. Reads and writes the store's
``short_links``.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.deployment.tracking.address import ADDRESS_VARIABLE, find_base
from aimwell.deployment.tracking.hits import refuse_taken
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.links import Signer, wrap_text
from aimwell.deployment.tracking.tokens import Click, identify_link
from aimwell.engine.settings import TrackingSettings
from aimwell.engine.tracking_tables import SHORT_LINKS

LENGTH = 12
_SIGNS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
"""Without those that look like others; 56¹² links, and all of them stand in the GSM alphabet."""
_SHORT = re.compile(f"[{_SIGNS}]{{{LENGTH}}}")
_DELIVERY = 24

Shorten: TypeAlias = Callable[[str], str]


@dataclass(frozen=True)
class ShortLink:
    """What a short link stands for."""

    token: str
    delivery_id: str
    customer_id: str
    link_id: str
    place: int


class ShortSigner(Signer):
    """Makes short links instead of signed ones."""

    def make_link(self, delivery_id: str, target: str, place: int) -> str:
        """The short link to ``target``."""
        return f"{self.base}/c/{make_token(self.keys, delivery_id, target, place)}"


def make_token(keys: Keyring, delivery_id: str, target: str, place: int) -> str:
    """The signs of one link of one delivery; they lead nowhere before ``keep_short_links``."""
    _, key = keys.sign_with("short")
    said = "\x00".join((delivery_id, identify_link(target), str(place)))
    number = int.from_bytes(hmac.digest(key, said.encode(), "sha256"), "big")
    signs = []
    for _ in range(LENGTH):
        number, rest = divmod(number, len(_SIGNS))
        signs.append(_SIGNS[rest])
    return "".join(signs)


def is_short(token: str) -> bool:
    """Whether ``token`` has the form of a short link; signed ones are longer."""
    return _SHORT.fullmatch(token) is not None


def keep_short_links(
    connection: sa.Connection, links: Sequence[ShortLink], *, now_ms: int, expires_ms: int
) -> None:
    """Keep what these stand for; known ones stay. Conflict when one stands for something else."""
    rows = [{**vars(link), "since_ms": now_ms, "expires_ms": expires_ms} for link in links]
    fresh = set(connection.execute(_insert(connection.dialect.name), rows).scalars())
    repeated = [link for link in links if link.token not in fresh]
    known = _read_links(connection, repeated) if repeated else {}
    for link in repeated:
        if known[link.token] != link:
            raise refuse_taken(link.token)


def find_short(connection: sa.Connection, token: str, now_ms: int) -> Click | None:
    """What a short link stands for; None when there is none of these signs, or its time is over."""
    columns = SHORT_LINKS.c
    query = sa.select(columns.delivery_id, columns.link_id, columns.place)
    row = connection.execute(query.where(columns.token == token, columns.expires_ms > now_ms)).one_or_none()
    return None if row is None else Click(row.delivery_id[:_DELIVERY], row.link_id, row.place)


def find_shortener(settings: TrackingSettings, address: str | None = None) -> Shorten | None:
    """What makes the links of a text as long as they will be in an SMS; None where they stay as they are."""
    if not settings.sms_clicks or not (address or os.environ.get(ADDRESS_VARIABLE)):
        return None
    signer = ShortSigner(Keyring.of(b"a sample"), find_base(address))
    return lambda text: wrap_text(text, signer, "0" * 64).body


@cache
def _insert(dialect: str) -> Any:
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(SHORT_LINKS).on_conflict_do_nothing().returning(SHORT_LINKS.c.token)


def _read_links(connection: sa.Connection, links: Sequence[ShortLink]) -> dict[str, ShortLink]:
    columns = [SHORT_LINKS.c[name] for name in ShortLink.__dataclass_fields__]
    query = sa.select(*columns).where(SHORT_LINKS.c.token.in_([link.token for link in links]))
    return {row.token: ShortLink(*row) for row in connection.execute(query)}
