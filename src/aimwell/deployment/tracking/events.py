"""Opens, clicks and changed preferences as messages of the Segment vocabulary, for ``data.event_intake``.

The same hit or change always has the same ``messageId``, so that it may be told twice and is taken in once. Reads and
writes no table.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aimwell.deployment.tracking.hits import KeptHit
from aimwell.deployment.tracking.preferences import Change

_NAMES = {"open": "Message Opened", "click": "Link Clicked", "honeypot": "Hidden Link Followed"}
_PREFERENCES = {
    "marketing": ("Consent Given", "Consent Withdrawn"),
    "topic": ("Topic Chosen", "Topic Refused"),
}


def build_hit_event(hit: KeptHit, target: str | None = None) -> dict[str, Any]:
    """The event of a hit; ``machine`` tells whom it counts for. One that was judged anew says which it corrects."""
    identity = f"aimwell-{hit.kind}-{hit.hit_id}"
    corrects = hit.rejudged_at_ms is not None
    properties: dict[str, Any] = {
        "delivery_id": hit.delivery_id,
        "campaign_id": hit.plan_id,
        "channel": hit.channel,
        "machine": hit.machine,
        "reason": hit.reason,
        "agent": hit.agent,
    }
    if hit.kind == "click":
        properties |= {"link_id": hit.link_id, "place": hit.place, "link": target}
    if corrects:
        properties |= {"corrects": identity, "hit": _NAMES[hit.kind]}
    return {
        "type": "track",
        "event": "Hit Judged Anew" if corrects else _NAMES[hit.kind],
        "messageId": f"{identity}-anew" if corrects else identity,
        "userId": hit.customer_id,
        "timestamp": _show(hit.at_ms),
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def build_change_event(change: Change) -> dict[str, Any]:
    """The event of something that a customer changed."""
    names = _PREFERENCES.get(change.kind)
    event = "Preferences Changed" if names is None else names[0 if change.allowed else 1]
    return {
        "type": "track",
        "event": event,
        "messageId": f"aimwell-preference-{change.number}-{change.at_ms}",
        "userId": change.customer_id,
        "timestamp": _show(change.at_ms),
        "properties": {
            "kind": change.kind,
            "channel": change.channel or "all",
            "purpose": "marketing",
            "allowed": change.allowed,
            "source": change.source,
            "proof": change.proof,
        },
    }


def _show(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
