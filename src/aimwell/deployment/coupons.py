"""Coupons, each issued once: pools of codes, given out with a delivery's reservation, redeemed once.

A code is free, issued or redeemed. It is issued in the very transaction that reserves the delivery, so that two workers
never give one code to two customers, and given back when the delivery surely failed. Redeeming is by event 'Coupon
Redeemed' or by call, and repeating either changes nothing. Codes never leave their table, so that free, issued,
redeemed and expired always add up to what was loaded. Writes the store's ``coupon_pools``, ``coupons`` and
``coupon_issues``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import Text, say
from aimwell.deployment.coupon_codes import LENGTH, is_mistyped, is_usable, make_code, normalise, show_code
from aimwell.deployment.ledger_rows import split
from aimwell.deployment.policy import Candidate
from aimwell.engine.content_tables import COUPON_ISSUES, COUPON_POOLS, COUPONS

POOL_KEY = "coupon_pool"
"""Under which a delivery's ``detail`` names the pool that it needs a code of."""
REDEEMED_EVENT = "Coupon Redeemed"
REDEEMING_EVENTS = frozenset((REDEEMED_EVENT, "Order Completed"))
"""An order redeems the coupon that it names, as Segment's e-commerce specification has it."""
_DAY_MS = 86_400_000
_MOST = 5_000_000
_CODE_KEYS = ("code", "coupon_code", "coupon_id", "coupon")

Redeemed: TypeAlias = Literal["redeemed", "repeated", "expired", "not_issued", "unknown", "mistyped"]


@dataclass(frozen=True)
class Added:
    """What became of codes that were to be added."""

    added: int
    repeated: int
    """Known already, in this pool or another."""
    refused: int
    """No codes: too short, too long, or with signs that no till takes."""


@dataclass(frozen=True)
class PoolCount:
    """A pool's codes: ``total`` is the sum of the other four."""

    pool: str
    total: int
    free: int
    issued: int
    redeemed: int
    expired: int
    """Free or issued, but can no longer be used."""
    expires_ms: int | None
    valid_days: int | None


def open_pool(
    connection: sa.Connection,
    pool: str,
    now_ms: int,
    *,
    expires_ms: int | None = None,
    valid_days: int | None = None,
) -> None:
    """Make the pool, or change until when its codes can be used; codes that were issued keep their day."""
    if not pool or len(pool) > 64 or not pool.isprintable() or (valid_days is not None and valid_days < 1):
        raise BadInput(
            "deployment.bad_pool",
            say("'{pool}' cannot be a coupon pool.", pool=pool[:64]),
            remedy=say("Give it a name of up to 64 characters, and at least one day."),
            where={"value": pool[:64]},
        )
    values = {"expires_ms": expires_ms, "valid_days": valid_days}
    insert = _insert(connection, COUPON_POOLS).values(pool=pool, made_ms=now_ms, **values)
    connection.execute(insert.on_conflict_do_update(index_elements=["pool"], set_=values))


def add_codes(connection: sa.Connection, pool: str, codes: Iterable[str]) -> Added:
    """Add codes to a pool, in their order; what is known or no code is counted and left out."""
    _require_pool(connection, pool)
    fresh: dict[str, str] = {}
    given = refused = 0
    for code in codes:
        given += 1
        plain = normalise(code)
        if is_usable(plain):
            fresh.setdefault(plain, code.strip())
        else:
            refused += 1
    added = _insert_codes(connection, pool, fresh)
    return Added(added, given - refused - added, refused)


def make_codes(connection: sa.Connection, pool: str, count: int, *, length: int = LENGTH) -> int:
    """Add ``count`` new codes that nobody can guess."""
    if not 0 < count <= _MOST:
        raise BadInput(
            "deployment.bad_count",
            say("{count} codes cannot be made at once.", count=count),
            remedy=say("Give a number from 1 to 5 million."),
            where={"value": count},
        )
    _require_pool(connection, pool)
    made = 0
    while made < count:
        codes = {make_code(length) for _ in range(min(count - made, 50_000))}
        made += _insert_codes(connection, pool, {code: show_code(code) for code in codes})
    return made


def issue(
    connection: sa.Connection, pool: str, delivery_id: str, customer_id: str, now_ms: int
) -> str | None:
    """The delivery's code, the same whenever it is asked for; None when the pool has none left or has expired."""
    _issue_pool(connection, pool, {delivery_id: customer_id}, now_ms)
    return read_issued(connection, [delivery_id]).get(delivery_id)


def issue_reserved(connection: sa.Connection, rows: Sequence[Candidate], now_ms: int) -> set[str]:
    """Issue a code to every row whose ``detail`` names a pool, within the transaction that reserves the rows.

    Returns the ids of those for which none is left: the caller skips them (``no_coupon``).
    """
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        pool = (row.detail or {}).get(POOL_KEY)
        if pool:
            wanted[str(pool)][row.delivery_id] = row.customer_id
    short: set[str] = set()
    # One order for all workers, so that none of them waits for another in a circle.
    for pool in sorted(wanted):
        short |= _issue_pool(connection, pool, wanted[pool], now_ms)
    return short


def take_back(connection: sa.Connection, delivery_ids: Sequence[str]) -> int:
    """Give the codes of deliveries that surely failed back to their pools; the number of codes. Redeemed ones stay."""
    freed = 0
    for chunk in split(sorted(delivery_ids)):
        query = (
            sa.select(COUPON_ISSUES.c.code)
            .join(COUPONS, COUPONS.c.code == COUPON_ISSUES.c.code)
            .where(COUPON_ISSUES.c.delivery_id.in_(list(chunk)), COUPONS.c.state == "issued")
            .order_by(COUPON_ISSUES.c.code)
        )
        codes = list(connection.execute(query).scalars())
        if not codes:
            continue
        freed += _release(connection, codes)
        connection.execute(
            sa.delete(COUPON_ISSUES).where(
                COUPON_ISSUES.c.code.in_(
                    sa.select(COUPONS.c.code).where(COUPONS.c.code.in_(codes), COUPONS.c.state == "free")
                )
            )
        )
    return freed


def read_issued(connection: sa.Connection, delivery_ids: Sequence[str]) -> dict[str, str]:
    """Delivery → its code as it is shown to people, for those that have one."""
    found: dict[str, str] = {}
    for chunk in split(list(delivery_ids)):
        query = (
            sa.select(COUPON_ISSUES.c.delivery_id, COUPONS.c.shown)
            .join(COUPONS, COUPONS.c.code == COUPON_ISSUES.c.code)
            .where(COUPON_ISSUES.c.delivery_id.in_(list(chunk)))
        )
        found |= {row.delivery_id: row.shown for row in connection.execute(query)}
    return found


def redeem(connection: sa.Connection, code: str, at_ms: int, *, by: str) -> Redeemed:
    """Redeem a code at the instant ``at_ms``, once; ``by`` (an order, an event) may say so again without effect."""
    plain = normalise(code[:200])
    usable = COUPONS.c.expires_ms.is_(None) | (COUPONS.c.expires_ms > at_ms)
    changed = connection.execute(
        sa.update(COUPONS)
        .where(COUPONS.c.code == plain, COUPONS.c.state == "issued", usable)
        .values(state="redeemed", redeemed_ms=at_ms, redeemed_by=by[:255])
    )
    if changed.rowcount:
        return "redeemed"
    row = connection.execute(
        sa.select(COUPONS.c.state, COUPONS.c.redeemed_by).where(COUPONS.c.code == plain)
    ).one_or_none()
    if row is None:
        return "mistyped" if is_mistyped(plain) else "unknown"
    if row.state == "redeemed":
        return "redeemed" if row.redeemed_by == by[:255] else "repeated"
    return "expired" if row.state == "issued" else "not_issued"


def redeem_events(connection: sa.Connection, events: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Redeem the codes of events 'Coupon Redeemed', and those that orders name; how many ended how.

    An event is a row of ``events``: name, event_id, occurred_at (an instant or ms), properties (a table or JSON). Of an
    order both events may come: they are one redemption.
    """
    outcomes: Counter[str] = Counter()
    for event in events:
        redeemed = event.get("name") == REDEEMED_EVENT
        if not redeemed and event.get("name") not in REDEEMING_EVENTS:
            continue
        said = _read_properties(event.get("properties"))
        # An order may have a code of its own; a coupon it names as such.
        code = _find(said, _CODE_KEYS if redeemed else _CODE_KEYS[1:])
        if code is None:
            outcomes["no_code"] += redeemed
            continue
        # As whoever redeems by hand names it, too.
        by = _find(said, ("order_id",)) or str(event.get("event_id"))
        occurred = event.get("occurred_at")
        at_ms = int(occurred) if isinstance(occurred, int | float) else int(occurred.timestamp() * 1000)  # type: ignore[union-attr]
        outcomes[redeem(connection, code, at_ms, by=by)] += 1
    # Nothing is counted as what did not happen.
    return +outcomes


def count_pools(connection: sa.Connection, now_ms: int) -> list[PoolCount]:
    """Every pool with its codes counted."""
    own = sa.func.coalesce(COUPONS.c.expires_ms, COUPON_POOLS.c.expires_ms)
    late = sa.case((sa.and_(COUPONS.c.state != "redeemed", own <= now_ms), "expired"), else_=COUPONS.c.state)
    query = (
        sa.select(COUPON_POOLS.c.pool, late.label("state"), sa.func.count(COUPONS.c.code).label("codes"))
        .select_from(COUPON_POOLS.outerjoin(COUPONS, COUPONS.c.pool == COUPON_POOLS.c.pool))
        .group_by(COUPON_POOLS.c.pool, late)
    )
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in connection.execute(query):
        counts[row.pool][row.state or "free"] += row.codes
    pools = connection.execute(sa.select(COUPON_POOLS).order_by(COUPON_POOLS.c.pool))
    return [
        PoolCount(
            row.pool,
            counts[row.pool].total(),
            counts[row.pool]["free"],
            counts[row.pool]["issued"],
            counts[row.pool]["redeemed"],
            counts[row.pool]["expired"],
            row.expires_ms,
            row.valid_days,
        )
        for row in pools
    ]


def title_redeemed(outcome: Redeemed) -> Text:
    """How a redemption ended, for people."""
    titles: dict[Redeemed, Text] = {
        "redeemed": say("The coupon is redeemed."),
        "repeated": say("The coupon was redeemed before."),
        "expired": say("The coupon has expired."),
        "not_issued": say("The coupon was given to nobody."),
        "unknown": say("There is no such coupon."),
        "mistyped": say("A sign of the coupon's code is wrong: read it again."),
    }
    return titles[outcome]


def _issue_pool(connection: sa.Connection, pool: str, wanted: Mapping[str, str], now_ms: int) -> set[str]:
    """Issue a code to each delivery → customer that has none; returns the deliveries for which none is left."""
    known = read_issued(connection, sorted(wanted))
    lacking = sorted(set(wanted) - set(known))
    if not lacking:
        return set()
    # Whoever issues of a pool holds its row: no two transactions look for free codes of it at once.
    pools = sa.select(COUPON_POOLS).where(COUPON_POOLS.c.pool == pool).with_for_update()
    terms = connection.execute(pools).one_or_none()
    if terms is None or (terms.expires_ms is not None and terms.expires_ms <= now_ms):
        return set(lacking)
    ends = [terms.expires_ms] if terms.expires_ms is not None else []
    if terms.valid_days is not None:
        ends.append(now_ms + terms.valid_days * _DAY_MS)
    codes = _take_free(connection, pool, len(lacking), min(ends, default=None))
    pairs = dict(zip(lacking, codes, strict=False))
    if pairs:
        rows = [
            {
                "delivery_id": delivery,
                "code": code,
                "pool": pool,
                "customer_id": wanted[delivery],
                "issued_ms": now_ms,
            }
            for delivery, code in pairs.items()
        ]
        connection.execute(_insert(connection, COUPON_ISSUES).on_conflict_do_nothing(), rows)
        _free_unused(connection, pairs)
    return set(lacking) - set(read_issued(connection, lacking))


def _take_free(connection: sa.Connection, pool: str, count: int, expires_ms: int | None) -> list[str]:
    """Up to ``count`` free codes, which are issued from here on."""
    free = (
        sa.select(COUPONS.c.code)
        .where(COUPONS.c.pool == pool, COUPONS.c.state == "free")
        .order_by(COUPONS.c.place)
    )
    codes = list(connection.execute(free.limit(count)).scalars())
    for chunk in split(codes):
        connection.execute(
            sa.update(COUPONS)
            .where(COUPONS.c.code.in_(list(chunk)))
            .values(state="issued", expires_ms=expires_ms)
        )
    return codes


def _free_unused(connection: sa.Connection, pairs: Mapping[str, str]) -> None:
    """Another transaction may have issued to the same delivery at this very moment: then its code stands."""
    kept: set[str] = set()
    for chunk in split(sorted(pairs)):
        query = sa.select(COUPON_ISSUES.c.code).where(COUPON_ISSUES.c.delivery_id.in_(list(chunk)))
        kept |= set(connection.execute(query).scalars())
    unused = sorted(set(pairs.values()) - kept)
    if unused:
        _release(connection, unused)


def _release(connection: sa.Connection, codes: Sequence[str]) -> int:
    freed = 0
    for chunk in split(codes):
        freed += connection.execute(
            sa.update(COUPONS)
            .where(COUPONS.c.code.in_(list(chunk)), COUPONS.c.state == "issued")
            .values(state="free", expires_ms=None)
        ).rowcount
    return freed


def _insert_codes(connection: sa.Connection, pool: str, codes: Mapping[str, str]) -> int:
    last = (
        connection.execute(sa.select(sa.func.max(COUPONS.c.place)).where(COUPONS.c.pool == pool)).scalar()
        or 0
    )
    rows = [
        {"code": code, "shown": shown, "pool": pool, "place": last + number, "state": "free"}
        for number, (code, shown) in enumerate(codes.items(), 1)
    ]
    statement = _insert(connection, COUPONS).on_conflict_do_nothing()
    before = _count_codes(connection, pool)
    for chunk in split(rows):
        connection.execute(statement, list(chunk))
    return _count_codes(connection, pool) - before


def _count_codes(connection: sa.Connection, pool: str) -> int:
    query = sa.select(sa.func.count()).select_from(COUPONS).where(COUPONS.c.pool == pool)
    return int(connection.execute(query).scalar_one())


def _require_pool(connection: sa.Connection, pool: str) -> None:
    if (
        connection.execute(sa.select(COUPON_POOLS.c.pool).where(COUPON_POOLS.c.pool == pool)).one_or_none()
        is None
    ):
        raise NotReady(
            "deployment.no_pool",
            say("There is no coupon pool '{pool}'.", pool=pool),
            remedy=say("Make it with: aimwell content coupons add or make."),
            where={"value": pool},
        )


def _read_properties(properties: object) -> Mapping[str, Any]:
    if isinstance(properties, str):
        try:
            properties = json.loads(properties)
        except (ValueError, RecursionError):
            return {}
    return properties if isinstance(properties, Mapping) else {}


def _find(properties: Mapping[str, Any], names: Sequence[str]) -> str | None:
    found = (properties.get(name) for name in names)
    return next((str(value) for value in found if isinstance(value, str | int) and value), None)


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
