"""Tells the warehouse what recipients did and chose: opens, clicks, consents given and withdrawn.

The store has all of it first, and what was withdrawn holds from that moment; here it reaches ``consents`` and
``events``. After a crash it is told again, and is known by then. Reads and writes the store's ``tracking_hits`` and
``preference_changes``; writes ``consents`` and hot rows of ``events``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aimwell.core.columns import CHANNELS
from aimwell.core.errors import BadInput
from aimwell.core.tables import CONSENTS
from aimwell.core.time import business_day, now
from aimwell.data.consent import find_person
from aimwell.data.event_intake import take_events
from aimwell.data.findings import ask
from aimwell.deployment.tracking.events import build_change_event, build_hit_event
from aimwell.deployment.tracking.hits import find_target, has_untold, mark_told, read_untold
from aimwell.deployment.tracking.preferences import Change, mark_changes_told, mirror_change, read_changes
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace

SOURCE = "tracking"
_BATCH = 1_000


def tell_warehouse(workspace: Workspace, *, settle_seconds: float = 3.0) -> int:
    """Hand over everything that waits; returns how many hits and changes that were.

    Hits wait ``settle_seconds``: a hit of the hidden link, or the next of a burst, mostly comes right after the first.
    """
    told = 0
    while batch := _tell_changes(workspace):
        told += batch
    before = int((now().timestamp() - settle_seconds) * 1000)
    while batch := _tell_hits(workspace, before):
        told += batch
    return told


def has_news(workspace: Workspace) -> bool:
    """Whether anything waits: one short look, for a worker that has nothing else to do."""
    with workspace.store.snapshot() as connection:
        return bool(read_changes(connection, limit=1)) or has_untold(connection)


def _tell_changes(workspace: Workspace) -> int:
    with workspace.store.snapshot() as connection:
        changes = read_changes(connection, limit=_BATCH)
    if not changes:
        return 0
    marketing = [change for change in changes if change.kind == "marketing"]
    with workspace.read() as reader:
        persons = {change.customer_id: _find_person(reader, change.customer_id) for change in marketing}
        rows = _build_consents(reader, marketing, persons)
    _mirror(workspace, marketing, persons)
    _append_consents(workspace, rows)
    take_events(workspace, [build_change_event(change) for change in changes], source=SOURCE)
    with workspace.store.begin() as connection:
        mark_changes_told(connection, changes, _now_ms())
    return len(changes)


def _tell_hits(workspace: Workspace, before_ms: int) -> int:
    with workspace.store.begin() as connection:
        hits = read_untold(connection, before_ms=before_ms, limit=_BATCH)
        links = {hit.link_id for hit in hits if hit.link_id}
        targets = {link: find_target(connection, link) for link in sorted(links)}
    if not hits:
        return 0
    events = [build_hit_event(hit, targets.get(hit.link_id or "")) for hit in hits]
    take_events(workspace, events, source=SOURCE)
    with workspace.store.begin() as connection:
        mark_told(connection, hits, _now_ms())
    return len(hits)


def _mirror(workspace: Workspace, changes: Sequence[Change], persons: Mapping[str, str | None]) -> None:
    """Whoever was joined with another record since the message went out: what was said holds for the person."""
    joined = [(change, person) for change in changes if (person := persons[change.customer_id])]
    with workspace.store.begin() as connection:
        for change, person in joined:
            if person != change.customer_id:
                mirror_change(connection, change, person)


def _append_consents(workspace: Workspace, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    day = business_day(now(), workspace.settings.business.zone) + timedelta(days=1)
    with workspace.run("data", as_of=day, parameters={"consents": SOURCE}) as run:
        run.append("consents", CONSENTS.build(rows))


def _build_consents(
    reader: Queryable, changes: Sequence[Change], persons: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """Rows for ``consents``, without those that it has."""
    rows: list[dict[str, Any]] = []
    taken: dict[tuple[str, str, datetime], bool] = {}
    for name in sorted({person for person in persons.values() if person}):
        taken |= _read_taken(reader, name)
    for change in changes:
        person, channel = persons[change.customer_id], change.channel
        if person is None or channel not in CHANNELS:
            continue
        since = datetime.fromtimestamp(change.at_ms / 1000, UTC)
        # Two answers of one instant: the later one stands a microsecond after the other.
        while taken.get((person, channel, since), change.allowed) != change.allowed:
            since += timedelta(microseconds=1)
        if (person, channel, since) not in taken:
            taken[person, channel, since] = bool(change.allowed)
            rows.append(_build_row(person, change, since))
    return rows


def _build_row(person: str, change: Change, since: datetime) -> dict[str, Any]:
    return {
        "customer_id": person,
        "channel": change.channel,
        "purpose": "marketing",
        "allowed": bool(change.allowed),
        "since": since,
        "until": None,
        "source": change.source,
    }


def _read_taken(reader: Queryable, person: str) -> dict[tuple[str, str, datetime], bool]:
    found = ask(
        reader,
        "SELECT channel, since, allowed FROM consents WHERE customer_id = $customer AND purpose = 'marketing'",
        {"customer": person},
    )
    return {(person, row["channel"], row["since"]): row["allowed"] for row in found}


def _find_person(reader: Queryable, customer_id: str) -> str | None:
    try:
        return find_person(reader, customer_id)
    except BadInput:
        # Somebody whom the warehouse does not know (any more): the store keeps the answer all the same.
        return None


def _now_ms() -> int:
    return int(now().timestamp() * 1000)
