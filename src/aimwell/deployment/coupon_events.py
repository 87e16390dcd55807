"""Coupons redeemed by events: 'Coupon Redeemed', and orders that name a coupon, each once whatever ends in between.

What comes in as messages is read from the stream as it comes; what was loaded from files or tables, from the warehouse
after each load. An event that comes both ways redeems once (``coupons.redeem``). Reads the store's ``hot_batches`` and
the warehouse's ``events``; writes ``coupons`` and its own place in ``hot_consumers``, in one transaction.
"""

from __future__ import annotations

from collections import Counter
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.deployment.coupons import REDEEMING_EVENTS, redeem_events
from aimwell.engine.content_tables import COUPON_POOLS
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_CONSUMERS, HOT_GATE
from aimwell.engine.manifest import decode_batches
from aimwell.engine.store import Store
from aimwell.engine.store_tables import TABLE_VERSIONS
from aimwell.engine.workspace import Workspace

CONSUMER = "coupons"
_MOST_BATCHES = 200
_ROWS = 2_000
"""Redemptions of one transaction."""
_SEEN: WeakKeyDictionary[Workspace, int] = WeakKeyDictionary()
"""The newest load that this process has looked through."""


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


def redeem_loaded(workspace: Workspace) -> Counter[str]:
    """Redeem what was loaded since this process last looked, and at first all that there is: repeating it is harmless.

    Costs two small queries while nothing is loaded, and one while there is no coupon.
    """
    with workspace.store.snapshot() as connection:
        version = _read_loaded(connection) if _has_pools(connection) else 0
    if version <= _SEEN.get(workspace, 0):
        return Counter()
    outcomes: Counter[str] = Counter()
    with workspace.read() as reader:
        found = reader.query(
            _LOADED.format(names=", ".join(f"'{name}'" for name in sorted(REDEEMING_EVENTS)))
        )
    for batch in found.to_batches(max_chunksize=_ROWS):
        with workspace.store.begin() as connection:
            outcomes += redeem_events(connection, pa.Table.from_batches([batch]).to_pylist())
    _SEEN[workspace] = version
    return outcomes


_LOADED = """
    SELECT event_id, name, occurred_at, properties FROM events
    WHERE name IN ({names}) AND (properties LIKE '%coupon%' OR properties LIKE '%code%')
    ORDER BY occurred_at, event_id
"""


def _read_loaded(connection: sa.Connection) -> int:
    """The newest version of the events that brought rows which the stream did not have."""
    columns = TABLE_VERSIONS.c
    loaded = columns.mode.in_(("append", "replace", "rewrite"))
    query = sa.select(sa.func.max(columns.version)).where(columns.table_name == "events", loaded)
    return int(connection.execute(query).scalar() or 0)


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
        mine = events.filter(pc.is_in(events["name"], pa.array(sorted(REDEEMING_EVENTS))))
        outcomes += redeem_events(connection, mine.to_pylist())
    return outcomes, read[-1].position if len(read) == _MOST_BATCHES else max(turn, before)


def _has_news(connection: sa.Connection) -> bool:
    if not _has_pools(connection):
        return False
    position = _read_position(connection)
    return position is None or _read_turn(connection) > position


def _has_pools(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(COUPON_POOLS.c.pool).limit(1)).first() is not None


def _read_turn(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())


def _read_position(connection: sa.Connection, *, lock: bool = False) -> int | None:
    query = sa.select(HOT_CONSUMERS.c.position).where(HOT_CONSUMERS.c.consumer == CONSUMER)
    found = connection.execute(query.with_for_update() if lock else query).scalar()
    return None if found is None else int(found)
