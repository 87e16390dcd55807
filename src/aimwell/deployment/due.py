"""When the next delivery is due on each channel: a few look-ups in indexes, so that waiting costs nothing.

Reads the store's ``deliveries``, ``campaigns`` and ``contact_gate``, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from aimwell.deployment.sources import Sources, read_sources
from aimwell.engine.ledger_tables import DELIVERIES, HELD, WAITING

_D = DELIVERIES.c


def find_due_channels(
    connection: sa.Connection, now_ms: int, *, without: Sequence[str] = ()
) -> dict[str, int]:
    """Channel → the instant (ms) at which something is due, or a lease runs out. ``without``: see ``Ledger``."""
    waiting, held = list(_list_channels(connection, _WAITING)), list(_list_channels(connection, _HELD))
    if not waiting and not held:
        return {}
    sources = read_sources(connection, now_ms)
    if sources.halted:
        return {}
    found: dict[str, int] = {}
    for channel in waiting:
        for at in _list_queued(connection, channel, sources, now_ms, without):
            found[channel] = min(at, found.get(channel, at))
    for channel in held:
        ends = _find_first(connection, _D.lease_until_ms, HELD, channel)
        if ends is not None:
            found[channel] = min(ends, found.get(channel, ends))
    return found


_WAITING, _HELD = (
    sa.select(sa.func.min(_D.channel)).where(state, _D.channel > sa.bindparam("last"))
    for state in (WAITING, HELD)
)


def _list_channels(connection: sa.Connection, query: sa.Select[tuple[str]]) -> Iterator[str]:
    """The channels of rows in a state; one look-up each, however many rows there are."""
    last = ""
    while True:
        found = connection.execute(query, {"last": last}).scalar()
        if found is None:
            return
        last = str(found)
        yield last


def _list_queued(
    connection: sa.Connection, channel: str, sources: Sources, now_ms: int, without: Sequence[str]
) -> Iterator[int]:
    others = [~_D.plan_id.startswith(beginning, autoescape=True) for beginning in without]
    apart = set(sources.held) | set(sources.meters)
    if apart:
        others.append(_D.plan_id.not_in(sorted(apart)))
    first = _find_first(connection, _D.not_before_ms, WAITING, channel, *others)
    if first is not None:
        yield first
    for source, meter in sources.meters.items():
        first = _find_first(connection, _D.not_before_ms, WAITING, channel, _D.plan_id == source)
        if first is not None:
            yield first if meter.count_places(now_ms) else max(first, meter.find_next(now_ms))


def _find_first(
    connection: sa.Connection,
    at: sa.Column[int],
    state: sa.ColumnElement[bool],
    channel: str,
    *others: sa.ColumnElement[bool],
) -> int | None:
    query = sa.select(at).where(state, _D.channel == channel, at.is_not(None), *others)
    found: int | None = connection.execute(query.order_by(at).limit(1)).scalar()
    return found
