"""Coupons redeemed by events: 'Coupon Redeemed' as it comes in, each event once whatever ends in between.

Reads the store's ``hot_batches``, writes ``coupons`` and its own place in ``hot_consumers``, in one transaction.
"""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc
import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.deployment.coupons import REDEEMED_EVENT, redeem_events
from aimwell.engine.content_tables import COUPON_POOLS
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_CONSUMERS, HOT_GATE
from aimwell.engine.manifest import decode_batches
from aimwell.engine.store import Store

CONSUMER = "coupons"
_MOST_BATCHES = 200


def redeem_new(store: Store) -> Counter[str]:
    """Redeem what came in since the last time; how many events ended how (``coupons.redeem``), empty where none did.

    Costs one small query while nothing comes in, or while there is no coupon.
    """
    with store.snapshot() as connection:
        if not _has_news(connection):
            return Counter()
    with store.begin() as connection:
        before = _read_position(connection, lock=True)
        if before is None:
            connection.execute(
                sa.insert(HOT_CONSUMERS).values(consumer=CONSUMER, position=0, changed_at=now())
            )
        outcomes, position = _redeem_after(connection, before or 0)
        connection.execute(
            sa.update(HOT_CONSUMERS)
            .where(HOT_CONSUMERS.c.consumer == CONSUMER)
            .values(position=position, changed_at=now())
        )
    return outcomes


def _redeem_after(connection: sa.Connection, before: int) -> tuple[Counter[str], int]:
    # The turn first: a batch that comes in after this one is read the next time.
    turn = _read_turn(connection)
    query = (
        sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.data)
        .where(HOT_BATCHES.c.table_name == "events", HOT_BATCHES.c.position > before)
        .where(HOT_BATCHES.c.position <= turn)
        .order_by(HOT_BATCHES.c.position)
        .limit(_MOST_BATCHES)
    )
    outcomes: Counter[str] = Counter()
    read = connection.execute(query).all()
    for row in read:
        events = decode_batches([row.data])
        mine = events.filter(pc.equal(events["name"], REDEEMED_EVENT))
        outcomes += redeem_events(connection, mine.to_pylist())
    return outcomes, read[-1].position if len(read) == _MOST_BATCHES else max(turn, before)


def _has_news(connection: sa.Connection) -> bool:
    if connection.execute(sa.select(COUPON_POOLS.c.pool).limit(1)).first() is None:
        return False
    position = _read_position(connection)
    return position is None or _read_turn(connection) > position


def _read_turn(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())


def _read_position(connection: sa.Connection, *, lock: bool = False) -> int | None:
    query = sa.select(HOT_CONSUMERS.c.position).where(HOT_CONSUMERS.c.consumer == CONSUMER)
    found = connection.execute(query.with_for_update() if lock else query).scalar()
    return None if found is None else int(found)
