"""What customers choose for themselves: marketing by channel and topic, how often, in which language.

A withdrawal holds at once and stands above whatever a file may say later: it withdraws the consent and puts the channel
on the suppression list, in one transaction with the record of the change. A permission takes off the list only what the
customer put there. Doing the same twice changes nothing. Everything works inside the caller's transaction, on SQLite
and PostgreSQL. Reads and writes the store's ``consent_states``, ``suppressions``, ``own_preferences``,
``topic_refusals`` and ``preference_changes``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aimwell.core.columns import CHANNELS
from aimwell.core.text import Language, match_language
from aimwell.engine.ledger_tables import CONSENT_STATES, DELIVERIES
from aimwell.engine.permissions import (
    ALL_CHANNELS,
    ConsentState,
    Suppression,
    add_suppression,
    list_suppressions,
    remember_consents,
    remove_suppression,
    take_turn,
)
from aimwell.engine.tracking_tables import OWN_PREFERENCES, PREFERENCE_CHANGES, TOPIC_REFUSALS

UNSUBSCRIBE, ONE_CLICK, CENTRE = "unsubscribe_page", "one_click", "preference_page"
OWN_SOURCES = frozenset({UNSUBSCRIBE, ONE_CLICK, CENTRE, "reply"})
"""Suppressions with these sources are the customer's own word, which the customer may take back."""
CAPS: tuple[tuple[int, int], ...] = ((1, 30), (2, 30), (4, 30))
"""What the page offers: at most so many contacts in so many days."""
_CHUNK = 500


@dataclass(frozen=True)
class OwnCap:
    """A customer's own limit: at most ``cap`` contacts in ``days`` days."""

    cap: int
    days: int


@dataclass(frozen=True)
class Act:
    """One act of a customer: when, by which page, and the proof that is kept with it."""

    customer_id: str
    source: str
    at_ms: int
    proof: Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """What holds for a customer. ``blocked``: channels that the business itself closed; no page opens them."""

    channels: Mapping[str, bool]
    blocked: frozenset[str] = frozenset()
    refused_topics: frozenset[tuple[str, str]] = frozenset()
    cap: OwnCap | None = None
    language: Language | None = None
    since_ms: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Change:
    """One thing that a customer changed. ``allowed`` is empty for frequency and language."""

    number: int
    customer_id: str
    kind: str
    channel: str | None
    allowed: bool | None
    at_ms: int
    source: str
    proof: Mapping[str, Any]


def read_standing(
    connection: sa.Connection, customer_id: str, now_ms: int, *, channels: Collection[str] = ()
) -> Standing:
    """What holds for the customer on ``channels`` and all others on which there was anything to say or to send."""
    consents = _read_consents(connection, customer_id)
    suppressed = list_suppressions(connection, [customer_id])
    sent = sa.select(DELIVERIES.c.channel).where(DELIVERIES.c.customer_id == customer_id).distinct()
    named = {
        *channels,
        *consents,
        *connection.execute(sent).scalars(),
        *(entry.channel for entry in suppressed),
    }
    shown = [name for name in CHANNELS if name in named]
    closed = {entry.channel for entry in suppressed}
    blocked = {entry.channel for entry in suppressed if entry.source not in OWN_SOURCES}
    standing: dict[str, bool] = {}
    for name in shown:
        consent = consents.get(name)
        held = consent is not None and consent.allowed
        ended = consent is not None and consent.until_ms is not None and consent.until_ms <= now_ms
        standing[name] = held and not ended and not closed & {name, ALL_CHANNELS}
    own = connection.execute(
        sa.select(OWN_PREFERENCES).where(OWN_PREFERENCES.c.customer_id == customer_id)
    ).one_or_none()
    language = None if own is None else match_language(own.language or "")
    cap = None if own is None or own.cap is None else OwnCap(own.cap, own.cap_days)
    return Standing(
        standing,
        frozenset(shown if ALL_CHANNELS in blocked else blocked),
        frozenset(_read_topics(connection, customer_id)),
        cap,
        language,
        {name: consent.since_ms for name, consent in consents.items()},
    )


def withdraw(connection: sa.Connection, act: Act, channels: Iterable[str]) -> list[str]:
    """End marketing on ``channels`` at once; those on which it had not ended before."""
    ended = _end(connection, act, channels)
    for channel in ended:
        _record(connection, act, "marketing", channel=channel, allowed=False)
    return ended


def allow(
    connection: sa.Connection, act: Act, words: Mapping[str, str], *, shown_ms: int | None = None
) -> list[str]:
    """Give marketing consent on the channels of ``words``: channel → what the customer agreed to, kept as the proof.

    Returns those on which that is new. Blocked ones stay closed, and so do those that the customer refused after
    ``shown_ms``, when the page was shown: an old form that is sent again opens nothing.
    """
    begun = _begin(connection, act, words, shown_ms=shown_ms)
    for channel in begun:
        _record(connection, act, "marketing", channel=channel, allowed=True, chosen={"text": words[channel]})
    return begun


def _end(connection: sa.Connection, act: Act, channels: Iterable[str]) -> list[str]:
    take_turn(connection)
    known = _read_consents(connection, act.customer_id)
    ended = []
    for channel in sorted(set(channels)):
        new = add_suppression(connection, Suppression(act.customer_id, channel, act.source, act.at_ms))
        consent = known.get(channel)
        if not new and consent is not None and not consent.allowed:
            continue
        since = max(act.at_ms, consent.since_ms if consent else 0)
        remember_consents(connection, [ConsentState(act.customer_id, channel, False, since)])
        ended.append(channel)
    return ended


def _begin(
    connection: sa.Connection, act: Act, channels: Iterable[str], *, shown_ms: int | None
) -> list[str]:
    take_turn(connection)
    names = sorted(set(channels) & set(CHANNELS))
    standing = read_standing(connection, act.customer_id, act.at_ms, channels=names)
    since = standing.since_ms or {}
    wanted = [
        name
        for name in names
        if name not in standing.blocked
        and not standing.channels[name]
        and (shown_ms is None or since.get(name, 0) <= shown_ms)
    ]
    if wanted:
        _narrow(connection, act, [name for name in standing.channels if name not in wanted])
    for channel in wanted:
        remove_suppression(connection, act.customer_id, channel)
        # At one instant a refusal wins: the permission stands a millisecond after it.
        begins = max(act.at_ms, since.get(channel, -1) + 1)
        remember_consents(connection, [ConsentState(act.customer_id, channel, True, begins)])
    return wanted


def _narrow(connection: sa.Connection, act: Act, others: Sequence[str]) -> None:
    """Who had stopped all channels and now opens one keeps the others closed, each by a line of its own."""
    for line in list_suppressions(connection, [act.customer_id]):
        if line.channel == ALL_CHANNELS:
            for channel in others:
                add_suppression(connection, Suppression(act.customer_id, channel, line.source, line.since_ms))
            remove_suppression(connection, act.customer_id, ALL_CHANNELS)


def mirror_change(connection: sa.Connection, change: Change, customer_id: str) -> None:
    """Let a change of marketing hold for ``customer_id``, too: another record of the same person."""
    act = Act(customer_id, change.source, change.at_ms, change.proof)
    channels = [change.channel] if change.channel else []
    if not change.allowed:
        _end(connection, act, channels)
    else:
        _begin(connection, act, channels, shown_ms=change.at_ms)


def choose_topic(connection: sa.Connection, act: Act, channel: str, topic: str, *, allowed: bool) -> bool:
    """Refuse a topic by a channel, or want it again; False when that stood already."""
    take_turn(connection)
    columns = TOPIC_REFUSALS.c
    which = (columns.customer_id == act.customer_id) & (columns.channel == channel) & (columns.topic == topic)
    found = connection.execute(sa.select(columns.topic).where(which)).first() is not None
    if found is not allowed:
        return False
    if allowed:
        connection.execute(sa.delete(TOPIC_REFUSALS).where(which))
    else:
        values = {"customer_id": act.customer_id, "channel": channel, "topic": topic, "since_ms": act.at_ms}
        connection.execute(sa.insert(TOPIC_REFUSALS).values(values))
    _record(connection, act, "topic", channel=channel, allowed=allowed, chosen={"topic": topic})
    return True


def choose_cap(connection: sa.Connection, act: Act, cap: OwnCap | None) -> bool:
    """Set the customer's own limit, or none; False when that stood already."""
    values = {"cap": cap and cap.cap, "cap_days": cap and cap.days}
    return _choose(connection, act, "frequency", values)


def choose_language(connection: sa.Connection, act: Act, language: Language) -> bool:
    """Set the language in which the customer wants messages; False when that stood already."""
    return _choose(connection, act, "language", {"language": language})


def read_own_caps(connection: sa.Connection, customers: Iterable[str]) -> dict[str, OwnCap]:
    """The own limits of those customers who set one."""
    columns = OWN_PREFERENCES.c
    found: dict[str, OwnCap] = {}
    for chunk in _split(customers):
        query = sa.select(columns.customer_id, columns.cap, columns.cap_days)
        query = query.where(columns.customer_id.in_(chunk), columns.cap.is_not(None))
        for row in connection.execute(query):
            found[row.customer_id] = OwnCap(row.cap, row.cap_days)
    return found


def read_languages(connection: sa.Connection, customers: Iterable[str]) -> dict[str, Language]:
    """The languages of those customers who chose one."""
    columns = OWN_PREFERENCES.c
    found: dict[str, Language] = {}
    for chunk in _split(customers):
        query = sa.select(columns.customer_id, columns.language).where(columns.customer_id.in_(chunk))
        for row in connection.execute(query):
            language = match_language(row.language or "")
            if language is not None:
                found[row.customer_id] = language
    return found


def read_refused_topics(connection: sa.Connection, customers: Iterable[str]) -> set[tuple[str, str, str]]:
    """(customer, channel, topic) of what these customers do not want."""
    columns = TOPIC_REFUSALS.c
    found: set[tuple[str, str, str]] = set()
    for chunk in _split(customers):
        query = sa.select(columns.customer_id, columns.channel, columns.topic)
        rows = connection.execute(query.where(columns.customer_id.in_(chunk)))
        found |= {(row.customer_id, row.channel, row.topic) for row in rows}
    return found


def read_changes(connection: sa.Connection, *, limit: int = 1_000) -> list[Change]:
    """Changes that the warehouse does not know yet, in order."""
    columns = PREFERENCE_CHANGES.c
    names = [columns[name] for name in Change.__dataclass_fields__ if name != "number"]
    query = sa.select(columns.change, *names).where(columns.told_at_ms.is_(None))
    return [Change(*row) for row in connection.execute(query.order_by(columns.change).limit(limit))]


def mark_changes_told(connection: sa.Connection, changes: Sequence[Change], now_ms: int) -> None:
    """The warehouse has these."""
    for chunk in _split(str(change.number) for change in changes):
        told = PREFERENCE_CHANGES.c.change.in_([int(number) for number in chunk])
        connection.execute(sa.update(PREFERENCE_CHANGES).where(told).values(told_at_ms=now_ms))


def _choose(connection: sa.Connection, act: Act, kind: str, values: Mapping[str, Any]) -> bool:
    take_turn(connection)
    columns = OWN_PREFERENCES.c
    which = columns.customer_id == act.customer_id
    found = connection.execute(sa.select(OWN_PREFERENCES).where(which)).mappings().one_or_none()
    if all((found[name] if found else None) == value for name, value in values.items()):
        return False
    changed = {**values, "changed_at_ms": act.at_ms}
    if found is None:
        connection.execute(sa.insert(OWN_PREFERENCES).values(customer_id=act.customer_id, **changed))
    else:
        connection.execute(sa.update(OWN_PREFERENCES).where(which).values(**changed))
    _record(connection, act, kind, chosen=values)
    return True


def _record(
    connection: sa.Connection,
    act: Act,
    kind: str,
    *,
    channel: str | None = None,
    allowed: bool | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> None:
    connection.execute(
        sa.insert(PREFERENCE_CHANGES).values(
            customer_id=act.customer_id,
            kind=kind,
            channel=channel,
            allowed=allowed,
            at_ms=act.at_ms,
            source=act.source,
            proof={**act.proof, **(chosen or {})},
        )
    )


def _read_consents(connection: sa.Connection, customer_id: str) -> dict[str, ConsentState]:
    columns = [CONSENT_STATES.c[name] for name in ConsentState._fields]
    query = sa.select(*columns).where(CONSENT_STATES.c.customer_id == customer_id)
    return {row.channel: ConsentState(*row) for row in connection.execute(query)}


def _read_topics(connection: sa.Connection, customer_id: str) -> set[tuple[str, str]]:
    columns = TOPIC_REFUSALS.c
    query = sa.select(columns.channel, columns.topic).where(columns.customer_id == customer_id)
    return {(row.channel, row.topic) for row in connection.execute(query)}


def _split(values: Iterable[str]) -> list[list[str]]:
    names = sorted(set(values))
    return [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
