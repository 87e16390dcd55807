"""Before messages are made: whose records they are by now, for journeys and campaigns alike.

Reads ``identities`` and the store's ``journey_positions``; writes only what ``merging`` and ``readdressing`` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from aimwell.core.time import now
from aimwell.deployment.journeys.advance import open_advancer
from aimwell.deployment.journeys.facts import WarehouseFacts
from aimwell.deployment.journeys.knowledge import Joined
from aimwell.deployment.journeys.readdressing import follow_source, give_back, is_unjudged, readdress
from aimwell.deployment.policy import Candidate
from aimwell.engine.workspace import Workspace


class RecordFollower:
    """Queues reserved messages again whose customers were joined with others since policy looked at them."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._facts = WarehouseFacts(workspace)

    def follow(self, candidates: Sequence[Candidate]) -> set[str]:
        """Which of these deliveries their worker does not hold any more: they are judged as the person's first."""
        joined = self._facts.read_joined()
        whose = {row.delivery_id: row.customer_id for row in candidates}
        moved = {delivery: name for delivery, name in whose.items() if name in joined.customers}
        own = {delivery: name for delivery, name in whose.items() if name in joined.records}
        if own and self._is_unjudged(joined):
            moved |= own
        if moved:
            at_ms = int(now().timestamp() * 1000)
            _, joined = open_advancer(self._workspace).follow_records(at_ms)
            give_back(self._workspace.store, list(moved))
            # What was on its way out then, and came back.
            late = [(delivery, name) for delivery, name in moved.items() if name in joined.customers]
            readdress(self._workspace.store, self._facts, joined, late, at_ms)
        return set(moved)

    @property
    def version(self) -> int:
        """As of which version of ``identities`` messages were followed here."""
        return self._facts.read_joined().version

    def follow_source(self, source: str, known_until: datetime) -> None:
        """What a source has just queued goes to the persons, as far as they were known by then."""
        until = min(now(), known_until)
        joined = self._facts.read_joined()
        follow_source(self._workspace.store, self._facts, joined, source, int(until.timestamp() * 1000))

    def _is_unjudged(self, joined: Joined) -> bool:
        with self._workspace.store.snapshot() as connection:
            return is_unjudged(connection, joined.version)
