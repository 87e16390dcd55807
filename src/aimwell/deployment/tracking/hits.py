"""Opens and clicks as they are kept, each once, with the verdict on who made it; read, judged anew, told, forgotten.

Of the visitor's address only a digest of its network with the day's salt is kept; the salt is gone soon after the day,
and then nobody can find out any more who it was. Everything works inside the caller's transaction, on SQLite and
PostgreSQL. New hits are written by ``recording``. Writes the store's
``tracked_links``, ``tracking_hits`` and ``visitor_salts``; reads ``deliveries``.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.deployment.tracking.judging import Seen, Verdict, rejudge
from aimwell.deployment.tracking.tokens import Click
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.tracking_tables import TRACKED_LINKS, TRACKING_HITS, VISITOR_SALTS

_CHUNK = 500
_SALT_DAYS = 2


@dataclass(frozen=True)
class Hit:
    """A request as the service saw it; ``headers`` by lower-case name, ``query`` the parameters of the address."""

    at_ms: int
    method: str = "GET"
    address: str = ""
    agent: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivered:
    """What the ledger knows of the delivery that a token names."""

    delivery_id: str
    customer_id: str
    plan_id: str
    channel: str
    state: str
    finished_at_ms: int | None


@dataclass(frozen=True)
class KeptHit:
    """One open or click, as it was kept."""

    hit_id: str
    delivery_id: str
    customer_id: str
    plan_id: str
    channel: str
    kind: str
    link_id: str | None
    place: int
    at_ms: int
    visitor: str
    agent: str
    machine: bool
    reason: str | None
    rejudged_at_ms: int | None
    told_at_ms: int | None


@dataclass(frozen=True)
class Engagement:
    """What became of one delivery: opens and clicks of people, and of machines; when a person first did either."""

    delivery_id: str
    customer_id: str
    opens: int = 0
    clicks: int = 0
    machine_opens: int = 0
    machine_clicks: int = 0
    first_opened_ms: int | None = None
    first_clicked_ms: int | None = None


@dataclass(frozen=True)
class HitCount:
    """How many hits of one source, kind and verdict there are, and on how many deliveries."""

    plan_id: str
    kind: str
    machine: bool
    reason: str | None
    hits: int
    deliveries: int


# Built once: putting a statement together takes longer than running it.
_BY_PREFIX = (
    sa.select(*(DELIVERIES.c[name] for name in Delivered.__dataclass_fields__))
    .where(DELIVERIES.c.delivery_id >= sa.bindparam("first"), DELIVERIES.c.delivery_id < sa.bindparam("last"))
    .limit(2)
)
_SEEN_OF = sa.select(
    TRACKING_HITS.c.delivery_id, *(TRACKING_HITS.c[name] for name in Seen.__dataclass_fields__)
).where(TRACKING_HITS.c.delivery_id.in_(sa.bindparam("deliveries", expanding=True)))
_SALT_OF = sa.select(VISITOR_SALTS.c.salt).where(VISITOR_SALTS.c.day == sa.bindparam("which"))
_TARGETS_OF = sa.select(TRACKED_LINKS.c.link_id, TRACKED_LINKS.c.target).where(
    TRACKED_LINKS.c.link_id.in_(sa.bindparam("links", expanding=True))
)
_COLUMNS = tuple(TRACKING_HITS.c[name] for name in KeptHit.__dataclass_fields__)


def remember_links(connection: sa.Connection, targets: Mapping[str, str], now_ms: int) -> None:
    """Keep where links lead (id → address); what is known stays. Conflict when an id stands for another address."""
    names = sorted(targets)
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        known = _read_targets(connection, chunk)
        for name in chunk:
            if name in known or _insert_link(connection, name, targets[name], now_ms):
                continue
            known |= _read_targets(connection, [name])
        for name, target in known.items():
            if target != targets[name]:
                raise refuse_taken(name)


def refuse_taken(name: str) -> Conflict:
    """The error of a link whose name another one has."""
    return Conflict(
        "deployment.link_taken",
        say("Two addresses of links cannot be told apart."),
        remedy=say("Change one of the two addresses, for example by a further parameter."),
        where={"value": name},
    )


def find_target(connection: sa.Connection, link_id: str) -> str | None:
    """Where the link leads, or None."""
    return _read_targets(connection, [link_id]).get(link_id)


def find_delivery(connection: sa.Connection, token: Click) -> Delivered | None:
    """The delivery that a token names; None when the ledger has it no more."""
    # Hexadecimal digits end before g.
    rows = connection.execute(_BY_PREFIX, {"first": token.delivery, "last": token.delivery + "g"}).all()
    return Delivered(*rows[0]) if len(rows) == 1 else None


def digest_visitor(connection: sa.Connection, hit: Hit, salts: dict[date, bytes] | None = None) -> str:
    """Who asked, as a digest that is the same for one day and can be traced back only as long as its salt is there.

    ``salts``: those that the caller knows already; what is read is added.
    """
    day, known = _find_day(hit.at_ms), salts if salts is not None else {}
    if day not in known:
        known[day] = _find_salt(connection, day)
    return digest(known[day], _find_network(hit.address), hit.agent)


def read_hits(
    connection: sa.Connection,
    *,
    deliveries: Sequence[str] | None = None,
    customers: Sequence[str] | None = None,
    hits: Sequence[str] | None = None,
    plan_id: str | None = None,
) -> list[KeptHit]:
    """The hits (of some deliveries, customers, one source), in order of time."""
    query = sa.select(*_COLUMNS).order_by(TRACKING_HITS.c.at_ms, TRACKING_HITS.c.hit_id)
    for name, values in (("delivery_id", deliveries), ("customer_id", customers), ("hit_id", hits)):
        if values is not None:
            query = query.where(TRACKING_HITS.c[name].in_(list(values)))
    if plan_id is not None:
        query = query.where(TRACKING_HITS.c.plan_id == plan_id)
    return [KeptHit(*row) for row in connection.execute(query)]


def measure_engagement(connection: sa.Connection, plan_id: str | None = None) -> Iterator[Engagement]:
    """What became of each delivery that anybody opened or clicked, of one source or of all."""
    columns = TRACKING_HITS.c
    cells: list[sa.ColumnElement[Any]] = []
    for kind in ("open", "click"):
        for machine in (False, True):
            is_one = (columns.kind == kind) & (columns.machine == machine)
            cells.append(sa.func.sum(sa.case((is_one, 1), else_=0)))
        by_person = (columns.kind == kind) & sa.not_(columns.machine)
        cells.append(sa.func.min(sa.case((by_person, columns.at_ms))))
    query = (
        sa.select(columns.delivery_id, columns.customer_id, *cells)
        .group_by(columns.delivery_id, columns.customer_id)
        .order_by(columns.delivery_id)
    )
    if plan_id is not None:
        query = query.where(columns.plan_id == plan_id)
    for (
        delivery,
        customer,
        opens,
        by_machines,
        opened,
        clicks,
        clicked_by_machines,
        clicked,
    ) in connection.execute(query):
        yield Engagement(
            delivery,
            customer,
            int(opens),
            int(clicks),
            int(by_machines),
            int(clicked_by_machines),
            opened,
            clicked,
        )


def count_hits(connection: sa.Connection, plan_id: str | None = None) -> list[HitCount]:
    """The hits of one source or of all, by kind and verdict, people's first."""
    columns = TRACKING_HITS.c
    keys = (columns.plan_id, columns.kind, columns.machine, columns.reason)
    deliveries = sa.func.count(sa.distinct(columns.delivery_id))
    query = sa.select(*keys, sa.func.count(), deliveries).group_by(*keys)
    if plan_id is not None:
        query = query.where(columns.plan_id == plan_id)
    found = [HitCount(*row) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (one.plan_id, one.kind, one.machine, one.reason or ""))


def has_untold(connection: sa.Connection) -> bool:
    """Whether there are hits that the warehouse does not know yet."""
    query = sa.select(TRACKING_HITS.c.hit_id).where(TRACKING_HITS.c.told_at_ms.is_(None)).limit(1)
    return connection.execute(query).first() is not None


def read_untold(connection: sa.Connection, *, before_ms: int, limit: int = 1_000) -> list[KeptHit]:
    """Hits that the warehouse does not know yet, made before ``before_ms``, judged once more by all that is known."""
    columns = TRACKING_HITS.c
    query = (
        sa.select(columns.hit_id, columns.delivery_id)
        .where(columns.told_at_ms.is_(None), columns.at_ms < before_ms)
        .order_by(columns.at_ms, columns.hit_id)
        .limit(limit)
    )
    found = connection.execute(query).all()
    # Hits of the same moment may have been written without sight of each other.
    for group in read_seen(connection, {row.delivery_id for row in found}).values():
        change_verdicts(connection, rejudge(group), before_ms)
    ids = [row.hit_id for row in found]
    chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
    return [hit for chunk in chunks for hit in read_hits(connection, hits=chunk)]


def mark_told(connection: sa.Connection, told: Iterable[KeptHit], now_ms: int) -> None:
    """The warehouse has these, with this verdict; one that was judged anew meanwhile waits again, as a correction."""
    columns = TRACKING_HITS.c
    rows = [{"which": hit.hit_id, "was": hit.machine} for hit in told]
    if not rows:
        return
    waiting = (columns.hit_id == sa.bindparam("which")) & columns.told_at_ms.is_(None)
    same = columns.machine == sa.bindparam("was")
    # First those that changed: afterwards nothing tells them from hits that were never told.
    changed = sa.update(TRACKING_HITS).where(waiting, sa.not_(same)).values(rejudged_at_ms=now_ms)
    connection.execute(changed, rows)
    connection.execute(sa.update(TRACKING_HITS).where(waiting, same).values(told_at_ms=now_ms), rows)


def forget_hits(connection: sa.Connection, *, before_ms: int, now_ms: int) -> int:
    """Delete told hits of before ``before_ms``, and the salts of past days; how many hits went."""
    columns = TRACKING_HITS.c
    old = (columns.at_ms < before_ms) & columns.told_at_ms.is_not(None)
    last = _find_day(now_ms) - timedelta(days=_SALT_DAYS)
    connection.execute(sa.delete(VISITOR_SALTS).where(VISITOR_SALTS.c.day <= last))
    return int(connection.execute(sa.delete(TRACKING_HITS).where(old)).rowcount)


def _read_targets(connection: sa.Connection, names: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(_TARGETS_OF, {"links": list(names)})
    return {row.link_id: row.target for row in rows}


def _insert_link(connection: sa.Connection, name: str, target: str, now_ms: int) -> bool:
    return _insert_new(connection, TRACKED_LINKS, {"link_id": name, "target": target, "since_ms": now_ms})


def _insert_new(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Whether the row is new: another process may write it at the same moment."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    # Not by the row count, which PostgreSQL's driver does not tell of an INSERT.
    statement = insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
    return connection.execute(statement).first() is not None


def read_seen(connection: sa.Connection, deliveries: Iterable[str]) -> dict[str, list[Seen]]:
    """All hits of these deliveries, as far as judging needs them."""
    names = sorted(deliveries)
    found: dict[str, list[Seen]] = {name: [] for name in names}
    for start in range(0, len(names), _CHUNK):
        for row in connection.execute(_SEEN_OF, {"deliveries": names[start : start + _CHUNK]}):
            found[row[0]].append(Seen(*row[1:]))
    return found


def change_verdicts(connection: sa.Connection, changed: Mapping[str, Verdict], now_ms: int) -> None:
    """Write new verdicts. What the warehouse was told already is told anew; the rest had not been judged in the end."""
    columns = TRACKING_HITS.c
    for hit_id, verdict in sorted(changed.items()):
        was_told = columns.told_at_ms.is_not(None)
        values = {
            "machine": verdict.machine,
            "reason": verdict.reason,
            "rejudged_at_ms": sa.case((was_told, now_ms), else_=columns.rejudged_at_ms),
            "told_at_ms": None,
        }
        connection.execute(sa.update(TRACKING_HITS).where(columns.hit_id == hit_id).values(values))


def _find_day(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date()


def _find_salt(connection: sa.Connection, day: date) -> bytes:
    salt = connection.execute(_SALT_OF, {"which": day}).scalar()
    if salt is None:
        _insert_new(connection, VISITOR_SALTS, {"day": day, "salt": os.urandom(16)})
        salt = connection.execute(_SALT_OF, {"which": day}).scalar_one()
    return bytes(salt)


def _find_network(address: str) -> str:
    """The network of an address: scanners ask from many machines of one."""
    try:
        found = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{found}/{24 if found.version == 4 else 48}", strict=False))


def digest(salt: bytes, *parts: str) -> str:
    """A keyed digest of several texts, 32 hexadecimal digits."""
    # Lone surrogates (a header that is no UTF-8) must not stop anything.
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(text, key=salt, digest_size=16).hexdigest()
